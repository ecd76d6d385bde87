"""The command as people and pipelines run it, on a real API server."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from components.running_cluster.lease import alone
from local_cloud.stacks import ROOT
from migrate.__main__ import LEASE
from tests.simulated_controllers import bare_pod, budget, workload
from tests.waiting import eventually

if TYPE_CHECKING:
    from conftest import ApiServerOfTests, Place

pytestmark = pytest.mark.engine


def command(kubeconfig: Path, *arguments: str) -> list[str]:
    """Return the command's line."""
    return [sys.executable, "-m", "migrate", f"--kubeconfig={kubeconfig}", *arguments]


def run(place: "Place", *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command for a namespace."""
    line = command(place.kubeconfig, f"--namespace={place.namespace}", *arguments)
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def versions(place: "Place") -> dict[str, str]:
    """Return everything of a namespace that could be changed, with its version."""
    paths = [f"/api/v1/namespaces/{place.namespace}/pods", f"/apis/apps/v1/namespaces/{place.namespace}/deployments"]
    found = [each["metadata"] for path in paths for each in place.api.items(path)]
    return {each["name"]: each["resourceVersion"] for each in found}


def test_by_default_it_only_shows(place: "Place") -> None:
    """Mode, each pod with its owner and reason, and what would be done; nothing is changed; exit code 1."""
    place.make(workload("Deployment", "orders", 1), workload("StatefulSet", "store", 1), bare_pod("legacy"))
    place.settle(3)
    before = versions(place)
    shown = run(place)
    assert shown.returncode == 1, shown.stderr
    assert "asks for standard mode; it runs in standard mode on 1 nodes and in strict mode on 0" in shown.stdout
    assert "The vpc-cni add-on was not asked for its mode: the kubeconfig names no cluster of EKS" in shown.stdout
    assert f"{place.namespace}/legacy" in shown.stdout
    assert "it was started at" in shown.stdout
    restart = "restart its rollout (its rollout replaces them one after the other)"
    assert f"Deployment {place.namespace}/orders: {restart}" in shown.stdout
    assert f"StatefulSet {place.namespace}/store: {restart}" in shown.stdout
    assert "pods without an owner: nothing (nothing would make it anew" in shown.stdout
    assert "3 pods are not known to have the rules of standard mode" in shown.stderr
    assert "Nothing was changed: --apply recreates them." in shown.stderr
    assert versions(place) == before


def test_it_recreates_all_but_bare_pods(place: "Place") -> None:
    """Bare pods are named and never deleted; when they are gone the exit code is 0."""
    place.make(workload("Deployment", "orders", 2), bare_pod("legacy"))
    place.settle(3)
    bare = place.uids("legacy")
    done = run(place, "--apply", "--json")
    assert done.returncode == 1, done.stderr
    assert place.uids("legacy") == bare
    assert place.suspects() == ["legacy"]
    said: dict[str, Any] = json.loads(done.stdout)
    outcomes = {(each["owner"] or {}).get("name"): each["outcome"] for each in said["results"]}
    assert outcomes == {"orders": "done", None: "left"}
    assert {each["name"]: each["mode"] for each in said["pods"]}["legacy"] == "strict"
    place.api.send("DELETE", f"/api/v1/namespaces/{place.namespace}/pods/legacy")
    eventually(lambda: not place.uids("legacy"))
    assert run(place, "--apply").returncode == 0


def test_one_owner_can_be_chosen(place: "Place") -> None:
    """Others are not touched, and a misspelt one is not taken for done."""
    place.make(workload("Deployment", "a", 1), workload("Deployment", "b", 1))
    place.settle(2)
    untouched = place.uids("b")
    done = run(place, "--owner=deployment/a", "--apply")
    assert done.returncode == 0, done.stderr
    assert done.stderr.rstrip().endswith(
        "No pod in this selection has strict rules, and none can get them. Outside this selection 1 pod is not known "
        "to have the rules of standard mode."
    )
    assert place.uids("b") == untouched
    misspelt = run(place, "--owner=deployment/c", "--apply")
    assert misspelt.returncode == 2
    assert "--owner deployment/c: it has no running pod with a security group here" in misspelt.stderr


def test_a_budget_is_reported_with_the_exit_code(place: "Place") -> None:
    """What a budget forbids is in the summary, and the exit code says that pods are left."""
    place.make(workload("Deployment", "orders", 2), budget("orders", maxUnavailable=0))
    place.settle(2, budgets=1)
    before = place.uids("orders")
    done = run(place, "--apply", "--timeout=1")
    assert done.returncode == 1
    assert "blocked" in done.stdout
    assert f"PodDisruptionBudget {place.namespace}/orders allows no disruption" in done.stdout
    assert place.uids("orders") == before


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_after_an_end_halfway_the_next_run_goes_on(place: "Place", ending: signal.Signals) -> None:
    """What was done is not done again, a rollout that was begun is only waited for, and the rest follows."""
    names = ("a", "b", "c")
    place.make(*(workload("Deployment", name, 2) for name in names))
    place.settle(6)
    strict = {name: place.uids(name) for name in names}
    line = command(place.kubeconfig, f"--namespace={place.namespace}", "--apply")
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as first:
        assert first.stderr is not None
        for text in first.stderr:
            if "/b: restarting" in text:
                break
        with place.controllers.pause():  # the rollout is begun, and does not go on
            eventually(lambda: place.restarted_at("b"))
            os.kill(first.pid, ending)
            rest = first.stderr.read()
            first.wait()
            done, begun = place.uids("a"), place.restarted_at("b")
    assert first.returncode == (-signal.SIGKILL if ending == signal.SIGKILL else 1)
    assert ("the next run goes on from there" in rest) == (ending != signal.SIGKILL)
    assert not done & strict["a"]
    assert place.uids("c") == strict["c"]
    second = run(place, "--apply")
    assert second.returncode == 0, second.stderr
    assert place.suspects() == []
    assert place.uids("a") == done
    assert place.restarted_at("b") == begun
    assert not place.uids("c") & strict["c"]
    assert all(place.controllers.least_ready[name] == 2 for name in names)


@pytest.fixture
def strict_mode(server: "ApiServerOfTests") -> Any:
    """Let aws-node be in strict mode meanwhile."""
    server.set_mode("strict")
    yield
    server.set_mode("standard")


@pytest.mark.usefixtures("strict_mode")
def test_in_strict_mode_it_refuses(place: "Place") -> None:
    """Recreated pods would be as strict as before: it says which setting is first."""
    place.make(workload("Deployment", "orders", 1))
    place.settle(1)
    before = versions(place)
    done = run(place, "--apply")
    assert done.returncode == 1
    assert "recreated pods would get strict rules again" in done.stderr
    assert "in its configuration values. Nothing was changed." in done.stderr
    assert versions(place) == before


@pytest.mark.usefixtures("strict_mode")
def test_no_pod_in_strict_mode_is_not_yet_good(place: "Place") -> None:
    """Without any such pod the next one would still be strict."""
    done = run(place)
    assert done.returncode == 1
    assert "No pod has strict rules now, but new ones would get them." in done.stderr


def test_it_waits_for_the_rollout_of_aws_node(server: "ApiServerOfTests", place: "Place") -> None:
    """While aws-node still runs in strict mode somewhere nothing is recreated, and then it is."""
    place.make(workload("Deployment", "orders", 1))
    place.settle(1)
    before = place.uids("orders")
    server.set_running_mode("strict")
    line = command(place.kubeconfig, f"--namespace={place.namespace}", "--apply")
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        assert "waiting for the rollout of aws-node: node-1" in waiting.stderr.readline()
        assert place.uids("orders") == before
        server.set_running_mode("standard")
        waiting.communicate(timeout=120)
    assert waiting.returncode == 0
    assert not before & place.uids("orders")


def test_two_runs_are_kept_apart(place: "Place") -> None:
    """The second one changes nothing and says who is at work; looking is always possible."""
    place.make(workload("Deployment", "orders", 1))
    place.settle(1)
    before = versions(place)
    with alone(place.api, LEASE, "alice on laptop, process 7"):
        second = run(place, "--apply")
        assert run(place).returncode == 1
    assert second.returncode == 2
    assert second.stderr.rstrip().endswith(
        "another run (alice on laptop, process 7) is at work on this cluster; wait for it, or end it. When it is dead "
        "its lease kube-system/migrate-to-standard-mode is free after 15 s"
    )
    assert versions(place) == before
    assert run(place, "--apply").returncode == 0


def test_a_cluster_that_cannot_be_asked_is_neither_good_nor_bad(tmp_path: Path) -> None:
    """Exit code 2, and the reason."""
    absent = subprocess.run(
        command(tmp_path / "none"), cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert absent.returncode == 2
    assert "there is no usable kubeconfig" in absent.stderr
