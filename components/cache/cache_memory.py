"""How much memory a node's DNS cache needs when its caches are full, from the sizes it is given.

Go keeps up to as much garbage as there is data before it collects it, and the measured sizes contain that.
"""

from collections.abc import Iterable
from math import ceil

MEBIBYTE = 1024 * 1024

ADDRESSES_IN_A_WIDE_ANSWER = 20
"""What an answer is taken to hold: about what one UDP packet of EDNS' usual 1,232 bytes carries uncompressed."""

BYTES_PER_ANSWER = 7_200
"""One cached answer of that many addresses, measured (docs/benchmark.md). One of a single address takes a fifth."""

BYTES_PER_DENIAL = 1_500
"""One cached NXDOMAIN or NODATA with its SOA record, measured in the same way."""

BYTES_PER_QUERY_IN_FLIGHT = 32_768
"""One query waiting for its upstream: 25 kB measured, the rest for its socket in the kernel. The 2 kB that the
documentation of CoreDNS' forward plugin names do not count the stack, the buffers and the connection."""

BASE_BYTES = 48 * MEBIBYTE
"""The process itself with empty caches, and what the kernel counts towards the container: generous."""

SMALLEST_CAPACITY = 1024
"""CoreDNS raises any smaller cache capacity to this (plugin/cache documentation)."""


def memory_bound_mebibytes(answers: Iterable[int], denials: Iterable[int], queries_in_flight: int) -> int:
    """Return the memory limit, in MiB, that full caches of these capacities stay below.

    Full of answers of `ADDRESSES_IN_A_WIDE_ANSWER` addresses, with as many queries waiting as may. Caches full of
    nothing but larger answers, which somebody would have to fill them with on purpose, can exceed it.
    `answers` and `denials` are entries, one number for each cache; `queries_in_flight` is the sum of the zones'
    concurrency limits.
    """
    needed = BASE_BYTES + queries_in_flight * BYTES_PER_QUERY_IN_FLIGHT
    for capacities, size in ((answers, BYTES_PER_ANSWER), (denials, BYTES_PER_DENIAL)):
        needed += sum(max(capacity, SMALLEST_CAPACITY) for capacity in capacities) * size
    return ceil(needed / MEBIBYTE)


def go_memory_limit_mebibytes(limit: int) -> int:
    """Return from which memory on, in MiB, Go collects its garbage at once, for a container's `limit` in MiB.

    The rest is the program's own text and the kernel's. So answers larger than those the limit is made for cost
    processor time before they cost the process.
    """
    return limit * 8 // 10
