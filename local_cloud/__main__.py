"""`python -m local_cloud`: run AWS and Kubernetes stand-ins on this machine."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from local_cloud import cloud as local
from local_cloud.layout import Layout

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
_console = Console(stderr=True)

_Directory = Annotated[Path, typer.Option(help="Where the local cloud keeps its files.")]
_DEFAULT = local.ROOT / ".local"


@app.command()
def serve(
    etcd: Annotated[Path, typer.Option(help="The etcd program.")],
    kube_apiserver: Annotated[Path, typer.Option(help="The kube-apiserver program.")],
    directory: _Directory = _DEFAULT,
) -> None:
    """Serve in the foreground until interrupted; `start` does this in the background."""
    from local_cloud.server import serve as run  # noqa: PLC0415  moto takes a second that only this command needs

    run(Layout(directory), etcd=etcd, kube_apiserver=kube_apiserver)


@app.command()
def start(directory: _Directory = _DEFAULT) -> None:
    """Start in the background and return when it is ready; does nothing if it runs."""
    with _console.status("Looking for the programs it needs") as status:
        cloud = local.LocalCloud.start(directory, detached=True, report=status.update)
    _console.print(f"AWS is at {cloud.record.endpoint}. In a shell:  source {cloud.layout.env}")


@app.command()
def stop(directory: _Directory = _DEFAULT) -> None:
    """Stop it and remove its files; Pulumi's state stays."""
    stopped = local.stop(Layout(directory))
    _console.print("Stopped." if stopped else "It was not running.")


@app.command()
def status(directory: _Directory = _DEFAULT) -> None:
    """Say whether it runs; exits with 1 if not."""
    record = Layout(directory).read_record()
    if record is None or record.process.process() is None:
        _console.print("Not running." if record is None else "Not running; an earlier run was killed.")
        raise typer.Exit(1)
    _console.print(f"Running as process {record.process.pid}; AWS is at {record.endpoint}.")


@app.command()
def env(directory: _Directory = _DEFAULT) -> None:
    """Print the environment for a shell."""
    path = Layout(directory).env
    if not path.exists():
        _console.print("Not running: `python -m local_cloud start` starts it.")
        raise typer.Exit(1)
    print(path.read_text(), end="")


@app.command()
def demo(
    stack: Annotated[str, typer.Argument(help="dev, stg or prod: a stack file in stacks/.")] = "dev",
    directory: _Directory = _DEFAULT,
) -> None:
    """Bring a stack and its consumer up on the real engine, and leave them running."""
    from local_cloud.demo import bring_up  # noqa: PLC0415  the engine's SDK takes a second that others need not wait

    raise typer.Exit(bring_up(stack, directory))


@app.command()
def demo_down(directory: _Directory = _DEFAULT) -> None:
    """Destroy what `demo` made, stop what it started and remove its files."""
    from local_cloud.demo import take_down  # noqa: PLC0415  same

    raise typer.Exit(take_down(directory))


if __name__ == "__main__":
    app()
