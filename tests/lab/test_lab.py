import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from lab import __main__, kubelet, namespaces, node, scenarios, vpc_cni
from tools import locate

pytestmark = pytest.mark.lab

STRICT = "strict, cache running"
STANDARD = "standard, cache running"


def run(report: Path, *names: str) -> tuple[int, dict[str, Any]]:
    """Run scenarios through the command and return its exit code and its report."""
    application = typer.Typer()
    application.command()(__main__.main)
    result = CliRunner().invoke(application, [*names, "--output", str(report)])
    return result.exit_code, json.loads(report.read_text()) if report.exists() else {"output": result.output}


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
    assert f"dev {vpc_cni.TRUNK_LINK}" in report["strict_route"]
    assert own_namespaces() == []


def test_wrong_mode_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that should be standard and is strict makes the command fail."""
    right = node.worker_node
    monkeypatch.setattr(scenarios, "worker_node", lambda _mode: right("strict"))
    assert run(tmp_path / "report.json", STANDARD)[0] == 1


def test_wrong_interception_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Upstream's rules where ours are claimed make the command fail."""
    right = scenarios.cache
    monkeypatch.setattr(scenarios, "cache", lambda machine, _interception: right(machine, "upstream"))
    assert run(tmp_path / "report.json", STANDARD)[0] == 1


def test_wrong_route_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the route that brings answers to the pod, the command fails."""
    right = vpc_cni.branch_pod_routes
    monkeypatch.setattr(
        vpc_cni, "branch_pod_routes",
        lambda *pod: [line for line in right(*pod) if "scope link" not in line],
    )  # fmt: skip
    assert run(tmp_path / "report.json", STANDARD)[0] == 1


def test_dead_labs_namespaces_are_removed() -> None:
    """A namespace of a lab that is dead goes at the next start; one of a living lab stays."""
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    stale, living = (f"{namespaces.PREFIX}{process}-test" for process in (dead.pid, os.getppid()))
    for name in (stale, living):
        subprocess.run([locate("ip"), "netns", "add", name], check=True)
    try:
        assert stale in namespaces.sweep()
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
