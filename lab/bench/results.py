"""Everything a run of the benchmark found, and whether it is what we claim."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field

from lab.bench.alternatives import NO_PREFETCH, Cost
from lab.bench.conntrack import Conntrack
from lab.bench.loss import Loss
from lab.bench.memory import Memory
from lab.bench.rounds import Sample, Spread
from lab.bench.subject import DIRECT, OURS, UPSTREAM_RULES
from lab.bench.workloads import RECORDS_OF_A_WIDE_ANSWER, WORKLOADS

CACHED = tuple(each.name for each in WORKLOADS if each.repeated)
"""Workloads the cache answers by itself."""

STRAY_PERCENT = 1.0
"""Share of a cached workload that may reach CoreDNS after all: a name may expire while it is asked.

More, where a machine was so busy that few questions were asked in that time (`Sample.expired`).
"""

EVERYTHING = 0.9
"""Share of the questions whose conntrack entries count as one for each: two may come from the same port by chance."""

ENOUGH_ROUNDS = 6
"""With fewer, nobody can say between which of them the median lies in 19 of 20 such runs."""

SPEEDS = (("queries_per_second", True, "questions/s"), ("p50_microseconds", False, "p50"))
"""Figures that are compared, whether more of them is better, and what they are called. The slowest answer of a hundred
in a second at 1,000 a second is one of ten: p99 is shown and not compared."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the figures were measured on."""

    command: str
    kernel: str
    processor: str
    processors: int
    memory_gibibytes: int

    load: float
    """Processes that wanted to run, on average, in the minute before: above 0.5 the figures are disturbed."""

    node_cache: str
    dnsperf: str


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One statement of ours, held against the figures."""

    statement: str
    holds: bool
    found: str


@dataclass(kw_only=True)
class Results:
    """A run's figures."""

    machine: Machine

    slack: float
    """By how much, as a share, our rules may be slower than upstream's and still count as no slower."""

    conntrack: list[Conntrack] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    alternatives: list[Cost] = field(default_factory=list)

    def spread(self, subject: str, workload: str, figure: str) -> Spread:
        """Return a figure of a subject at a workload over all rounds."""
        return Spread.of([getattr(each, figure) for each in self.samples
                          if (each.subject, each.workload) == (subject, workload)])  # fmt: skip

    def slower(self, workload: str, figure: str, *, more_is_better: bool) -> Spread:
        """Return by how much, as a share, our rules are slower than upstream's, each round compared with itself."""
        rounds: dict[int, dict[str, float]] = {}
        for each in self.samples:
            if each.workload == workload:
                rounds.setdefault(each.round, {})[each.subject] = getattr(each, figure)
        ratios = [each[OURS.name] / each[UPSTREAM_RULES.name] for each in rounds.values()]
        return Spread.of_median([1 / each - 1 if more_is_better else each - 1 for each in ratios])

    def lost(self, event: str, interception: str) -> list[Loss]:
        """Return what an event cost, round by round."""
        return [each for each in self.losses if (each.event, each.interception) == (event, interception)]

    def claims(self) -> list[Claim]:
        """Hold every claim against the figures."""
        return [*self._conntrack(), *self._speed(), *self._loss(), *self._memory(), *self._alternatives()]

    def _conntrack(self) -> Iterator[Claim]:
        for subject in (DIRECT, UPSTREAM_RULES, OURS):
            rows = [each for each in self.conntrack if each.subject == subject.name and each.workload in CACHED]
            made, asked = sum(each.of_client for each in rows), sum(each.questions for each in rows)
            found = f"{made} entries for {asked} questions"
            if subject is DIRECT:
                yield Claim(statement=f"{subject.title}: every question makes a conntrack entry",
                            holds=made > EVERYTHING * asked > 0, found=found)  # fmt: skip
            else:
                yield Claim(statement=f"{subject.title}: cached DNS makes no conntrack entry",
                            holds=asked > 0 == made, found=found)  # fmt: skip
        for subject in (UPSTREAM_RULES, OURS):
            rows = [each for each in self.samples if each.subject == subject.name and each.workload in CACHED]
            yield Claim(
                statement=f"{subject.title}: cached DNS does not reach CoreDNS",
                holds=bool(rows) and all(each.reached_coredns < max(STRAY_PERCENT, each.expired) for each in rows),
                found=f"at most {max(each.reached_coredns for each in rows):.2f} % of the questions",
            )

    def _speed(self) -> Iterator[Claim]:
        rounds = len({each.round for each in self.samples})
        for workload in (each.name for each in WORKLOADS):
            for figure, more_is_better, what in SPEEDS:
                slower = self.slower(workload, figure, more_is_better=more_is_better)
                # Of few rounds one that something else disturbed is the median: there, slower is what always is.
                least = slower.median if rounds >= ENOUGH_ROUNDS else slower.low
                yield Claim(
                    statement=f"{workload}: our rules are at most {self.slack:.0%} slower than upstream's, by {what}",
                    holds=least <= self.slack,
                    found=f"{slower.median:+.1%} ({slower.low:+.1%} to {slower.high:+.1%}), round by round",
                )

    def _loss(self) -> Iterator[Claim]:
        for event, what in (
            ("crash", "only questions in flight are lost"),
            ("restart", "only questions in flight are lost"),
            ("rolling update", "none is lost"),
        ):
            rows = self.lost(event, "socket")
            yield Claim(
                statement=f"{event}, our rules: {what}",
                holds=bool(rows) and all(each.lost == each.in_flight for each in rows),
                found=f"lost {[each.lost for each in rows]} of {[each.sent for each in rows]}, "
                f"{[each.in_flight for each in rows]} of them in flight",
            )
        rows = self.lost("crash", "upstream")
        yield Claim(
            statement="crash, upstream's rules: everything is lost from then on",
            holds=bool(rows) and all(each.lost - each.in_flight == each.sent_after > 0 for each in rows),
            found=f"lost {[each.lost for each in rows]} of {[each.sent_after for each in rows]} asked after it",
        )
        ours, theirs = ([each.lost for each in self.lost("restart", rules)] for rules in ("socket", "upstream"))
        yield Claim(
            statement="restart: our rules lose less than upstream's",
            holds=bool(ours) and statistics.median(ours) < statistics.median(theirs),
            found=f"lost {ours} against {theirs}",
        )

    def _memory(self) -> Iterator[Claim]:
        for each in self.memory:
            yield Claim(
                statement=f"{each.title}{', all that may wait' if each.refused else ''}: memory stays below the limit",
                holds=each.peak_mebibytes <= each.bound_mebibytes,
                found=f"{each.peak_mebibytes:.0f} of {each.bound_mebibytes} MiB",
            )
        refused = [each.refused for each in self.memory if each.records == RECORDS_OF_A_WIDE_ANSWER]
        yield Claim(
            statement="memory was measured with wide answers and as many queries waiting as may",
            holds=bool(refused) and all(refused),
            found=f"{refused} were refused beyond them",
        )

    def _alternatives(self) -> Iterator[Claim]:
        waited = {each.variant: each.waited for each in self.alternatives}
        yield Claim(
            statement="as names expire, fewer questions wait for CoreDNS with the default than without prefetch",
            holds=waited[OURS.name] < waited[NO_PREFETCH.name],
            found=f"{waited[OURS.name]} against {waited[NO_PREFETCH.name]}",
        )
