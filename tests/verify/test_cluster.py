import signal
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from simulated import Kubelets, add_nodes, api_server, left_behind, started

from tests.waiting import eventually
from verify.cluster import Cluster
from verify.findings import Verdict
from verify.run import Options, Outcome, run_once

pytestmark = pytest.mark.engine

NODES = 500
ODD = {"node-7": "dead", "node-11": "silent", "node-13": "garbage", "node-17": "lying", "node-19": "other"}
PARALLEL = 20
FEW, MANY = 20, 80
"""Nodes of a run whose memory is measured: as many as are looked at at once, and more."""

PADDING = 400_000
"""Bytes by which every report is longer than it need be there, so that kept ones are seen."""


def behaviour(node: str) -> str:
    """Return how a node behaves: a few are odd."""
    return ODD.get(node, "healthy")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Cluster, Kubelets]]:
    """Return an API server with 500 nodes."""
    directory = tmp_path_factory.mktemp("fleet")
    with api_server(directory) as (path, cluster):
        kubelets = Kubelets(cluster, directory / "kubelets", behaviour)
        kubelets.forgetful = True
        try:
            add_nodes(cluster, [f"node-{number}" for number in range(NODES)], kubelets.port)
            yield path, cluster, kubelets
        finally:
            kubelets.stop()


def run(cluster: Cluster, *nodes: str) -> Outcome:
    """Run once; the silent node is waited for while the others are looked at."""
    return run_once(cluster, Options(nodes=nodes, timeout=60, parallel=PARALLEL), lambda *_: None)


def odd_ones(outcome: Outcome) -> dict[str, set[tuple[str, Verdict]]]:
    """Return the checks that did not say ok, by node."""
    found: dict[str, set[tuple[str, Verdict]]] = {}
    for each in outcome.findings:
        if each.place and each.verdict is not Verdict.OK:
            found.setdefault(each.place, set()).add((each.check, each.verdict))
    return found


@pytest.mark.timeout(600)
def test_every_node_of_a_fleet_gets_its_verdict(fleet: tuple[Path, Cluster, Kubelets]) -> None:
    """Of 500 nodes the odd ones are named, each for what it is; probes have a bound; nothing stays."""
    _, cluster, kubelets = fleet
    kubelets.most = 0
    outcome = run(cluster)
    assert outcome.nodes == NODES
    assert outcome.verdict is Verdict.FAILED
    assert odd_ones(outcome) == {
        "node-7": {("cache listens", Verdict.FAILED)},
        "node-11": {("probe", Verdict.UNKNOWN), ("facts", Verdict.UNKNOWN)},
        "node-13": {("probe", Verdict.UNKNOWN), ("facts", Verdict.UNKNOWN)},
        "node-17": {("facts", Verdict.UNKNOWN)},
        "node-19": {("facts", Verdict.UNKNOWN)},
    }
    assert kubelets.most <= 2 * PARALLEL
    assert left_behind(cluster) == []


def test_reports_are_not_kept(fleet: tuple[Path, Cluster, Kubelets]) -> None:
    """However many nodes there are, the memory is that of those that are looked at, and of findings."""
    _, cluster, kubelets = fleet
    kubelets.padding = PADDING
    most: list[int] = []
    for count in (FEW, MANY):  # tracing takes as much of the processor as all else, hence not every node
        tracemalloc.start()
        try:
            assert odd_ones(run(cluster, *(f"node-{number}" for number in range(20, 20 + count)))) == {}
            most.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    kubelets.padding = 0
    few, many = most
    assert many - few < (MANY - FEW) * 2 * PADDING / 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_leaves_nothing(fleet: tuple[Path, Cluster, Kubelets], number: signal.Signals) -> None:
    """A run that is asked to end removes its probes and its lease, and says that it could not tell."""
    path, cluster, _ = fleet
    with started(path, "--node", "node-11", "--node", "node-20") as process:
        eventually(lambda: any("node" in each for each in left_behind(cluster)), 60)
        process.send_signal(number)
        assert process.wait(60) == 2
    assert left_behind(cluster) == []


def test_killed_run_is_swept_by_the_next(fleet: tuple[Path, Cluster, Kubelets]) -> None:
    """What a killed run leaves is removed by the next one, whatever node it looks at; a healthy node is healthy."""
    path, cluster, _ = fleet
    with started(path, "--node", "node-11") as process:
        eventually(lambda: any("node" in each for each in left_behind(cluster)), 60)
        process.kill()
    assert left_behind(cluster) != []
    with started(path, "--node", "node-20") as process:
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert left_behind(cluster) == []


def test_second_run_keeps_off(fleet: tuple[Path, Cluster, Kubelets]) -> None:
    """While a run is at work, another one says so and touches nothing of it."""
    path, cluster, _ = fleet
    with started(path, "--node", "node-11") as first:
        eventually(lambda: any("node" in each for each in left_behind(cluster)), 60)
        with started(path, "--node", "node-20") as second:
            output, _ = second.communicate(timeout=60)
        assert second.returncode == 2
        assert "another run" in output
        assert left_behind(cluster) != []
        first.send_signal(signal.SIGINT)
        first.wait(60)
    assert left_behind(cluster) == []
