from ipaddress import IPv4Network
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.cluster.subnets import SMALLEST_SUBNET_PREFIX, SubnetPlan, overlapping, plan_subnets

vpcs = st.integers(16, 21).flatmap(
    lambda prefix: st.integers(0, 2**prefix - 1).map(lambda high: IPv4Network((high << (32 - prefix), prefix)))
)


def _all(plans: tuple[SubnetPlan, ...]) -> list[IPv4Network]:
    return [network for plan in plans for network in (plan.private, plan.public)]


@given(vpcs, st.integers(2, 4))
def test_subnets_are_in_the_vpc_apart_and_large_enough(vpc: IPv4Network, zones: int) -> None:
    """Whatever the VPC and the zones, AWS accepts every subnet."""
    networks = _all(plan_subnets(vpc, zones))
    assert len(networks) == 2 * zones
    assert all(network.subnet_of(vpc) for network in networks)
    assert all(16 <= network.prefixlen <= SMALLEST_SUBNET_PREFIX for network in networks)
    assert not any(overlapping(*pair) for pair in combinations(networks, 2))


@given(vpcs, st.integers(1, 3))
def test_one_zone_more_moves_no_subnet(vpc: IPv4Network, zones: int) -> None:
    """A zone added at the end replaces no subnet, whatever there was."""
    assert plan_subnets(vpc, zones + 1)[:zones] == plan_subnets(vpc, zones)


def test_the_plan_of_a_common_vpc() -> None:
    """Half of a /16 goes to pods, in four equal parts; load balancers get a sixteenth of that each."""
    assert plan_subnets(IPv4Network("10.10.0.0/16"), 2) == (
        SubnetPlan(private=IPv4Network("10.10.0.0/19"), public=IPv4Network("10.10.128.0/23")),
        SubnetPlan(private=IPv4Network("10.10.32.0/19"), public=IPv4Network("10.10.130.0/23")),
    )


def test_the_vpc_named_as_the_remedy_is_the_smallest_that_works() -> None:
    """The message's remedy is true: that size is accepted and half of it is not."""
    assert plan_subnets(IPv4Network("10.0.0.0/21"), 4)
    with pytest.raises(ValueError, match="of /21 or larger"):
        plan_subnets(IPv4Network("10.0.0.0/22"), 2)


def test_more_zones_than_there_is_room_for_are_refused() -> None:
    """A fifth zone would move the others."""
    with pytest.raises(ValueError, match="5 zones are more than the 4"):
        plan_subnets(IPv4Network("10.0.0.0/16"), 5)


def test_a_vpc_larger_than_aws_makes_is_refused() -> None:
    """AWS makes no VPC larger than /16."""
    with pytest.raises(ValueError, match="larger than AWS makes a VPC"):
        plan_subnets(IPv4Network("10.0.0.0/15"), 2)
