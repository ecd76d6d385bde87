import os
import subprocess
from pathlib import Path

import pytest

from verify.facts import Facts, FactsError
from verify.probe import COLLECTOR, environment
from verify.questions import Addresses, Names, questions

NOBODY_THERE = Addresses("127.0.0.1", node="127.0.0.1")


def collect(role: str, scratch: Path, *, path: str = "") -> subprocess.CompletedProcess[str]:
    """Run the collector on this machine."""
    told = environment("plain", "r", "here", NOBODY_THERE, Names("r"))
    told |= {"ROLE": role, "SCRATCH": str(scratch), "RESOLV": "/etc/resolv.conf", "CNI": "/nowhere"}
    told["PATH"] = f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]
    return subprocess.run(["sh", COLLECTOR], env=told, check=False, capture_output=True, text=True)


@pytest.mark.parametrize("role", ["node", "pod", "watch"])
def test_collector_without_questions_fails(tmp_path: Path, role: str) -> None:
    """Where the questions cannot be written the collector fails and prints no document: nothing asked is not well."""
    done = collect(role, tmp_path / "missing")
    assert done.returncode != 0
    with pytest.raises(FactsError, match="not JSON"):
        Facts.read(done.stdout)


def program(directory: Path, text: str) -> str:
    """Write a program in dig's place and return what to put on the path."""
    path = directory / "bin" / "dig"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)
    return str(path.parent)


REPLY = "echo ';; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 1'; echo ';; Query time: 1 msec'"


def test_lost_question_is_asked_once_more(tmp_path: Path) -> None:
    """A question without a reply is asked a second time, and both are told; one that is answered is not."""
    once = f'last="$(echo "$@" | tr -c a-z0-9 _)"; [ -e "{tmp_path}/$last" ] || {{ : >"{tmp_path}/$last"; exit 9; }}'
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    asked = {each.id for each in questions("plain", NOBODY_THERE)}
    facts = Facts.read(collect("pod", scratch, path=program(tmp_path, f"{once}\n{REPLY}")).stdout)
    assert facts.asked_again == set(facts.answers) == asked
    assert {each.status for each in facts.answers.values()} == {"NOERROR"}


def test_silence_is_told_after_two_tries(tmp_path: Path) -> None:
    """A question that has no reply twice is one without a reply, not one that was lost once."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    count = f"echo x >>{tmp_path}/count"
    facts = Facts.read(collect("pod", scratch, path=program(tmp_path, f"{count}; echo timed out; exit 9")).stdout)
    assert facts.asked_again == frozenset()
    assert {each.status for each in facts.answers.values()} == {"timed out"}
    assert len((tmp_path / "count").read_text().split()) == 2 * len(facts.answers)
