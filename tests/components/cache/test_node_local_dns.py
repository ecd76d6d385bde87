"""The cache's Kubernetes objects."""

import re
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks

from components.cache import programs
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


LISTENS = {"exec": {"command": programs.listening("172.20.0.10")}, "timeoutSeconds": 5}


@pytest.mark.parametrize(
    ("interception", "more"), [("socket", ["-setupiptables=false", "-skipteardown"]), ("upstream", [])]
)
def test_the_cache_is_told_where_and_how_to_listen(interception: str, more: list[str]) -> None:
    """It writes and removes no rules, nor the interface that its successor has, unless it is to write its own."""
    [cache] = _pod(interception=interception)["containers"]
    assert cache["name"] == "node-cache"
    assert cache["command"] == ["/node-cache"]
    assert cache["args"] == [
        "-localip", "169.254.20.10,172.20.0.10",
        "-interfacename", "nodelocaldns",
        "-basecorefile", "/etc/coredns/Corefile.base",
        "-conf", "/run/node-local-dns/Corefile",
        "-pidfile", "/run/node-local-dns/node-cache.pid",
        "-syncinterval", "5ns",
        *more,
    ]  # fmt: skip


@pytest.mark.parametrize("interception", ["socket", "upstream"])
def test_the_cache_is_asked_whether_it_started_is_ready_and_lives(interception: str) -> None:
    """Ready is who holds the DNS socket; who does not answer in time is ended, without the pod's grace."""
    [cache] = _pod(interception=interception)["containers"]
    assert {key: value for key, value in cache.items() if key.endswith("Probe")} == {
        "startupProbe": {**LISTENS, "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {**LISTENS, "periodSeconds": 5, "failureThreshold": 2},
        "livenessProbe": {
            "httpGet": {"host": "169.254.20.10", "path": "/health", "port": 8080},
            "timeoutSeconds": 2,
            "periodSeconds": 5,
            "failureThreshold": 3,
            "terminationGracePeriodSeconds": 1,
        },
    }
    drains = {"preStop": {"exec": {"command": ["sleep", "2"]}}}
    assert cache.get("lifecycle") == (drains if interception == "socket" else None)


def test_who_keeps_the_rules_is_asked_whether_they_are_there_and_still_looked_at() -> None:
    """The cache waits for the rules; who looks at them no more is ended; the pod's end begins with a word to it."""
    cleanup, interception = _pod()["initContainers"]
    asked = {key: value for key, value in interception.items() if key.endswith("Probe") or key == "lifecycle"}
    assert asked == {
        "startupProbe": {
            "exec": {"command": ["cat", "/run/node-local-dns/rules-in-place"]},
            "periodSeconds": 1,
            "failureThreshold": 60,
        },
        "livenessProbe": {
            "exec": {"command": ["rm", "/run/node-local-dns/heartbeat"]},
            "timeoutSeconds": 5,
            "periodSeconds": 10,
            "failureThreshold": 3,
            "terminationGracePeriodSeconds": 1,
        },
        "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "kill -USR1 1"]}}},
    }
    assert [key for key in cleanup if key.endswith("Probe") or key == "lifecycle"] == []
    assert [each["restartPolicy"] for each in (cleanup, interception)] == ["Always", "Always"]


@pytest.mark.parametrize(("interception", "lock"), [("socket", []), ("upstream", ["xtables-lock"])])
def test_every_container_has_what_it_needs(interception: str, lock: list[str]) -> None:
    """Who writes rules has the node's lock, and all of the pod share its scratch directory, which is memory."""
    pod = _pod(interception=interception, image="example.com/node-cache:1.26.8")
    [cache] = pod["containers"]
    assert [each["name"] for each in cache["volumeMounts"]] == ["config", "state", *lock]
    assert cache["volumeMounts"][:2] == [
        {"name": "config", "mountPath": "/etc/coredns", "readOnly": True},
        {"name": "state", "mountPath": "/run/node-local-dns"},
    ]
    node_name = {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    assert cache["env"] == [node_name, {"name": "GOMEMLIMIT", "value": "284MiB"}]
    assert cache["resources"] == {"requests": {"cpu": "25m", "memory": "32Mi"}, "limits": {"memory": "356Mi"}}
    for sidecar in pod["initContainers"]:
        assert sidecar["volumeMounts"] == [
            {"name": "state", "mountPath": "/run/node-local-dns"},
            {"name": "xtables-lock", "mountPath": "/run/xtables.lock"},
        ]
        assert sidecar["resources"] == {"requests": {"cpu": "5m", "memory": "16Mi"}, "limits": {"memory": "128Mi"}}
    assert {each["image"] for each in (cache, *pod["initContainers"])} == {"example.com/node-cache:1.26.8"}
    assert pod["volumes"] == [
        {
            "name": "config",
            "configMap": {"name": "node-local-dns", "items": [{"key": "Corefile", "path": "Corefile.base"}]},
        },
        {"name": "state", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "xtables-lock", "hostPath": {"path": "/run/xtables.lock", "type": "FileOrCreate"}},
    ]


@pytest.mark.parametrize(
    ("interception", "rolling"),
    [("socket", {"maxSurge": "10%", "maxUnavailable": 0}), ("upstream", {"maxUnavailable": "10%"})],
)
def test_an_update_goes_from_node_to_node(interception: str, rolling: dict[str, Any]) -> None:
    """A tenth of the nodes at a time; the new cache comes before the old one goes where both can share a node."""
    settings = NodeLocalDnsSettings.model_validate({"interception": interception})
    spec = manifests(settings, **ADDRESSES)["daemonSet"]["spec"]
    assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling}
    assert spec["minReadySeconds"] == 5
    assert spec["selector"] == {"matchLabels": {"k8s-app": "node-local-dns"}}
    assert spec["template"]["metadata"]["labels"] == {"k8s-app": "node-local-dns"}


@pytest.mark.parametrize(
    ("asked", "requested"),
    [(5, "5Mi"), (32, "32Mi"), (355, "355Mi"), (356, "356Mi"), (357, "356Mi"), (4096, "356Mi")],
)
def test_no_more_memory_is_requested_than_the_limit_gives(asked: int, requested: str) -> None:
    """Kubernetes refuses a request above the limit."""
    [cache] = _pod(memoryRequestMebibytes=asked)["containers"]
    assert cache["resources"]["requests"] == {"cpu": "25m", "memory": requested}


@pytest.mark.parametrize("request_of_cpu", ["1m", "25m", "1000m", "1", "0.1", "0.001", "2.25"])
def test_amounts_of_cpu_are_accepted(request_of_cpu: str) -> None:
    """Thousandths, and cores with up to three decimals."""
    [cache] = _pod(cpuRequest=request_of_cpu)["containers"]
    assert cache["resources"]["requests"]["cpu"] == request_of_cpu


@pytest.mark.parametrize("request_of_cpu", ["0", "0m", "0.000", "0.0001", "-1", "1.", ".1", "m", "", "1 ", "1M"])
def test_what_is_no_amount_of_cpu_is_refused(request_of_cpu: str) -> None:
    """What Kubernetes would refuse, once everything else is there, or none at all."""
    with pytest.raises(ValueError, match=r"is no amount of CPU.*like 25m or 0\.1"):
        _pod(cpuRequest=request_of_cpu)


def test_least_memory_that_may_be_requested() -> None:
    """Less than 5 MiB is nothing a process starts with."""
    with pytest.raises(ValueError, match="greater than or equal to 5"):
        _pod(memoryRequestMebibytes=4)


def test_services_of_the_cache() -> None:
    """CoreDNS' pods on an address of their own, for the cache to ask; and a headless one for what scrapes metrics."""
    objects = manifests(NodeLocalDnsSettings(), **ADDRESSES)
    upstream = objects["upstreamService"]
    assert upstream["metadata"]["name"] == "kube-dns-upstream"
    assert upstream["spec"] == {
        "type": "ClusterIP",
        "selector": {"k8s-app": "kube-dns"},
        "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
        ],
    }
    assert objects["service"]["spec"] == {
        "clusterIP": "None",
        "selector": {"k8s-app": "node-local-dns"},
        "ports": [
            {"name": "metrics", "port": 9253, "protocol": "TCP", "targetPort": 9253},
            {"name": "setup-metrics", "port": 9353, "protocol": "TCP", "targetPort": 9353},
        ],
    }
    scraped = {"prometheus.io/port": "9253", "prometheus.io/scrape": "true"}
    assert objects["service"]["metadata"]["annotations"] == scraped
    template = objects["daemonSet"]["spec"]["template"]["metadata"]["annotations"]
    assert scraped.items() <= template.items()
    assert {(each["metadata"]["namespace"]) for each in objects.values()} == {"kube-system"}
    assert list(objects) == ["serviceAccount", "upstreamService", "configMap", "daemonSet", "service"]


@pytest.mark.parametrize("own", ["169.254.20.10", "172.20.0.10"])
def test_cache_never_takes_itself_for_coredns(own: str) -> None:
    """A Service kube-dns-upstream on an address of the cache would make it ask itself."""
    with pytest.raises(ValueError, match=f"^kube-dns-upstream: {re.escape(own)} is the address of the cache itself"):
        manifests(NodeLocalDnsSettings(), cluster_dns_ip="172.20.0.10", upstream_ip=own)


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
