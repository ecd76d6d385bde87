import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from simulated import Kubelets, add_nodes, api_server, left_behind, started
from typer.testing import CliRunner, Result

from components.running_cluster.kubernetes_api import KubernetesApiError
from tests.waiting import eventually
from tools import locate
from verify.__main__ import app
from verify.cluster import Cluster, look

pytestmark = pytest.mark.engine

# What a node's name begins with is how it behaves.
KINDS = ("healthy", "dead", "silent", "lasting", "lossy", "unhurt", "changing")


class Fleet:
    """A small cluster, and how one of its nodes behaves at the moment."""

    def __init__(self, kubeconfig: Path, cluster: Cluster) -> None:
        self.kubeconfig, self.cluster = kubeconfig, cluster
        self.kubelets: Kubelets
        self.changing = "healthy"
        self.made = 0

    def behaviour(self, node: str) -> str:
        """Return how a node behaves."""
        kind = node.partition("-")[0]
        return self.changing if kind == "changing" else kind

    def node(self, kind: str) -> str:
        """Make a node that nobody has looked at."""
        self.made += 1
        name = f"{kind}-{self.made}"
        add_nodes(self.cluster, [name], self.kubelets.port)
        return name

    def run(self, *arguments: str, **environment: str) -> Result:
        """Run the command in this process."""
        return CliRunner().invoke(app, arguments, env={"KUBECONFIG": str(self.kubeconfig), **environment})


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Return a cluster with a node of each kind."""
    directory = tmp_path_factory.mktemp("small")
    with api_server(directory) as (path, cluster):
        fleet = Fleet(path, cluster)
        fleet.kubelets = Kubelets(cluster, directory / "kubelets", fleet.behaviour)
        try:
            add_nodes(cluster, list(KINDS), fleet.kubelets.port)
            yield fleet
        finally:
            fleet.kubelets.stop()


@pytest.fixture
def fleet(running: Fleet) -> Iterator[Fleet]:
    """Return the cluster; whatever a test did with it, nothing of the command is left there."""
    before = signal.getsignal(signal.SIGTERM)
    yield running
    signal.signal(signal.SIGTERM, before)
    assert left_behind(running.cluster) == []


def findings(result: Result) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what `--json` printed, by place and check."""
    return {(each["place"], each["check"]): each for each in json.loads(result.stdout)["findings"]}


@pytest.mark.parametrize(
    ("nodes", "code", "said"),
    [
        (["healthy"], 0, "Healthy"),
        (["dead"], 1, "Unhealthy"),
        (["silent"], 2, "no report within 5 s"),
        (["silent", "dead"], 1, "failed: cache listens (failure mode 1), dead"),
        (["nowhere"], 2, "there is no node nowhere"),
    ],
)
def test_exit_code_is_the_verdict(fleet: Fleet, nodes: list[str], code: int, said: str) -> None:
    """0 is healthy, 1 unhealthy, 2 could not tell; a probe that does not report is waited for as long as told."""
    result = fleet.run("--timeout", "5", *(word for each in nodes for word in ("--node", each)))
    assert (result.exit_code, said in result.output) == (code, True), result.output


def test_remedies_can_be_left_out(fleet: Fleet) -> None:
    """What to do is said unless it is not wanted."""
    assert "-> Look why it died" in fleet.run("--node", "dead").output
    assert "->" not in fleet.run("--node", "dead", "--no-fix-hints").output


@pytest.mark.parametrize("kubeconfig", ["/nowhere", "unreachable"])
def test_no_cluster_is_no_verdict(tmp_path: Path, kubeconfig: str) -> None:
    """Without a kubeconfig, or an API that answers, nothing can be told."""
    path = Path(kubeconfig)
    if kubeconfig == "unreachable":
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:9"}}],
            "users": [{"name": "c", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        }))  # fmt: skip
    result = CliRunner().invoke(app, [], env={"KUBECONFIG": str(path)})
    assert result.exit_code == 2
    assert ("kubeconfig" if kubeconfig == "/nowhere" else "does not answer") in result.output


def test_junit_has_a_case_for_each_check(fleet: Fleet, tmp_path: Path) -> None:
    """The report for pipelines has a suite for each place, counts that agree, and what is wrong as failure or error."""
    path = tmp_path / "report.xml"
    result = fleet.run("--node", "dead", "--node", "silent", "--timeout", "5", "--json", "--junit", str(path))
    suites = {each.attrib["name"]: each for each in ET.parse(path).getroot()}  # noqa: S314  # our own file
    assert set(suites) == {"cluster", "dead", "silent"}
    for suite in suites.values():
        assert len(suite) == int(suite.attrib["tests"])
        for kind, total in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            assert len(suite.findall(f"testcase/{kind}")) == int(suite.attrib[total])
    cases = {(suite.attrib["name"], case.attrib["name"]) for suite in suites.values() for case in suite}
    assert cases == {(place or "cluster", check) for place, check in findings(result)}
    (failure,) = suites["dead"].findall("testcase/failure")
    assert "nobody listens" in failure.attrib["message"]
    assert str(failure.text).startswith("Look why it died")
    assert int(suites["silent"].attrib["errors"]) > 0
    assert int(suites["cluster"].attrib["skipped"]) == 2


def test_watch_says_what_changed_until_it_is_ended(fleet: Fleet) -> None:
    """After the first report only changes are said; an API that goes away is said; Ctrl-C ends it with the verdict."""
    fleet.changing = "healthy"
    with started(fleet.kubeconfig, "--node", "changing", "--watch", "1") as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any("Healthy" in line for line in lines)
        assert "no changes. Healthy" in next(lines)
        fleet.changing = "dead"
        changed = next(line for line in lines if "no changes" not in line)
        assert " changing: cache listens: ok -> failed: nobody listens" in changed
        assert "1 changes. Unhealthy" in next(lines)
        fleet.changing = "healthy"
        assert any(" changing: cache listens: failed -> ok" in line for line in lines)
        assert "1 changes. Healthy" in next(lines)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
        assert process.returncode == 0, rest


def test_cluster_is_found_in_a_stacks_outputs(fleet: Fleet, tmp_path: Path) -> None:
    """`--stack` takes the kubeconfig that the real engine has among a stack's outputs, whatever KUBECONFIG says."""
    environment = {
        "PATH": f"{locate('pulumi').parent}{os.pathsep}{os.environ['PATH']}",
        "PULUMI_BACKEND_URL": tmp_path.as_uri(), "PULUMI_CONFIG_PASSPHRASE": "", "PULUMI_HOME": str(tmp_path / "home"),
        "PULUMI_SKIP_UPDATE_CHECK": "true", "KUBECONFIG": "/nowhere",
    }  # fmt: skip
    stack = "organization/eks-node-local-dns/told"
    resource = {
        "urn": "urn:pulumi:told::eks-node-local-dns::pulumi:pulumi:Stack::eks-node-local-dns-told",
        "custom": False, "type": "pulumi:pulumi:Stack", "outputs": {"kubeconfig": fleet.kubeconfig.read_text()},
    }  # fmt: skip
    state = tmp_path / ".pulumi" / "stacks" / "eks-node-local-dns" / "told.json"
    state.parent.mkdir(parents=True)
    (state.parents[2] / "meta.yaml").write_text("version: 1\n")
    latest = {"manifest": {"time": "2025-01-01T00:00:00Z", "magic": "", "version": ""}, "resources": [resource]}
    state.write_text(json.dumps({"version": 3, "checkpoint": {"stack": stack, "latest": latest}}))
    found = fleet.run("--stack", stack, "--node", "healthy", **environment)
    assert found.exit_code == 0, found.output
    missing = fleet.run("--stack", "organization/eks-node-local-dns/other", **environment)
    assert missing.exit_code == 2
    assert "no output kubeconfig" in missing.output


def test_history_of_the_cni_is_read(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The revisions of aws-node, and no others, are read; where that is forbidden everything else still is."""
    revisions = look(fleet.cluster).aws_node_revisions
    assert revisions is not None
    assert [each["metadata"]["name"] for each in revisions] == ["aws-node-1"]
    request = fleet.cluster.request

    def forbidden(method: str, path: str, *body: Any, **more: Any) -> bytes:
        if "controllerrevisions" in path:
            raise KubernetesApiError("forbidden", 403)
        return request(method, path, *body, **more)

    monkeypatch.setattr(fleet.cluster, "request", forbidden)
    facts = look(fleet.cluster)
    assert facts.aws_node_revisions is None
    assert len(facts.nodes) >= len(KINDS)


FALLBACK, BACK = "DNS goes on while the cache is down", "cache comes back"


@pytest.mark.parametrize(
    ("kind", "code", "fallback", "back", "said"),
    [
        ("healthy", 0, "ok", "ok", "answered by CoreDNS instead of the cache"),
        ("lossy", 1, "failed", "ok", "DNS did not go on"),
        ("unhurt", 2, "could not tell", "ok", "no question of plain fell into the time without the cache"),
    ],
)
def test_crash_is_told_as_it_went(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, kind: str, code: int, fallback: str, back: str, said: str
) -> None:
    """The cache crashes once, by a signal from inside its container, and what became of DNS is told."""
    if kind == "unhurt":
        monkeypatch.setattr("verify.crash.RETURN_SECONDS", 3)  # it would be waited for in vain
    node = fleet.node(kind)
    result = fleet.run("--crash-test", node, "--yes", "--json")
    told = findings(result)
    assert (told[node, FALLBACK]["verdict"], told[node, BACK]["verdict"]) == (fallback, back), told[node, FALLBACK]
    assert said in told[node, FALLBACK]["evidence"]
    assert result.exit_code == code
    assert [each for each in fleet.kubelets.commands if each[0] == f"cache-{node}"] == [
        [f"cache-{node}", "node-cache", "sh", "-c", "kill -ABRT 1"]
    ]


def test_cache_that_stays_away_is_told(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that does not come back in time is what is wrong."""
    monkeypatch.setattr("verify.crash.RETURN_SECONDS", 5)
    told = findings(fleet.run("--crash-test", "lasting", "--yes", "--json"))
    assert (told["lasting", FALLBACK]["verdict"], told["lasting", BACK]["verdict"]) == ("ok", "failed")


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ("dead", "only a healthy node is crashed, and these checks do not say that it is: cache listens"),
        ("silent", "only a healthy node is crashed"),
        ("healthy", "nobody agreed to it"),
    ],
)
def test_crash_is_not_tried(fleet: Fleet, node: str, said: str) -> None:
    """A node that is not healthy is not crashed, and none unless somebody agrees."""
    before = list(fleet.kubelets.commands)
    result = fleet.run("--crash-test", node, "--timeout", "5", *([] if node == "healthy" else ["--yes"]))
    assert said in result.output
    assert result.exit_code in {1, 2}
    assert fleet.kubelets.commands == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--crash-test", "a", "--crash-test", "b"], "one node at a time"),
        (["--crash-test", "a", "--node", "b"], "its own node only"),
        (["--crash-test", "a", "--watch", "3"], "is made once"),
    ],
)
def test_crash_of_more_than_one_is_refused(arguments: list[str], said: str) -> None:
    """Options under which more than one cache, or one more than once, would crash are refused before anything."""
    result = CliRunner().invoke(app, arguments, env={"KUBECONFIG": "/nowhere"})
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize("answer", ["n", "y"])
def test_somebody_is_asked_at_a_terminal(fleet: Fleet, answer: str) -> None:
    """At a terminal the question is asked, and the answer counts."""
    node = fleet.node("healthy")
    terminal, of_command = os.openpty()
    try:
        os.write(terminal, f"{answer}\n".encode())
        with started(fleet.kubeconfig, "--crash-test", node, stdin=of_command) as process:
            output, _ = process.communicate(timeout=200)
    finally:
        os.close(terminal)
        os.close(of_command)
    assert "will crash once" in output
    assert process.returncode == (0 if answer == "y" else 2), output
    assert (node in fleet.kubelets.crashed) == (answer == "y")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_crash_test_that_is_ended_leaves_a_cache(fleet: Fleet, number: signal.Signals) -> None:
    """Ended in its middle, the test leaves nothing undone: the kubelet starts the cache, the next run removes pods."""
    node = fleet.node("healthy")
    with started(fleet.kubeconfig, "--crash-test", node, "--yes") as process:
        eventually(lambda: node in fleet.kubelets.crashed, 120)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert (left_behind(fleet.cluster) == []) == (number is signal.SIGINT)
    eventually(lambda: fleet.kubelets.restarts(node) == 1, 60)
    after = fleet.run("--crash-test", node, "--yes")
    assert "the cache was restarted at" in after.output
    assert after.exit_code == 2
    assert sum(each[0] == f"cache-{node}" for each in fleet.kubelets.commands) == 1
