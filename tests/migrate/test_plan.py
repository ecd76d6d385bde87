"""How pods are recreated, decided without a cluster."""

import dataclasses
from typing import Any

import pytest

from components.running_cluster.strict_pods import Owner, SecurityGroupPod
from migrate.budgets import allowed, hindrances, matching
from migrate.plan import available, desired, down_at_once, is_ready, owners_of, plan, unfinished


def workload(kind: str, strategy: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """Return a workload of ten pods."""
    key = "strategy" if kind == "Deployment" else "updateStrategy"
    return {
        "kind": kind, "metadata": {"generation": 2}, "spec": {"replicas": 10, key: strategy or {}, **spec},
        "status": {"desiredNumberScheduled": 10},
    }  # fmt: skip


def pod(*, ends: bool = False) -> SecurityGroupPod:
    """Return a pod with strict rules, one that ends by itself or one that does not."""
    return SecurityGroupPod("shop", "x", "1", "node-1", None, "strict", "it is old", leaving=False, ends=ends)


@pytest.mark.parametrize(
    ("kind", "found", "way", "why"),
    [
        ("Deployment", workload("Deployment"), "restart", "one after the other"),
        ("StatefulSet", workload("StatefulSet"), "restart", "one after the other"),
        ("DaemonSet", workload("DaemonSet"), "restart", "one after the other"),
        ("Deployment", workload("Deployment", {"type": "Recreate"}), "evict", "strategy is Recreate"),
        ("Deployment", workload("Deployment", paused=True), "evict", "paused"),
        ("Deployment", None, "evict", "no rollout"),
        ("StatefulSet", workload("StatefulSet", {"type": "OnDelete"}), "evict", "OnDelete"),
        ("StatefulSet", workload("StatefulSet", {"rollingUpdate": {"partition": 2}}), "evict", "partition"),
        ("DaemonSet", workload("DaemonSet", {"type": "OnDelete"}), "evict", "OnDelete"),
        ("ReplicaSet", {"kind": "ReplicaSet"}, "evict", "a ReplicaSet has no rollout"),
        ("Widget", None, "evict", "a Widget has no rollout that this command knows"),
        ("Node", None, "by hand", "static pod"),
        ("Pod", None, "by hand", "another pod made it"),
    ],
)
def test_the_way_follows_from_the_owner(kind: str, found: dict[str, Any] | None, way: str, why: str) -> None:
    """A rollout where it replaces pods one after the other, otherwise pod by pod, and never what is not ours."""
    chosen = plan(Owner("shop", kind, "orders"), found, [pod()])
    assert chosen.way == way
    assert why in chosen.why


def test_bare_pods_are_left_to_people() -> None:
    """Nothing would make them anew."""
    assert plan(None, None, [pod()]).way == "by hand"
    assert plan(None, None, [pod(ends=True)]).way == "by hand"


@pytest.mark.parametrize("kind", ["Job", "Workflow", "TaskRun", "SparkApplication", "Pod", "EphemeralRunner"])
def test_pods_that_do_a_piece_of_work_are_waited_for(kind: str) -> None:
    """Whatever made them: nobody makes an evicted one anew as if nothing had been."""
    chosen = plan(Owner("shop", kind, "import"), None, [pod(), pod(ends=True)])
    assert chosen.way == "wait"
    assert chosen.why == (
        "pods that do a piece of work end by themselves, and an evicted one counts as failed or is lost"
    )
    assert plan(Owner("kube-system", "Node", "node-1"), None, [pod(ends=True)]).way == "by hand"


def test_a_stateful_set_with_an_unready_pod_is_not_rolled() -> None:
    """Its controller would wait for that pod, which is the one to be replaced."""
    owner = Owner("shop", "StatefulSet", "store")
    assert plan(owner, workload("StatefulSet"), [pod()], unready=True).way == "evict"
    assert plan(Owner("shop", "Deployment", "store"), workload("Deployment"), [pod()], unready=True).way == "restart"


@pytest.mark.parametrize(
    ("kind", "rolling", "down"),
    [
        ("Deployment", {}, 2),
        ("Deployment", {"maxUnavailable": 3}, 3),
        ("Deployment", {"maxUnavailable": "39%"}, 3),
        ("Deployment", {"maxUnavailable": 0}, 0),
        ("Deployment", {"maxUnavailable": "1%", "maxSurge": 0}, 1),
        ("StatefulSet", {}, 1),
        ("StatefulSet", {"maxUnavailable": "11%"}, 2),
        ("DaemonSet", {}, 1),
        ("DaemonSet", {"maxUnavailable": 0, "maxSurge": 1}, 0),
    ],
)
def test_how_many_pods_a_rollout_takes_away(kind: str, rolling: dict[str, Any], down: int) -> None:
    """Rounded as Kubernetes rounds: down for Deployments, up for the others."""
    assert down_at_once(workload(kind, {"rollingUpdate": rolling})) == down


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("Deployment", {"observedGeneration": 2, "replicas": 10, "updatedReplicas": 10}, False),
        ("Deployment", {"observedGeneration": 1, "replicas": 10, "updatedReplicas": 10}, True),
        ("Deployment", {"observedGeneration": 2, "replicas": 11, "updatedReplicas": 10}, True),
        ("StatefulSet", {"observedGeneration": 2, "replicas": 10, "updatedReplicas": 9}, True),
        ("Deployment", {"observedGeneration": 2, "replicas": 9, "updatedReplicas": 9}, True),
        ("Deployment", {"observedGeneration": 2, "replicas": 11, "updatedReplicas": 11}, False),
        ("Deployment", {"observedGeneration": 3, "replicas": 10, "updatedReplicas": 10}, False),
        ("Deployment", {}, True),
        ("DaemonSet", {"observedGeneration": 2, "desiredNumberScheduled": 9, "updatedNumberScheduled": 9}, False),
        ("DaemonSet", {"observedGeneration": 2, "desiredNumberScheduled": 9, "updatedNumberScheduled": 8}, True),
    ],
)
def test_a_rollout_is_over_when_every_pod_is_of_it(kind: str, status: dict[str, Any], expected: bool) -> None:
    """Old pods, missing new ones, and a controller that has not seen the change are a rollout under way."""
    assert unfinished({**workload(kind), "status": status}) is expected


def budget(selector: dict[str, Any] | None, **status: Any) -> dict[str, Any]:
    """Return a budget."""
    metadata = {"namespace": "shop", "name": "orders", "generation": 2}
    return {"metadata": metadata, "spec": {} if selector is None else {"selector": selector}, "status": status}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({"matchLabels": {"app": "orders"}}, True),
        ({"matchLabels": {"app": "web"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["orders"]}]}, False),
        ({}, True),
        (None, False),
    ],
)
def test_a_budget_protects_what_it_selects(selector: dict[str, Any] | None, expected: bool) -> None:
    """An empty selector selects all, an absent one nothing."""
    assert bool(matching([budget(selector)], {"app": "orders"})) is expected


def test_a_budget_that_is_not_counted_yet_allows_nothing() -> None:
    """What it said before its last change does not count."""
    assert allowed(budget({}, observedGeneration=2, disruptionsAllowed=1)) == 1
    assert allowed(budget({}, observedGeneration=1, disruptionsAllowed=1)) == 0
    assert allowed(budget({})) == 0
    assert allowed(budget({}, observedGeneration=2)) == 0
    assert allowed(budget({}, observedGeneration=3, disruptionsAllowed=2)) == 2
    assert allowed({"metadata": {}, "status": {"disruptionsAllowed": 1}}) == 1
    assert allowed({"metadata": {"generation": 1}, "status": {"disruptionsAllowed": 1}}) == 0
    [said] = hindrances([budget({}, observedGeneration=2, currentHealthy=2, desiredHealthy=2)])
    assert said == "PodDisruptionBudget shop/orders allows no disruption (2 pods healthy, 2 wanted)"


def test_each_budget_that_forbids_it_is_told() -> None:
    """One that allows it stands for no other."""
    status = {"observedGeneration": 2, "currentHealthy": 2, "desiredHealthy": 2}
    allowing, forbidding = (budget({}, disruptionsAllowed=number, **status) for number in (1, 0))
    assert list(hindrances([allowing])) == []
    assert len(list(hindrances([allowing, forbidding]))) == len(list(hindrances([forbidding, allowing]))) == 1
    assert len(list(hindrances([forbidding, forbidding]))) == 2
    assert list(hindrances([budget({})])) == [
        "PodDisruptionBudget shop/orders allows no disruption (0 pods healthy, ? wanted)"
    ]


@pytest.mark.parametrize(
    ("kind", "status", "count"),
    [
        ("Deployment", {}, 0),
        ("Deployment", {"availableReplicas": 3, "numberAvailable": 5}, 3),
        ("StatefulSet", {"availableReplicas": 4}, 4),
        ("DaemonSet", {"availableReplicas": 3, "numberAvailable": 5}, 5),
    ],
)
def test_how_many_pods_serve(kind: str, status: dict[str, int], count: int) -> None:
    """A DaemonSet counts them under a name of its own."""
    assert available({"kind": kind, "status": status}) == count


def test_how_many_pods_there_are_to_be() -> None:
    """One, if a Deployment says nothing; of a DaemonSet as many as there are nodes for it, and none before it knows."""
    assert desired({"kind": "Deployment", "spec": {}}) == 1
    assert desired({"kind": "Deployment", "spec": {"replicas": 0}}) == 0
    assert desired({"kind": "DaemonSet", "spec": {}, "status": {"desiredNumberScheduled": 7}}) == 7
    assert desired({"kind": "DaemonSet", "spec": {}, "status": {}}) == 0


@pytest.mark.parametrize(
    ("conditions", "serves"),
    [
        ([], False),
        ([{"type": "Ready", "status": "True"}], True),
        ([{"type": "Ready", "status": "False"}], False),
        ([{"type": "Initialized", "status": "True"}], False),
        ([{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"}], True),
    ],
)
def test_what_a_pod_that_serves_says(conditions: list[dict[str, str]], serves: bool) -> None:
    """Ready, and not only begun."""
    assert is_ready({"status": {"conditions": conditions}}) is serves


def test_owners_have_their_turn_in_order() -> None:
    """By namespace, kind and name; bare pods are last, and each owner's pods in the order of their names."""

    def owned(name: str, owner: Owner | None) -> SecurityGroupPod:
        return dataclasses.replace(pod(), name=name, owner=owner)

    first, second = Owner("a", "StatefulSet", "z"), Owner("b", "Deployment", "a")
    found = owners_of([owned("4", None), owned("3", second), owned("2", first), owned("1", first), owned("0", None)])
    assert [(owner, [each.name for each in pods]) for owner, pods in found.items()] == [
        (first, ["1", "2"]), (second, ["3"]), (None, ["0", "4"]),
    ]  # fmt: skip
