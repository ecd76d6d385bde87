from typing import Any

import pytest

from verify.probe import pod, security_group_policy
from verify.questions import Addresses, Client, Names

ADDRESSES = Addresses("172.20.0.10", "169.254.20.10", "172.20.30.30", "10.0.0.2", "10.0.0.1")


def made(client: Client, **more: Any) -> Any:
    """Return a probe."""
    return pod(client, "3", "kube-system", "r", "node-1", ADDRESSES, Names("r"), 60, **more)


def containers(client: Client, **more: Any) -> dict[str, Any]:
    """Return the containers of a probe by name."""
    spec = made(client, **more)["spec"]
    return {each["name"]: each for each in (*spec.get("initContainers", ()), *spec["containers"])}


@pytest.mark.parametrize(
    ("client", "container", "user", "added"),
    [
        ("plain", "facts", 65534, []),
        ("branch", "facts", 65534, []),
        ("node", "facts", 0, []),
        ("node", "packets", 0, ["NET_ADMIN", "NET_RAW"]),
    ],
)
def test_every_container_has_the_least_rights(client: Client, container: str, user: int, added: list[str]) -> None:
    """Only what reads a node's packet rules and files is root, and only what reads packet rules may do more."""
    context = containers(client)[container]["securityContext"]
    capabilities: dict[str, Any] = {"drop": ["ALL"], **({"add": added} if added else {})}
    assert context == {
        "runAsUser": user, "runAsNonRoot": user != 0, "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True, "capabilities": capabilities,
    }  # fmt: skip


@pytest.mark.parametrize("client", ["node", "plain", "branch"])
def test_no_pod_has_more_than_it_needs(client: Client) -> None:
    """No probe has a token, each has a seccomp profile; only the node's own is on its network and sees its files."""
    spec = made(client)["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert spec["hostNetwork"] == (client == "node")
    paths = [each["hostPath"]["path"] for each in spec["volumes"] if "hostPath" in each]
    assert paths == (["/etc/cni/net.d"] if client == "node" else [])
    mounts = [mount for each in spec["containers"] for mount in each["volumeMounts"] if mount["name"] == "cni"]
    assert all(each["readOnly"] for each in mounts)


def test_pod_with_a_branch_interface_has_a_grace() -> None:
    """A pod behind security groups is given the moment in which the VPC CNI takes its network away."""
    assert made("branch")["spec"]["terminationGracePeriodSeconds"] >= 1
    assert made("plain")["spec"]["terminationGracePeriodSeconds"] == 0


def test_images_can_be_chosen() -> None:
    """The image of the questions can be named; packet rules are read with the cache's own image."""
    found = containers("node", image="mirror/agnhost:1", rules_image="mirror/node-cache@sha256:0")
    assert {name: each["image"] for name, each in found.items()} == {
        "packets": "mirror/node-cache@sha256:0", "facts": "mirror/agnhost:1"
    }  # fmt: skip


def test_policy_selects_the_pods_of_its_number_only() -> None:
    """Each policy of a run selects the run's pods behind its own groups, and no other pod."""
    for number in (0, 1):
        selected = security_group_policy("kube-system", "r", ["sg-1"], number)["spec"]["podSelector"]["matchLabels"]
        for client in ("node", "plain", "branch"):
            for groups in (0, 1):
                labels = made(client, groups=groups)["metadata"]["labels"]
                assert (selected.items() <= labels.items()) == (client == "branch" and groups == number)
