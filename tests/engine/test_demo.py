"""The demo as a newcomer runs it, from nothing and back to nothing."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local_cloud.stacks import ROOT

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


def _command(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run what `make demo` and `make demo-down` run."""
    return subprocess.run(
        [sys.executable, "-m", "local_cloud", *arguments, "--directory", str(directory)],
        cwd=ROOT, check=False, capture_output=True, text=True, timeout=400,
    )  # fmt: skip


def _processes(directory: Path) -> list[list[str]]:
    """Return the commands that run with files of the demo's folder."""
    return [
        each.info["cmdline"]
        for each in psutil.process_iter(["cmdline"])
        if any(str(directory) in argument for argument in each.info["cmdline"] or [])
    ]


def _checkout() -> str:
    return subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Return a folder for the demo; what it would leave on failure goes, too."""
    yield tmp_path / "demo"
    _command("demo-down", directory=tmp_path / "demo")


def _said_in_order(output: str, *parts: str) -> None:
    """Check that an output says these parts, one after the other."""
    rest = output
    for part in parts:
        assert part in rest, f"{part!r} is not said (there) in:\n{output}"
        rest = rest.partition(part)[2]


def test_production_comes_up_stays_and_goes_without_a_trace(directory: Path) -> None:
    """Up from nothing, nothing to change the second time, and nothing left: no process, no file, no change in git."""
    before = _checkout()
    first = _command("demo", "prod", directory=directory)
    assert first.returncode == 0, first.stdout + first.stderr
    _said_in_order(
        first.stdout,
        "First preview, with neither AWS nor Kubernetes: ",  # has ended before anything of the cloud is started
        " to create",
        "External programs: ",
        "Local cloud: ",
        "Up: stack prod ...",
        " to create",
        "clusterDnsIp",
        "Up: the consumer, from these outputs ...",
        " to create",
        "Second preview: ",
        "no changes",
        "Verify, as far as it can look where no node has a kubelet",
        "could not tell: probe, cluster: no node is ready",
        "Not checked: ",
        "DNS works",
        "It is running.",
    )
    assert _processes(directory)

    again = _command("demo", "prod", directory=directory)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "First preview" not in again.stdout
    _said_in_order(again.stdout, "Up: stack prod ...", "no changes", "Second preview: ", "no changes", "It is running.")
    for word in (" to create", " to update", " to delete", " to replace"):
        assert word not in again.stdout

    down = _command("demo-down", directory=directory)
    assert down.returncode == 0, down.stdout + down.stderr
    _said_in_order(down.stdout, "Destroy: consumer prod", " deleted", "Destroy: stack prod", " deleted", "is gone")
    assert _processes(directory) == []
    assert list(directory.rglob("*")) == []
    assert _checkout() == before


def test_a_mistake_in_the_stacks_name_is_told_with_the_names_there_are(directory: Path) -> None:
    """Nothing is started for a stack that has no file."""
    refused = _command("demo", "production", directory=directory)
    assert refused.returncode == 2
    assert "STACK is one of dev, prod, stg" in refused.stdout
    assert _processes(directory) == []
