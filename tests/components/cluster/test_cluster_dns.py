"""The address of kube-dns: read from the cluster, checked, and shown before there is one."""

import pulumi
import pytest

from components.cluster.cluster_dns import read_cluster_dns
from components.cluster.cluster_name import check_cluster_name
from tests.mocked_engine import UNKNOWN, Recorder, record


def read(address: str | None, *, preview: bool = False) -> tuple[str, list[str], Recorder]:
    """Return the error of a cluster whose kube-dns has an address, what was told, and what was asked."""
    told: list[str] = []
    made = Recorder({"kubernetes:core/v1:Service": {"spec": {"clusterIP": address or UNKNOWN}}})

    def make() -> None:
        read_cluster_dns("dns", cluster_name="shop", service_cidr="10.100.0.0/16", opts=pulumi.ResourceOptions()).apply(
            told.append
        )

    return record(make, made, preview=preview), told, made


def test_the_address_is_that_of_the_service() -> None:
    """Read, and not guessed."""
    error, told, made = read("10.100.0.10")
    assert (error, told) == ("", ["10.100.0.10"])
    [((kind, name), request)] = made.reads.items()
    assert (kind, name, request.id) == ("kubernetes:core/v1:Service", "dns", "kube-system/kube-dns")


def test_a_preview_shows_the_address_that_there_will_be() -> None:
    """Before there is a cluster, nobody can be asked; afterwards it shows what is, and refuses what is wrong."""
    assert read(None, preview=True)[:2] == ("", ["10.100.0.10"])
    assert read("10.100.0.10", preview=True)[:2] == ("", ["10.100.0.10"])
    assert "has the address 10.100.0.11, not the" in read("10.100.0.11", preview=True)[0]


def test_another_address_ends_the_run() -> None:
    """No pod would ask the cache."""
    error, told, _ = read("10.100.0.11")
    assert told == []
    assert error == (
        "The Service kube-dns of shop has the address 10.100.0.11, not the 10.100.0.10 that EKS gives it in this "
        "service CIDR. The cache would answer on an address that no pod asks. Somebody has made the Service anew: "
        "delete it and let the CoreDNS add-on recreate it with `spec.clusterIP` set to 10.100.0.10, then run again."
    )


@pytest.mark.parametrize("name", ["a", "9", "Shop-dev_1", "x" * 100])
def test_a_name_of_a_cluster(name: str) -> None:
    """Whatever EKS takes."""
    assert check_cluster_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "_a", "a.b", "x" * 101, "shop "])
def test_no_name_of_a_cluster(name: str) -> None:
    """EKS would say so half-way through."""
    with pytest.raises(ValueError, match=r"is no name that EKS takes\. Use at most 100 letters"):
        check_cluster_name(name)
