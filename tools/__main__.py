"""`python -m tools`: provide the programs the project runs, showing progress."""

import sys
import threading
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from tools.catalogue import PROGRAMS
from tools.provisioning import MissingToolError, Report, locate, provision

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


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="Programs to provide; all of them if none is named.")
    ] = None,
    *,
    paths: Annotated[bool, typer.Option("--paths", help="Print where each program lies, a line each.")] = False,
) -> None:
    """Provide the programs the project runs: from PATH, from the cache, or built and installed now."""
    wanted = names or list(PROGRAMS)
    unknown = [name for name in wanted if name not in PROGRAMS]
    if unknown:
        sys.exit(f"No such program: {', '.join(unknown)}. Known are: {', '.join(PROGRAMS)}.")
    console = Console(stderr=True)
    try:
        if console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[phase]}"),
                TimeElapsedColumn(),
            )
            with Progress(*columns, console=console, transient=True) as progress:
                provision(wanted, _bars(progress))
        else:
            provision(wanted, _lines(console))
    except MissingToolError as error:
        sys.exit(str(error))
    if paths:
        for name in wanted:
            print(f"{name}\t{locate(name)}")


if __name__ == "__main__":
    typer.run(main)
