import fcntl
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from components.cache import interception
from components.cache.corefile import METRICS_PORT, NO_SOCKET_MATCH_ZONE
from components.cache.interception import Interception
from components.cache.node_local_dns import NodeLocalDnsSettings, manifests
from components.cluster import addon_configuration
from lab import __main__, kubelet, namespaces, node, scenarios, vpc_cni
from tests.waiting import eventually
from tools import locate

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

STRICT = "strict, cache running"
STANDARD = "standard, cache running"


def run(report: Path, *names: str) -> tuple[int, dict[str, Any]]:
    """Run scenarios through the command and return its exit code and its report."""
    application = typer.Typer()
    application.command()(__main__.main)
    result = CliRunner().invoke(application, [*names, "--output", str(report)])
    return result.exit_code, json.loads(report.read_text()) if report.exists() else {"output": result.output}


def not_as_expected(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what of a report went wrong, so that a failing test shows that and nothing else."""
    return [
        *(each for each in report["checks"] if each["answered_by"] != each["expected_by"]),
        *(
            each
            for each in report["loads"]
            if not each["at_least"] <= each["lost"] - each["in_flight"] <= each["at_most"]
        ),
        *(each for each in report["states"] if each["leftovers"]),
    ]


def own_namespaces() -> list[str]:
    """Return the namespaces this process has left."""
    return [path.name for path in Path("/run/netns").glob(f"{namespaces.PREFIX}{os.getpid()}-*")]


def test_failure_and_fix_are_as_claimed(tmp_path: Path) -> None:
    """The pod with security groups is lost in strict, served in standard and after a crash; nothing is left behind."""
    code, report = run(tmp_path / "report.json", STRICT, STANDARD)
    wrong = [each for each in report["checks"] if each["answered_by"] != each["expected_by"]]
    assert (code, wrong) == (0, [])
    answered = {
        (each["scenario"], each["client"]): each["answered"] for each in report["checks"] if each["client"] != "host"
    }
    assert answered[STRICT, "plain-pod"]
    assert not answered[STRICT, "sgp-pod"]
    assert answered[STANDARD, "sgp-pod"]
    assert f"dev {vpc_cni.trunk_link(node.SGP_POD.vlan)}" in report["strict_route"]
    assert own_namespaces() == []


Wrong = set[tuple[str, str, str]]
"""Scenario, client and server of checks that are not as expected."""

KILLED = "cache killed, socket interception"
WITHOUT_PORT_53 = "security group without port 53"


def wrong_with_code_broken(report: Path, scenario: str) -> Wrong:
    """Run a scenario that has to fail, and return which checks did."""
    code, found = run(report, scenario)
    assert code == 1
    return {
        (each["scenario"], each["client"], each["server"])
        for each in found["checks"]
        if each["answered_by"] != each["expected_by"]
    }


def test_wrong_mode_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A component that configures the CNI as strict costs the pod with security groups its DNS, and nobody else's."""
    right = addon_configuration.vpc_cni_configuration
    monkeypatch.setattr(
        addon_configuration, "vpc_cni_configuration",
        lambda settings: right(settings.model_copy(update={"pod_security_group_enforcing_mode": "strict"})),
    )  # fmt: skip
    wrong = wrong_with_code_broken(tmp_path / "report.json", STANDARD)
    assert wrong == {(STANDARD, "sgp-pod", server) for server in scenarios.SERVERS}


def _unconditional(rule: interception.Rule) -> interception.Rule | None:
    return (*rule[:2], rule[2].replace("-m socket ", ""))


def _untranslated(rule: interception.Rule) -> interception.Rule | None:
    return None if rule[0] == "nat" else rule


@pytest.mark.parametrize(
    ("broken", "wrong"),
    [
        (_unconditional, {(KILLED, pod, node.CLUSTER_DNS) for pod in ("plain-pod", "sgp-pod")}),
        (_untranslated, {(moment, "host", node.CLUSTER_DNS) for moment in (STANDARD, KILLED)}),
    ],
    ids=["without the socket match", "without the translation of the node's own"],
)
def test_wrong_rules_are_found(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: Callable[[interception.Rule], interception.Rule | None],
    wrong: Wrong,
) -> None:
    """A rule of ours that is not what we say shows where it is missed, and only there."""
    right = interception.rules
    monkeypatch.setattr(
        interception, "rules", lambda *addresses: [new for old in right(*addresses) if (new := broken(old))]
    )
    assert wrong_with_code_broken(tmp_path / "report.json", STANDARD) == wrong


def test_wrong_route_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the route that brings answers to the pod with security groups, it gets none, from whomever."""
    right = vpc_cni.branch_pod_routes
    monkeypatch.setattr(
        vpc_cni, "branch_pod_routes",
        lambda *pod: [line for line in right(*pod) if "scope link" not in line],
    )  # fmt: skip
    wrong = wrong_with_code_broken(tmp_path / "report.json", STANDARD)
    assert wrong == {
        *((STANDARD, "sgp-pod", server) for server in scenarios.SERVERS),
        (KILLED, "sgp-pod", node.CLUSTER_DNS),
    }


def _first_in_iptables(monkeypatch: pytest.MonkeyPatch) -> None:
    right = vpc_cni.packet_rules

    def first(*addresses: str, **options: bool) -> str:
        text = right(*addresses, **options)
        for number, rule in enumerate(('-i eni+ -m comment --comment "AWS, out', '-m comment --comment "AWS, CONN'), 1):
            text = text.replace(f"-A PREROUTING {rule}", f"-I PREROUTING {number} {rule}")
        return text

    monkeypatch.setattr(vpc_cni, "packet_rules", first)
    monkeypatch.setattr(scenarios, "managed_node", lambda: node.worker_node(scenarios.managed_mode(), "legacy"))


def _first_in_its_own_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the chain's priority, and the rule without which nothing for an address of the node's would be marked."""
    right = vpc_cni.mark_table
    broken = {"dstnat + 10": "dstnat - 10", "fib daddr type local return": ""}
    monkeypatch.setattr(
        vpc_cni, "mark_table",
        lambda cidr: functools.reduce(lambda text, pair: text.replace(*pair), broken.items(), right(cidr)),
    )  # fmt: skip


@pytest.mark.parametrize("break_it", [_first_in_iptables, _first_in_its_own_table])
def test_marks_before_kube_proxys_rules_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, break_it: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """Marked before its ClusterIP is translated, a question falls back by the node's ENI, past its security group."""
    break_it(monkeypatch)
    wrong = wrong_with_code_broken(tmp_path / "report.json", WITHOUT_PORT_53)
    assert wrong == {(f"{WITHOUT_PORT_53}: cache killed", "sgp-pod", node.CLUSTER_DNS)}


@pytest.mark.parametrize(
    ("mode", "early_demux", "answered"), [("strict", True, False), ("strict", False, True), ("standard", True, True)]
)
def test_kubelets_probe_of_a_strict_pod_needs_early_demux_off(
    mode: vpc_cni.EnforcingMode, early_demux: bool, answered: bool
) -> None:
    """TCP from the node to a pod with security groups is lost in strict mode, unless DISABLE_TCP_EARLY_DEMUX is set."""

    def connected() -> bool:
        try:
            with socket.create_connection((node.BRANCH_POD, 8080), timeout=20 if answered else 2):
                return True
        except TimeoutError:
            return False

    with node.worker_node(mode) as machine:
        if not early_demux:
            machine.disable_tcp_early_demux()
        listening = machine.machines[node.SGP_POD.name].call(lambda: socket.create_server((node.BRANCH_POD, 8080)))
        with listening:
            assert machine.host.call(connected) == answered


def test_switch_to_standard_leaves_the_local_table_where_strict_put_it() -> None:
    """On a living node the rule for local addresses stays at 20, as the CNI never moves it back."""
    with node.worker_node("strict") as machine:
        machine.switch_to_standard()
        rules = machine.host.run(locate("ip"), "rule").splitlines()
        assert [rule.split()[0] for rule in rules if rule.endswith("lookup local")] == ["20:"]


def test_dead_labs_namespaces_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A namespace of a lab that is dead goes at the next start; one of a living lab stays."""
    monkeypatch.setattr(namespaces, "PREFIX", f"{namespaces.PREFIX}test-")  # another lab would remove them as well
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    stale, living = (f"{namespaces.PREFIX}{process}-test" for process in (dead.pid, os.getppid()))
    for name in (stale, living):
        subprocess.run([locate("ip"), "netns", "add", name], check=True)
    try:
        assert namespaces.sweep() == [stale]
        left = {path.name for path in Path("/run/netns").iterdir()}
        assert living in left
        assert stale not in left
    finally:
        subprocess.run([locate("ip"), "netns", "delete", living], check=True)


def test_missing_node_cache_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NODE_CACHE that names no program is refused, not replaced by the stand-in."""
    monkeypatch.setenv("NODE_CACHE", str(tmp_path / "absent"))
    with pytest.raises(namespaces.LabError, match="NODE_CACHE"):
        kubelet.node_cache()


def _cleanly_uninstalled(
    backend: node.Backend,
    accident: Callable[[kubelet.Pod], None],
    mode: Interception = "socket",
    grace_seconds: float = 3,
) -> scenarios.Report:
    report = scenarios.Report()
    with node.worker_node("standard", backend) as machine:
        scenarios.uninstall(report, "uninstalled", machine, scenarios.cache(machine, mode), accident, grace_seconds)
    return report


ACCIDENTS: dict[str, Callable[[kubelet.Pod], None]] = {
    "none": lambda _pod: None,
    "cache hung": kubelet.Pod.freeze,
    "cache killed": kubelet.Pod.crash,
    "interception hung": lambda pod: pod.freeze("interception"),
    "interception killed": lambda pod: pod.crash("interception"),
    "cleanup killed": lambda pod: pod.crash("cleanup"),
    "cache and interception killed": lambda pod: pod.crash("node-cache", "interception"),
}


@pytest.mark.parametrize("accident", ACCIDENTS)
@pytest.mark.parametrize("backend", node.BACKENDS)
def test_uninstalling_leaves_the_node_as_it_was(backend: node.Backend, accident: str) -> None:
    """Addresses, routing rules, routes and packet rules are those from before, whatever of the pod was dead."""
    report = _cleanly_uninstalled(backend, ACCIDENTS[accident])
    assert [each.leftovers for each in report.states] == [[]]
    assert report.right


@pytest.mark.parametrize(
    ("backend", "grace_seconds", "mode"),
    [
        ("nft", 0, "socket"), ("legacy", 0, "socket"), ("nft", 0, "upstream"),
        ("nft", 1, "socket"), ("legacy", 1, "socket"), ("nft", 30, "socket"),
    ],
)  # fmt: skip
def test_hung_cache_leaves_nothing_whatever_the_grace(
    backend: node.Backend, grace_seconds: float, mode: Interception
) -> None:
    """A forced deletion kills the hung cache and those who clean up at one time: they need not wait for it."""
    report = _cleanly_uninstalled(backend, kubelet.Pod.freeze, mode, grace_seconds)
    assert [each.leftovers for each in report.states] == [[]]
    assert report.right


def test_end_of_the_sidecar_alone_is_not_the_end_of_the_pod() -> None:
    """The program that keeps the rules may be ended by a probe: the cache beside it still serves, and goes on to."""
    with node.worker_node("standard") as machine:
        pod = scenarios.cache(machine)
        pod.start()
        container = sidecar(pod, "interception")
        before = machine.snapshot()
        container.signal(signal.SIGTERM)
        assert container.wait(10)
        assert scenarios.difference(before, machine.snapshot()) == []
        report = scenarios.Report()
        report.ask("ended", machine, {("plain-pod", server): "cache" for server in scenarios.SERVERS})
        assert report.right


@pytest.mark.parametrize("backend", node.BACKENDS)
def test_killed_cache_with_upstreams_rules_is_cleaned_up(backend: node.Backend) -> None:
    """What node-cache could not take down because it was killed is taken down by the pod's other container."""
    report = _cleanly_uninstalled(backend, kubelet.Pod.crash, "upstream")
    assert [each.leftovers for each in report.states] == [[]]


@pytest.mark.parametrize("backend", node.BACKENDS)
def test_one_rule_too_many_is_found(backend: node.Backend) -> None:
    """A single rule in a table that was empty is a difference, in either kind, though all it says is ACCEPT."""
    with node.worker_node("standard") as machine:
        before = machine.snapshot()
        program = machine.iptables(backend=backend)
        machine.host.run(program, "-w", "-t", "raw", "-A", "OUTPUT", "-s", node.CLUSTER_DNS, "-j", "ACCEPT")
        assert scenarios.difference(before, machine.snapshot()) == [
            f"+ {backend} raw -A OUTPUT -s {node.CLUSTER_DNS}/32 -j ACCEPT"
        ]


def test_leftovers_are_found() -> None:
    """With every container dead nobody cleans up, and the comparison shows rules, addresses and the link."""
    report = _cleanly_uninstalled("nft", lambda pod: pod.crash("node-cache", "interception", "cleanup"))
    (state,) = report.states
    assert any("NOTRACK" in line for line in state.leftovers)
    assert any(" filter -A INPUT " in line for line in state.leftovers)
    assert any(" filter -A OUTPUT " in line for line in state.leftovers)
    assert any(" nat -A POSTROUTING " in line for line in state.leftovers)
    assert any("nodelocaldns" in line and node.CLUSTER_DNS in line for line in state.leftovers)


WITHOUT_LOAD = {
    "no cache", "strict, cache running", "uninstalled", "uninstalled while the cache hangs",
    "uninstalled, upstream's rules", "CoreDNS unreachable", "security group without port 53",
}  # fmt: skip
"""Scenarios in which questions are asked one by one."""

INSTEAD = b"what NODE_CACHE names, and no ot"


@pytest.fixture(scope="module")
def other_node_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a node-cache that says of itself that it is another."""
    program = tmp_path_factory.mktemp("node-cache") / "node-cache"
    program.write_bytes(
        locate("node-cache-stand-in").read_bytes().replace(b"a stand-in for node-cache 1.26.8", INSTEAD)
    )
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("name", scenarios.SCENARIOS)
def test_scenario_costs_what_is_claimed_with_the_node_cache_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_node_cache: Path, name: str
) -> None:
    """It loses no more questions than it may, who answers is who we say, and every cache is what NODE_CACHE names."""
    monkeypatch.setenv("NODE_CACHE", str(other_node_cache))
    ran: list[str] = []
    start = kubelet.Pod.start

    def started(pod: kubelet.Pod, ready_seconds: float = kubelet.BUSY_SECONDS) -> None:
        start(pod, ready_seconds)
        # Beside another cache it is ready before it has said a word.
        eventually(pod.containers[0].log.read_text)
        ran.append(pod.containers[0].log.read_text())

    monkeypatch.setattr(kubelet.Pod, "start", started)
    code, report = run(tmp_path / "report.json", name)
    assert (code, not_as_expected(report)) == (0, [])
    assert bool(report["loads"]) == (name not in WITHOUT_LOAD)
    assert bool(ran) == (name != "no cache")
    assert all(INSTEAD.decode() in log for log in ran)


@pytest.mark.parametrize(("backend", "mode"), [("legacy", "socket"), ("nft", "upstream"), ("legacy", "upstream")])
def test_flushed_rules_come_back(backend: node.Backend, mode: Interception) -> None:
    """All of them do, in either kind of iptables and whoever wrote them, and no question is lost meanwhile."""
    report = scenarios.Report()
    with node.worker_node("standard", backend) as machine:
        scenarios.cache(machine, mode).start()
        scenarios.rules_flushed(report, "flushed", machine, mode)
    assert [each.leftovers for each in report.states] == [[]]
    assert report.right, report.plain()


def test_held_lock_is_no_missing_socket_match() -> None:
    """Somebody who holds the lock of iptables-legacy for longer than we wait does not cost the node its fallback."""
    with node.worker_node("standard", "legacy") as machine, (machine.directory / "xtables.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pod = scenarios.cache(machine)

        def release() -> None:
            scenarios.wait_for("the complaint", lambda: "holding the xtables lock" in pod.logs())
            fcntl.flock(lock, fcntl.LOCK_UN)

        releasing = threading.Thread(target=release)
        releasing.start()
        pod.start(ready_seconds=120)
        releasing.join()
        assert "holding the xtables lock" in pod.logs()
        assert "no socket match" not in pod.logs()
        assert any("-m socket" in line for line in machine.leftovers())


def sidecar(pod: kubelet.Pod, name: str) -> kubelet.Container:
    """Return a sidecar of a pod as it runs now."""
    (found,) = (each for each in pod.sidecars if each.name == name)
    return found


def test_hung_watch_is_ended() -> None:
    """What hangs and keeps no rules any more is started again, and DNS is as before while that happens and after."""
    expected: scenarios.Expected = {(pod, node.CLUSTER_DNS): "cache" for pod in ("plain-pod", "sgp-pod")}
    with node.worker_node("standard") as machine:
        pod = scenarios.cache(machine, hidden=[scenarios.NO_SOCKET_MATCH], back_off=kubelet.SOON, pace=5)
        pod.start()
        hung = sidecar(pod, "interception")
        pod.freeze("interception")
        report = scenarios.Report()
        report.ask("hung", machine, expected)
        scenarios.wait_for("another one", lambda: sidecar(pod, "interception") is not hung)
        scenarios.wait_for("its rules", lambda: sidecar(pod, "interception").probe("startupProbe"))
        scenarios.wait_for("the cache's rules", lambda: any("PREROUTING" in line for line in machine.leftovers()))
        report.ask("ended", machine, expected)
        assert report.right, report.plain()
        pod.stop()


def test_missing_socket_match_is_logged_and_measured() -> None:
    """The pod says it in its log, and the cache's metrics have the zone that an alert looks for."""
    with node.worker_node("standard") as machine:
        pod = scenarios.cache(machine, hidden=[scenarios.NO_SOCKET_MATCH])
        pod.start()
        assert "has no socket match" in pod.logs()
        metrics = machine.host.call(
            lambda: urllib.request.urlopen(f"http://127.0.0.1:{METRICS_PORT}/metrics", timeout=5).read().decode()
        )
        assert f'name="whoami",server="dns://:53",view="",zone="{NO_SOCKET_MATCH_ZONE}."' in metrics.replace(
            f"dns://{scenarios.LOCAL}", "dns://"
        )


def test_container_has_no_more_programs_than_the_image() -> None:
    """What the script must not use is not there, what it uses is."""
    with node.worker_node("standard") as machine:
        pod = scenarios.cache(machine)
        pod.start()
        container = sidecar(pod, "interception")
        assert container.execute(["sh", "-c", "iptables-nft -V && iptables-legacy -V && grep -V"]) == 0
        for absent in ("ip", "ss", "sed", "awk", "python3", "bash"):
            assert container.execute(["sh", "-c", f"command -v {absent}"]) != 0


def test_killed_lab_is_cleaned_up_by_the_next(tmp_path: Path) -> None:
    """A lab that is killed in the middle leaves nothing running, and its namespaces go at the next start."""
    lab = subprocess.Popen(
        [sys.executable, "-m", "lab", "no cache", "--output", str(tmp_path / "report.json")],
        stdout=subprocess.DEVNULL, cwd=Path(__main__.__file__).parents[1],
    )  # fmt: skip
    names = f"{namespaces.PREFIX}{lab.pid}-*"
    scenarios.wait_for("a namespace", lambda: len(list(Path("/run/netns").glob(names))) > 3)
    lab.kill()
    lab.wait()
    namespaces.sweep()  # or that of another lab which starts at this moment
    assert not list(Path("/run/netns").glob(names))


@pytest.mark.parametrize("flag", ["-setupeptables", "-reload-with-signal"])
def test_flag_that_node_cache_does_not_have_is_refused(flag: str) -> None:
    """A flag that the stand-in does not know ends it, as it would end node-cache."""
    done = subprocess.run([locate("node-cache-stand-in"), flag], check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "not defined" in done.stderr


def test_pods_hooks_and_probes_end_a_hung_cache_soon() -> None:
    """A hung cache gets less time to end than a pod, since it would only sit it out."""
    pod = manifests(NodeLocalDnsSettings(), cluster_dns_ip=node.CLUSTER_DNS, upstream_ip=node.UPSTREAM)["daemonSet"][
        "spec"
    ]["template"]["spec"]
    liveness = pod["containers"][0]["livenessProbe"]
    assert liveness["terminationGracePeriodSeconds"] < pod["terminationGracePeriodSeconds"]


def test_lab_runs_in_a_user_namespace(tmp_path: Path) -> None:
    """Who is not root gets a user namespace, and the cache, its rules and its read-only root work in there."""
    report = tmp_path / "report.json"
    not_root = (
        "import os, runpy, sys; os.geteuid = lambda: 1000; "
        f"sys.argv = ['lab', 'uninstalled', '--output', {str(report)!r}]; runpy.run_module('lab', run_name='__main__')"
    )
    with subprocess.Popen([sys.executable, "-c", not_root], cwd=Path(__main__.__file__).parents[1]) as lab:
        assert lab.wait() == 0
    assert json.loads(report.read_text())["right"]
    assert not list(Path("/run/netns").glob(f"{namespaces.PREFIX}{lab.pid}-*"))


def test_machine_that_cannot_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without root and without user namespaces the lab says so in one sentence."""
    refused = subprocess.CompletedProcess([], 1, "", "unshare failed: Operation not permitted")
    monkeypatch.setattr(namespaces.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(namespaces.subprocess, "run", lambda *_, **__: refused)
    with pytest.raises(namespaces.LabError, match=r"run it as root .*user namespaces.*Operation not permitted"):
        namespaces.become_root(["lab"])
