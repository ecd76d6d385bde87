"""How the pods of an owner are recreated: by a rollout, one by one, or not by us. Pure."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from components.running_cluster.kubernetes_api import Manifest
from components.running_cluster.strict_pods import Owner, SecurityGroupPod, entries, part

Way = Literal["restart", "evict", "wait", "by hand"]
"""`restart` its rollout; `evict` pod by pod; `wait` until they end by themselves; or leave them to a person."""


@dataclass(frozen=True)
class Plan:
    """What is done about the pods of one owner, and why that way."""

    way: Way
    """How they are recreated."""

    why: str
    """What decides it, as a sentence without its full stop."""


def owners_of(pods: Iterable[SecurityGroupPod]) -> dict[Owner | None, list[SecurityGroupPod]]:
    """Return the pods by owner, in the order in which owners are dealt with; bare pods last, under None."""
    found: dict[Owner | None, list[SecurityGroupPod]] = {}
    for pod in sorted(pods, key=lambda each: (each.owner is None, each.owner or Owner("", "", ""), str(each))):
        found.setdefault(pod.owner, []).append(pod)
    return found


_STRATEGY = {"Deployment": "strategy", "StatefulSet": "updateStrategy", "DaemonSet": "updateStrategy"}
"""Kinds with a rollout, and where in `spec` it says how that goes."""


_STATIC = Plan("by hand", "it is a static pod of its node's kubelet, which makes it from a file there")
_MADE_BY_A_POD = Plan("by hand", "another pod made it, and would not make it anew: see to it yourself")
_ENDS = Plan("wait", "pods that do a piece of work end by themselves, and an evicted one counts as failed or is lost")


def plan(
    owner: Owner | None, workload: Manifest | None, pods: Iterable[SecurityGroupPod], *, unready: bool = False
) -> Plan:
    """Return what to do about these `pods` of an owner.

    `workload` is the owner as the API serves it, None if it cannot be read. `unready`: one of the pods is not ready.
    """
    if owner is None:
        return Plan("by hand", "nothing would make it anew: delete it and make it again yourself")
    if owner.kind == "Node":
        return _STATIC
    if any(each.ends for each in pods):
        return _ENDS
    if owner.kind == "Pod":
        return _MADE_BY_A_POD
    if owner.kind not in _STRATEGY or workload is None:
        return Plan("evict", f"a {owner.kind} has no rollout that this command knows")
    obstacle = _obstacle(owner, workload, unready=unready)
    return Plan("evict", obstacle) if obstacle else Plan("restart", "its rollout replaces them one after the other")


def _obstacle(owner: Owner, workload: Manifest, *, unready: bool) -> str | None:
    """Return why a rollout would not do, or would do harm."""
    strategy = part(workload, "spec", _STRATEGY[owner.kind])
    kind = strategy.get("type", "RollingUpdate")
    if kind != "RollingUpdate":
        return f"its strategy is {kind}, which does not replace its pods one after the other"
    if part(workload, "spec").get("paused"):
        return "its rollout is paused"
    if int(part(strategy, "rollingUpdate").get("partition", 0)):
        return "its partition keeps pods out of the rollout"
    if owner.kind == "StatefulSet" and unready:
        return "a StatefulSet's rollout would wait for the pod that is not ready"
    return None


def _share(value: Any, total: int, *, up: bool) -> int:  # noqa: ANN401  # Kubernetes' IntOrString
    if isinstance(value, str):
        share = int(value.removesuffix("%")) * total / 100
        return math.ceil(share) if up else math.floor(share)
    return int(value)


def desired(workload: Manifest) -> int:
    """Return how many pods an owner is to have."""
    if workload.get("kind") == "DaemonSet":
        return int(part(workload, "status").get("desiredNumberScheduled", 0))
    return int(part(workload, "spec").get("replicas", 1))


def down_at_once(workload: Manifest) -> int:
    """Return how many pods a rollout may take away before others have taken their place."""
    rolling = part(workload, "spec", _STRATEGY[str(workload["kind"])], "rollingUpdate")
    total = desired(workload)
    if workload["kind"] == "Deployment":
        down = _share(rolling.get("maxUnavailable", "25%"), total, up=False)
        surge = _share(rolling.get("maxSurge", "25%"), total, up=True)
        return down or (0 if surge else 1)
    # Percentages of the other two are rounded up.
    return _share(rolling.get("maxUnavailable", 1), total, up=True)


def unfinished(workload: Manifest) -> bool:
    """Say whether a rollout is under way: its controller has yet to replace pods."""
    status = part(workload, "status")
    if int(status.get("observedGeneration", 0)) < int(workload["metadata"].get("generation", 0)):
        return True
    if workload["kind"] == "DaemonSet":
        return int(status.get("updatedNumberScheduled", 0)) < desired(workload)
    updated = int(status.get("updatedReplicas", 0))
    return updated < desired(workload) or int(status.get("replicas", 0)) > updated


def available(workload: Manifest) -> int:
    """Return how many pods of an owner have been ready for as long as it asks."""
    status: Mapping[str, Any] = part(workload, "status")
    return int(status.get("numberAvailable" if workload["kind"] == "DaemonSet" else "availableReplicas", 0))


def is_ready(pod: Manifest) -> bool:
    """Say whether a pod serves."""
    return any(
        each.get("type") == "Ready" and each.get("status") == "True" for each in entries(pod, "status", "conditions")
    )
