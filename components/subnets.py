"""How a VPC's addresses are divided among its subnets."""

import ipaddress
from dataclasses import dataclass
from ipaddress import IPv4Network
from math import ceil, log2

SMALLEST_SUBNET_PREFIX = 28
"""AWS makes no subnet smaller than /28, and none larger than /16."""

LARGEST_VPC_PREFIX = 16


@dataclass(frozen=True)
class SubnetPlan:
    """The CIDRs of one availability zone."""

    private: IPv4Network
    """For nodes and pods."""

    public: IPv4Network
    """For load balancers and NAT gateways only, hence a sixteenth of the private one."""


def plan_subnets(vpc: IPv4Network, zones: int) -> tuple[SubnetPlan, ...]:
    """Divide `vpc` among `zones` availability zones.

    The lower half is divided evenly into private subnets: pods take their addresses there. The public ones
    come from the upper half, the rest of which stays free for what comes later. A zone added at the end moves
    no other zone's subnets while the number of zones stays within the same power of two. Raises `ValueError`
    when a VPC is larger than AWS allows or too small for that many zones.
    """
    if vpc.prefixlen < LARGEST_VPC_PREFIX:
        raise ValueError(f"{vpc} is larger than AWS makes a VPC. Choose a prefix of /{LARGEST_VPC_PREFIX} or more.")
    private_prefix = vpc.prefixlen + 1 + ceil(log2(max(zones, 1)))
    public_prefix = private_prefix + 4
    if public_prefix > SMALLEST_SUBNET_PREFIX:
        largest = SMALLEST_SUBNET_PREFIX - (public_prefix - vpc.prefixlen)
        raise ValueError(
            f"{vpc} is too small for {zones} zones: their public subnets would be smaller than the "
            f"/{SMALLEST_SUBNET_PREFIX} that AWS allows. Choose a VPC of /{largest} or larger."
        )
    lower, upper = vpc.subnets(prefixlen_diff=1)
    pairs = zip(lower.subnets(new_prefix=private_prefix), upper.subnets(new_prefix=public_prefix), strict=False)
    return tuple(
        SubnetPlan(private=private, public=public) for (private, public), _ in zip(pairs, range(zones), strict=False)
    )


def overlapping(first: IPv4Network | str, second: IPv4Network | str) -> bool:
    """Say whether two CIDRs share an address."""
    return ipaddress.IPv4Network(first).overlaps(ipaddress.IPv4Network(second))
