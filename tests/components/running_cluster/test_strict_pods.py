"""Whose rules a pod has, from times alone."""

from datetime import UTC, datetime
from typing import Any

import pytest

from components.running_cluster.strict_pods import (
    BRANCH_INTERFACE,
    MODE_VARIABLE,
    Owner,
    is_on,
    owner_of,
    security_group_pods,
    strict_pods,
    switched_at,
)


def at(minute: int) -> str:
    """Return a time of one hour."""
    return f"2026-01-02T03:{minute:02}:00Z"


def template(mode: str | None) -> dict[str, Any]:
    """Return aws-node's pod spec in a mode; None: the variable is not set."""
    variables = [] if mode is None else [{"name": MODE_VARIABLE, "value": mode}]
    return {"nodeName": "node", "containers": [{"name": "aws-node", "env": variables}]}


def daemon_set(mode: str | None = "standard") -> dict[str, Any]:
    """Return the DaemonSet aws-node."""
    return {"metadata": {"name": "aws-node"}, "spec": {"template": {"spec": template(mode)}}}


def aws_node(mode: str | None = "standard", ready: int | None = 30) -> dict[str, Any]:
    """Return aws-node's pod on the node, ready since a minute or not at all."""
    conditions = [] if ready is None else [{"type": "Ready", "status": "True", "lastTransitionTime": at(ready)}]
    return {"metadata": {"name": "aws-node-x"}, "spec": template(mode), "status": {"conditions": conditions}}


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
        "data": {"spec": {"template": {"spec": template(mode)}}},
    }  # fmt: skip


SWITCHED = [revision(1, "strict", 1), revision(2, "standard", 10)]


@pytest.mark.parametrize(
    ("expected", "arguments"),
    [
        ("unknown", {"aws_node_daemon_set": None}),
        ("strict", {"aws_node_daemon_set": daemon_set("strict")}),
        ("strict", {"aws_node_daemon_set": daemon_set(None)}),
        ("strict", {"aws_node_daemon_set": daemon_set("Standard")}),
        ("strict", {"aws_node_pods": [aws_node("strict")]}),
        ("strict", {"aws_node_pods": [aws_node(), aws_node("strict")]}),
        ("unknown", {"aws_node_pods": []}),
        ("unknown", {"aws_node_pods": [aws_node(ready=None)]}),
        ("standard", {"aws_node_pods": [aws_node(ready=39)]}),
        ("strict", {"aws_node_pods": [aws_node(ready=40)]}),
        ("strict", {"aws_node_pods": [aws_node(ready=41)]}),
        # A replaced aws-node looks as if it had just been switched; the history, or a look at the time, knows better.
        ("strict", {"aws_node_pods": [aws_node(ready=50)], "revisions": SWITCHED}),
        ("standard", {"aws_node_pods": [aws_node(ready=50)], "revisions": SWITCHED, "booted": 11}),
        ("strict", {"aws_node_pods": [aws_node(ready=50)], "revisions": SWITCHED, "booted": 10}),
        # A Node that was registered anew is no new node: the pod is older than it.
        ("standard", {"aws_node_pods": [aws_node(ready=50)], "revisions": SWITCHED, "booted": 40}),
        ("strict", {"aws_node_pods": [aws_node(ready=50)], "revisions": SWITCHED, "booted": 41}),
        ("standard", {"aws_node_pods": [aws_node(ready=50)], "revisions": SWITCHED, "verified": 12}),
        ("strict", {"aws_node_pods": [aws_node(ready=50)], "revisions": SWITCHED, "verified": 9}),
        ("strict", {"aws_node_pods": [aws_node(ready=50)], "verified": 12}),
    ],
)
def test_rules_follow_from_times_and_doubt_is_never_standard(expected: str, arguments: dict[str, Any]) -> None:
    """What is not settled is `unknown` or `strict`."""
    booted, verified = arguments.pop("booted", None), arguments.pop("verified", None)
    nodes = [] if booted is None else [{"metadata": {"name": "node", "creationTimestamp": at(booted)}}]
    at_time = None if verified is None else datetime(2026, 1, 2, 3, verified, tzinfo=UTC)
    given = {"aws_node_daemon_set": daemon_set(), "aws_node_pods": [aws_node()], **arguments}
    [found] = security_group_pods([pod()], **given, nodes=nodes, verified_at=at_time)
    assert found.mode == expected, found.reason
    assert [each.name for each in strict_pods([pod()], **given, nodes=nodes, verified_at=at_time)] == (
        [] if expected == "standard" else ["orders"]
    )


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
    ],
)
def test_the_switch_is_dated_by_a_history_without_gaps(revisions: list[dict[str, Any]], since: int | None) -> None:
    """A history that cannot date it gives nothing."""
    found = switched_at(daemon_set(), reversed(revisions))
    assert found == (None if since is None else datetime(2026, 1, 2, 3, since, tzinfo=UTC))


def test_pods_without_an_interface_or_that_have_ended_do_not_count() -> None:
    """Only running pods with a branch interface have rules that matter."""
    ended = {**pod(), "status": {"phase": "Succeeded"}}
    plain = pod(annotations={})
    assert security_group_pods([ended, plain], daemon_set("strict"), []) == []


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
        (None, False),
    ],
)
def test_a_variable_is_on_as_the_cni_has_it(value: str | None, expected: bool) -> None:
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
    ],
)
def test_a_deployments_pods_are_the_deployments(kind: str, name: str, labels: dict[str, str], expected: Owner) -> None:
    """The owner is what would make the pod anew, and what a person would restart."""
    reference = {"kind": kind, "name": name, "controller": True}
    assert owner_of(pod(labels=labels, ownerReferences=[reference])) == expected
    assert owner_of(pod(ownerReferences=[{**reference, "controller": False}])) is None
