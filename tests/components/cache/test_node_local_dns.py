"""The cache's Kubernetes objects."""

from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks

from components.cache.corefile import CorefileSettings
from components.cache.interception import rules, socket_table_address
from components.cache.node_local_dns import NodeLocalDns, NodeLocalDnsArgs, NodeLocalDnsSettings, manifests
from tests.mocked_engine import error_of

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


@pytest.mark.parametrize("tag", ["1.26.7", "1.9.9", "v1.26.7-custom", "0.27.0"])
def test_image_must_know_the_corefile(tag: str) -> None:
    """An image whose CoreDNS would not start with this Corefile is refused."""
    with pytest.raises(ValueError, match=r"older than 1\.26\.8"):
        NodeLocalDnsSettings(image=f"registry.k8s.io/dns/k8s-dns-node-cache:{tag}")


@pytest.mark.parametrize("suffix", ["@sha256:" + "0" * 64, ":1.26.8", ":1.27.0", ":2.0.0", ":our-build", ":v1.26.10-3"])
def test_newer_images_and_those_without_a_version_are_accepted(suffix: str) -> None:
    """An image pinned by digest alone, by our version or a later one, or by a tag that says no version is accepted."""
    image = f"registry.k8s.io/dns/k8s-dns-node-cache{suffix}"
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


def _pod(**settings: Any) -> dict[str, Any]:
    objects = manifests(NodeLocalDnsSettings.model_validate(settings), **ADDRESSES)
    return objects["daemonSet"]["spec"]["template"]["spec"]


def test_memory_limit_follows_from_the_sizes_and_garbage_goes_before_it() -> None:
    """The container's limit is the bound of its caches, and Go is told to collect its garbage below that."""
    for corefile in ({}, {"external": {"successCapacity": 100_000}}):
        [cache] = _pod(corefile=corefile)["containers"]
        limit = CorefileSettings.model_validate(corefile).memory_bound_mebibytes()
        assert cache["resources"]["limits"] == {"memory": f"{limit}Mi"}
        [told] = [each["value"] for each in cache["env"] if each["name"] == "GOMEMLIMIT"]
        assert limit / 2 < int(told.removesuffix("MiB")) < limit - 40


CACHE_CAPABILITIES = ["NET_ADMIN", "NET_BIND_SERVICE"]
SIDECAR_CAPABILITIES = ["NET_ADMIN", "NET_RAW", "NET_BIND_SERVICE"]


@pytest.mark.parametrize(
    ("interception", "capabilities", "writable"),
    [
        (
            "socket",
            {
                "node-cache": CACHE_CAPABILITIES,
                "cleanup": SIDECAR_CAPABILITIES,
                "interception": SIDECAR_CAPABILITIES,
            },
            set(),
        ),
        (
            "upstream",
            {"node-cache": [*CACHE_CAPABILITIES, "NET_RAW"], "cleanup": SIDECAR_CAPABILITIES},
            # The image's iptables rewrites links to itself.
            {"node-cache"},
        ),
    ],
)
def test_every_right_of_the_pod_is_one_of_these(
    interception: str, capabilities: dict[str, list[str]], writable: set[str]
) -> None:
    """All that decides what the pod may do to its node, and where it runs, is as listed here and nothing besides."""
    pod = _pod(interception=interception)
    containers = {each["name"]: each for each in [*pod["containers"], *pod["initContainers"]]}
    assert {name: each["securityContext"] for name, each in containers.items()} == {
        name: {
            "runAsUser": 0,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": name not in writable,
            "capabilities": {"drop": ["ALL"], "add": added},
        }
        for name, added in capabilities.items()
    }
    assert {key: value for key, value in pod.items() if key not in {"containers", "initContainers", "volumes"}} == {
        "serviceAccountName": "node-local-dns",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "priorityClassName": "system-node-critical",
        "hostNetwork": True,
        "dnsPolicy": "Default",
        "terminationGracePeriodSeconds": 30,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {
                            "matchExpressions": [
                                {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
                                {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64", "arm64"]},
                                {
                                    "key": "eks.amazonaws.com/compute-type",
                                    "operator": "NotIn",
                                    "values": ["fargate", "hybrid", "auto"],
                                },
                            ]
                        }
                    ]
                }
            }
        },
        "tolerations": [
            {"key": "CriticalAddonsOnly", "operator": "Exists"},
            {"effect": "NoExecute", "operator": "Exists"},
            {"effect": "NoSchedule", "operator": "Exists"},
        ],
    }
    # The lock is the only file of the node.
    kinds = [{key: value for key, value in each.items() if key != "name"} for each in pod["volumes"]]
    assert [each for each in kinds if "hostPath" in each] == [
        {"hostPath": {"path": "/run/xtables.lock", "type": "FileOrCreate"}}
    ]
    assert {key for each in kinds for key in each} == {"configMap", "emptyDir", "hostPath"}
    mounts = [each for container in containers.values() for each in container["volumeMounts"]]
    assert {each["mountPath"] for each in mounts} == {"/etc/coredns", "/run/node-local-dns", "/run/xtables.lock"}


def test_address_in_the_kernels_socket_table() -> None:
    """Addresses are spelt as /proc/net/udp spells them on a little-endian processor."""
    assert socket_table_address("127.0.0.1") == "0100007F:0035"


def test_questions_are_untracked_only_for_a_listener() -> None:
    """Every rule that takes a pod's question off conntrack depends on a socket."""
    questions = [rule for _, chain, rule in rules("169.254.20.10", "172.20.0.10") if chain == "PREROUTING"]
    assert len(questions) == 4
    assert all("-m socket -j NOTRACK" in rule for rule in questions)


@pytest.mark.parametrize("refused", [False, True])
def test_the_address_is_told_once_the_cache_is_there(refused: bool) -> None:
    """Another stack is not sent to a cache that was refused."""

    class Cluster(mocks.Mocks):
        def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
            if refused and args.typ == "kubernetes:apps/v1:DaemonSet":
                raise pulumi.RunError("refused")
            spec = {**args.inputs.get("spec", {}), "clusterIP": "172.20.9.9"}
            return f"kube-system/{args.name}", {**args.inputs, "spec": spec}

        def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], None]:
            raise NotImplementedError(args.token)

    told: list[str] = []

    def make() -> None:
        made = NodeLocalDnsArgs(settings=NodeLocalDnsSettings(), cluster_dns_ip="172.20.0.10", kubeconfig="{}")
        NodeLocalDns("cache", made).local_ip.apply(told.append)

    assert ("refused" in error_of(Cluster(), make)) == refused
    assert told == ([] if refused else ["169.254.20.10"])
