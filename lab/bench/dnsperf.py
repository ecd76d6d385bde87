"""Runs dnsperf in a namespace and reads what it prints."""

import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.namespaces import LabError, Namespace
from tools import locate

_QUERIES_PER_SECOND = re.compile(r"Queries per second:\s+([\d.]+)")
_SENT = re.compile(r"Queries sent:\s+(\d+)")
_COMPLETED = re.compile(r"Queries completed:\s+(\d+)")
_CODES = re.compile(r"Response codes:\s+(.*)")
_QUERY = re.compile(r"^> [A-Z]+ \S+ \S+ (\d+\.\d+)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run of dnsperf found."""

    sent: int
    completed: int
    per_second: float
    codes: tuple[str, ...]
    """Response codes that occurred, sorted."""

    latencies: tuple[float, ...]
    """Seconds each question took, if each was to be reported."""


def read(printed: str) -> Outcome:
    """Read dnsperf's report. Raises `LabError` if it is none."""
    found = [pattern.search(printed) for pattern in (_SENT, _COMPLETED, _QUERIES_PER_SECOND)]
    sent, completed, per_second = (each.group(1) if each else None for each in found)
    if sent is None or completed is None or per_second is None:
        raise LabError(f"dnsperf printed no statistics, so nothing was measured:\n{printed[-2000:]}")
    codes = _CODES.search(printed)
    return Outcome(
        sent=int(sent),
        completed=int(completed),
        per_second=float(per_second),
        codes=tuple(sorted(re.findall(r"[A-Z]+", codes.group(1)))) if codes else (),
        latencies=tuple(float(each) for each in _QUERY.findall(printed)),
    )


def run(client: Namespace, server: str, names: Iterable[str], *options: str | float) -> Outcome:
    """Ask `server` for the address of every name, from 20 ports, and again until the options say stop."""
    with tempfile.NamedTemporaryFile("w", prefix="nodelocal-lab-", suffix=".questions") as questions:
        questions.writelines(f"{name} A\n" for name in names)
        questions.flush()
        wanted = (locate("dnsperf"), "-s", server, "-d", Path(questions.name), "-c", "20", "-W")
        return read(client.run(*wanted, *map(str, options)))
