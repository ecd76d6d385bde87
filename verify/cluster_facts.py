"""What the Kubernetes API says about a cluster's DNS: plain objects, and what is read out of them."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from verify.installation import Installation, InstallationError, Manifest

POD_ENI = "vpc.amazonaws.com/pod-eni"
"""Resource of a node with a trunk interface, and annotation of a pod with a branch interface."""

COMPUTE_TYPE = "eks.amazonaws.com/compute-type"

_LEAVING = ("ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupt", "aws-node-termination-handler/")
"""How the taints begin with which cluster-autoscaler, Karpenter and AWS' termination handler mark a node that goes."""


@dataclass(frozen=True)
class NodeObject:
    """What the API says about one node."""

    name: str
    ready: bool
    address: str
    """The node's internal address; empty if it has none."""

    has_trunk: bool
    """Whether pods behind security groups can run there."""

    without_cache: str
    """Why the cache does not run there by design; empty if it does."""

    created: str = ""
    """When it joined the cluster, as the API writes it."""

    leaving: bool = False
    """Whether it is being deleted, or an autoscaler has said that it goes."""

    @property
    def manifest(self) -> Manifest:
        """The node as the API serves it, as far as the age of a pod's rules depends on it."""
        return {"metadata": {"name": self.name, "creationTimestamp": self.created}}

    @classmethod
    def read(cls, node: Manifest) -> "NodeObject":
        """Return a node from its object."""
        labels, status = node["metadata"].get("labels", {}), node.get("status", {})
        taints = {each["key"] for each in node.get("spec", {}).get("taints") or ()}
        compute, system = labels.get(COMPUTE_TYPE, ""), labels.get("kubernetes.io/os", "linux")
        excluded = compute if compute in {"fargate", "hybrid", "auto"} else "" if system == "linux" else system
        return cls(
            name=node["metadata"]["name"],
            ready=any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions") or ()),
            address=next(
                (each["address"] for each in status.get("addresses") or () if each["type"] == "InternalIP"), ""
            ),
            has_trunk=str((status.get("allocatable") or {}).get(POD_ENI, "0")) != "0",
            without_cache=excluded,
            created=node["metadata"].get("creationTimestamp", ""),
            leaving="deletionTimestamp" in node["metadata"] or any(each.startswith(_LEAVING) for each in taints),
        )


@dataclass(kw_only=True)
class ClusterFacts:
    """The objects that DNS stands on, as plain Kubernetes JSON; None for one that is not there."""

    kube_dns: Manifest | None = None
    """Service kube-dns."""

    upstream: Manifest | None = None
    """Service kube-dns-upstream."""

    daemon_set: Manifest | None = None
    """DaemonSet node-local-dns."""

    config_map: Manifest | None = None
    """ConfigMap node-local-dns."""

    cache_pods: list[Manifest] = field(default_factory=list)
    """Pods of the cache."""

    aws_node: Manifest | None = None
    """DaemonSet aws-node."""

    aws_node_pods: list[Manifest] = field(default_factory=list)
    """Pods of aws-node."""

    aws_node_revisions: list[Manifest] | None = None
    """ControllerRevisions of aws-node, which date its switch to standard mode; None: they may not be read."""

    kube_proxy_mode: str | None = None
    """`mode` of ConfigMap kube-proxy-config; empty: kube-proxy's default, iptables; None: there is none to be seen."""

    branch_pods: list[Manifest] = field(default_factory=list)
    """Running pods with a branch interface."""

    nodes: list[NodeObject] = field(default_factory=list)
    """Every node."""

    strict_links: dict[str, frozenset[str]] = field(default_factory=dict)
    """By node that was looked at from inside: the links for which it has rules of strict mode."""

    def installation(self) -> Installation | None:
        """Return how the cache is installed; None when it is not. Raises `InstallationError`."""
        return None if self.daemon_set is None else Installation.read(self.daemon_set)

    @property
    def installed(self) -> Installation | None:
        """How the cache is installed; None when it is not, or not so that nodes can be compared with it."""
        try:
            return self.installation()
        except InstallationError:
            return None

    @property
    def cluster_dns_ip(self) -> str:
        """kube-dns' ClusterIP; empty if there is none."""
        return cluster_ip(self.kube_dns)

    @property
    def upstream_ip(self) -> str:
        """kube-dns-upstream's ClusterIP; empty if there is none."""
        return cluster_ip(self.upstream)

    @property
    def corefile(self) -> str:
        """The cache's Corefile."""
        return (self.config_map or {}).get("data", {}).get("Corefile", "")

    def pods_by_node(self) -> dict[str, list[Manifest]]:
        """Return the cache's pods by the name of their node."""
        found: dict[str, list[Manifest]] = defaultdict(list)
        for each in self.cache_pods:
            found[each["spec"].get("nodeName", "")].append(each)
        return found


def cluster_ip(service: Manifest | None) -> str:
    """Return a Service's ClusterIP; empty if it has none."""
    address = (service or {}).get("spec", {}).get("clusterIP", "")
    return "" if address == "None" else address


def ready(pod: Manifest) -> bool:
    """Say whether a pod is ready."""
    conditions: Iterable[Manifest] = pod.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def container_statuses(pod: Manifest) -> Iterator[Manifest]:
    """Yield the status of every container of a pod, init containers too."""
    for key in ("initContainerStatuses", "containerStatuses"):
        yield from pod.get("status", {}).get(key) or ()


def waits_for(pod: Manifest) -> str:
    """Return what a pod or a container of it waits for, in the kubelet's words; empty if for nothing."""
    status = pod.get("status", {})
    waiting = [(each["name"], each.get("state", {}).get("waiting") or {}) for each in container_statuses(pod)]
    said = [f"{status.get('reason', '')} {status.get('message', '')}"]
    said += [f"{name}: {each.get('reason', '')} {each.get('message', '')}" for name, each in waiting if each]
    return "; ".join(text.strip() for text in said if text.strip())


_ZONE = re.compile(r"^(\S+):53 \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)


def zones(corefile: str) -> dict[str, str]:
    """Return the blocks of a Corefile by zone."""
    return {each[1]: each[2] for each in _ZONE.finditer(corefile)}


def forwarded(corefile: str) -> dict[str, list[str]]:
    """Return whom each zone asks."""
    found = {
        zone: re.search(r"^\s*forward \. ([^{\n]+)", block, re.MULTILINE) for zone, block in zones(corefile).items()
    }
    return {zone: each[1].split() for zone, each in found.items() if each}
