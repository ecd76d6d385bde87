"""The cache's Kubernetes objects."""

import pytest

from components.interception import rules, rules_script, socket_table_address
from components.node_local_dns import NodeLocalDnsSettings, manifests

ADDRESSES = {"cluster_dns_ip": "172.20.0.10", "upstream_ip": "172.20.9.9"}


def test_nothing_declares_a_host_port() -> None:
    """A declared port would be a host port and keep the second pod of a rolling update off the node."""
    pod = manifests(NodeLocalDnsSettings(), **ADDRESSES)["daemonSet"]["spec"]["template"]["spec"]
    assert all("ports" not in each for each in [*pod["containers"], *pod["initContainers"]])


@pytest.mark.parametrize("image", ["registry.k8s.io/dns/k8s-dns-node-cache", "r.io/a:latest", "node cache"])
def test_image_must_be_pinned(image: str) -> None:
    """An image without tag or digest is refused."""
    with pytest.raises(ValueError, match="pinned"):
        NodeLocalDnsSettings(image=image)


def test_digest_is_accepted() -> None:
    """An image pinned by digest alone is accepted."""
    image = "registry.k8s.io/dns/k8s-dns-node-cache@sha256:" + "0" * 64
    assert NodeLocalDnsSettings(image=image).image == image


def test_ttl_changes_the_corefile_and_the_pods_checksum_only() -> None:
    """A TTL change touches the ConfigMap and the pod template's checksum and nothing else."""
    before = manifests(NodeLocalDnsSettings(), **ADDRESSES)
    changed = NodeLocalDnsSettings.model_validate({"corefile": {"external": {"successTtl": 60}}})
    after = manifests(changed, **ADDRESSES)
    assert {key for key in before if before[key] != after[key]} == {"configMap", "daemonSet"}
    for each in (before, after):
        each["daemonSet"]["spec"]["template"]["metadata"].pop("annotations")
    assert before["daemonSet"] == after["daemonSet"]


def test_every_pod_gives_up_what_it_does_not_need() -> None:
    """Every container drops all capabilities, cannot escalate and has a read-only root."""
    pod = manifests(NodeLocalDnsSettings(), **ADDRESSES)["daemonSet"]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    for each in [*pod["containers"], *pod["initContainers"]]:
        context = each["securityContext"]
        assert context["capabilities"]["drop"] == ["ALL"]
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]


def test_address_in_the_kernels_socket_table() -> None:
    """Addresses are spelt as /proc/net/udp spells them on a little-endian processor."""
    assert socket_table_address("127.0.0.1") == "0100007F:0035"


def test_questions_are_untracked_only_for_a_listener() -> None:
    """Every rule that takes a pod's question off conntrack depends on a socket."""
    questions = [
        rule for table, chain, rule in rules("169.254.20.10", "172.20.0.10", "-m socket") if chain == "PREROUTING"
    ]
    assert len(questions) == 4
    assert all("-m socket -j NOTRACK" in rule for rule in questions)
    assert "-m socket" in rules_script("169.254.20.10", "172.20.0.10")
