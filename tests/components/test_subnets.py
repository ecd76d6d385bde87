from ipaddress import IPv4Network, collapse_addresses
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.subnets import plan_subnets


@given(
    address=st.integers(0, 2**16 - 1),
    prefix=st.integers(16, 20),
    zones=st.integers(2, 6),
)
def test_subnets_lie_in_the_vpc_and_never_overlap(address: int, prefix: int, zones: int) -> None:
    """For any VPC and number of zones every subnet is inside, apart from the others, and of a size AWS makes."""
    vpc = IPv4Network((10 * 2**24 + address * 2**8, prefix), strict=False)
    plans = plan_subnets(vpc, zones)
    subnets = [subnet for plan in plans for subnet in (plan.private, plan.public)]
    assert len(subnets) == 2 * zones
    assert all(subnet.subnet_of(vpc) and 16 <= subnet.prefixlen <= 28 for subnet in subnets)
    assert not any(first.overlaps(second) for first, second in combinations(subnets, 2))
    assert list(collapse_addresses([*subnets, vpc])) == [vpc]


def test_a_zone_added_within_a_power_of_two_moves_no_other() -> None:
    """Going from three zones to four replaces no subnet."""
    vpc = IPv4Network("10.0.0.0/16")
    assert plan_subnets(vpc, 4)[:3] == plan_subnets(vpc, 3)


@pytest.mark.parametrize(("cidr", "zones"), [("10.0.0.0/23", 2), ("10.0.0.0/22", 3)])
def test_a_vpc_that_is_too_small_says_how_large_it_must_be(cidr: str, zones: int) -> None:
    """The size the message names is one that works."""
    with pytest.raises(ValueError, match="too small") as refused:
        plan_subnets(IPv4Network(cidr), zones)
    named = str(refused.value).split("/")[-1].split()[0]
    assert plan_subnets(IPv4Network(f"10.0.0.0/{named}"), zones)


def test_a_vpc_larger_than_aws_allows_is_refused() -> None:
    """AWS makes no VPC larger than /16."""
    with pytest.raises(ValueError, match="larger than AWS"):
        plan_subnets(IPv4Network("10.0.0.0/15"), 2)
