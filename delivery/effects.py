"""What pods and DNS will feel of a change: what restarts, what moves, what is lost."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

from delivery.preview import UNKNOWN, Change, differences

Effect = Callable[[Change], Iterator[str]]

_ADDON = "aws:eks/addon:Addon"
_MODE = "POD_SECURITY_GROUP_ENFORCING_MODE"
_DEFAULT_MODE = "strict"
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
"""What Go's ParseBool, which the CNI reads its switches with, takes for true."""

_RUNS = ("addonVersion", "configurationValues", "serviceAccountRoleArn", "podIdentityAssociations")
"""Inputs of an add-on that reach its pods."""

_RECREATE = "run `./eks-node-local-dns migrate --apply` before the cache is installed"


def _is(change: Change, token: str, *operations: str) -> bool:
    return change.type == token and change.operation in operations


def _changed(change: Change) -> dict[str, tuple[Any, Any]]:
    return {path: (old, new) for path, old, new in differences(change.old, change.new)}


def _cache(change: Change) -> Iterator[str]:
    if change.type != "kubernetes:apps/v1:DaemonSet" or "NodeLocalDns" not in change.component:
        return
    if change.operation == "create":
        yield (
            "DNS: the node's cache is installed; pods that run already use it at once, without a restart. Pods with a "
            "security group that were made in strict mode would lose DNS: the update refuses while there are any."
        )
    elif change.operation == "delete":
        yield "DNS: the node's cache is removed; pods ask CoreDNS from then on."
    elif change.operation == "replace":
        yield "DNS: the cache is deleted and made anew; in between pods ask CoreDNS, which gets every query."
    elif any(path.startswith("spec.template") for path in _changed(change)):
        surge = ((change.new.get("spec") or {}).get("updateStrategy") or {}).get("rollingUpdate") or {}
        if surge.get("maxSurge"):
            yield "DNS: every cache pod is replaced, the new one beside the old one; no query is lost."
        else:
            yield "DNS: every cache pod is replaced; each node is without DNS until its new pod serves."


def _add_on(change: Change, name: str, *operations: str) -> bool:
    """Say whether one of the operations happens to what the add-on of that name runs."""
    if not _is(change, _ADDON, *operations) or name not in {each.get("addonName") for each in (change.old, change.new)}:
        return False
    return change.operation != "update" or any(path.startswith(_RUNS) for path in _changed(change))


def _cni_environment(inputs: Mapping[str, Any]) -> Mapping[str, str] | None:
    """Return what an add-on's configuration sets on aws-node; None if that is not known before the update."""
    text = inputs.get("configurationValues") or ""
    if not isinstance(text, str) or UNKNOWN in text:
        return None
    try:
        configuration = yaml.safe_load(text) or {}  # EKS takes YAML as well as JSON
    except yaml.YAMLError:
        return None
    environment = configuration.get("env") if isinstance(configuration, dict) else None
    return {key: str(value) for key, value in environment.items()} if isinstance(environment, dict) else {}


def _vpc_cni(change: Change) -> Iterator[str]:
    # An import changes nothing: what differs is told by the update after it.
    if _add_on(change, "vpc-cni", "delete"):
        if change.old.get("preserve"):
            yield "Pods: vpc-cni is no EKS add-on any more; aws-node goes on running as it is."
        else:
            yield "Pods: **vpc-cni is deleted: from then on no new pod gets an address, on any node.**"
    if not _add_on(change, "vpc-cni", "create", "update", "replace"):
        return
    if change.operation == "replace":
        yield "Pods: **vpc-cni is deleted and made anew; in between no new pod gets an address.**"
    else:
        yield "Pods: aws-node restarts on every node; running pods keep their network, new ones wait for seconds."
    # What ran before the add-on was ours is in no state, so it is not known.
    old = _cni_environment(change.old) if change.operation != "create" else None
    new = _cni_environment(change.new)
    if new is None:
        yield "DNS: **the CNI's mode is not known before the update; in strict, pods with a security group lose DNS.**"
        return
    yield from _mode_changes(old, new)
    before, after = (each is not None and _pod_eni(each) for each in (old, new))
    if after and not before:
        ours = "" if old is not None else ", unless it was on before"
        yield f"Nodes: existing nodes get no trunk interface{ours}; pods with a security group need new nodes."
    elif before and not after:
        yield "Pods: **new nodes get no trunk interface: pods that a SecurityGroupPolicy selects stay Pending there.**"


def _pod_eni(environment: Mapping[str, str]) -> bool:
    return environment.get("ENABLE_POD_ENI", "false") in _TRUE


def _mode_changes(old: Mapping[str, str] | None, new: Mapping[str, str]) -> Iterator[str]:
    mode = new.get(_MODE, _DEFAULT_MODE)
    if not _pod_eni(new) if old is None else mode == old.get(_MODE, _DEFAULT_MODE):
        return
    if mode == "standard":
        yield (
            "DNS: the CNI changes to standard. **Pods with a security group keep their strict rules until they are "
            f"recreated**: {_RECREATE}."
        )
    else:
        yield (
            f"DNS: **the CNI changes to strict{'' if _MODE in new else ', its default'}. Every pod with a security "
            "group that is created from then on is cut off from its node, and loses DNS if the node has the cache.**"
        )


def _core_dns(change: Change) -> Iterator[str]:
    if _add_on(change, "coredns", "create", "update"):
        yield "DNS: CoreDNS' pods are replaced one after the other; the caches answer what they know meanwhile."
    elif _add_on(change, "coredns", "replace"):
        yield "DNS: **CoreDNS is deleted and made anew; in between only what the caches know is answered.**"
    elif _add_on(change, "coredns", "delete") and change.old.get("preserve"):
        yield "DNS: CoreDNS is no EKS add-on any more; its pods go on running as they are."
    elif _add_on(change, "coredns", "delete"):
        yield "DNS: **CoreDNS is deleted: from then on only what the caches know is answered, and soon nothing.**"


def _kube_proxy(change: Change) -> Iterator[str]:
    if _add_on(change, "kube-proxy", "create", "update", "replace"):
        yield "Pods: kube-proxy restarts on every node; its rules stay in the kernel meanwhile."
    elif _add_on(change, "kube-proxy", "delete") and not change.old.get("preserve"):
        yield "Pods: **kube-proxy is deleted: nodes keep the Services they know; new nodes know none, not even DNS.**"


def _cluster(change: Change) -> Iterator[str]:
    if _is(change, "aws:eks/cluster:Cluster", "replace", "delete"):
        yield "**The whole cluster goes, with everything in it; every address in it changes.**"
    elif _is(change, "aws:eks/cluster:Cluster", "update") and "version" in _changed(change):
        old, new = _changed(change)["version"]
        yield (
            f"Control plane: Kubernetes {old} to {new}, which EKS takes back for 7 days at most. The API server is "
            "replaced without an outage; nodes follow in their own step."
        )


def _node_group(change: Change) -> Iterator[str]:
    if change.type != "aws:eks/nodeGroup:NodeGroup":
        return
    if change.operation in {"replace", "delete"}:
        yield f"Pods: all nodes of `{change.name}` go and every pod on them moves, as PodDisruptionBudgets allow."
    elif change.operation == "update":
        new_nodes = [
            path for path in _changed(change) if path.split(".")[0] in {"version", "launchTemplate", "releaseVersion"}
        ]
        if new_nodes:
            yield f"Pods: the nodes of `{change.name}` are replaced one after the other; every pod on them moves."


def _upstream(change: Change) -> Iterator[str]:
    if _is(change, "kubernetes:core/v1:Service", "replace") and change.name.endswith("-upstream"):
        yield "DNS: the address at which the caches find CoreDNS changes; misses fail until the new pods serve."


_EFFECTS: tuple[Effect, ...] = (_cluster, _node_group, _vpc_cni, _kube_proxy, _core_dns, _upstream, _cache)


def effects(changes: tuple[Change, ...]) -> list[str]:
    """Return what will be felt, the gravest first, each once."""
    clusters = [each for each in changes if each.type == "aws:eks/cluster:Cluster"]
    # First of all: a cluster that was renamed in the program is one that goes beside one that is created.
    if gone := [text for each in clusters if each.operation in {"replace", "delete"} for text in _cluster(each)]:
        return gone[:1]  # and all else with it
    if any(each.operation == "create" for each in clusters):
        return []  # nothing runs yet that could feel anything
    return list(dict.fromkeys(text for effect in _EFFECTS for change in changes for text in effect(change)))
