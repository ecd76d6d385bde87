"""A local cloud as its users hold it: start, environment, stop."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from local_cloud import processes
from local_cloud.layout import Layout, ServerRecord
from local_cloud.plugins.shims import write_shims
from tools import locate

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""

REGION = "eu-central-1"
"""The region of a shell that sources the environment: that of the stack files. Every region exists."""

_PASSPHRASE = "local-cloud"  # noqa: S105  it protects a state file that describes nothing real
_READY_WITHIN = 60.0  # seconds
_STOP_WITHIN = 15.0  # seconds
_PROGRAMS = ("etcd", "kube-apiserver", "kubectl", "pulumi")

Report = Callable[[str], None]


class LocalCloudError(RuntimeError):
    """The local cloud could not be started or stopped; the message says why and what to do."""


def _silent(_message: str) -> None:
    """Say nothing."""


def locate_programs(names: tuple[str, ...] = _PROGRAMS) -> dict[str, Path]:
    """Find, or build, the external programs a local cloud needs and offers."""
    return {name: locate(name) for name in names}


class LocalCloud:
    """A running local cloud. Usable as a context manager, which stops it."""

    def __init__(
        self,
        layout: Layout,
        record: ServerRecord,
        programs: Mapping[str, Path],
        server: subprocess.Popen[bytes] | None = None,
    ) -> None:
        self.server = server
        """The server's process, if this process started it."""
        self.layout = layout
        self.record = record
        self.environment = environment(layout, programs, record.endpoint, record.access_key, record.secret_key)
        """What a shell, a test or the Pulumi engine needs to find this cloud, PATH included."""

    @classmethod
    def start(
        cls,
        directory: Path,
        programs: Mapping[str, Path] | None = None,
        *,
        detached: bool = False,
        report: Report = _silent,
    ) -> "LocalCloud":
        """Start a local cloud in `directory`, or return the one that runs there.

        `programs` are the external programs by name, all of them located by default; `etcd` and `kube-apiserver`
        are needed, the others are put on PATH. A `detached` cloud outlives this process, any other one ends with it.
        """
        layout = Layout(directory)
        programs = locate_programs() if programs is None else programs
        record = layout.read_record()
        if record is not None and record.process.process() is not None:
            return cls(layout, record, programs)
        remove_leftovers(layout, report)
        layout.state.mkdir(parents=True, exist_ok=True)
        report("Starting the local cloud")
        process = _launch(layout, programs, detached=detached)
        record = _wait_until_ready(layout, process)
        cloud = cls(layout, record, programs, process)
        cloud.write_env()
        return cloud

    def write_env(self) -> None:
        """Write the environment where a shell can source it."""
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in _own(self.environment).items()]
        self.layout.env.touch(mode=0o600)
        self.layout.env.write_text("".join(lines))

    def stop(self) -> None:
        """Stop what runs and remove its files; Pulumi's state stays."""
        stop(self.layout)
        if self.server is not None:
            self.server.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _own(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if os.environ.get(name) != value}


def environment(
    layout: Layout,
    programs: Mapping[str, Path],
    endpoint: str = "http://127.0.0.1:9",
    access_key: str = "none",
    secret_key: str = "none",  # noqa: S107  # the name of no key
) -> dict[str, str]:
    """Return what a shell, a test or the engine needs; by default that of a cloud that is not there yet.

    A first preview asks nobody, so nobody has to be at the endpoint (port 9 is the discard service).
    """
    first = [str(Path(sys.executable).parent), *(str(path.parent) for path in programs.values())]
    inherited = [entry for entry in os.environ.get("PATH", "").split(os.pathsep) if entry]
    plugins = str(write_shims(layout.directory / "plugins"))
    # The stand-ins come last, so that a real provider plugin wins.
    path = [*first, *inherited, plugins]
    inherited_environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PULUMI_"))
    }
    return {
        **inherited_environment,
        "PATH": os.pathsep.join(entry for i, entry in enumerate(path) if entry not in path[:i]),
        "PULUMI_BACKEND_URL": layout.state.as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": _PASSPHRASE,
        "PULUMI_HOME": str(layout.directory / "pulumi"),  # nobody's selected stacks and plugins are touched
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,  # the only one AWS CLI v1 and boto3 read
        "AWS_CONFIG_FILE": os.devnull,  # nobody's own profile must leak into, or out of, a local cloud
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
        "KUBECONFIG": str(layout.kubeconfig),
    }


def _launch(layout: Layout, programs: Mapping[str, Path], *, detached: bool) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "local_cloud",
        "serve",
        f"--directory={layout.directory}",
        f"--etcd={programs['etcd']}",
        f"--kube-apiserver={programs['kube-apiserver']}",
    ]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTEST_", "COV_"))
    }
    environment["PYTHONPATH"] = str(ROOT)
    layout.log.write_bytes(b"")
    if not detached:
        return processes.start_child(command, layout.log, environment)
    with layout.log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=ROOT,
            start_new_session=True,
        )


def _wait_until_ready(layout: Layout, process: subprocess.Popen[bytes]) -> ServerRecord:
    deadline = time.monotonic() + _READY_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        record = layout.read_record()
        if record is not None and record.process.pid == process.pid:
            return record
        time.sleep(0.05)
    processes.stop_child(process)
    raise LocalCloudError(
        f"The local cloud did not start; its log, {layout.log}, ends with:\n{processes.last_lines(layout.log)}"
    )


def _leftovers(layout: Layout) -> list[psutil.Process]:
    """Return etcd and API servers that use this directory: what a killed server leaves where Linux cannot help."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter(["name", "cmdline"]):
        command = process.info["cmdline"] or []
        ours = any(f"{layout.run}{os.sep}" in argument for argument in command[1:])
        if ours and process.info["name"] in {"etcd", "kube-apiserver"}:
            found.append(process)
    return found


def remove_leftovers(layout: Layout, report: Report = _silent) -> None:
    """End and remove what an earlier, killed run left."""
    processes_left = _leftovers(layout)
    if processes_left or layout.run.exists():
        report("Removing what an earlier run left")
    for process in processes_left:
        process.kill()
    psutil.wait_procs(processes_left, timeout=_STOP_WITHIN)
    layout.remove()


def stop(layout: Layout) -> bool:
    """Stop the local cloud of a directory and remove its files; say whether one was running."""
    record = layout.read_record()
    process = record.process.process() if record else None
    if process is not None:
        process.terminate()
        _gone, alive = psutil.wait_procs([process], timeout=_STOP_WITHIN)
        for survivor in alive:
            survivor.kill()
        psutil.wait_procs(alive, timeout=_STOP_WITHIN)
    remove_leftovers(layout)
    layout.log.unlink(missing_ok=True)
    return process is not None
