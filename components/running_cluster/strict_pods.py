"""Which running pods with a security group still have the rules of strict mode, under which node-local DNS is lost.

The VPC CNI reads its mode from a file that aws-node writes on its node once it is up, and only when it sets up a
pod's network: a pod keeps the rules it was born with. Nothing in the API says which rules those are, so they are
inferred from times, and where times do not settle it the answer is `unknown`, never `standard`. Everything here takes
objects as the Kubernetes API serves them (JSON) and asks nobody.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Manifest = Mapping[str, Any]
"""An object as the Kubernetes API serves it."""

Mode = Literal["standard", "strict", "unknown"]
"""Whose rules a pod has: the VPC CNI's two modes, or not to be told."""

BRANCH_INTERFACE = "vpc.amazonaws.com/pod-eni"
"""Annotation of a pod that has a branch network interface, put there by the VPC resource controller."""

AWS_NODE = "aws-node"
"""Name of the VPC CNI's DaemonSet, of its main container, and the value of its pods' label `k8s-app`."""

MODE_VARIABLE = "POD_SECURITY_GROUP_ENFORCING_MODE"
"""Environment variable of the main container; absent means strict."""

POD_ENI_VARIABLE = "ENABLE_POD_ENI"
"""Environment variable of the main container: whether pods can have a branch network interface."""

_HISTORY_LIMIT = 10  # a DaemonSet's default revisionHistoryLimit


@dataclass(frozen=True, order=True)
class Owner:
    """What keeps a pod alive and would make it anew."""

    namespace: str
    """Namespace of the owner and its pods."""

    kind: str
    """Kind, e.g. Deployment; a ReplicaSet that a Deployment made is named by its Deployment."""

    name: str
    """Name."""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True)
class SecurityGroupPod:
    """A running pod with a branch network interface, and what is known of its rules."""

    namespace: str
    """Namespace."""

    name: str
    """Name."""

    uid: str
    """Unique identifier: a pod of the same name that comes later has another."""

    node: str
    """Node it runs on."""

    owner: Owner | None
    """What would make it anew; None: nobody, it is a bare pod."""

    mode: Mode
    """Whose rules it has."""

    reason: str
    """What that follows from, as the end of a sentence."""

    leaving: bool
    """Whether it is being deleted already."""

    ends: bool = False
    """Whether it ends by itself one day: its restartPolicy is not Always, as of pods that do a piece of work."""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def part(manifest: Manifest, *keys: str) -> Mapping[str, Any]:
    """Return the mapping at a path of an object; empty where it has none."""
    found = manifest
    for key in keys:
        found: Manifest = found.get(key) or {}
    return found


def entries(manifest: Manifest, *keys: str) -> list[Manifest]:
    """Return the list of mappings at a path of an object; empty where it has none."""
    return list(part(manifest, *keys[:-1]).get(keys[-1]) or [])


def is_running_with_branch_interface(pod: Manifest) -> bool:
    """Say whether a pod has a branch network interface and has not ended."""
    return BRANCH_INTERFACE in part(pod, "metadata", "annotations") and not _ended(pod)


def _ended(pod: Manifest) -> bool:
    return part(pod, "status").get("phase") in {"Succeeded", "Failed"}


def _environment(pod_spec: Manifest) -> Mapping[str, str]:
    containers = (each for each in entries(pod_spec, "containers") if each.get("name") == AWS_NODE)
    return {
        str(variable["name"]): str(variable.get("value", ""))
        for container in containers
        for variable in entries(container, "env")
    }


def enforcing_mode(pod_spec: Manifest) -> Literal["standard", "strict"]:
    """Return the mode that an aws-node pod (or template) with this `spec` gives to the pods it sets up.

    Anything that is not literally `standard` counts as strict, as the VPC CNI itself has it (pkg/sgpp).
    """
    return "standard" if _environment(pod_spec).get(MODE_VARIABLE) == "standard" else "strict"


def is_on(value: Any) -> bool:  # noqa: ANN401  # of JSON or YAML that somebody else wrote
    """Say whether the VPC CNI takes the value of a variable for yes (strconv.ParseBool, in pkg/utils)."""
    return str(value).lower() in {"true", "1", "t"}


def pod_interfaces_enabled(pod_spec: Manifest) -> bool:
    """Say whether an aws-node pod (or template) with this `spec` lets pods have a branch network interface."""
    return is_on(_environment(pod_spec).get(POD_ENI_VARIABLE, ""))


def owner_of(pod: Manifest) -> Owner | None:
    """Return what would make a pod anew, or None for a bare pod.

    A Deployment's ReplicaSet is named `<deployment>-<hash>` and its pods have the hash as a label, which no other
    ReplicaSet's pods have.
    """
    metadata = pod["metadata"]
    controllers = [each for each in entries(pod, "metadata", "ownerReferences") if each.get("controller")]
    if not controllers:
        return None
    kind, name = str(controllers[0]["kind"]), str(controllers[0]["name"])
    suffix = f"-{part(pod, 'metadata', 'labels').get('pod-template-hash', '')}"
    if kind == "ReplicaSet" and len(suffix) > 1 and name.endswith(suffix):
        kind, name = "Deployment", name.removesuffix(suffix)
    return Owner(str(metadata["namespace"]), kind, name)


def _time(value: Any) -> datetime | None:  # noqa: ANN401  # JSON
    return datetime.fromisoformat(value) if isinstance(value, str) and value else None


def created_at(manifest: Manifest) -> datetime | None:
    """Return when the API server took an object in."""
    return _time(manifest["metadata"].get("creationTimestamp"))


def switched_at(daemon_set: Manifest, revisions: Iterable[Manifest]) -> datetime | None:
    """Return since when the DaemonSet aws-node asks for standard mode without a break, or None if that is not known.

    `revisions` are its ControllerRevisions. A template that comes back takes its old revision up again, with the old
    date and a new number; such a history cannot date the switch, and gives None.
    """
    history = sorted(revisions, key=lambda each: int(each["revision"]))
    if enforcing_mode(daemon_set["spec"]["template"]["spec"]) == "strict" or not history:
        return None
    limit = int(daemon_set["spec"].get("revisionHistoryLimit", _HISTORY_LIMIT))
    numbers = [int(each["revision"]) for each in history]
    dates = [created_at(each) for each in history]
    begins = numbers[0] == 1 or len(numbers) > limit
    if not begins or numbers != list(range(numbers[0], numbers[-1] + 1)) or dates != sorted(filter(None, dates)):
        return None
    since: datetime | None = None
    for date, revision in zip(dates, history, strict=True):
        if enforcing_mode(revision["data"]["spec"]["template"]["spec"]) == "strict":
            since = None
        elif since is None:
            since = date
    return since


def _ready_since(pod: Manifest) -> datetime | None:
    ready = [
        each
        for each in entries(pod, "status", "conditions")
        if each.get("type") == "Ready" and each.get("status") == "True"
    ]
    return _time(ready[0].get("lastTransitionTime")) if ready else None


Verdict = tuple[Mode, str]
"""A mode and what it follows from."""


def _begun(pod: Manifest) -> datetime | None:
    """Return when a pod was started: the kubelet's first sight of it comes before its network, after its creation."""
    return _time(part(pod, "status").get("startTime")) or created_at(pod)


def _by_history(
    pod: Manifest,
    daemon_set: Manifest | None,
    aws_node: Manifest | None,
    node: Manifest | None,
    *,
    verified: bool,
    switched: datetime | None,
) -> Verdict | None:
    """Return what follows from the DaemonSet, and from how old the node is; None if that does not settle it."""
    if daemon_set is None:
        return "unknown", "there is no DaemonSet aws-node that could say which mode made it"
    if enforcing_mode(daemon_set["spec"]["template"]["spec"]) == "strict":
        return "strict", "the DaemonSet aws-node is in strict mode"
    if aws_node is not None and enforcing_mode(aws_node["spec"]) == "strict":
        return "strict", "aws-node on its node still runs in strict mode"
    if verified:
        return "standard", "no pod had strict rules when the node-local cache was installed, and the mode stayed"
    booted, begun = created_at(node) if node else None, _begun(pod)
    # A node that was registered anew is older than its object, and so are its pods.
    if switched and booted and begun and begun >= booted > switched:
        return "standard", "its node is younger than the switch to standard mode"
    return None


def _by_start(pod: Manifest, aws_node: Manifest | None) -> Verdict:
    """Return what follows from when a pod was started, on a node whose aws-node was switched at some time."""
    since = _ready_since(aws_node) if aws_node else None
    begun = _begun(pod)
    if aws_node is None:
        return "unknown", "no aws-node pod is on its node to say since when that is in standard mode"
    if since is None or begun is None:
        return "unknown", "aws-node on its node is not ready, so since when that is in standard mode is not known"
    if begun > since:  # times are whole seconds: equal ones may have been the other way round
        return "standard", "it was started after aws-node on its node was ready in standard mode"
    return "strict", f"it was started at {begun:%FT%TZ}, its node is in standard mode since {since:%FT%TZ}"


def security_group_pods(
    pods: Iterable[Manifest],
    aws_node_daemon_set: Manifest | None,
    aws_node_pods: Iterable[Manifest],
    *,
    revisions: Iterable[Manifest] = (),
    nodes: Iterable[Manifest] = (),
    verified_at: datetime | None = None,
) -> list[SecurityGroupPod]:
    """Return every running pod with a branch network interface and whose rules it has, by namespace and name.

    `aws_node_pods` are the pods of the DaemonSet. Without `revisions` (its ControllerRevisions), `nodes` and
    `verified_at` the answer errs towards strict: a replaced aws-node looks as if it had just been switched, and a pod
    may start on a new node a moment before aws-node calls itself ready. `verified_at` is a time at which no pod had
    strict rules.
    """
    # During an update a node can have two; then the strict one counts.
    living = (each for each in aws_node_pods if not _ended(each))
    aws_nodes = {
        str(each["spec"].get("nodeName")): each
        for each in sorted(living, key=lambda each: enforcing_mode(each["spec"]) == "strict")
    }
    by_name = {str(each["metadata"]["name"]): each for each in nodes}
    switched = switched_at(aws_node_daemon_set, revisions) if aws_node_daemon_set else None
    verified = switched is not None and verified_at is not None and switched <= verified_at
    found: list[SecurityGroupPod] = []
    for pod in filter(is_running_with_branch_interface, pods):
        metadata = pod["metadata"]
        node = str(pod["spec"].get("nodeName") or "")
        aws_node = aws_nodes.get(node)
        mode, reason = _by_history(
            pod, aws_node_daemon_set, aws_node, by_name.get(node), verified=verified, switched=switched
        ) or _by_start(pod, aws_node)
        found.append(
            SecurityGroupPod(
                namespace=str(metadata["namespace"]),
                name=str(metadata["name"]),
                uid=str(metadata.get("uid", "")),
                node=node,
                owner=owner_of(pod),
                mode=mode,
                reason=reason,
                leaving="deletionTimestamp" in metadata,
                ends=pod["spec"].get("restartPolicy", "Always") != "Always",
            )
        )
    return sorted(found, key=lambda each: (each.namespace, each.name))


def strict_pods(
    pods: Iterable[Manifest],
    aws_node_daemon_set: Manifest | None,
    aws_node_pods: Iterable[Manifest],
    *,
    revisions: Iterable[Manifest] = (),
    nodes: Iterable[Manifest] = (),
    verified_at: datetime | None = None,
) -> list[SecurityGroupPod]:
    """Return those of `security_group_pods` that are not known to have the rules of standard mode."""
    judged = security_group_pods(
        pods, aws_node_daemon_set, aws_node_pods, revisions=revisions, nodes=nodes, verified_at=verified_at
    )
    return [each for each in judged if each.mode != "standard"]
