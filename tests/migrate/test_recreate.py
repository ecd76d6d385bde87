"""Recreating pods, on a stand-in for the API server in memory and on a real one (`engine`).

Who makes and ends the pods is played on both (tests/simulated_controllers.py).
"""

import copy
import dataclasses
import threading
from typing import TYPE_CHECKING, Any

import pytest

from components.running_cluster.kubernetes_api import KubernetesApiError
from migrate.recreate import PODS_WANTED, RESTARTED_AT, Recreation
from tests.simulated_controllers import bare_pod, budget, ready, workload
from tests.waiting import eventually

if TYPE_CHECKING:
    from conftest import ApiServerOfTests, Place


@pytest.fixture(scope="module", params=["memory", pytest.param("api_server", marks=pytest.mark.engine)])
def server(request: pytest.FixtureRequest) -> "ApiServerOfTests":
    """Return each of the two."""
    return request.getfixturevalue(request.param)


def test_a_deployment_is_restarted_and_never_serves_with_fewer_pods(place: "Place") -> None:
    """Its rollout is restarted as kubectl does it; all pods are new, and as many as wanted served at any time."""
    place.make(workload("Deployment", "orders", 3))
    place.settle(3)
    before = place.uids("orders")
    [result], _said = place.recreate(place.owner("Deployment", "orders"))
    assert (result.outcome, result.detail) == ("done", "3 pods recreated (rollout restarted)")
    assert place.suspects() == []
    assert not before & place.uids("orders")
    assert place.controllers.least_ready["orders"] >= 3


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("Deployment", {"strategy": {"type": "Recreate"}}),
        ("Deployment", {"paused": True}),
        ("StatefulSet", {"updateStrategy": {"type": "OnDelete"}, "podManagementPolicy": "Parallel"}),
    ],
)
def test_what_has_no_rolling_rollout_is_evicted_pod_by_pod(place: "Place", kind: str, spec: dict[str, object]) -> None:
    """At most one pod is missing at a time, and the next goes only when the last one's replacement serves."""
    place.make(workload(kind, "ledger", 3, **spec))
    place.settle(3)
    [result], _said = place.recreate(place.owner(kind, "ledger"))
    assert (result.outcome, result.detail) == ("done", "3 pods recreated (evicted)")
    assert place.suspects() == []
    assert place.controllers.least_ready["ledger"] == 2


def test_a_stateful_set_is_restarted(place: "Place") -> None:
    """Its rollout takes one pod after the other."""
    place.make(workload("StatefulSet", "store", 2))
    place.settle(2)
    [result], _said = place.recreate(place.owner("StatefulSet", "store"))
    assert result.detail == "2 pods recreated (rollout restarted)"
    assert place.suspects() == []
    assert place.controllers.least_ready["store"] == 1


def test_pods_of_an_operator_are_evicted_one_by_one(place: "Place") -> None:
    """Of an owner that is not known, what is there at the beginning is what is to be there."""
    place.controllers.wanted_by_operators["queue"] = 3
    place.settle(3)
    [result], _said = place.recreate(place.owner("Widget", "queue"))
    assert result.detail == "3 pods recreated (evicted)"
    assert place.suspects() == []
    assert place.controllers.least_ready["queue"] == 2


@pytest.mark.parametrize("parallel", [1, 2])
def test_as_many_owners_as_asked_for_are_worked_on_at_once(place: "Place", parallel: int) -> None:
    """By default the next owner's turn comes when the last one's pods serve."""
    names = ("a", "b", "c")
    place.make(*(workload("StatefulSet", name) for name in names))
    place.settle(6)
    results, _said = place.recreate(*(place.owner("StatefulSet", name) for name in names), parallel=parallel)
    assert {each.outcome for each in results} == {"done"}
    assert place.suspects() == []
    assert max(map(len, place.controllers.busy)) == parallel


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
@pytest.mark.parametrize("strategy", ["rolling", "one by one"])
def test_a_budget_that_forbids_it_is_waited_for_and_reported(place: "Place", kind: str, strategy: str) -> None:
    """No pod of its owner is touched, the report names the budget, and other owners have their turn."""
    spec: dict[str, object] = {}
    if strategy == "one by one":
        spec = {"strategy": {"type": "Recreate"}} if kind == "Deployment" else {"updateStrategy": {"type": "OnDelete"}}
    place.make(
        workload(kind, "orders", 2, **spec), budget("orders", maxUnavailable=0), workload("Deployment", "web", 1)
    )
    place.settle(3, budgets=1)
    before = place.uids("orders")
    results, said = place.recreate(place.owner(kind, "orders"), place.owner("Deployment", "web"), timeout=5)
    by_name = {each.owner.name: each for each in results if each.owner}
    assert by_name["orders"].outcome == "blocked"
    expected = f"PodDisruptionBudget {place.namespace}/orders allows no disruption (2 pods healthy, 2 wanted)"
    assert expected in by_name["orders"].detail
    assert f"no progress for {5 * place.pace:g} s" in by_name["orders"].detail
    assert any("waiting for its PodDisruptionBudget" in each or "evicting" in each for each in said)
    assert place.uids("orders") == before
    assert place.controllers.least_ready["orders"] == 2
    assert by_name["web"].outcome == "done"


@pytest.mark.parametrize("strategy", [{}, {"strategy": {"type": "Recreate"}}])
def test_a_budget_is_waited_for(place: "Place", strategy: dict[str, object]) -> None:
    """As soon as it lets a pod go, the work goes on."""
    place.make(workload("Deployment", "orders", 2, **strategy), budget("orders", minAvailable=2))
    place.settle(2, budgets=1)
    before, said = place.uids("orders"), list[str]()

    def relax() -> None:
        eventually(lambda: said)
        assert place.uids("orders") == before
        path = f"/apis/policy/v1/namespaces/{place.namespace}/poddisruptionbudgets/orders"
        place.api.send("PATCH", path, {"spec": {"minAvailable": 1}}, content="application/merge-patch+json")

    owner = place.owner("Deployment", "orders")

    def say(_owner: object, text: str) -> None:
        if "Budget" in text or "evicting" in text:
            said.append(text)

    relaxing = threading.Thread(target=relax)
    relaxing.start()
    [result] = Recreation(place.api, place.options(), say).run([owner])
    relaxing.join()
    assert result.outcome == "done"
    assert place.suspects() == []


def test_a_rollout_that_takes_more_than_the_budget_allows_is_not_begun(place: "Place") -> None:
    """Evictions are counted by the API server, rollouts by nobody: so the pods are evicted."""
    spec = {"strategy": {"rollingUpdate": {"maxUnavailable": 2, "maxSurge": 0}}}
    place.make(workload("Deployment", "orders", 3, **spec), budget("orders", maxUnavailable=1))
    place.settle(3, budgets=1)
    [result], _said = place.recreate(place.owner("Deployment", "orders"))
    assert result.detail == "3 pods recreated (evicted)"
    assert place.controllers.least_ready["orders"] == 2


def test_every_budget_has_to_allow_a_rollout(place: "Place") -> None:
    """The leave of one of two is not enough: nothing is begun, and the other one is named."""
    second = {**budget("orders", maxUnavailable=0), "metadata": {"name": "second"}}
    place.make(workload("Deployment", "orders", 2), budget("orders", maxUnavailable=1), second)
    place.settle(2, budgets=2)
    before = place.uids("orders")
    [result], _said = place.recreate(place.owner("Deployment", "orders"), timeout=2)
    assert result.outcome == "blocked"
    assert result.detail.endswith(
        f"(PodDisruptionBudget {place.namespace}/second allows no disruption (2 pods healthy, 2 wanted))"
    )
    assert place.uids("orders") == before
    assert place.restarted_at("orders") is None


def test_two_budgets_for_one_pod_are_reported(place: "Place") -> None:
    """Kubernetes evicts no such pod, and says so only as an internal error."""
    second = {**budget("orders", maxUnavailable=1), "metadata": {"name": "second"}}
    recreate = {"strategy": {"type": "Recreate"}}
    place.make(workload("Deployment", "orders", 2, **recreate), budget("orders", maxUnavailable=1), second)
    place.settle(2, budgets=2)
    [result], _said = place.recreate(place.owner("Deployment", "orders"))
    assert result.outcome == "blocked"
    assert "several PodDisruptionBudgets (orders, second)" in result.detail


def test_a_static_pod_is_never_evicted(place: "Place") -> None:
    """Its kubelet makes it from a file; evicting it would change nothing but end it."""
    node = {"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": "1", "controller": True}
    place.make(bare_pod("proxy", ownerReferences=[node]))
    place.settle(1)
    before = place.uids("proxy")
    [result], _said = place.recreate(place.owner("Node", "node-1"))
    assert result.outcome == "left"
    assert place.uids("proxy") == before


def test_a_pod_that_took_the_place_of_another_is_not_evicted(place: "Place") -> None:
    """A StatefulSet's new pod has the old one's name; it is told by its identity."""
    place.make(workload("StatefulSet", "store", 1))
    place.settle(1)
    [pod], [judged] = place.pods(), place.judged()
    gone = dataclasses.replace(judged, uid="another")
    Recreation(place.api, place.options(timeout=1), lambda *_: None)._evict(
        place.owner("StatefulSet", "store"), gone, pod
    )
    assert place.uids("store") == {judged.uid}
    assert all(map(ready, place.pods()))


def test_a_replacement_that_does_not_get_ready_ends_the_run(place: "Place") -> None:
    """No further pod and no further owner is begun."""
    names = ("a", "b")
    place.make(*(workload("StatefulSet", name) for name in names))
    place.settle(4)
    place.controllers.never_ready.add("a")
    untouched = place.uids("b")
    results, _said = place.recreate(*(place.owner("StatefulSet", name) for name in names), timeout=1)
    assert [each.outcome for each in results] == ["failed", "not begun"]
    assert "1 of 2 pods available" in results[0].detail
    assert place.uids("b") == untouched
    assert place.controllers.least_ready["a"] == 1


def test_pods_that_are_not_ready_beforehand_keep_the_others_from_being_evicted(place: "Place") -> None:
    """An owner that already lacks pods loses no other, and the next owner has its turn."""
    place.controllers.wanted_by_operators["queue"] = 2
    place.make(workload("Deployment", "web", 1))
    place.settle(3)
    place.controllers.never_ready.add("queue")
    place.controllers.wanted_by_operators["queue"] = 3
    eventually(lambda: len(place.uids("queue")) == 3)
    before = place.uids("queue")
    results, _said = place.recreate(place.owner("Widget", "queue"), place.owner("Deployment", "web"), timeout=5)
    assert [each.outcome for each in results] == ["blocked", "done"]
    assert place.uids("queue") == before


def test_a_strict_pod_that_is_not_ready_is_recreated_first(place: "Place") -> None:
    """Recreating it is what heals it, where the cache was installed too early."""
    place.make(workload("StatefulSet", "store", 2))
    place.settle(2)
    [broken] = [each for each in place.pods() if each["metadata"]["name"] == "store-0"]
    with place.controllers.pause():
        place.controllers.never_ready.add("store")
        path = f"/api/v1/namespaces/{place.namespace}/pods/store-0/status"
        conditions = [{"type": "Ready", "status": "False"}]
        place.api.send("PUT", path, {**broken, "status": {**broken["status"], "conditions": conditions}})
    evicted: list[str] = []
    eventually(lambda: not all(map(ready, place.pods())))

    def heal() -> None:
        eventually(lambda: broken["metadata"]["uid"] not in place.uids("store"))
        place.controllers.never_ready.clear()

    healing = threading.Thread(target=heal)
    healing.start()
    [result], said = place.recreate(place.owner("StatefulSet", "store"))
    healing.join()
    evicted = [each for each in said if "evicting" in each]
    assert evicted == ["store: evicting store-0", "store: evicting store-1"]
    assert result.outcome == "done"


def test_an_unfinished_rollout_is_waited_for_and_not_begun_again(place: "Place") -> None:
    """Whoever began it: it replaces the pods."""
    place.make(workload("Deployment", "orders", 3))
    place.settle(3)
    path = f"/apis/apps/v1/namespaces/{place.namespace}/deployments/orders"
    change = {"spec": {"template": {"metadata": {"annotations": {"release": "2"}}}}}
    place.api.send("PATCH", path, change, content="application/strategic-merge-patch+json")
    [result], said = place.recreate(place.owner("Deployment", "orders"))
    assert "orders: waiting for the rollout that is under way" in said
    assert (result.outcome, result.detail) == ("done", "nothing is left to recreate")
    template = (place.api.get(path) or {})["spec"]["template"]["metadata"]
    assert template["annotations"] == {"release": "2"}
    assert place.suspects() == []


def test_an_api_server_that_is_away_for_a_while_is_waited_for(place: "Place", monkeypatch: pytest.MonkeyPatch) -> None:
    """EKS replaces its API servers; a rollout that was begun is not given up for that."""
    place.make(workload("Deployment", "orders", 2))
    place.settle(2)
    api = copy.copy(place.api)
    failures: list[str] = []
    send = api.send

    def away(method: str, path: str, *more: Any, **other: Any) -> Any:
        if waiting.is_set() and len(failures) < 5:
            failures.append(path)
            raise KubernetesApiError("the Kubernetes API does not answer")
        return send(method, path, *more, **other)

    waiting = threading.Event()
    monkeypatch.setattr(api, "send", away)
    recreation = Recreation(
        api,
        place.options(),
        lambda _owner, text: waiting.set() if text == "waiting for its rollout" else None,
    )
    [result] = recreation.run([place.owner("Deployment", "orders")])
    assert len(failures) == 5
    assert result.outcome == "done"


@pytest.mark.parametrize("kind", ["Job", "Workflow", "Pod"])
def test_pods_that_do_a_piece_of_work_are_waited_for_and_never_ended(place: "Place", kind: str) -> None:
    """They end by themselves, or are reported."""
    owner = {"apiVersion": "any/v1", "kind": kind, "name": "import", "uid": "1", "controller": True}
    working = bare_pod("import-1", ownerReferences=[owner])
    working["spec"]["restartPolicy"] = "Never"
    place.make(working)
    place.settle(1)
    [result], _said = place.recreate(place.owner(kind, "import"), timeout=1)
    assert result.outcome == "left"
    assert "import-1" in result.detail
    [pod] = place.pods()
    assert "deletionTimestamp" not in pod["metadata"]
    with place.controllers.pause():
        path = f"/api/v1/namespaces/{place.namespace}/pods/import-1/status"
        place.api.send("PUT", path, {**pod, "status": {**pod["status"], "phase": "Succeeded"}})
    [result], _said = place.recreate(place.owner(kind, "import"), timeout=10)
    assert result.outcome == "done"


def test_a_run_that_is_killed_between_two_evictions_has_counted_for_the_next(place: "Place") -> None:
    """As long as the operator has not made the first one anew, no second one goes."""
    place.controllers.wanted_by_operators["queue"] = 3
    place.settle(3)
    place.controllers.wanted_by_operators["queue"] = 0  # the operator stands still
    owner = place.owner("Widget", "queue")

    def die(_owner: object, text: str) -> None:
        if place.controllers.least_ready["queue"] < 3 or "evict queue-2" in text:
            raise InterruptedError

    with pytest.raises(InterruptedError, match=r"^$"):
        Recreation(place.api, place.options(), die).run([owner])
    eventually(lambda: len(place.uids("queue")) == 2)
    left = place.uids("queue")
    [result], _said = place.recreate(owner, timeout=1)
    assert result.outcome == "blocked"
    assert result.detail == (
        f"waiting until its pods are ready, to evict queue-2: no progress for {place.pace:g} s (2 of 3 pods ready, by "
        f"the annotation {PODS_WANTED} of its old pods)"
    )
    assert place.uids("queue") == left
    place.controllers.wanted_by_operators["queue"] = 3
    [result], _said = place.recreate(owner)
    assert (result.outcome, result.detail) == ("done", "2 pods recreated (evicted)")
    assert place.controllers.least_ready["queue"] == 2


def test_a_restart_that_something_undoes_is_finished_by_evictions(place: "Place") -> None:
    """A release tool puts the template back; the old pods that stay by that go one by one."""
    place.make(workload("Deployment", "orders", 3))
    place.settle(3)
    path = f"/apis/apps/v1/namespaces/{place.namespace}/deployments/orders"
    said: list[str] = []

    def undo(_owner: object, text: str) -> None:
        said.append(text)
        if text == "waiting for its rollout":
            change = {"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: None}}}}}
            place.api.send("PATCH", path, change, content="application/strategic-merge-patch+json")

    [result] = Recreation(place.api, place.options(), undo).run([place.owner("Deployment", "orders")])
    assert (result.outcome, result.detail) == (
        "done",
        "3 pods recreated (rollout restarted, which something undid, then evicted)",
    )
    assert "something put its pod template back, and the restart was undone: evicting the old pods" in said
    assert place.suspects() == []
    assert place.controllers.least_ready["orders"] >= 2


def test_a_mode_that_turns_strict_meanwhile_ends_the_run(server: "ApiServerOfTests", place: "Place") -> None:
    """What is left would be recreated for nothing."""
    names = ("a", "b", "c")
    place.make(*(workload("StatefulSet", name, 1) for name in names))
    place.settle(3)
    before = place.uids("b"), place.uids("c")

    def turn(owner: Any, text: str) -> None:
        if owner.name == "a" and "recreated" in text:
            server.set_mode("strict")

    try:
        owners = [place.owner("StatefulSet", name) for name in names]
        results = Recreation(place.api, place.options(), turn).run(owners)
    finally:
        server.set_mode("standard")
    assert [each.outcome for each in results] == ["done", "failed", "not begun"]
    assert results[1].detail.startswith("The DaemonSet aws-node is in strict mode: recreated pods would get strict")
    assert (place.uids("b"), place.uids("c")) == before


def test_a_replacement_with_strict_rules_is_a_failure(place: "Place") -> None:
    """It is named, with what says so, and no further owner is begun."""
    names = ("a", "b")
    place.make(*(workload("StatefulSet", name, 1) for name in names))
    place.settle(2)
    before = place.uids("b")
    with place.controllers.old_pods():
        results, _said = place.recreate(*(place.owner("StatefulSet", name) for name in names))
    assert [each.outcome for each in results] == ["failed", "not begun"]
    assert results[0].detail.startswith(
        f"pods that were made anew have strict rules again: {place.namespace}/a-0 (it was started at "
    )
    assert results[0].detail.endswith("See that aws-node is healthy on their nodes, then run this again")
    assert place.uids("b") == before
