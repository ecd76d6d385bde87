from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.cluster.dns_address import (
    AWS_LINK_LOCAL,
    LINK_LOCAL,
    check_local_address,
    clashes,
    cluster_dns_address,
)


@pytest.mark.parametrize(
    ("cidr", "address"),
    [
        ("172.20.0.0/16", "172.20.0.10"),
        ("10.100.0.0/16", "10.100.0.10"),
        ("10.96.0.0/12", "10.96.0.10"),
        ("172.31.0.0/16", "172.31.0.10"),
        ("192.168.255.0/24", "192.168.255.10"),
        ("192.168.7.0/24", "192.168.7.10"),
    ],
)
def test_kube_dns_gets_the_tenth_address(cidr: str, address: str) -> None:
    """The address shown before the cluster exists is the one EKS will give."""
    assert cluster_dns_address(cidr) == address


@given(st.integers(12, 24), st.integers(0, 2**20 - 1))
def test_the_address_is_in_its_network(prefix: int, low: int) -> None:
    """For every CIDR that EKS takes, the address is inside it, ten above its start."""
    network = IPv4Network((int(IPv4Address("172.16.0.0")) + low, prefix), strict=False)
    assert int(IPv4Address(cluster_dns_address(network))) - int(network.network_address) == 10


@pytest.mark.parametrize(
    ("cidr", "reason"),
    [
        ("10.0.0.0/25", "10.0.0.0/25 has a /25 prefix; EKS takes service CIDRs from /24"),
        ("10.0.0.0/11", "10.0.0.0/11 has a /11 prefix"),
        ("8.8.0.0/16", "8.8.0.0/16 is not private"),
        ("11.0.0.0/16", "is not private"),
        ("172.32.0.0/16", "is not private"),
        ("172.15.0.0/16", "is not private"),
        ("192.169.0.0/16", "is not private"),
        ("192.168.0.0/15", "is not private"),
    ],
)
def test_a_cidr_that_eks_refuses_is_refused_here(cidr: str, reason: str) -> None:
    """The mistake is told before EKS is asked."""
    with pytest.raises(ValueError, match=reason):
        cluster_dns_address(cidr)


@given(st.ip_addresses(v=4, network=str(LINK_LOCAL)))
def test_a_link_local_address_is_free_or_its_owner_is_named(address: IPv4Address) -> None:
    """Every link-local address is either accepted as it is or refused with what it would take away."""
    owners = [owner for cidr, owner in AWS_LINK_LOCAL.items() if address in IPv4Network(cidr)]
    if not owners:
        assert check_local_address(str(address)) == str(address)
        return
    with pytest.raises(ValueError, match="the node would lose it") as refused:
        check_local_address(str(address))
    assert owners[0] in str(refused.value)


@pytest.mark.parametrize("address", ["169.254.169.254", "169.254.169.253", "169.254.169.123", "169.254.170.23"])
def test_addresses_of_aws_are_never_taken(address: str) -> None:
    """Metadata, DNS, time and credentials stay reachable on the node."""
    with pytest.raises(ValueError, match="the node would lose it"):
        check_local_address(address)


@given(st.ip_addresses(v=4).filter(lambda each: each not in LINK_LOCAL))
def test_an_address_that_others_own_is_refused(address: IPv4Address) -> None:
    """An address outside link-local would hide its owner from every node."""
    with pytest.raises(ValueError, match="is not link-local"):
        check_local_address(str(address))


def test_text_is_no_address() -> None:
    """What is no address is called that, not a traceback."""
    with pytest.raises(ValueError, match="'::1' is not an IPv4 address"):
        check_local_address("::1")


def test_the_message_names_the_address_and_what_to_use() -> None:
    """Whatever is wrong with it."""
    with pytest.raises(ValueError, match=r"^'text' is not an IPv4 address; .* Use the default, 169\.254\.20\.10\.$"):
        check_local_address("text")
    with pytest.raises(ValueError, match=r"^10\.0\.0\.1 is not link-local; .* by default 169\.254\.20\.10\.$"):
        check_local_address("10.0.0.1")


@pytest.mark.parametrize(
    ("address", "clashing"),
    [
        ("169.254.20.10", ["the VPC"]),
        ("169.254.20.0", ["the VPC"]),
        ("169.254.20.255", ["the VPC"]),
        ("169.254.19.255", []),
        ("169.254.21.0", []),
        ("10.0.0.1", []),  # another rule refuses what is not link-local
        ("text", []),
    ],
)
def test_networks_that_own_the_address_are_named(address: str, clashing: list[str]) -> None:
    """Each of them, and whatever way its CIDR is written; IPv6 ones own none."""
    networks = {"the VPC": "169.254.20.7/24", "Services": "10.0.0.0/8", "IPv6": "fd00::/8"}
    assert list(clashes(address, networks)) == [
        f"{address} is in {name} (169.254.20.0/24), so every node would lose the host, pod or Service that owns it. "
        "Choose a link-local address outside 169.254.20.0/24."
        for name in clashing
    ]
