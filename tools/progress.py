"""Provide programs and show how far that is: bars on a terminal, lines elsewhere."""

import threading
import time
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from tools.provisioning import Report, provision

_QUIET_SECONDS = 10.0  # between two lines about one program where there is no terminal to redraw


def _lines(console: Console) -> Report:
    """Report in plain lines: one whenever the phase changes, and one every few seconds within it."""
    last: dict[str, tuple[str, float]] = {}
    lock = threading.Lock()

    def report(name: str, phase: str, fraction: float | None) -> None:
        with lock:
            word = phase.split(" (", maxsplit=1)[0]
            before, at = last.get(name, ("", 0.0))
            if word == before and time.monotonic() - at < _QUIET_SECONDS:
                return
            last[name] = (word, time.monotonic())
        share = "" if fraction is None else f" {fraction:.0%}"
        console.print(f"{name}: {phase}{share}", highlight=False, soft_wrap=True)

    return report


def _bars(progress: Progress) -> Report:
    """Report as one bar per program."""
    tasks: dict[str, TaskID] = {}
    lock = threading.Lock()

    def report(name: str, phase: str, fraction: float | None) -> None:
        with lock:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=None, phase="")
        progress.update(tasks[name], phase=phase, total=None if fraction is None else 1.0, completed=fraction or 0.0)

    return report


def provide(names: Iterable[str], console: Console) -> dict[str, Path]:
    """Return where each program lies; one that is missing is built or installed first, which `console` shows.

    Raises what `tools.locate` raises.
    """
    if not console.is_terminal:
        return provision(names, _lines(console))
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[phase]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        return provision(names, _bars(progress))
