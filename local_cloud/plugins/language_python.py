"""A stand-in for pulumi-language-python: runs Python programs and plugins for the `pulumi` command.

Run by the engine as `python -m local_cloud.plugins.language_python <engine address>`. The real language host comes
with Pulumi's installer and not from any package registry. Programs run in this process, by the server that the SDK
has for the Automation API; policy packs and component packages run as processes of their own. It installs with pip
only. What it does not do is a call that fails and says so.
"""

import os
import queue
import runpy
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import grpc
from google.protobuf import json_format
from pulumi.automation._server import LanguageServer
from pulumi.runtime.proto import language_pb2

from local_cloud.plugins.language_host import LanguageHost, serve


def interpreter(directory: Path, options: dict[str, Any]) -> str:
    """Return the Python of a program's virtual environment, or this one where it has none."""
    inside = directory / str(options.get("virtualenv", "")) / "bin" / "python"
    return str(inside) if options.get("virtualenv") and inside.exists() else sys.executable


def _written(process: subprocess.Popen[bytes], response: Callable[..., Any]) -> Iterator[Any]:
    """Yield what a process writes as it comes, as responses with the bytes as `stdout` or `stderr`."""
    said: queue.Queue[tuple[str, bytes] | None] = queue.Queue()

    def pass_on(name: str, stream: IO[bytes]) -> None:
        while chunk := os.read(stream.fileno(), 65536):
            said.put((name, chunk))
        said.put(None)

    for name, stream in (("stdout", process.stdout), ("stderr", process.stderr)):
        assert stream is not None  # noqa: S101  # Popen was asked for pipes
        threading.Thread(target=pass_on, args=(name, stream), daemon=True).start()
    for _end in ("stdout", "stderr"):
        while item := said.get():
            yield response(**dict([item]))


class PythonLanguageHost(LanguageHost, LanguageServer):
    """Serves one engine."""

    language = "python"

    def __init__(self) -> None:
        super().__init__(lambda: None)

    def Run(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802  # the protocol's names
        """Run a program in this process, from its own folder."""
        directory = Path(request.info.program_directory)
        entry = directory / request.info.entry_point
        main = entry / "__main__.py" if entry.is_dir() else entry

        def program() -> None:
            runpy.run_path(str(main), run_name="__main__")

        os.chdir(directory)
        sys.path.insert(0, str(directory))
        self.program = program
        return super().Run(request, context)

    def RunPlugin(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: ANN401, N802  # the protocol's names
        """Run a plugin that is a Python program, passing on what it writes."""
        directory = Path(request.info.program_directory)
        options = json_format.MessageToDict(request.info.options)
        process = subprocess.Popen(
            [interpreter(directory, options), "-u", str(directory), *request.args],
            cwd=request.pwd or directory,
            env=dict(each.split("=", 1) for each in request.env) or None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        context.add_callback(process.terminate)
        yield from _written(process, language_pb2.RunPluginResponse)
        yield language_pb2.RunPluginResponse(exitcode=process.wait())

    def RuntimeOptionsPrompts(self, request: Any, context: Any) -> Any:  # noqa: ANN401, ARG002, N802  # the protocol's names
        """Ask nothing: the project says how it is run."""
        return language_pb2.RuntimeOptionsResponse()

    def InstallDependencies(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: ANN401, N802  # the protocol's names
        """Make the virtual environment of a program and install what its requirements.txt lists."""
        directory = Path(request.info.program_directory)
        options = json_format.MessageToDict(request.info.options)
        environment = directory / str(options.get("virtualenv", ""))
        if not options.get("virtualenv") or not (directory / "requirements.txt").exists():
            return
        commands = [[str(environment / "bin" / "python"), "-m", "pip", "install", "-r", "requirements.txt"]]
        if not (environment / "bin" / "python").exists():
            commands.insert(0, [sys.executable, "-m", "venv", str(environment)])
        for command in commands:
            process = subprocess.Popen(
                command, cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            context.add_callback(process.terminate)
            yield from _written(process, language_pb2.InstallDependenciesResponse)
            if process.wait():
                context.abort(grpc.StatusCode.INTERNAL, f"{' '.join(command)} failed ({process.returncode})")

    def Link(self, request: Any, context: Any) -> Any:  # noqa: ANN401, ARG002, N802  # the protocol's names
        """Add SDKs to the requirements of a program."""
        requirements = Path(request.info.program_directory) / "requirements.txt"
        listed = requirements.read_text().splitlines() if requirements.exists() else []
        added = [each.path for each in request.packages if each.path not in listed]
        requirements.write_text("".join(f"{line}\n" for line in [*listed, *added]))
        return language_pb2.LinkResponse()


if __name__ == "__main__":
    serve(PythonLanguageHost())
