"""Whose rules a pod has, from times alone."""

from datetime import UTC, datetime
from typing import Any

import pytest

from components.running_cluster.strict_pods import (
    BRANCH_INTERFACE,
    MODE_VARIABLE,
    Owner,
    SecurityGroupPod,
    enforcing_mode,
    is_on,
    owner_of,
    pod_interfaces_enabled,
    security_group_pods,
    strict_pods,
    switched_at,
)
from tests.aws_node import aws_node_daemon_set, aws_node_pod, aws_node_spec


def at(minute: int) -> str:
    """Return a time of one hour."""
    return f"2026-01-02T03:{minute:02}:00Z"


def env(mode: str | None) -> dict[str, str]:
    """Return aws-node's environment in a mode; None: the variable is not set."""
    return {} if mode is None else {MODE_VARIABLE: mode}


def daemon_set(mode: str | None = "standard", **spec: Any) -> dict[str, Any]:
    """Return the DaemonSet aws-node."""
    made = aws_node_daemon_set(env(mode))
    return {**made, "spec": {**made["spec"], **spec}}


def aws_node(mode: str | None = "standard", ready: int | None = 30, node: str = "node") -> dict[str, Any]:
    """Return aws-node's pod on the node, ready since a minute or not at all."""
    return aws_node_pod(env(mode), node, None if ready is None else at(ready))


def pod(started: int | None = 40, **metadata: Any) -> dict[str, Any]:
    """Return a pod with a branch interface."""
    return {
        "metadata": {
            "namespace": "shop", "name": "orders", "annotations": {BRANCH_INTERFACE: "[]"},
            "creationTimestamp": at(started or 0), **metadata,
        },
        "spec": {"nodeName": "node"},
        "status": {"phase": "Running", **({} if started is None else {"startTime": at(started)})},
    }  # fmt: skip


def revision(number: int, mode: str, made: int) -> dict[str, Any]:
    """Return a ControllerRevision of aws-node."""
    return {
        "metadata": {"creationTimestamp": at(made)}, "revision": number,
        "data": aws_node_daemon_set(env(mode)),
    }  # fmt: skip


SWITCHED = [revision(1, "strict", 1), revision(2, "standard", 10)]


NO_DAEMON_SET = "there is no DaemonSet aws-node that could say which mode made it"
TEMPLATE = "the DaemonSet aws-node is in strict mode"
ON_ITS_NODE = "aws-node on its node still runs in strict mode"
VERIFIED = "no pod had strict rules when the node-local cache was installed, and the mode stayed"
YOUNG_NODE = "its node is younger than the switch to standard mode"
NO_AWS_NODE = "no aws-node pod is on its node to say since when that is in standard mode"
NOT_READY = "aws-node on its node is not ready, so since when that is in standard mode is not known"
AFTER = "it was started after aws-node on its node was ready in standard mode"


def before(started: int, ready: int) -> str:
    """Return the reason of a pod that was there first."""
    return f"it was started at {at(started)}, its node is in standard mode since {at(ready)}"


LATER = [aws_node(ready=50)]
"""An aws-node that was replaced looks as if it had just been switched; the history, or a look at the time, knows."""


@pytest.mark.parametrize(
    ("expected", "reason", "given"),
    [
        ("unknown", NO_DAEMON_SET, {"daemon_set": None}),
        ("strict", TEMPLATE, {"daemon_set": daemon_set("strict")}),
        ("strict", TEMPLATE, {"daemon_set": daemon_set(None)}),
        ("strict", TEMPLATE, {"daemon_set": daemon_set("Standard")}),
        ("strict", TEMPLATE, {"daemon_set": daemon_set("strict"), "aws_node_pods": [aws_node("strict")]}),
        ("strict", ON_ITS_NODE, {"aws_node_pods": [aws_node("strict")]}),
        ("strict", ON_ITS_NODE, {"aws_node_pods": [aws_node(), aws_node("strict")]}),
        ("strict", ON_ITS_NODE, {"aws_node_pods": [aws_node("strict"), aws_node()]}),
        ("strict", ON_ITS_NODE, {"aws_node_pods": [aws_node("strict")], "revisions": SWITCHED, "verified": 12}),
        ("standard", AFTER, {"aws_node_pods": [aws_node(), {**aws_node("strict"), "status": {"phase": "Failed"}}]}),
        ("standard", AFTER, {"aws_node_pods": [aws_node(), aws_node("strict", node="another")]}),
        ("unknown", NO_AWS_NODE, {"aws_node_pods": []}),
        ("unknown", NO_AWS_NODE, {"aws_node_pods": [aws_node(node="another")]}),
        ("unknown", NOT_READY, {"aws_node_pods": [aws_node(ready=None)]}),
        ("unknown", NOT_READY, {"aws_node_pods": [aws_node(ready=39)], "pod": {"creationTimestamp": None}}),
        ("standard", AFTER, {"aws_node_pods": [aws_node(ready=39)]}),
        ("strict", before(40, 40), {"aws_node_pods": [aws_node(ready=40)]}),
        ("strict", before(40, 41), {"aws_node_pods": [aws_node(ready=41)]}),
        ("strict", before(40, 50), {"aws_node_pods": LATER, "revisions": SWITCHED}),
        ("strict", before(40, 50), {"aws_node_pods": LATER, "revisions": SWITCHED, "booted": 9}),
        ("strict", before(40, 50), {"aws_node_pods": LATER, "revisions": SWITCHED, "booted": 10}),
        ("standard", YOUNG_NODE, {"aws_node_pods": LATER, "revisions": SWITCHED, "booted": 11}),
        ("strict", before(40, 50), {"aws_node_pods": LATER, "booted": 11}),
        # A Node that was registered anew is no new node: the pod is older than it.
        ("standard", YOUNG_NODE, {"aws_node_pods": LATER, "revisions": SWITCHED, "booted": 40}),
        ("strict", before(40, 50), {"aws_node_pods": LATER, "revisions": SWITCHED, "booted": 41}),
        ("strict", before(40, 50), {"aws_node_pods": LATER, "revisions": SWITCHED, "verified": 9}),
        ("standard", VERIFIED, {"aws_node_pods": LATER, "revisions": SWITCHED, "verified": 10}),
        ("standard", VERIFIED, {"aws_node_pods": LATER, "revisions": SWITCHED, "verified": 11}),
        ("standard", VERIFIED, {"aws_node_pods": [], "revisions": SWITCHED, "verified": 12}),
        ("strict", before(40, 50), {"aws_node_pods": LATER, "verified": 12}),
    ],
)
def test_rules_follow_from_times_and_doubt_is_never_standard(expected: str, reason: str, given: dict[str, Any]) -> None:
    """What is not settled is `unknown` or `strict`; and of several signs the first that settles it is told."""
    booted, verified = given.get("booted"), given.get("verified")
    nodes = [{"metadata": {"name": "another", "creationTimestamp": at(45)}}]
    if booted is not None:
        nodes.append({"metadata": {"name": "node", "creationTimestamp": at(booted)}})
    started: Any = pod()
    if "pod" in given:
        started = {**pod(None), "metadata": {**pod(None)["metadata"], **given["pod"]}}
    cluster: Any = ([started], given.get("daemon_set", daemon_set()), given.get("aws_node_pods", [aws_node()]))
    told: Any = {
        "revisions": given.get("revisions", ()), "nodes": nodes,
        "verified_at": None if verified is None else datetime(2026, 1, 2, 3, verified, tzinfo=UTC),
    }  # fmt: skip
    [found] = security_group_pods(*cluster, **told)
    assert (found.mode, found.reason) == (expected, reason)
    assert strict_pods(*cluster, **told) == ([] if expected == "standard" else [found])


@pytest.mark.parametrize(
    ("node", "since", "expected"),
    [(None, 39, "standard"), (None, 40, "strict"), ({"startTime": at(45)}, 44, "standard")],
)
def test_a_pod_was_started_when_the_kubelet_saw_it_or_else_when_it_was_made(
    node: dict[str, str] | None, since: int, expected: str
) -> None:
    """A pod that waited for its node got its network later than it was made."""
    waiting = {**pod(), "status": node or {}}
    [found] = security_group_pods([waiting], daemon_set(), [aws_node(ready=since)])
    assert found.mode == expected


def test_only_a_condition_that_is_true_says_that_aws_node_is_ready() -> None:
    """Others have times as well, and earlier ones."""
    conditions = [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(1)},
        {"type": "Ready", "status": "False", "lastTransitionTime": at(2)},
    ]
    starting = {**aws_node(), "status": {"conditions": conditions}}
    [found] = security_group_pods([pod()], daemon_set(), [starting])
    assert found.reason == NOT_READY


def test_all_that_is_known_of_a_pod() -> None:
    """What it is, where, whose; pods come by namespace and name."""
    full = pod(uid="77", deletionTimestamp=at(50))
    bare = {"metadata": {"namespace": "shop", "name": "early", "annotations": {BRANCH_INTERFACE: "[]"}}, "spec": {}}
    other = pod(namespace="a-shop", name="zebra")
    found = security_group_pods([full, bare, other], daemon_set("strict"), [])
    assert found == [
        SecurityGroupPod("a-shop", "zebra", "", "node", None, "strict", TEMPLATE, leaving=False),
        SecurityGroupPod("shop", "early", "", "", None, "strict", TEMPLATE, leaving=False),
        SecurityGroupPod("shop", "orders", "77", "node", None, "strict", TEMPLATE, leaving=True),
    ]
    assert str(found[2]) == "shop/orders"
    assert str(Owner("shop", "Deployment", "orders")) == "Deployment shop/orders"


@pytest.mark.parametrize(
    ("revisions", "since"),
    [
        ([], None),
        (SWITCHED, 10),
        ([*SWITCHED, revision(3, "standard", 20)], 10),
        ([*SWITCHED, revision(3, "strict", 20), revision(4, "standard", 25)], 25),
        # Taken up again: an old date with a new number.
        ([revision(2, "strict", 10), revision(3, "standard", 1)], None),
        # The beginning is missing, and not because it was too long ago.
        (SWITCHED[1:], None),
        ([SWITCHED[0], revision(3, "standard", 10)], None),
        ([*SWITCHED, revision(4, "standard", 20)], None),
        # Nine is the default number of old ones and the current one less two: some may never have been.
        ([revision(number, "standard", number) for number in range(2, 12)], None),
        ([revision(number, "standard", number) for number in range(2, 13)], 2),
        # Two of one second came in this order, by their numbers.
        ([revision(1, "strict", 10), revision(2, "standard", 10)], 10),
        ([revision(1, "strict", 10), {**revision(2, "standard", 20), "metadata": {}}], None),
    ],
)
def test_the_switch_is_dated_by_a_history_without_gaps(revisions: list[dict[str, Any]], since: int | None) -> None:
    """A history that cannot date it gives nothing."""
    found = switched_at(daemon_set(), reversed(revisions))
    assert found == (None if since is None else datetime(2026, 1, 2, 3, since, tzinfo=UTC))


def test_a_history_is_complete_by_the_limit_that_the_daemon_set_has() -> None:
    """The API server keeps as many old ones, and the current one."""
    history = [revision(number, "standard", number) for number in (7, 8, 9)]
    assert switched_at(daemon_set(revisionHistoryLimit=2), history) == datetime(2026, 1, 2, 3, 7, tzinfo=UTC)
    assert switched_at(daemon_set(revisionHistoryLimit=3), history) is None
    assert switched_at(daemon_set("strict"), SWITCHED) is None


def test_pods_without_an_interface_or_that_have_ended_do_not_count() -> None:
    """Only running pods with a branch interface have rules that matter."""
    ended = [{**pod(), "status": {"phase": phase}} for phase in ("Succeeded", "Failed")]
    plain = pod(annotations={})
    assert security_group_pods([*ended, plain], daemon_set("strict"), []) == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("true", True),
        ("TRUE", True),
        ("1", True),
        ("t", True),
        ("false", False),
        ("0", False),
        ("yes", False),
        ("T", True),
        (True, True),
        (None, False),
    ],
)
def test_a_variable_is_on_as_the_cni_has_it(value: object, expected: bool) -> None:
    """Go's words for yes."""
    assert is_on(value) is expected


@pytest.mark.parametrize(
    ("policy", "ends"), [({}, False), ({"restartPolicy": "Always"}, False), ({"restartPolicy": "Never"}, True)]
)
def test_a_pod_that_does_a_piece_of_work_is_told_by_its_restart_policy(policy: dict[str, str], ends: bool) -> None:
    """It ends by itself."""
    working = {**pod(), "spec": {"nodeName": "node", **policy}}
    [found] = security_group_pods([working], daemon_set(), [aws_node()])
    assert found.ends is ends


@pytest.mark.parametrize(
    ("kind", "name", "labels", "expected"),
    [
        ("ReplicaSet", "orders-5c7", {"pod-template-hash": "5c7"}, Owner("shop", "Deployment", "orders")),
        ("ReplicaSet", "orders-5c7", {}, Owner("shop", "ReplicaSet", "orders-5c7")),
        ("StatefulSet", "store", {}, Owner("shop", "StatefulSet", "store")),
        ("StatefulSet", "store-5c7", {"pod-template-hash": "5c7"}, Owner("shop", "StatefulSet", "store-5c7")),
        ("ReplicaSet", "orders-5c7", {"pod-template-hash": "c7"}, Owner("shop", "ReplicaSet", "orders-5c7")),
        ("ReplicaSet", "orders-", {"pod-template-hash": ""}, Owner("shop", "ReplicaSet", "orders-")),
        ("ReplicaSet", "a-1-1", {"pod-template-hash": "1"}, Owner("shop", "Deployment", "a-1")),
    ],
)
def test_a_deployments_pods_are_the_deployments(kind: str, name: str, labels: dict[str, str], expected: Owner) -> None:
    """The owner is what would make the pod anew, and what a person would restart."""
    reference = {"kind": kind, "name": name, "controller": True}
    other = {"kind": "Node", "name": "node"}
    assert owner_of(pod(labels=labels, ownerReferences=[other, reference])) == expected
    assert owner_of(pod(ownerReferences=[{**reference, "controller": False}])) is None


def test_only_the_main_containers_variable_counts() -> None:
    """Another container may have one of the same name, and a variable may come from a field."""
    spec = aws_node_spec({}, init={MODE_VARIABLE: "standard"}, agent=())
    spec["containers"][1]["env"] = [{"name": MODE_VARIABLE, "value": "standard"}]
    assert enforcing_mode(spec) == "strict"
    assert enforcing_mode({}) == "strict"
    assert enforcing_mode(aws_node_spec({MODE_VARIABLE: "standard"}, agent=())) == "standard"
    assert pod_interfaces_enabled(aws_node_spec({"ENABLE_POD_ENI": "t"}))
    assert not pod_interfaces_enabled(aws_node_spec({}))
