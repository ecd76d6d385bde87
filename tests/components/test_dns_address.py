from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.dns_address import check_local_address, cluster_dns_address


@pytest.mark.parametrize(
    ("cidr", "address"),
    [
        ("172.20.0.0/16", "172.20.0.10"),
        ("10.100.0.0/16", "10.100.0.10"),
        ("192.168.5.0/24", "192.168.5.10"),
        ("10.96.0.0/12", "10.96.0.10"),
    ],
)
def test_kube_dns_has_the_tenth_address(cidr: str, address: str) -> None:
    """The address a preview shows is the one EKS will give."""
    assert cluster_dns_address(cidr) == address


@given(second=st.integers(0, 255), prefix=st.integers(16, 24))
def test_the_address_is_always_inside_and_the_tenth(second: int, prefix: int) -> None:
    """Whatever the service CIDR, the address follows from it alone."""
    network = IPv4Network((f"10.{second}.0.0", prefix))
    address = IPv4Address(cluster_dns_address(network))
    assert address in network
    assert int(address) - int(network.network_address) == 10


@pytest.mark.parametrize(
    ("cidr", "said"), [("10.0.0.0/25", "/25"), ("10.0.0.0/8", "/8"), ("8.8.0.0/16", "not private")]
)
def test_a_service_cidr_that_eks_refuses_is_refused_here(cidr: str, said: str) -> None:
    """The mistake is told before a cluster is asked for."""
    with pytest.raises(ValueError, match=said):
        cluster_dns_address(cidr)


def test_the_usual_local_address_is_free() -> None:
    """The address that everybody uses passes."""
    assert check_local_address("169.254.20.10") == "169.254.20.10"


@pytest.mark.parametrize("address", ["not-an-address", "10.0.0.1", "169.254.169.254", "169.254.175.1"])
def test_a_taken_or_foreign_local_address_is_refused(address: str) -> None:
    """Whatever AWS or another host owns cannot be the cache's."""
    with pytest.raises(ValueError, match=address):
        check_local_address(address)
