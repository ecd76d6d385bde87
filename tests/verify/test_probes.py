"""What is made on nodes, what becomes of it, and what is said where nothing can be looked at."""

import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from reports import CLOSED
from simulated import (
    POLICY_PATH,
    SYSTEM,
    Kubelets,
    add_nodes,
    add_policy,
    api_server,
    left_behind,
    started,
)

from tests.waiting import eventually
from verify import probing
from verify.cluster import Cluster, look
from verify.crash import crash_once
from verify.findings import Finding, Verdict
from verify.options import Options
from verify.run import Outcome, run_once

pytestmark = pytest.mark.engine

TRUNK = {"vpc.amazonaws.com/pod-eni": "9"}
GROUP_CHECK = "security group lets DNS through"


class Fleet:
    """A cluster whose nodes behave as their names begin."""

    def __init__(self, path: Path, cluster: Cluster) -> None:
        self.path, self.cluster = path, cluster
        self.kubelets: Kubelets
        self._made = 0

    def node(self, kind: str, *, trunk: bool = False, ready: bool = True, labels: Any = None) -> str:
        """Make a node."""
        self._made += 1
        name = f"{kind}-{self._made}"
        more = {"capacity": TRUNK, "allocatable": TRUNK} if trunk else {}
        add_nodes(self.cluster, [name], self.kubelets.port, ready=ready, **more)
        if labels:
            path = f"/api/v1/nodes/{name}"
            found = self.cluster.get(path)
            assert found is not None
            self.cluster.replace(path, {**found, "metadata": {**found["metadata"], "labels": labels}})
        return name

    def run(self, *nodes: str, **options: Any) -> Outcome:
        """Look at nodes once."""
        chosen = Options(nodes=nodes, **{"timeout": 30, **options})
        outcome = run_once(self.cluster, chosen, lambda *_: None)
        assert left_behind(self.cluster) == []
        return outcome

    def probes(self, node: str) -> list[Any]:
        """Return the probes that there were on a node."""
        return [each for each in self.kubelets.made.values() if each["spec"]["nodeName"] == node]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Return a cluster without nodes."""
    directory = tmp_path_factory.mktemp("probes")
    with api_server(directory) as (path, cluster):
        fleet = Fleet(path, cluster)
        fleet.kubelets = Kubelets(cluster, directory / "kubelets", lambda node: node.partition("-")[0])
        try:
            yield fleet
        finally:
            fleet.kubelets.stop()


@pytest.fixture
def fleet(running: Fleet) -> Iterator[Fleet]:
    """Return the cluster; the policies that a test makes are gone after it."""
    yield running
    for each in list(running.cluster.items(POLICY_PATH)):
        running.cluster.delete(f"{POLICY_PATH}/{each['metadata']['name']}")


def odd(outcome: Outcome) -> list[Finding]:
    """Return what of the nodes is not well."""
    return [each for each in outcome.findings if each.place and each.verdict is not Verdict.OK]


def behind(fleet: Fleet, *nodes: str) -> list[tuple[str, ...]]:
    """Return the groups that probes of nodes were behind."""
    made = (each["metadata"]["name"] for node in nodes for each in fleet.probes(node))
    return [fleet.kubelets.behind[each] for each in made if each in fleet.kubelets.behind]


def test_probe_is_behind_the_applications_groups(fleet: Fleet) -> None:
    """A node with a trunk gets one more probe, behind the groups of an application's policy; no other node does."""
    add_policy(fleet.cluster, "app", "sg-open")
    node, plain = fleet.node("healthy", trunk=True), fleet.node("healthy")
    assert odd(fleet.run(node, plain)) == []
    assert behind(fleet, node) == [("sg-open",)]
    assert len(fleet.probes(node)) == 3
    assert len(fleet.probes(plain)) == 2


def test_probe_that_is_behind_no_group_is_no_proof(fleet: Fleet) -> None:
    """A probe that AWS' controller gave no branch interface says nothing about security groups."""
    add_policy(fleet.cluster, "app", "sg-open")
    node = fleet.node("bare", trunk=True)
    found = odd(fleet.run(node))
    assert {(each.check, each.verdict) for each in found} == {
        ("probe", Verdict.UNKNOWN), (GROUP_CHECK, Verdict.UNKNOWN)
    }  # fmt: skip
    assert "no annotation vpc.amazonaws.com/pod-eni" in found[0].evidence


def test_watcher_that_is_behind_no_group_lets_nothing_crash(fleet: Fleet) -> None:
    """A crash that a pod behind security groups was to watch is not made when that pod is behind none."""
    add_policy(fleet.cluster, "app", "sg-open")
    node = fleet.node("fickle", trunk=True)
    found = crash_once(fleet.cluster, look(fleet.cluster), Options(timeout=30), node, lambda _: None)
    assert {each.verdict for each in found} == {Verdict.UNKNOWN}
    assert "branch watcher: the pod has no annotation" in found[0].evidence
    assert node not in fleet.kubelets.crashed
    assert left_behind(fleet.cluster) == []


def test_policy_that_is_seen_late_is_waited_for(fleet: Fleet) -> None:
    """A probe whose policy the controller had not seen yet is made once more."""
    add_policy(fleet.cluster, "app", "sg-open")
    node = fleet.node("late", trunk=True)
    assert odd(fleet.run(node)) == []
    assert len(fleet.probes(node)) == 4


def test_each_set_of_groups_is_tried(fleet: Fleet) -> None:
    """A group without port 53 is found though it is not the first policy's; each set is tried once, on some node."""
    for number, groups in enumerate([("sg-a",), ("sg-a", "sg-b"), (CLOSED,), ("sg-b", "sg-a")]):
        add_policy(fleet.cluster, f"app-{number}", *groups)
    nodes = [fleet.node("healthy", trunk=True) for _ in range(2)]
    (found,) = odd(fleet.run(*nodes))
    assert (found.check, found.verdict) == (f"{GROUP_CHECK} ({CLOSED})", Verdict.FAILED)
    assert sorted(behind(fleet, *nodes)) == [("sg-a",), ("sg-a",), ("sg-a", "sg-b"), (CLOSED,)]


def test_chosen_groups_are_the_only_ones(fleet: Fleet) -> None:
    """Groups that were named are tried instead of the policies'."""
    add_policy(fleet.cluster, "app", CLOSED)
    node = fleet.node("healthy", trunk=True)
    assert odd(fleet.run(node, groups=("sg-mine",))) == []


def test_sets_past_the_bound_are_told(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more sets than a few are tried, and the others are named as not seen."""
    monkeypatch.setattr("verify.run.MOST_SETS", 1)
    add_policy(fleet.cluster, "a", "sg-open")
    add_policy(fleet.cluster, "b", CLOSED)
    outcome = fleet.run(fleet.node("healthy", trunk=True))
    assert outcome.verdict is Verdict.OK
    assert any(CLOSED in each.evidence for each in outcome.findings if each.verdict is Verdict.NOT_VISIBLE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_ended_run_leaves_no_policy(fleet: Fleet, number: signal.Signals) -> None:
    """A run that is ended removes pods and policy, even where no kubelet ends the pod; killed, the next run does."""
    add_policy(fleet.cluster, "app", "sg-open")
    node = fleet.node("silent", trunk=True)
    with started(fleet.path, "--node", node) as process:
        eventually(lambda: any("branch" in each for each in left_behind(fleet.cluster)), 60)
        assert any(each.endswith("-0") for each in left_behind(fleet.cluster))  # its policy
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    if number is signal.SIGKILL:
        assert left_behind(fleet.cluster) != []
        fleet.run(fleet.node("healthy"))
    else:
        assert process.returncode == 2, output
    assert left_behind(fleet.cluster) == []


def test_image_that_nobody_gets_is_not_waited_for(fleet: Fleet) -> None:
    """Where no node gets the image the others are not tried, and what the kubelet says of it is told."""
    nodes = [fleet.node("imageless") for _ in range(9)]
    found = odd(fleet.run(*nodes, timeout=300, parallel=2, image="mirror/agnhost:2.53"))
    assert {each.verdict for each in found} == {Verdict.UNKNOWN}
    first = next(each.evidence for each in found if each.place == nodes[0])
    assert first.endswith("probe: facts: ImagePullBackOff no mirror/agnhost:2.53")
    tried = [node for node in nodes if fleet.probes(node)]
    assert len(tried) < len(nodes)
    assert any("not tried" in each.evidence for each in found if each.place == nodes[-1])


def test_node_that_goes_away_is_no_failure(fleet: Fleet) -> None:
    """A node that an autoscaler removes while it is looked at says nothing against the cluster."""
    outcome = fleet.run(fleet.node("going"), fleet.node("healthy"), timeout=10)
    (found,) = odd(outcome)
    assert (found.verdict, found.evidence) == (Verdict.NOT_VISIBLE, "the node went away while it was looked at")
    assert outcome.verdict is Verdict.OK


def test_neighbour_that_goes_away_is_no_failure(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that cannot reach another's metrics is no failure if the other has gone away meanwhile."""
    node = fleet.node("cut")
    assert [each.check for each in odd(fleet.run(node))] == ["metrics are reachable"]
    monkeypatch.setattr(probing.Probing, "_is_gone", lambda *_: True)
    assert odd(fleet.run(node)) == []


def test_node_that_is_not_ready(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that has just joined has its time; one that stays away keeps the command from telling."""
    waiting, healthy = fleet.node("healthy", ready=False), fleet.node("healthy")
    assert fleet.run(waiting, healthy).verdict is Verdict.OK
    monkeypatch.setattr(probing, "SETTLING", timedelta(0))
    outcome = fleet.run(waiting, healthy)
    assert outcome.verdict is Verdict.UNKNOWN
    assert [each.evidence for each in odd(outcome)] == ["the node is not ready: no pod can look at it"]
    (told,) = (each.evidence for each in fleet.run(waiting).findings if not each.place and each.check == "probe")
    assert told.startswith("no node is ready: nothing could be looked at from inside. Not checked: port 53 is free, ")


def test_nodes_without_a_cache(fleet: Fleet) -> None:
    """A Fargate node is not seen, and alone no proof; a hybrid one is asked nothing that only a cache answers.

    Neither is a neighbour: CoreDNS itself may run on it.
    """
    fargate = fleet.node("healthy", labels={"eks.amazonaws.com/compute-type": "fargate"})
    hybrid = fleet.node("uncached", labels={"eks.amazonaws.com/compute-type": "hybrid"})
    alone = fleet.run(fargate)
    assert alone.verdict is Verdict.UNKNOWN
    assert [each.verdict for each in odd(alone)] == [Verdict.NOT_VISIBLE]
    assert odd(fleet.run(hybrid)) == []
    told = {each["name"]: each.get("value", "") for each in fleet.probes(hybrid)[0]["spec"]["containers"][0]["env"]}
    assert "169.254.20.10" not in told["QUESTIONS"]


def test_lock_that_is_a_directory_is_named(fleet: Fleet) -> None:
    """What the kubelet says of a cache's pod that it cannot start is read from the pod's events."""
    node = fleet.node("uncached")
    path = f"{SYSTEM}/pods/cache-{node}"
    pod = fleet.cluster.get(path)
    assert pod is not None
    fleet.cluster.replace(f"{path}/status", {**pod, "status": {"phase": "Pending"}})
    fleet.cluster.create(f"{SYSTEM}/events", {
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": f"lock-{node}"}, "type": "Warning",
        "involvedObject": {"kind": "Pod", "namespace": "kube-system", "name": f"cache-{node}"}, "reason": "FailedMount",
        "message": 'MountVolume.SetUp failed for volume "xtables-lock" : hostPath type check failed: /run/xtables.lock',
    })  # fmt: skip
    (found,) = odd(fleet.run(node))
    assert (found.check, found.verdict) == ("rules are written without lock errors", Verdict.FAILED)
    assert found.evidence.startswith("FailedMount MountVolume")


def test_defect_at_one_node_is_that_nodes(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that nobody thought of spoils the verdict on its own node only."""
    bad, good = fleet.node("healthy"), fleet.node("healthy")
    judge = probing.judge

    def surprised(view: Any, run: str) -> list[Finding]:
        if view.name == bad:
            raise ValueError("never thought of")
        return judge(view, run)

    monkeypatch.setattr(probing, "judge", surprised)
    (found,) = odd(fleet.run(bad, good))
    assert (found.place, found.verdict) == (bad, Verdict.UNKNOWN)
    assert "ValueError: never thought of" in found.evidence
