"""What a cluster says about the VPC CNI's mode and about the pods that have its rules: one look, nothing changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from components.running_cluster.kubernetes_api import KubernetesApi, Manifest
from components.running_cluster.strict_pods import (
    AWS_NODE,
    SecurityGroupPod,
    created_at,
    enforcing_mode,
    entries,
    is_running_with_branch_interface,
    part,
    pod_interfaces_enabled,
    security_group_pods,
)

NAMESPACE = "kube-system"
"""Where aws-node and the cache are."""

CACHE = "node-local-dns"
"""Name of the cache's DaemonSet."""

MARK = "eks-node-local-dns/strict-pods"
"""Annotation of the cache's DaemonSet: what was to happen if pods with strict rules were there when it was made."""

REFUSED = "refused"
"""Value of `MARK`: the DaemonSet was made, or last changed, only because there were none."""

IGNORED = "ignored"
"""Value of `MARK`: it was made all the same."""


@dataclass(frozen=True, kw_only=True)
class CniState:
    """The mode that pods get, and whose rules the running ones have."""

    aws_node: Manifest | None = None
    """DaemonSet aws-node; None: the VPC CNI is not there."""

    aws_node_pods: Sequence[Manifest] = ()
    """Its pods."""

    cache: Manifest | None = None
    """DaemonSet of the node-local cache; None: it is not installed."""

    pods: Sequence[SecurityGroupPod] = ()
    """Every running pod with a security group of its own."""

    @property
    def configured(self) -> Literal["standard", "strict", "absent"]:
        """The mode that the DaemonSet aws-node asks for, which is what the add-on writes into it."""
        return "absent" if self.aws_node is None else enforcing_mode(_template(self.aws_node))

    @property
    def pod_interfaces(self) -> bool:
        """Whether a pod that is made now can get a security group of its own."""
        return self.aws_node is not None and pod_interfaces_enabled(_template(self.aws_node))

    @property
    def nodes_by_mode(self) -> dict[Literal["standard", "strict"], list[str]]:
        """Nodes by the mode in which aws-node runs on them, which is the mode of the pods made there now."""
        found: dict[Literal["standard", "strict"], list[str]] = {"standard": [], "strict": []}
        for pod in self.aws_node_pods:
            found[enforcing_mode(pod["spec"])].append(str(pod["spec"].get("nodeName") or ""))
        return {mode: sorted(names) for mode, names in found.items()}

    @property
    def makes_strict_pods(self) -> bool:
        """Whether a pod with a security group that is made now can get strict rules."""
        return self.pod_interfaces and (self.configured == "strict" or bool(self.nodes_by_mode["strict"]))

    @property
    def suspects(self) -> list[SecurityGroupPod]:
        """The pods that are not known to have the rules of standard mode."""
        return [each for each in self.pods if each.mode != "standard"]


def _template(daemon_set: Manifest) -> Manifest:
    return part(daemon_set, "spec", "template", "spec")


def verified_at(cache: Manifest | None) -> datetime | None:
    """Return a time at which no pod had strict rules: when the cache was installed, if that was looked at.

    A mark that becomes `refused` later is looked at then; the earlier time only makes the answer more careful.
    """
    if cache is None or part(cache, "metadata", "annotations").get(MARK) != REFUSED:
        return None
    return created_at(cache)


def look(api: KubernetesApi, namespace: str | None = None) -> CniState:
    """Ask a cluster. Raises `KubernetesApiError`.

    With `namespace`, only pods in it are judged. It needs to read pods everywhere, nodes, and in kube-system
    DaemonSets and ControllerRevisions.
    """
    workloads = f"/apis/apps/v1/namespaces/{NAMESPACE}"
    aws_node = api.get(f"{workloads}/daemonsets/{AWS_NODE}")
    installed = api.get(f"{workloads}/daemonsets/{CACHE}")
    uid = aws_node["metadata"].get("uid") if aws_node else None
    revisions = [
        each
        for each in api.items(f"{workloads}/controllerrevisions")
        if any(owner.get("uid") == uid for owner in entries(each, "metadata", "ownerReferences"))
    ]
    aws_node_pods = list(api.items(f"/api/v1/namespaces/{NAMESPACE}/pods", labelSelector=f"k8s-app={AWS_NODE}"))
    nodes = list(api.items("/api/v1/nodes", metadata_only=True))
    scope = f"/namespaces/{namespace}" if namespace else ""
    pods = list(filter(is_running_with_branch_interface, api.items(f"/api/v1{scope}/pods")))
    judged = security_group_pods(
        pods, aws_node, aws_node_pods, revisions=revisions, nodes=nodes, verified_at=verified_at(installed)
    )
    return CniState(aws_node=aws_node, aws_node_pods=aws_node_pods, cache=installed, pods=judged)
