import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import provisioning
from tools.catalogue import PROGRAMS, DebianProgram, GoProgram, NodeProgram
from tools.provisioning import MissingToolError, build_key, locate, needed_go, suitable

ENGINE = GoProgram(folder="pulumi", package="p", purpose="x", version_command=("version",), at_least="3.238.0")


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("v3.259.0", True),
        ("3.238.0\n", True),
        ("v3.237.9", False),
        ("etcd Version: 3.10.1", False),
        ("no version here", False),
        ("", False),
    ],
)
def test_a_program_on_path_is_used_only_if_it_is_new_enough(printed: str, expected: bool) -> None:
    """Versions compare as numbers, and a program that prints none is not trusted."""
    assert suitable(ENGINE, printed) is expected


def test_exactly_means_that_version_and_no_other() -> None:
    """A pin that claims are made about is met by itself alone."""
    pinned = GoProgram(folder="x", package="p", purpose="x", at_least="1.13.2", exactly=True)
    assert suitable(pinned, "CoreDNS-1.13.2")
    assert not suitable(pinned, "CoreDNS-1.14.0")


def test_a_build_is_identified_by_everything_that_goes_into_it(tmp_path: Path) -> None:
    """A changed pin, compiler or flag is a new build; a changed test or note is not."""
    (tmp_path / "go.mod").write_text("module a")
    program = GoProgram(folder=str(tmp_path), package="p", purpose="x")
    key = build_key(program, "go1.26 linux amd64")
    assert build_key(program, "go1.26 linux amd64") == key
    assert build_key(program, "go1.27 linux amd64") != key
    (tmp_path / "main_test.go").write_text("package a")
    (tmp_path / "notes.txt").write_text("x")
    assert build_key(program, "go1.26 linux amd64") == key
    flagged = GoProgram(folder=str(tmp_path), package="p", purpose="x", linker_variables={"v": "1"})
    assert build_key(flagged, "go1.26 linux amd64") != key
    (tmp_path / "go.mod").write_text("module b")
    assert build_key(program, "go1.26 linux amd64") != key


def test_every_go_program_is_pinned_by_a_module_with_checksums() -> None:
    """Nothing is ever built from whatever is newest today."""
    for name, program in PROGRAMS.items():
        if isinstance(program, GoProgram):
            assert (program.source / "go.mod").is_file(), name
            assert (program.source / "go.sum").is_file(), name


def test_every_node_program_is_pinned_by_a_lock_with_checksums() -> None:
    """Every package is the one that was locked, wherever it is fetched from."""
    for name, program in PROGRAMS.items():
        if isinstance(program, NodeProgram):
            lock = json.loads((program.source / "package-lock.json").read_text())
            packages = [each for path, each in lock["packages"].items() if path]
            assert packages, name
            assert all(each["integrity"].startswith("sha512-") for each in packages), name
            asked = json.loads((program.source / "package.json").read_text())["dependencies"]
            assert lock["packages"][""]["dependencies"] == asked
            assert not [each for each in asked.values() if not each[0].isdigit()], (
                "a range would be another one tomorrow"
            )


def test_a_machine_without_npm_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the missing program and the remedy in one sentence."""
    monkeypatch.setitem(PROGRAMS, "absent", NodeProgram(folder="typescript", purpose="compiling"))
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(MissingToolError, match=r"npm is missing, which installs absent for compiling: install Node.js"):
        locate("absent")


def test_a_missing_compiler_is_said_in_one_sentence_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Who has no Go is told to install it, not shown a traceback."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(PROGRAMS, "absent", PROGRAMS["node-cache-stand-in"])
    provisioning._go_version.cache_clear()
    with pytest.raises(MissingToolError, match=r"Go compiler is missing.*install Go \d+\.\d+ or newer"):
        locate("absent")


@pytest.mark.parametrize("answer", ["echo go1.20.5", "echo cannot fetch a newer one >&2; exit 1"])
def test_an_old_compiler_is_said_in_one_sentence_with_the_version_that_go_mod_wants(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str
) -> None:
    """Who has an old Go learns how new it has to be, not what the compiler makes of the module."""
    old = tmp_path / "go"
    old.write_text(f"#!/bin/sh\n{answer}\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(provisioning, "user_cache_path", lambda _name: tmp_path / "cache")
    monkeypatch.setitem(PROGRAMS, "absent", PROGRAMS["node-cache-stand-in"])
    provisioning._go_version.cache_clear()
    newest = max(needed_go(each.source) for each in PROGRAMS.values() if isinstance(each, GoProgram))
    try:
        with pytest.raises(MissingToolError, match="is too old for the project's tools: install Go") as refused:
            locate("absent")
    finally:
        provisioning._go_version.cache_clear()
    assert f"install Go {newest.major}.{newest.minor} or newer" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_readme_asks_for_the_go_that_builds_the_tools() -> None:
    """The prerequisite and the pins are one number."""
    newest = max(needed_go(each.source) for each in PROGRAMS.values() if isinstance(each, GoProgram))
    assert f"Go {newest.major}.{newest.minor}" in (Path(__file__).parents[2] / "README.md").read_text()


def test_a_missing_system_program_without_the_right_to_install_it_names_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Who may not install packages is told which one to ask for."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setitem(PROGRAMS, "absent", DebianProgram(package="absent-package", purpose="the test"))
    with pytest.raises(MissingToolError, match=r"absent is missing.*the test.*apt-get install absent-package"):
        locate("absent")


def test_a_program_is_built_once_and_then_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second request is answered from the cache, and a reporter sees the first one work."""
    source = tmp_path / "hello"
    source.mkdir()
    (source / "go.mod").write_text("module hello\n\ngo 1.24\n")
    (source / "main.go").write_text('package main\n\nfunc main() { println("hello") }\n')
    monkeypatch.setattr(provisioning, "user_cache_path", lambda _name: tmp_path / "cache")
    monkeypatch.setitem(PROGRAMS, "hello", GoProgram(folder=str(source), package=".", purpose="the test"))
    seen: list[str] = []
    built = locate("hello", lambda _name, phase, _fraction: seen.append(phase))
    assert subprocess.run([built], check=True, capture_output=True, text=True).stderr == "hello\n"
    assert "compiling" in seen
    stamp = built.stat().st_mtime_ns
    assert locate("hello") == built
    assert built.stat().st_mtime_ns == stamp


def test_a_build_that_fails_says_what_the_compiler_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken build leaves no program behind and shows the compiler's own words."""
    (tmp_path / "go.mod").write_text("module broken\n\ngo 1.24\n")
    (tmp_path / "main.go").write_text("package main\n\nfunc main() { undefined() }\n")
    monkeypatch.setattr(provisioning, "user_cache_path", lambda _name: tmp_path / "cache")
    monkeypatch.setitem(PROGRAMS, "broken", GoProgram(folder=str(tmp_path), package=".", purpose="the test"))
    with pytest.raises(MissingToolError, match="undefined"):
        locate("broken")
    assert not list((tmp_path / "cache").rglob("broken"))


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    """A misspelt program name lists what there is."""
    asked = subprocess.run([sys.executable, "-m", "tools", "kubeclt"], check=False, capture_output=True, text=True)
    assert asked.returncode == 1
    assert "kubeclt" in asked.stderr
    assert "kubectl" in asked.stderr
