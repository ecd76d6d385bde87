"""`eks-node-local-dns`: every command of the project under one name."""

import sys
from importlib import import_module

COMMANDS: dict[str, tuple[str, str]] = {
    "verify": ("verify.__main__", "Prove on the live nodes that DNS works."),
    "migrate": ("migrate.__main__", "Recreate the pods of strict mode without a lost query."),
    "lab": ("lab.__main__", "Show the failure and the fix in network namespaces."),
    "bench": ("lab.bench.__main__", "Measure the cache against CoreDNS, and our rules against upstream's."),
    "delivery": ("delivery.__main__", "Tell a pull request what a preview would do, and find drift."),
}
"""By name: the module, loaded only when it is asked for, and what it does."""

NAME = "eks-node-local-dns"


def usage() -> str:
    """Return what there is, a line each."""
    lines = "".join(f"  {name:<10}{does}\n" for name, (_module, does) in COMMANDS.items())
    return f"Usage: {NAME} COMMAND [ARGS]...\n\n{lines}\n{NAME} COMMAND --help says what a command takes."


def run(name: str, arguments: list[str]) -> None:
    """Run a command; ends with its exit code."""
    module = COMMANDS[name][0]
    try:
        typer, found = import_module("typer"), import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == module.partition(".")[0]:
            sys.exit(f"{NAME} {name} is only in a clone of the repository: run it there, after `make setup`.")
        sys.exit(f"The Python package {missing} is missing: run `make setup` in the clone, and then this again.")
    app = getattr(found, "app", None)
    if app is None:
        app = typer.Typer(add_completion=False)
        app.command()(found.main)
    sys.argv = [f"{NAME} {name}", *arguments]
    app(arguments, prog_name=sys.argv[0])


def main() -> None:
    """Run the command that the arguments name, or say which there are."""
    match sys.argv[1:]:
        case [] | ["-h" | "--help"]:
            print(usage())
        case [name, *arguments] if name in COMMANDS:
            run(name, arguments)
        case [name, *_]:
            sys.exit(f"There is no command {name}.\n{usage()}")


if __name__ == "__main__":
    main()
