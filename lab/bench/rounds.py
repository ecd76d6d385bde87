"""Throughput, latency and cost of every workload: subjects take turns, round after round."""

import math
import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lab.bench import dnsperf
from lab.bench.subject import Subject
from lab.bench.workloads import CLUSTER_TTL, Workload
from lab.namespaces import LabError
from lab.node import CLUSTER_DNS

OFFERED = 1000
"""Questions per second while latency is measured: a busy node, far from what it could answer."""

_MICROSECONDS = 1_000_000
_ANSWERS = ({"NOERROR"}, {"NXDOMAIN"}, {"NOERROR", "NXDOMAIN"})


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A figure over all rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return median, smallest and largest of the rounds' values."""
        return cls(median=statistics.median(values), low=min(values), high=max(values))

    @classmethod
    def of_median(cls, values: Sequence[float]) -> "Spread":
        """Return the median and where it would lie in 19 of 20 such runs (by the binomial distribution of ranks).

        With fewer than six values that is no narrower than all of them.
        """
        ordered, count = sorted(values), len(values)
        outside, rank = 0.5**count, 0  # how likely the true median is below the value of this rank
        while outside <= 0.025:  # noqa: PLR2004  # one of 40 on each side
            rank += 1
            outside += math.comb(count, rank) * 0.5**count
        place = max(rank - 1, 0)
        return cls(median=statistics.median(ordered), low=ordered[place], high=ordered[count - 1 - place])


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One subject, one workload, one round."""

    subject: str
    workload: str
    round: int

    queries_per_second: float
    """Answers per second when as many questions as possible are asked, 100 at a time."""

    p50_microseconds: float
    """Half of the answers came faster than this, at the offered rate."""

    p99_microseconds: float
    """99 of 100 answers came faster than this, at the offered rate."""

    lost: int
    """Questions without an answer."""

    reached_coredns: float
    """Share of the questions (in percent) that CoreDNS had to answer, the first ones for each name aside."""

    expired: float
    """The same for names that were asked again only because they expired, at most."""

    cache_cpu: float
    """Processor time of the cache per question, in microseconds."""

    coredns_cpu: float
    """The same of CoreDNS."""

    cache_memory: float
    """Resident memory of the cache after it, in MiB."""

    coredns_memory: float
    """The same of CoreDNS."""


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the smallest value that `percent` of the values do not exceed."""
    if not values:
        raise LabError("dnsperf reported no latency of a single question; its -v output is not what was expected.")
    ordered = sorted(values)
    return ordered[-(-len(ordered) * percent // 100) - 1]


def measure(subject: Subject, workload: Workload, number: int, seconds: float) -> Sample:
    """Measure one workload once: throughput, then latency, with names nobody has asked for before."""

    def once(tag: str, *options: str | float) -> tuple[dnsperf.Outcome, float, float, float, float]:
        names = workload.names(f"{number}{tag}", workload.count)
        if workload.repeated:
            dnsperf.run(subject.client, CLUSTER_DNS, names, "-n", 1)
        before, begun = subject.counters(), time.monotonic()
        ends = ("-l", seconds) if workload.repeated else ("-l", seconds, "-n", 1)
        found = dnsperf.run(subject.client, CLUSTER_DNS, names, *ends, *options)
        after = subject.counters()
        if set(found.codes) not in _ANSWERS:
            raise LabError(f"{subject.variant.name}, {workload.name}: answers are {found.codes}, not names or denials.")
        return (
            found,
            after.coredns_queries - before.coredns_queries,
            after.cache_cpu - before.cache_cpu,
            after.coredns_cpu - before.coredns_cpu,
            # What is about to expire is fetched before it does.
            len(set(names)) * (1 + (time.monotonic() - begun) / (CLUSTER_TTL / 2)),
        )

    fast, reached, cache_cpu, coredns_cpu, expired = once("t")
    slow = once("l", "-v", "-Q", OFFERED)[0]
    return Sample(
        subject=subject.variant.name,
        workload=workload.name,
        round=number,
        queries_per_second=fast.per_second,
        p50_microseconds=percentile(slow.latencies, 50) * _MICROSECONDS,
        p99_microseconds=percentile(slow.latencies, 99) * _MICROSECONDS,
        lost=fast.sent - fast.completed + slow.sent - slow.completed,
        reached_coredns=100 * reached / fast.sent,
        expired=100 * expired / fast.sent,
        cache_cpu=cache_cpu / fast.sent * _MICROSECONDS,
        coredns_cpu=coredns_cpu / fast.sent * _MICROSECONDS,
        cache_memory=subject.cache_memory(),
        coredns_memory=subject.coredns_memory(),
    )


def take_turns(subjects: Mapping[Workload, Sequence[Subject]], rounds: int, seconds: float) -> Iterator[Sample]:
    """Measure each workload's subjects in each round, in an order by lot, and in the next in the opposite one.

    In a fixed order, or one that only begins elsewhere, each would always be measured in the wake of the same other.
    """
    lot = random.Random(0)  # noqa: S311  # not a secret: the same orders in every run
    orders: dict[Workload, list[Subject]] = {}
    for number in range(rounds):
        for workload, measured in subjects.items():
            if number % 2 == 0:
                orders[workload] = lot.sample(measured, len(measured))
            else:
                orders[workload].reverse()
            for subject in orders[workload]:
                yield measure(subject, workload, number, seconds)
