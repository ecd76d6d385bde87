"""A healthy cluster's objects, to break something in."""

import copy
import hashlib
import json
from collections.abc import Callable
from typing import Any

from broken_nodes import NODE, OBJECTS, STRICT_LINK, UPSTREAM
from reports import CLUSTER

from tests.aws_node import container
from verify.cluster_checks import CHECKSUM, judge_cluster
from verify.cluster_facts import ClusterFacts, NodeObject
from verify.findings import Verdict
from verify.installation import Manifest


def aws_node(mode: str, *, pod_interfaces: bool = True, image: str = "amazon-k8s-cni:v1.23.1") -> dict[str, Any]:
    """Return a template's spec of the VPC CNI in a mode."""
    return {"containers": [container(mode, pod_interfaces=str(pod_interfaces).lower(), image=image)]}


def with_cni(*args: Any, **more: Any) -> ClusterFacts:
    """Return a cluster with another VPC CNI."""
    return changed(aws_node={"spec": {"template": {"spec": aws_node(*args, **more)}}})


def revision(number: int, mode: str, date: str) -> dict[str, Any]:
    """Return a ControllerRevision of the VPC CNI."""
    data = {"spec": {"template": {"spec": aws_node(mode)}}}
    return {"revision": number, "metadata": {"creationTimestamp": date}, "data": data}


def switched(
    *, node_created: str = "2024-12-01T00:00:00Z", revisions: bool = True, pod_started: str = "2025-01-03T00:00:00Z"
) -> ClusterFacts:
    """Return a cluster whose CNI was switched on the second, with a pod behind a security group from the third.

    The CNI's pod was recreated on the fifth: without the history that looks like the switch. The cache was installed
    before the switch.
    """
    facts = healthy()
    facts.branch_pods = [{
        "metadata": {"name": "app", "namespace": "shop", "annotations": {"vpc.amazonaws.com/pod-eni": "[]"}},
        "spec": {"nodeName": NODE}, "status": {"phase": "Running", "startTime": pod_started},
    }]  # fmt: skip
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2025-01-05T00:00:00Z"}
    facts.aws_node_pods = [{
        "metadata": {"name": "aws-node-x"}, "spec": {"nodeName": NODE, **aws_node("standard")},
        "status": {"phase": "Running", "conditions": [ready]},
    }]  # fmt: skip
    history: list[Manifest] = [
        revision(1, "strict", "2025-01-01T00:00:00Z"),
        revision(2, "standard", "2025-01-02T00:00:00Z"),
    ]
    facts.aws_node_revisions = history if revisions else None
    facts.nodes = [NodeObject(NODE, True, "10.0.0.1", True, "", node_created)]  # noqa: FBT003  # ready, with a trunk
    return facts


def born_strict() -> ClusterFacts:
    """Return a cluster with a pod that was started before the switch."""
    return switched(pod_started="2025-01-01T12:00:00Z")


def seen_strict() -> ClusterFacts:
    """Return a cluster in which a node's own rules show that a pod is strict, whatever its times say."""
    facts = switched(node_created="2025-01-04T00:00:00Z")
    facts.strict_links = {NODE: frozenset({"vlan.eth.2", STRICT_LINK})}
    return facts


def strict_on_a_node() -> ClusterFacts:
    """Return a cluster in which one node's aws-node was not renewed yet."""
    facts = healthy()
    facts.aws_node_pods = [{"metadata": {"name": "aws-node-x"}, "spec": {"nodeName": NODE, **aws_node("strict")}}]
    return facts


def healthy() -> ClusterFacts:
    """Return a healthy cluster's objects, to break something in."""
    objects = copy.deepcopy(dict(OBJECTS))
    template = objects["daemonSet"]["spec"]["template"]
    return ClusterFacts(
        kube_dns={"spec": {"clusterIP": CLUSTER}},
        upstream={"spec": {"clusterIP": UPSTREAM}},
        daemon_set=objects["daemonSet"],
        config_map=objects["configMap"],
        cache_pods=[{"metadata": {"name": "cache", "annotations": dict(template["metadata"]["annotations"])},
                     "spec": {"nodeName": NODE}, "status": {}}],
        aws_node={"spec": {"template": {"spec": aws_node("standard")}}},
        kube_proxy_mode="iptables",
    )  # fmt: skip


def with_corefile(change: Callable[[str], str]) -> ClusterFacts:
    """Return a cluster with another Corefile, applied everywhere."""
    facts = healthy()
    assert facts.config_map is not None
    assert facts.daemon_set is not None
    corefile = change(facts.corefile)
    assert corefile != facts.corefile
    facts.config_map["data"]["Corefile"] = corefile
    checksum = hashlib.sha256(json.dumps({"Corefile": corefile}).encode()).hexdigest()[:16]
    for each in (facts.daemon_set["spec"]["template"], facts.cache_pods[0]):
        each["metadata"]["annotations"][CHECKSUM] = checksum
    return facts


def with_container(change: Callable[[Any], None]) -> ClusterFacts:
    """Return a cluster whose cache's container differs."""
    facts = healthy()
    assert facts.daemon_set is not None
    change(facts.daemon_set["spec"]["template"]["spec"]["containers"][0])
    return facts


def changed(**fields: Any) -> ClusterFacts:
    """Return a cluster with other objects."""
    facts = healthy()
    for name, value in fields.items():
        setattr(facts, name, value)
    return facts


def with_strategy(**rolling: Any) -> ClusterFacts:
    """Return a cluster whose DaemonSet is updated otherwise."""
    facts = healthy()
    assert facts.daemon_set is not None
    facts.daemon_set["spec"]["updateStrategy"]["rollingUpdate"] = rolling
    return facts


def another_checksum() -> ClusterFacts:
    """Return a cluster in which a pod was not renewed."""
    facts = healthy()
    facts.cache_pods[0]["metadata"]["annotations"][CHECKSUM] = "old"
    return facts


def edited_by_hand() -> ClusterFacts:
    """Return a cluster whose ConfigMap somebody edited."""
    facts = healthy()
    assert facts.config_map is not None
    facts.config_map["data"]["Corefile"] += "# by hand\n"
    return facts


def wrong(facts: ClusterFacts) -> list[str]:
    """Return the checks of the cluster that do not say that all is well."""
    return [each.check for each in judge_cluster(facts) if each.verdict not in {Verdict.OK, Verdict.NOT_VISIBLE}]
