"""Child processes that never outlive us, and records of processes by which a later run can recognise them."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _die_with_parent_hook() -> Callable[[], None] | None:
    """Return what a child runs before exec so that the kernel ends it with its parent.

    The library is loaded here, in the parent: between fork and exec nothing may allocate. Elsewhere than on
    Linux there is no such signal, and only an orderly stop ends the children.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def hook() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return hook


_DIE_WITH_PARENT = _die_with_parent_hook()

# Linux sends the death signal when the *thread* that forked ends, so one thread, which lives as long as we do,
# starts every child.
_LAUNCHER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="launcher")


@dataclass(frozen=True)
class ProcessRecord:
    """A process, recognisable after its pid was given to another one."""

    pid: int
    """Process id."""
    started: float
    """Start time as the kernel reports it, seconds since the epoch."""

    @classmethod
    def of(cls, pid: int) -> "ProcessRecord":
        """Describe a running process."""
        return cls(pid, psutil.Process(pid).create_time())

    def process(self) -> psutil.Process | None:
        """Return the process if it is still the same one and not merely waiting to be reaped."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < 1
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def start_child(
    command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a program that the kernel kills when this process is gone, its output in `log`."""
    with log.open("ab") as output:
        return _LAUNCHER.submit(
            subprocess.Popen,
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment) if environment is not None else {"PATH": os.environ.get("PATH", "")},
            preexec_fn=_DIE_WITH_PARENT,
        ).result()


def stop_child(child: subprocess.Popen[bytes], grace: float = 5.0) -> None:
    """Ask a child to end, and end it after `grace` seconds if it did not."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(grace)
        except subprocess.TimeoutExpired:
            child.kill()
    child.wait()


def last_lines(log: Path, count: int = 5) -> str:
    """Return the end of a log file, for the error message of whoever waited for its process."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
    except OSError:
        return "(no log)"
