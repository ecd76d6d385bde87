"""Settings of the Corefile that could be other than they are by default, under the same slow load at the same time."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lab.bench import dnsperf, workloads
from lab.bench.rounds import percentile
from lab.bench.subject import OURS, Subject, Variant, running
from lab.node import CLUSTER_DNS

NO_PREFETCH = Variant(
    name="no-prefetch",
    title="no prefetch",
    interception="socket",
    corefile={"cluster": {"prefetch": None}, "external": {"prefetch": None}},
)
LONG_DENIALS = Variant(
    name="long-denials",
    title="denials kept 30 s",
    interception="socket",
    corefile={"cluster": {"denialTtl": 30}, "external": {"denialTtl": 30}},
)
ALTERNATIVES = (OURS, NO_PREFETCH, LONG_DENIALS)
UDP = Variant(
    name="socket-udp", title="cache, our rules, UDP to CoreDNS", interception="socket",
    corefile={"clusterForceTcp": False},
)  # fmt: skip
"""The alternative that matters for misses only, and is measured with them."""

OFFERED = 300
"""Questions per second to each."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one setting costs while names expire and are asked again."""

    variant: str
    sent: int

    waited: int
    """Questions that had to wait for CoreDNS."""

    reached_coredns: int
    """Questions CoreDNS got; with prefetch also those nobody waits for."""

    p99_microseconds: float
    """99 of 100 answers came faster than this."""


def _one(subject: Subject, seconds: float) -> Cost:
    names = workloads.services("a", 40) + workloads.search_path("a", 8)
    dnsperf.run(subject.client, CLUSTER_DNS, names, "-n", 1)
    before = subject.counters()
    found = dnsperf.run(subject.client, CLUSTER_DNS, names, "-l", seconds, "-Q", OFFERED, "-v")
    time.sleep(0.2)  # what is being prefetched
    after = subject.counters()
    return Cost(
        variant=subject.variant.name,
        sent=found.sent,
        waited=int(after.cache_misses - before.cache_misses),
        reached_coredns=int(after.coredns_queries - before.coredns_queries),
        p99_microseconds=percentile(found.latencies, 99) * 1_000_000,
    )


def measure(seconds: float) -> Iterator[Cost]:
    """Ask each alternative for Services and for external names by way of the search path, which expire meanwhile."""
    with running(*ALTERNATIVES) as subjects, ThreadPoolExecutor(max_workers=len(subjects)) as pool:
        yield from pool.map(lambda subject: _one(subject, seconds), subjects)
