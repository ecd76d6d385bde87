"""What pods and DNS will feel of a change, each time in full."""

import ast
import json
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from delivery import effects as room
from delivery.effects import effects
from delivery.preview import UNKNOWN, Change

PROJECT = "urn:pulumi:dev::eks-node-local-dns::eks-node-local-dns:index"
CLUSTER = f"{PROJECT}:EksCluster$aws:eks/cluster:Cluster::cluster"
GROUP = f"{PROJECT}:EksCluster$aws:eks/nodeGroup:NodeGroup::cluster-default"
CNI = f"{PROJECT}:EksCluster$aws:eks/addon:Addon::cluster-vpc-cni"
CORE_DNS, KUBE_PROXY = CNI.replace("vpc-cni", "coredns"), CNI.replace("vpc-cni", "kube-proxy")
CACHE = f"{PROJECT}:NodeLocalDns$kubernetes:apps/v1:DaemonSet::node-local-dns"
UPSTREAM = f"{PROJECT}:NodeLocalDns$kubernetes:core/v1:Service::node-local-dns-upstream"
MODE, ENI = "POD_SECURITY_GROUP_ENFORCING_MODE", "ENABLE_POD_ENI"
STANDARD, STRICT = ({MODE: mode, ENI: "true"} for mode in ("standard", "strict"))


def add_on(name: str, **more: Any) -> dict[str, Any]:
    """Return inputs of an add-on."""
    return {"addonName": name, **more}


def cni(environment: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """Return inputs of the vpc-cni add-on."""
    return add_on("vpc-cni", configurationValues=json.dumps({"env": environment or {}}), **more)


def in_yaml(mode: str) -> dict[str, Any]:
    """Return the add-on's inputs as EKS takes them too."""
    return add_on("vpc-cni", configurationValues=f"env:\n  ENABLE_POD_ENI: true\n  {MODE}: {mode}\n")


def cache(image: str, **rolling: int) -> dict[str, Any]:
    """Return inputs of the cache's DaemonSet."""
    return {"spec": {"template": {"image": image}, "updateStrategy": {"rollingUpdate": rolling}}}


def change(operation: str, urn: str, old: dict[str, Any] | None = None, new: dict[str, Any] | None = None) -> Change:
    """Return a change."""
    return Change(operation=operation, urn=urn, old=old or {}, new=new or {})


ADD_ONS = ("vpc-cni", "coredns", "kube-proxy")
VERSIONS = {name: (add_on(name, addonVersion="v1"), add_on(name, addonVersion="v2")) for name in ADD_ONS}

# What is told, each sentence once.
CLUSTER_GOES = "**The whole cluster goes, with everything in it; every address in it changes.**"
NEW_VERSION = (
    "Control plane: Kubernetes 1.34 to 1.35, which EKS takes back for 7 days at most. The API "
    "server is replaced without an outage; nodes follow in their own step."
)
NODES_GO = "Pods: all nodes of `cluster-default` go and every pod on them moves, as PodDisruptionBudgets allow."
NODES_REPLACED = "Pods: the nodes of `cluster-default` are replaced one after the other; every pod on them moves."
CACHE_INSTALLED = (
    "DNS: the node's cache is installed; pods that run already use it at once, without a "
    "restart. Pods with a security group that were made in strict mode would lose DNS: the "
    "update refuses while there are any."
)
CACHE_REMOVED = "DNS: the node's cache is removed; pods ask CoreDNS from then on."
CACHE_REPLACED = "DNS: the cache is deleted and made anew; in between pods ask CoreDNS, which gets every query."
CACHE_SURGES = "DNS: every cache pod is replaced, the new one beside the old one; no query is lost."
CACHE_GAPS = "DNS: every cache pod is replaced; each node is without DNS until its new pod serves."
UPSTREAM_MOVES = "DNS: the address at which the caches find CoreDNS changes; misses fail until the new pods serve."
CNI_DELETED = "Pods: **vpc-cni is deleted: from then on no new pod gets an address, on any node.**"
CNI_STAYS = "Pods: vpc-cni is no EKS add-on any more; aws-node goes on running as it is."
CNI_REPLACED = "Pods: **vpc-cni is deleted and made anew; in between no new pod gets an address.**"
CNI_RESTARTS = "Pods: aws-node restarts on every node; running pods keep their network, new ones wait for seconds."
TO_STANDARD = (
    "DNS: the CNI changes to standard. **Pods with a security group keep their strict rules "
    "until they are recreated**: run `./eks-node-local-dns migrate --apply` before the cache is "
    "installed."
)
TO_STRICT = (
    "DNS: **the CNI changes to strict. Every pod with a security group that is created from "
    "then on is cut off from its node, and loses DNS if the node has the cache.**"
)
TO_DEFAULT = (
    "DNS: **the CNI changes to strict, its default. Every pod with a security group that is "
    "created from then on is cut off from its node, and loses DNS if the node has the "
    "cache.**"
)
NO_INTERFACES = (
    "Pods: **new nodes get no trunk interface: pods that a SecurityGroupPolicy selects stay Pending there.**"
)
NEW_INTERFACES = "Nodes: existing nodes get no trunk interface; pods with a security group need new nodes."
MODE_UNKNOWN = "DNS: **the CNI's mode is not known before the update; in strict, pods with a security group lose DNS.**"
MAYBE_NEW_INTERFACES = (
    "Nodes: existing nodes get no trunk interface, unless it was on before; pods with a security group need new nodes."
)
CORE_DNS_UPDATED = "DNS: CoreDNS' pods are replaced one after the other; the caches answer what they know meanwhile."
CORE_DNS_REPLACED = "DNS: **CoreDNS is deleted and made anew; in between only what the caches know is answered.**"
CORE_DNS_DELETED = "DNS: **CoreDNS is deleted: from then on only what the caches know is answered, and soon nothing.**"
CORE_DNS_STAYS = "DNS: CoreDNS is no EKS add-on any more; its pods go on running as they are."
PROXY_RESTARTS = "Pods: kube-proxy restarts on every node; its rules stay in the kernel meanwhile."
PROXY_DELETED = "Pods: **kube-proxy is deleted: nodes keep the Services they know; new nodes know none, not even DNS.**"

TOLD: dict[str, tuple[Change, list[str]]] = {
    "cluster deleted": (change("delete", CLUSTER), [CLUSTER_GOES]),
    "cluster replaced": (change("replace", CLUSTER), [CLUSTER_GOES]),
    "cluster updated": (change("update", CLUSTER, {"version": "1.34"}, {"version": "1.35"}), [NEW_VERSION]),
    "cluster tagged": (change("update", CLUSTER, {"version": "1.34"}, {"version": "1.34", "tags": {"a": "b"}}), []),
    "nodes replaced": (change("replace", GROUP), [NODES_GO]),
    "nodes deleted": (change("delete", GROUP), [NODES_GO]),
    "nodes created": (change("create", GROUP, None, {"version": "1.35"}), []),
    "nodes updated": (change("update", GROUP, {"version": "1.34"}, {"version": "1.35"}), [NODES_REPLACED]),
    "nodes of another template": (
        change("update", GROUP, {"launchTemplate": {"version": 1}}, {"launchTemplate": {"version": 2}}),
        [NODES_REPLACED],
    ),
    "nodes of another image": (
        change("update", GROUP, {"releaseVersion": "1"}, {"releaseVersion": "2"}),
        [NODES_REPLACED],
    ),
    "nodes tagged": (change("update", GROUP, {"tags": {}}, {"tags": {"version": "2"}}), []),
    "cache installed": (change("create", CACHE), [CACHE_INSTALLED]),
    "cache removed": (change("delete", CACHE), [CACHE_REMOVED]),
    "cache replaced": (change("replace", CACHE), [CACHE_REPLACED]),
    "cache updated": (change("update", CACHE, cache("a", maxSurge=1), cache("b", maxSurge=1)), [CACHE_SURGES]),
    "cache updated without surge": (
        change("update", CACHE, cache("a", maxSurge=1), cache("b", maxSurge=0, maxUnavailable=1)),
        [CACHE_GAPS],
    ),
    "cache updated otherwise": (change("update", CACHE, cache("a", maxSurge=1), cache("a", maxSurge=2)), []),
    "cache of another program": (change("create", CACHE.replace("NodeLocalDns", "Another")), []),
    "cache's other objects": (change("create", CACHE.replace("apps/v1:DaemonSet", "core/v1:ConfigMap")), []),
    "cache adopted": (change("import", CACHE), []),
    "upstream replaced": (change("replace", UPSTREAM), [UPSTREAM_MOVES]),
    "upstream updated": (change("update", UPSTREAM), []),
    "another Service replaced": (change("replace", UPSTREAM.replace("-upstream", "-metrics")), []),
    "vpc-cni deleted": (change("delete", CNI, cni(STANDARD)), [CNI_DELETED]),
    "vpc-cni given back": (change("delete", CNI, cni(STANDARD, preserve=True)), [CNI_STAYS]),
    "vpc-cni replaced": (change("replace", CNI, cni(STANDARD), cni(STANDARD)), [CNI_REPLACED]),
    "vpc-cni updated": (change("update", CNI, cni({"A": "1"}), cni({"A": "2"})), [CNI_RESTARTS]),
    "vpc-cni forgotten": (change("forget", CNI, cni(STANDARD)), []),
    "vpc-cni adopted": (change("import", CNI, None, cni(STRICT)), []),
    "vpc-cni to standard": (change("update", CNI, cni(STRICT), cni(STANDARD)), [CNI_RESTARTS, TO_STANDARD]),
    "vpc-cni to strict": (change("update", CNI, cni(STANDARD), cni(STRICT)), [CNI_RESTARTS, TO_STRICT]),
    "vpc-cni to its default": (change("update", CNI, cni(STANDARD), cni({ENI: "true"})), [CNI_RESTARTS, TO_DEFAULT]),
    "vpc-cni without configuration": (
        change("update", CNI, cni(STANDARD), add_on("vpc-cni")),
        [CNI_RESTARTS, TO_DEFAULT, NO_INTERFACES],
    ),
    "vpc-cni with configuration": (
        change("update", CNI, add_on("vpc-cni"), cni(STANDARD)),
        [CNI_RESTARTS, TO_STANDARD, NEW_INTERFACES],
    ),
    "vpc-cni in YAML": (change("update", CNI, in_yaml("strict"), in_yaml("standard")), [CNI_RESTARTS, TO_STANDARD]),
    "vpc-cni of a configuration that is no YAML": (
        change("update", CNI, cni(STANDARD), add_on("vpc-cni", configurationValues="{not: [closed")),
        [CNI_RESTARTS, MODE_UNKNOWN],
    ),
    "vpc-cni of a configuration that is a list": (
        change("update", CNI, cni(STANDARD), add_on("vpc-cni", configurationValues="[]")),
        [CNI_RESTARTS, TO_DEFAULT, NO_INTERFACES],
    ),
    "vpc-cni of an environment that is none": (
        change("update", CNI, cni(STANDARD), add_on("vpc-cni", configurationValues='{"env":null}')),
        [CNI_RESTARTS, TO_DEFAULT, NO_INTERFACES],
    ),
    "vpc-cni known later": (
        change("update", CNI, cni(STANDARD), add_on("vpc-cni", configurationValues=UNKNOWN)),
        [CNI_RESTARTS, MODE_UNKNOWN],
    ),
    "vpc-cni known to be secret only": (
        change("update", CNI, cni(STANDARD), add_on("vpc-cni", configurationValues={"secret": True})),
        [CNI_RESTARTS, MODE_UNKNOWN],
    ),
    "vpc-cni with interfaces": (change("update", CNI, cni(), cni({ENI: "true"})), [CNI_RESTARTS, NEW_INTERFACES]),
    "vpc-cni with interfaces as Go reads it": (
        change("update", CNI, cni({ENI: "yes"}), cni({ENI: "T"})),
        [CNI_RESTARTS, NEW_INTERFACES],
    ),
    "vpc-cni without interfaces": (
        change("update", CNI, cni({ENI: "true"}), cni({ENI: "false"})),
        [CNI_RESTARTS, NO_INTERFACES],
    ),
    "vpc-cni created in standard mode": (
        change("create", CNI, None, cni(STANDARD)),
        [CNI_RESTARTS, TO_STANDARD, MAYBE_NEW_INTERFACES],
    ),
    "vpc-cni created in strict mode": (
        change("create", CNI, None, cni(STRICT)),
        [CNI_RESTARTS, TO_STRICT, MAYBE_NEW_INTERFACES],
    ),
    "vpc-cni created in its default": (
        change("create", CNI, None, cni({ENI: "1"})),
        [CNI_RESTARTS, TO_DEFAULT, MAYBE_NEW_INTERFACES],
    ),
    "vpc-cni created without interfaces": (change("create", CNI, None, cni()), [CNI_RESTARTS]),
    "vpc-cni of another version": (change("update", CNI, *VERSIONS["vpc-cni"]), [CNI_RESTARTS]),
    "vpc-cni of another role": (
        change("update", CNI, cni(), cni(serviceAccountRoleArn="arn:aws:iam::1:role/a")),
        [CNI_RESTARTS],
    ),
    "vpc-cni of another pod identity": (
        change("update", CNI, cni(), cni(podIdentityAssociations=[{"roleArn": "a"}])),
        [CNI_RESTARTS],
    ),
    "vpc-cni tagged": (change("update", CNI, cni(), cni(tags={"a": "b"})), []),
    "vpc-cni updated otherwise": (change("update", CNI, cni(), cni(resolveConflictsOnUpdate="OVERWRITE")), []),
    "coredns created": (change("create", CORE_DNS, None, add_on("coredns")), [CORE_DNS_UPDATED]),
    "coredns updated": (change("update", CORE_DNS, *VERSIONS["coredns"]), [CORE_DNS_UPDATED]),
    "coredns of another role": (
        change("update", CORE_DNS, add_on("coredns"), add_on("coredns", serviceAccountRoleArn="a")),
        [CORE_DNS_UPDATED],
    ),
    "coredns of another configuration": (
        change("update", CORE_DNS, add_on("coredns"), add_on("coredns", configurationValues="{}")),
        [],
    ),
    "coredns tagged": (change("update", CORE_DNS, add_on("coredns"), add_on("coredns", tags={"a": "b"})), []),
    "coredns replaced": (change("replace", CORE_DNS, add_on("coredns"), add_on("coredns")), [CORE_DNS_REPLACED]),
    "coredns deleted": (change("delete", CORE_DNS, add_on("coredns")), [CORE_DNS_DELETED]),
    "coredns given back": (change("delete", CORE_DNS, add_on("coredns", preserve=True)), [CORE_DNS_STAYS]),
    "kube-proxy created": (change("create", KUBE_PROXY, None, add_on("kube-proxy")), [PROXY_RESTARTS]),
    "kube-proxy updated": (change("update", KUBE_PROXY, *VERSIONS["kube-proxy"]), [PROXY_RESTARTS]),
    "kube-proxy of another role": (
        change("update", KUBE_PROXY, add_on("kube-proxy"), add_on("kube-proxy", podIdentityAssociations=[1])),
        [PROXY_RESTARTS],
    ),
    "kube-proxy tagged": (change("update", KUBE_PROXY, add_on("kube-proxy"), add_on("kube-proxy", tags={})), []),
    "kube-proxy replaced": (
        change("replace", KUBE_PROXY, add_on("kube-proxy"), add_on("kube-proxy")),
        [PROXY_RESTARTS],
    ),
    "kube-proxy deleted": (change("delete", KUBE_PROXY, add_on("kube-proxy")), [PROXY_DELETED]),
    "kube-proxy given back": (change("delete", KUBE_PROXY, add_on("kube-proxy", preserve=True)), []),
    "another add-on updated": (change("update", CORE_DNS, add_on("other"), add_on("other", addonVersion="v2")), []),
}
"""A change, and what is told of it."""


@pytest.mark.parametrize(("changed", "told"), TOLD.values(), ids=TOLD)
def test_what_will_be_felt(changed: Change, told: list[str]) -> None:
    """Each change is told as what pods and DNS feel of it, and nothing else is."""
    assert effects((changed,)) == told


def test_every_line_is_told() -> None:
    """No sentence is in the code that no change above brings out."""
    source = room.__file__
    wanted = {each.lineno for each in ast.walk(ast.parse(Path(source).read_text())) if isinstance(each, ast.Yield)}
    seen: set[int] = set()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            seen.add(frame.f_lineno)
        return trace if frame.f_code.co_filename == source else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for changed, _told in TOLD.values():
            effects((changed,))
    finally:
        sys.settrace(before)
    assert wanted
    assert wanted <= seen


def test_the_same_is_told_once_and_the_gravest_first() -> None:
    """Whatever the order of the changes, and however many feel alike."""
    group, other = change("replace", GROUP), change("update", KUBE_PROXY, *VERSIONS["kube-proxy"])
    cores = [change("update", f"{CORE_DNS}-{number}", *VERSIONS["coredns"]) for number in range(2)]
    assert effects((*cores, other, group)) == [
        NODES_GO, PROXY_RESTARTS, CORE_DNS_UPDATED,
    ]  # fmt: skip


def test_a_new_cluster_and_one_that_goes_are_told_without_what_follows() -> None:
    """Nobody feels the creation of what is not there; of a cluster that goes, nothing else matters."""
    made, removed = (change(each, CACHE) for each in ("create", "delete"))
    assert effects((change("create", CLUSTER), made)) == []
    gone = change("delete", CLUSTER)
    assert effects((removed, gone)) == [CLUSTER_GOES]
    # A new name in the program: one is created, and the other, with everything in it, deleted.
    assert effects((change("create", f"{CLUSTER}-two"), made, gone)) == [CLUSTER_GOES]
    assert effects((gone, change("replace", f"{CLUSTER}-two"))) == [CLUSTER_GOES]
    updated = change("update", CLUSTER, {"version": "1.34"}, {"version": "1.35"})
    assert effects((removed, updated)) == [NEW_VERSION, CACHE_REMOVED]
