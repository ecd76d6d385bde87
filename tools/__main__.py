"""`python -m tools`: provide the programs the project runs, showing progress."""

import sys
from typing import Annotated

import typer
from rich.console import Console

from tools.catalogue import PROGRAMS
from tools.progress import provide
from tools.provisioning import MissingToolError


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
    try:
        found = provide(wanted, Console(stderr=True))
    except MissingToolError as error:
        sys.exit(str(error))
    if paths:
        for name, path in found.items():
            print(f"{name}\t{path}")


if __name__ == "__main__":
    typer.run(main)
