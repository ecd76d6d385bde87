"""How much memory full caches take, next to the bound the DaemonSet's memory limit is computed from."""

from collections.abc import Iterator
from dataclasses import dataclass

from components.cache.cache_memory import MEBIBYTE
from lab.bench import dnsperf, workloads
from lab.bench.subject import Subject, Variant, running
from lab.node import CLUSTER_DNS

OVERFILL = 1.3
"""Names asked for each entry there is room for: the cache evicts at random, shard by shard."""

ZONES = ("default.svc.cluster.local", "in-addr.arpa", "ip6.arpa", "example.com")
"""Where names of each of the cache's zones are, in the order of `CorefileSettings.caches`."""

MEASURED = (0, 1, workloads.RECORDS_OF_A_WIDE_ANSWER)
"""Addresses in each answer; 0: denials and nothing else."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """A cache whose every zone was filled."""

    capacity: int
    """Entries each of the two large zones, the cluster's and the external one, may keep of answers, and of denials."""

    records: int
    """Addresses in each answer of every zone; 0: there were denials only."""

    answers: int
    """Answers that were there in the end."""

    denials: int
    """Denials that were there in the end."""

    refused: int
    """Questions that were refused because as many waited as may, when CoreDNS was cut off in the end."""

    empty_mebibytes: float
    """Resident memory before the first question."""

    answers_mebibytes: float
    """Largest resident memory while the answers came."""

    full_mebibytes: float
    """The same with the denials, which came after them."""

    peak_mebibytes: float
    """The same with the questions that waited."""

    bound_mebibytes: int
    """The memory limit our settings compute for these capacities."""

    @property
    def title(self) -> str:
        """What was in the cache."""
        answers = f"{self.answers:,} answers of {self.records} and " if self.answers else ""
        return f"{answers}{self.denials:,} denials"

    @property
    def bytes_per_entry(self) -> float:
        """Memory one answer costs, or one denial if there are no answers, with the garbage of its making."""
        if self.answers:
            return (self.answers_mebibytes - self.empty_mebibytes) * MEBIBYTE / self.answers
        return (self.full_mebibytes - self.empty_mebibytes) * MEBIBYTE / self.denials


def _variant(capacity: int) -> Variant:
    sizes = {"successCapacity": capacity, "denialCapacity": capacity}
    corefile = {"cluster": sizes, "external": sizes}
    return Variant(name=f"{capacity}", title=f"{capacity} entries", interception="socket", corefile=corefile)


def _ask(subject: Subject, kind: str) -> None:
    for zone, cache in zip(ZONES, subject.settings.corefile.caches(), strict=True):
        names = workloads.in_zone(zone, kind, "m", int(cache.success_capacity * OVERFILL))
        # EDNS, or an answer of many addresses would be truncated and not be kept.
        dnsperf.run(subject.client, CLUSTER_DNS, names, "-n", 1, "-e")


def _let_wait(subject: Subject) -> int:
    """Ask more than may wait for a CoreDNS that is silent; return how many questions were refused."""
    subject.node.cut_coredns_off()
    each = int(subject.settings.corefile.max_concurrent * OVERFILL)
    by_zone = [workloads.in_zone(zone, "service", "w", each) for zone in ZONES]
    names = [name for together in zip(*by_zone, strict=True) for name in together]
    dnsperf.run(subject.client, CLUSTER_DNS, names, "-n", 1, "-e", "-q", len(names), "-t", 8)
    return int(subject.cache_metric("coredns_forward_max_concurrent_rejects_total"))


def _fill(subject: Subject, capacity: int, records: int) -> Memory:
    empty = subject.cache_memory(peak=True)
    if records:
        _ask(subject, "service" if records == 1 else "wide")
    with_answers = subject.cache_memory(peak=True)
    _ask(subject, "absent")
    full = subject.cache_memory(peak=True)
    # Each zone's cache is counted for each address that asked it: the loop plugin asks the other one.
    counted = f'server="dns://{CLUSTER_DNS}:53",type='
    answers, denials = (
        int(subject.cache_metric("coredns_cache_entries", f'{counted}"{kind}"')) for kind in ("success", "denial")
    )
    return Memory(
        capacity=capacity,
        records=records,
        answers=answers,
        denials=denials,
        refused=_let_wait(subject) if records == workloads.RECORDS_OF_A_WIDE_ANSWER else 0,
        empty_mebibytes=empty,
        answers_mebibytes=with_answers,
        full_mebibytes=full,
        peak_mebibytes=subject.cache_memory(peak=True),
        bound_mebibytes=subject.settings.corefile.memory_bound_mebibytes(),
    )


def measure(capacities: tuple[int, ...]) -> Iterator[Memory]:
    """Fill a new cache for each capacity and each size of answers."""
    for capacity in capacities:
        for each in MEASURED:
            with running(_variant(capacity)) as (subject,):
                yield _fill(subject, capacity, each)
