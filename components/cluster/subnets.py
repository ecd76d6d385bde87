"""How a VPC's addresses are divided among its subnets."""

import ipaddress
from dataclasses import dataclass
from ipaddress import IPv4Network

ZONE_SLOTS = 4
"""Zones a VPC has room for, used or not, so that one more moves no subnet of those there are."""

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


_PRIVATE_BITS = 1 + (ZONE_SLOTS - 1).bit_length()
_PUBLIC_BITS = _PRIVATE_BITS + 4
SMALLEST_VPC_PREFIX = SMALLEST_SUBNET_PREFIX - _PUBLIC_BITS


def plan_subnets(vpc: IPv4Network, zones: int) -> tuple[SubnetPlan, ...]:
    """Return the subnets of the first `zones` of the four zones that `vpc` has room for.

    A quarter of the lower half is each zone's private subnet: pods take their addresses there. The public ones come
    from the upper half, the rest of which stays free for what comes later. Raises `ValueError` when a VPC is larger
    than AWS allows or too small, or for more zones.
    """
    if zones > ZONE_SLOTS:
        raise ValueError(
            f"{zones} zones are more than the {ZONE_SLOTS} that a VPC made here has room for. Name fewer, or use a VPC "
            "of your own (network.existing)."
        )
    if vpc.prefixlen < LARGEST_VPC_PREFIX:
        raise ValueError(f"{vpc} is larger than AWS makes a VPC. Choose a prefix of /{LARGEST_VPC_PREFIX} or more.")
    if vpc.prefixlen > SMALLEST_VPC_PREFIX:
        raise ValueError(
            f"{vpc} is too small for {ZONE_SLOTS} zones, used or not: their public subnets would be smaller than the "
            f"/{SMALLEST_SUBNET_PREFIX} that AWS allows. Choose a VPC of /{SMALLEST_VPC_PREFIX} or larger."
        )
    lower, upper = vpc.subnets(prefixlen_diff=1)
    private = list(lower.subnets(new_prefix=vpc.prefixlen + _PRIVATE_BITS))
    public = list(upper.subnets(new_prefix=vpc.prefixlen + _PUBLIC_BITS))
    return tuple(SubnetPlan(private=private[slot], public=public[slot]) for slot in range(zones))


def overlapping(first: IPv4Network | str, second: IPv4Network | str) -> bool:
    """Say whether two CIDRs share an address."""
    return ipaddress.IPv4Network(first).overlaps(ipaddress.IPv4Network(second))
