"""How much memory a node's DNS cache can need at most, from the sizes it is given."""

from collections.abc import Iterable
from math import ceil

MEBIBYTE = 1024 * 1024

BYTES_PER_ENTRY = 3_000
"""One cached answer: CoreDNS' own scaling guide measures 30 MB per 10,000 entries."""

BYTES_PER_QUERY_IN_FLIGHT = 2_048
"""One query waiting for its upstream: the forward plugin's documentation says about 2 kB."""

BASE_BYTES = 48 * MEBIBYTE
"""The process itself with empty caches, and what the kernel counts towards the container: generous."""

SMALLEST_CAPACITY = 1024
"""CoreDNS raises any smaller cache capacity to this (plugin/cache documentation)."""


def memory_bound_mebibytes(capacities: Iterable[int], queries_in_flight: int) -> int:
    """Return the memory limit, in MiB, that full caches of these capacities cannot reach.

    `capacities` are entries, one number for each cache (every zone has one of answers and one of denials);
    `queries_in_flight` is the sum of the zones' concurrency limits.
    """
    entries = sum(max(capacity, SMALLEST_CAPACITY) for capacity in capacities)
    needed = BASE_BYTES + entries * BYTES_PER_ENTRY + queries_in_flight * BYTES_PER_QUERY_IN_FLIGHT
    return ceil(needed / MEBIBYTE)
