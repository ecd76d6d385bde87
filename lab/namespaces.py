"""Network namespaces that are the lab's own, and go away whatever happens to it."""

import ctypes
import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TypeVar

from tools import locate

PREFIX = "nodelocal-lab-"
"""Begins the name of every namespace of every lab; the maker's process id follows."""

BUSY_SECONDS = 60.0
"""How long a machine that is busy with other things may need for what takes a moment on a worker node."""

_NETWORK = 0x40000000  # CLONE_NEWNET
_HOME = Path("/run/netns")
_serial = itertools.count(1)  # several nodes at once have machines of the same names
_libc = ctypes.CDLL(None, use_errno=True)

Result = TypeVar("Result")


class LabError(RuntimeError):
    """The lab cannot do what it was asked; the message says the remedy."""


_PROGRAMS = (("unshare", "util-linux"), ("nsenter", "util-linux"), ("setpriv", "util-linux"), ("sysctl", "procps"))


def become_root(command: Sequence[str]) -> None:
    """Make sure that namespaces can be made: run `command` in the lab's place as root of a user namespace if need be.

    Returns for root. Raises `LabError`, saying what is missing, where neither is possible.
    """
    for program, package in _PROGRAMS:
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            raise LabError(f"{program} is missing, which the lab's namespaces need: install {package} and try again.")
    if os.geteuid() == 0:
        return
    # Names of namespaces are files under /run, so this root gets a /run of its own; all of it goes with the lab.
    enter = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--", "sh", "-euc"]
    own_run = "mount -t tmpfs tmpfs /run"
    tried = subprocess.run([*enter, own_run], check=False, capture_output=True, text=True)
    if tried.returncode != 0:
        raise LabError(
            "The lab makes network namespaces: run it as root (sudo), or allow user namespaces, which this kernel "
            f"refuses ({tried.stderr.strip()})."
        )
    os.execvp(enter[0], [*enter, f'{own_run}; exec "$@"', "sh", *command])  # noqa: S606  # the lab itself, as root


def _alive(process: str) -> bool:
    return process.isdigit() and Path("/proc", process).exists()


def sweep() -> list[str]:
    """Remove the namespaces of labs that are dead, and return their names.

    Another lab may be doing the same.
    """
    names = [path.name for path in _HOME.glob(f"{PREFIX}*")]
    stale = [name for name in names if not _alive(name.removeprefix(PREFIX).split("-")[0])]
    for name in stale:
        done = subprocess.run([locate("ip"), "netns", "delete", name], check=False, capture_output=True, text=True)
        if done.returncode != 0 and (_HOME / name).exists():
            raise LabError(f"{name}, which a dead lab left behind, cannot be removed: {done.stderr.strip()}")
    return stale


class Namespace:
    """One network namespace: a node, a pod, the VPC's router; `environment` is added to that of commands in it."""

    def __init__(self, name: str, environment: Mapping[str, str] | None = None) -> None:
        self._environment = {**os.environ, **(environment or {})}
        self.name = f"{PREFIX}{os.getpid()}-{next(_serial)}-{name}"
        subprocess.run([locate("ip"), "netns", "add", self.name], check=True)
        self._descriptor = os.open(_HOME / self.name, os.O_RDONLY | os.O_CLOEXEC)
        # Sockets belong to the namespace of the thread that made them, so each namespace has threads of its own.
        self._threads = ThreadPoolExecutor(thread_name_prefix=name, initializer=self._enter)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.ip("link set lo up")

    def _enter(self) -> None:
        if _libc.setns(self._descriptor, _NETWORK) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {self.name}")

    def call(self, function: Callable[[], Result]) -> Result:
        """Return what `function` returns inside the namespace."""
        return self._threads.submit(function).result()

    @property
    def prefix(self) -> list[str]:
        """The beginning of a command that runs here and ends with the lab."""
        return ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={_HOME / self.name}", "--"]

    def run(self, *command: str | Path, given: str | None = None, check: bool = True) -> str:
        """Run a command here and return its output; raises `LabError` with what it said."""
        done = subprocess.run(
            [*self.prefix, *map(str, command)],
            check=False, capture_output=True, text=True, input=given, env=self._environment,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise LabError(f"{self.name}: {' '.join(map(str, command))}: {done.stderr.strip()}")
        return done.stdout

    def ip(self, *lines: str) -> None:
        """Run iproute2 commands, without the `ip`, in one go."""
        self.run(locate("ip"), "-batch", "-", given="\n".join(lines))

    def sysctl(self, **settings: str | int) -> None:
        """Set kernel settings; `__` in a name stands for the slash, so that a link's name may have dots."""
        wanted = [f"{name.replace('__', '/')}={value}" for name, value in settings.items()]
        self.run("sysctl", "-qw", *wanted)

    def start(self, command: Iterable[str | Path], log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a process here that ends with the lab."""
        started = subprocess.Popen(
            [*self.prefix, *map(str, command)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment,
            start_new_session=True,  # Ctrl-C is for the lab, which then ends its processes in order
        )  # fmt: skip
        self._processes.append(started)
        return started

    def close(self) -> None:
        """End what still runs here and remove the namespace."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        self._threads.shutdown()
        os.close(self._descriptor)
        subprocess.run([locate("ip"), "netns", "delete", self.name], check=True)
