"""Which DaemonSets are a cache that this program has not made."""

from typing import Any

import pytest

from components.cache.node_local_dns import NodeLocalDnsSettings, manifests
from components.running_cluster.other_caches import find_other_caches, other_caches

OURS = manifests(NodeLocalDnsSettings(), cluster_dns_ip="172.20.0.10", upstream_ip="172.20.9.9")["daemonSet"]
IMAGE = "registry.k8s.io/dns/k8s-dns-node-cache:1.22.28"


def daemon_set(namespace: str, name: str, image: str, *, container: Any = None, **metadata: Any) -> dict[str, Any]:
    """Return a DaemonSet whose container has `container` beside its image."""
    pod = {"containers": [{"name": "c", "image": image, **(container or {})}]}
    return {"metadata": {"namespace": namespace, "name": name, **metadata}, "spec": {"template": {"spec": pod}}}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (OURS, []),
        (daemon_set("kube-system", "node-local-dns", IMAGE), [f"kube-system/node-local-dns ({IMAGE})"]),
        (daemon_set("kube-system", "node-local-dns", "own/build:1"), ["kube-system/node-local-dns (own/build:1)"]),
        (
            daemon_set("dns", "nodelocaldns", "mirror/k8s-dns-node-cache:1"),
            ["dns/nodelocaldns (mirror/k8s-dns-node-cache:1)"],
        ),
        (
            {**OURS, "metadata": {**OURS["metadata"], "namespace": "dns"}},
            [f"dns/node-local-dns ({NodeLocalDnsSettings().image})"],
        ),
        (
            daemon_set("kube-system", "rke2-coredns", "rancher/hardened-dns-node-cache:1.26.7"),
            ["kube-system/rke2-coredns (rancher/hardened-dns-node-cache:1.26.7)"],
        ),
        (
            daemon_set("kube-system", "nodelocaldns", "dns:1", container={"args": ["-localip", "169.254.25.10"]}),
            ["kube-system/nodelocaldns (dns:1)"],
        ),
        (daemon_set("a", "b", "mirror/dns:1", container={"args": ["--localip=169.254.20.10"]}), ["a/b (mirror/dns:1)"]),
        (daemon_set("a", "b", "mirror/dns:1", container={"command": ["/node-cache"]}), ["a/b (mirror/dns:1)"]),
        (daemon_set("a", "b", "tool:1", container={"command": ["sh"], "args": ["/node-cache"]}), []),
        (daemon_set("a", "b", "tool:1", container={"args": ["-localipam"]}), []),
        (daemon_set("kube-system", "aws-node", "amazon-k8s-cni:v1"), []),
    ],
)
def test_a_cache_is_told_by_what_it_does_and_ours_by_its_mark(found: dict[str, Any], expected: list[str]) -> None:
    """Wherever it is, and whatever it is called."""
    assert other_caches([found]) == expected


def test_all_daemon_sets_of_the_cluster_are_looked_at() -> None:
    """In every namespace; those found come in order, each image once."""

    class Api:
        def items(self, path: str) -> list[dict[str, Any]]:
            assert path == "/apis/apps/v1/daemonsets"
            twice = daemon_set("dns", "b", IMAGE)
            pod = twice["spec"]["template"]["spec"]
            pod["initContainers"] = [{"name": "i", "image": "busybox"}, *pod["containers"]]
            inits = daemon_set("dns", "c", "busybox")
            inits["spec"]["template"]["spec"]["initContainers"] = [{"name": "i", "image": IMAGE}]
            return [inits, twice, daemon_set("dns", "a", IMAGE), OURS]

    assert find_other_caches(Api()) == [  # type: ignore[arg-type]
        f"dns/a ({IMAGE})",
        f"dns/b ({IMAGE}, busybox)",
        f"dns/c (busybox, {IMAGE})",
    ]
