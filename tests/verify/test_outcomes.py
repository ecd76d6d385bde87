"""What the command prints and with which code it ends, whatever its look at the cluster comes to."""

import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from components.running_cluster.kubernetes_api import KubernetesApiError
from components.running_cluster.lease import BusyError
from verify import __main__ as command
from verify.cluster import Cluster
from verify.cluster_facts import ClusterFacts, NodeObject
from verify.facts import FactsError
from verify.findings import Finding, Verdict
from verify.options import Options
from verify.probing import starting
from verify.progress import Progress
from verify.run import Outcome, _findings, _unaskable, neighbour, run_once

WELL = Outcome([Finding("DNS works", 11, "node-1", Verdict.OK, "all answered", "")], nodes=1)
ILL = Outcome([Finding("DNS works", 11, "node-1", Verdict.FAILED, "1 question went wrong", "look")], nodes=1)

Look = Outcome | BaseException


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return what runs the command with looks that come to what is given, one after the other."""

    def run(looks: list[Look], *arguments: str) -> Result:
        turns: Iterator[Look] = iter(looks)

        def look(*_: Any) -> Outcome:
            found = next(turns)
            if isinstance(found, BaseException):
                raise found
            return replace(found)

        monkeypatch.setattr(command, "connect", lambda *_: None)
        monkeypatch.setattr(command, "run_once", look)
        monkeypatch.setattr(command.time, "sleep", lambda _: None)
        monkeypatch.setattr(command.signal, "signal", lambda *_: None)
        return CliRunner().invoke(command.app, arguments)

    return run


PROBLEMS: list[tuple[BaseException, str]] = [
    (KubernetesApiError("GET /api: the Kubernetes API does not answer"), "does not answer"),
    (BusyError("another run (x) is at work"), "another run"),
    (ValueError("never thought of"), "this command has a defect: ValueError: never thought of"),
]


@pytest.mark.parametrize(("problem", "said"), PROBLEMS)
def test_problem_is_no_verdict(run: Callable[..., Result], tmp_path: Path, problem: BaseException, said: str) -> None:
    """Whatever keeps the command from looking is code 2, and is told in the reports that were asked for."""
    plain = run([problem])
    assert (plain.exit_code, plain.stdout) == (2, "")
    assert said in plain.stderr
    path = tmp_path / "report.xml"
    told = run([problem], "--json", "--junit", str(path))
    assert told.exit_code == 2
    (finding,) = json.loads(told.stdout)["findings"]
    assert (finding["verdict"], said in finding["evidence"]) == ("could not tell", True)
    (error,) = ET.parse(path).getroot().iter("error")  # noqa: S314  # our own file
    assert said in error.attrib["message"]


def test_junit_without_json_prints_no_verdict(run: Callable[..., Result], tmp_path: Path) -> None:
    """A look that failed prints nothing where a report is read, though it writes one for the pipeline."""
    path = tmp_path / "report.xml"
    assert run([PROBLEMS[0][0]], "--junit", str(path)).stdout == ""
    assert path.exists()


@pytest.mark.parametrize(("outcome", "code"), [(WELL, 2), (ILL, 1)])
def test_report_that_cannot_be_written_is_said(run: Callable[..., Result], outcome: Outcome, code: int) -> None:
    """Without the report that was asked for no run is a success; a failure stays one."""
    result = run([outcome], "--junit", "/nowhere/report.xml")
    assert result.exit_code == code
    assert "--junit: the report could not be written" in result.stderr


AWAY = KubernetesApiError("the Kubernetes API does not answer")


@pytest.mark.parametrize(
    ("looks", "code"),
    [
        ([WELL, KeyboardInterrupt()], 0),
        ([ILL, WELL, KeyboardInterrupt()], 0),
        ([WELL, ILL, KeyboardInterrupt()], 1),
        ([WELL, AWAY, KeyboardInterrupt()], 2),
        ([WELL, AWAY, WELL, KeyboardInterrupt()], 0),
        ([AWAY], 2),
        ([KeyboardInterrupt()], 2),
        ([WELL, ValueError("never thought of")], 2),
    ],
)
def test_watch_ends_with_what_its_last_look_came_to(run: Callable[..., Result], looks: list[Look], code: int) -> None:
    """Ctrl-C ends a watch with its last look's code; a look that failed is one too."""
    assert run(looks, "--watch", "1").exit_code == code


def test_watch_prints_a_document_a_line(run: Callable[..., Result]) -> None:
    """With --watch each look is one line of JSON, also one that failed."""
    lines = run([WELL, AWAY, ILL, KeyboardInterrupt()], "--watch", "1", "--json").stdout.splitlines()
    assert [json.loads(each)["verdict"] for each in lines] == ["ok", "could not tell", "failed"]


def test_progress_is_said_off_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a log the beginning is said at once, and then a line now and then."""
    clock = iter([0.0, 1.0, 10.0, 10.0, 12.0, 25.0, 25.0])
    monkeypatch.setattr("verify.progress.time.monotonic", lambda: next(clock))
    log = io.StringIO()
    with Progress(Console(file=log), "looking at the cluster") as progress:
        for number in range(1, 5):
            progress.say(f"{number} of 500 nodes")
    assert log.getvalue().splitlines() == ["looking at the cluster", "2 of 500 nodes", "4 of 500 nodes"]


def node(*, ready: bool = True, age: timedelta = timedelta(days=1)) -> NodeObject:
    """Return a node."""
    created = f"{datetime.now(UTC) - age:%Y-%m-%dT%H:%M:%SZ}"
    return NodeObject("node-1", ready, "10.0.0.1", has_trunk=False, without_cache="", created=created)


@pytest.mark.parametrize(
    ("nodes", "address", "said"),
    [
        ([], "172.20.0.10", "the cluster has no node"),
        ([node(ready=False)], "172.20.0.10", "no node is ready"),
        ([node()], "None", "there is no Service kube-dns"),
        ([node()], "fd00::a", "IPv4 only"),
        ([node()], "172.20.0.10", ""),
    ],
)
def test_why_nobody_can_be_asked(nodes: list[NodeObject], address: str, said: str) -> None:
    """What keeps every node from being asked is said as it is."""
    problem = _unaskable(ClusterFacts(kube_dns={"spec": {"clusterIP": address}}), nodes)
    assert said in problem
    assert bool(problem) == bool(said)


def test_only_a_node_with_a_cache_is_a_neighbour() -> None:
    """Fargate nodes, nodes that are not ready or without an address, and the node itself are no neighbours."""
    here, there = node(), replace(node(), name="node-2")
    no_neighbours = [
        here,
        replace(here, name="fargate", without_cache="fargate"),
        replace(here, name="away", ready=False),
        replace(here, name="nameless", address=""),
    ]
    for number in range(4):
        assert neighbour([*no_neighbours, there], number, here) == there
        assert neighbour(no_neighbours, number, here) is None


def cache_pod(*, age: timedelta, **status: Any) -> Any:
    """Return a pod of the cache."""
    created = f"{datetime.now(UTC) - age:%Y-%m-%dT%H:%M:%SZ}"
    return {"metadata": {"name": "cache", "creationTimestamp": created}, "spec": {}, "status": status}


OLD, YOUNG = timedelta(hours=1), timedelta(seconds=20)
CRASHED = {"containerStatuses": [{"name": "node-cache", "restartCount": 0, "lastState": {"terminated": {}}}]}
READY = {"conditions": [{"type": "Ready", "status": "True"}]}


@pytest.mark.parametrize(
    ("age", "pods", "said"),
    [
        (OLD, [], ""),
        (YOUNG, [], "the node joined"),
        (OLD, [(OLD, {})], ""),
        (OLD, [(YOUNG, {})], "its pod was made"),
        (OLD, [(OLD, {}), (YOUNG, {})], ""),
        (YOUNG, [(YOUNG, {})], "the node joined"),
        (OLD, [(YOUNG, CRASHED)], ""),
        (YOUNG, [(YOUNG, READY)], ""),
    ],
)
def test_cache_has_its_time_to_start(age: timedelta, pods: list[tuple[timedelta, Any]], said: str) -> None:
    """A cache on a young node, or in a young pod, may still come, unless it has been there already."""
    # Stamped here: a pod stamped when the tests are collected is an old one by the time this one runs.
    found = starting(node(age=age), [cache_pod(age=each, **status) for each, status in pods])
    assert said in found
    assert bool(found) == bool(said)


@pytest.mark.parametrize(
    ("metadata", "taint", "leaving"),
    [
        ({}, "node.kubernetes.io/unschedulable", False),
        ({"deletionTimestamp": "2026-01-01T00:00:00Z"}, "x", True),
        ({}, "ToBeDeletedByClusterAutoscaler", True),
        ({}, "karpenter.sh/disrupted", True),
        ({}, "aws-node-termination-handler/spot-itn", True),
    ],
)
def test_node_that_leaves_is_known_by_its_taint(metadata: dict[str, str], taint: str, leaving: bool) -> None:
    """What autoscalers and AWS mark as going is known to go; a cordoned node is not."""
    found = NodeObject.read({"metadata": {"name": "node-1", **metadata}, "spec": {"taints": [{"key": taint}]}})
    assert found.leaving == leaving


@pytest.mark.parametrize(
    ("found", "verdict", "code"),
    [
        ([], Verdict.OK, 0),
        ([Verdict.OK], Verdict.OK, 0),
        ([Verdict.OK, Verdict.NOT_VISIBLE], Verdict.OK, 0),
        ([Verdict.NOT_VISIBLE, Verdict.UNKNOWN, Verdict.OK], Verdict.UNKNOWN, 2),
        ([Verdict.FAILED, Verdict.OK], Verdict.FAILED, 1),
        ([Verdict.UNKNOWN, Verdict.FAILED, Verdict.NOT_VISIBLE], Verdict.FAILED, 1),
    ],
)
def test_the_worst_counts(
    run: Callable[..., Result], found: list[Verdict], verdict: Verdict, code: int
) -> None:  # fmt: skip
    """A failure is never hidden behind what could not be told, nor that behind what is well."""
    outcome = Outcome([Finding("DNS works", 11, "node-1", each, "seen", "") for each in found])
    assert outcome.verdict is verdict
    assert run([outcome]).exit_code == code
    assert json.loads(run([outcome], "--json").stdout)["verdict"] == verdict


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (KubernetesApiError("the Kubernetes API does not answer"), "the Kubernetes API does not answer"),
        (ZeroDivisionError("by zero"), "its reports could not be judged: ZeroDivisionError: by zero"),
        (FactsError("odd"), "its reports could not be judged: FactsError: odd"),
    ],
)
def test_what_goes_wrong_with_a_node_is_no_health(problem: Exception, said: str) -> None:
    """Whatever it is, the node is one that could not be judged, and the others are judged all the same."""
    job: Future[list[Finding]] = Future()
    job.set_exception(problem)
    (told,) = _findings("node-7", job)
    assert (told.place, told.verdict, told.evidence) == ("node-7", Verdict.UNKNOWN, said)
    well: Future[list[Finding]] = Future()
    well.set_result(WELL.findings)
    assert _findings("node-1", well) == WELL.findings


class Nodes(Cluster):
    """A cluster of which only the objects that were given can be read; whatever else is asked of it is an error."""

    def __init__(self, *nodes: dict[str, Any]) -> None:
        super().__init__(client=None)  # type: ignore[arg-type]
        self.nodes = nodes

    def request(self, method: str, path: str, *_: Any, **__: Any) -> bytes:
        """Serve the list of nodes, empty lists, and no object."""
        if method != "GET":
            raise AssertionError(f"{method} {path}")
        if path == "/api/v1/nodes":
            return json.dumps({"metadata": {}, "items": self.nodes}).encode()
        if path.rpartition("/")[2] in {"pods", "controllerrevisions"}:
            return b'{"metadata": {}, "items": []}'
        raise KubernetesApiError("not found", 404)


def test_nothing_is_made_where_nobody_can_be_asked() -> None:
    """Without kube-dns no probe is made, and what was not checked is named."""
    ready = {"metadata": {"name": "node-1"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    away = {"metadata": {"name": "node-2"}, "status": {}}
    outcome = run_once(Nodes(ready, away), Options(), lambda *_: None)
    assert (outcome.nodes, outcome.verdict) == (2, Verdict.FAILED)
    told = [(each.place, each.verdict, each.evidence) for each in outcome.findings if each.check == "probe"]
    assert told[0] == ("node-2", Verdict.UNKNOWN, "the node is not ready: no pod can look at it")
    assert told[1][:2] == ("", Verdict.UNKNOWN)
    assert told[1][2].startswith(
        "there is no Service kube-dns with a ClusterIP to ask: nothing could be looked at from inside. Not checked: "
        "port 53 is free, "
    )
    only = run_once(Nodes(ready, away), Options(nodes=("node-2",)), lambda *_: None)
    assert only.nodes == 1
    with pytest.raises(KubernetesApiError, match=r"^there is no node a, b; `kubectl get nodes` lists them$"):
        run_once(Nodes(ready), Options(nodes=("b", "node-1", "a")), lambda *_: None)
