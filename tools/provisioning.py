"""Find the programs the project runs; build or install, once per user, those that are missing."""

import hashlib
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from filelock import FileLock
from packaging.version import InvalidVersion, Version
from platformdirs import user_cache_path

from tools.catalogue import PROGRAMS, DebianProgram, GoProgram, NodeProgram

Report = Callable[[str, str, float | None], None]
"""Told, while a program is provided: its name, what is being done, and the fraction done if known."""

_DEBIAN_LOCK = threading.Lock()


class MissingToolError(RuntimeError):
    """A program is not there and cannot be provided; the message says the remedy in one sentence."""


def _silent(_name: str, _phase: str, _fraction: float | None) -> None:
    """Say nothing."""


def needed_go(module: Path) -> Version:
    """Return the oldest Go that builds what is in a module's folder: its go.mod says so."""
    found = re.search(r"^go (\S+)$", (module / "go.mod").read_text(), re.MULTILINE)
    return Version(found[1] if found else "0")


def _remedy() -> str:
    newest = max(needed_go(each.source) for each in PROGRAMS.values() if isinstance(each, GoProgram))
    return f"install Go {newest.major}.{newest.minor} or newer (https://go.dev/doc/install) and run the command again."


def _go() -> str:
    found = shutil.which("go")
    if found is None:
        raise MissingToolError(f"The Go compiler is missing and the project's tools are built with it: {_remedy()}")
    return found


@cache
def _go_version(module: Path) -> str:
    """Return what builds a program: version, system and processor; raises `MissingToolError` for an old Go.

    Asked in the module's folder, because a Go that may fetch a newer one for a module does so there.
    """
    asked = subprocess.run(
        [_go(), "env", "GOVERSION", "GOOS", "GOARCH"], cwd=module, check=False, capture_output=True, text=True
    )
    found = re.match(r"go(\d+\.\d+(?:\.\d+)?)", asked.stdout)
    if asked.returncode != 0 or (found is not None and Version(found[1]) < needed_go(module)):
        shown = f"Go {found[1]}" if found else "The Go compiler that is installed"
        raise MissingToolError(f"{shown} is too old for the project's tools: {_remedy()}")
    return asked.stdout


def build_key(program: GoProgram, go_version: str) -> str:
    """Identify a build by all that goes into it, so that a changed pin is a new build and nothing else is."""
    digest = hashlib.sha256()
    for part in (go_version, program.package, *program.build_command):
        digest.update(part.encode() + b"\0")
    for path in sorted(program.source.rglob("*")):
        if path.is_file() and path.suffix in {".go", ".mod", ".sum"} and not path.name.endswith("_test.go"):
            digest.update(path.relative_to(program.source).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def suitable(program: GoProgram, printed: str) -> bool:
    """Say whether what a program on PATH prints as its version is a version the project works with."""
    found = re.search(r"\d+\.\d+\.\d+", printed)
    if found is None:
        return False
    try:
        version, oldest = Version(found.group()), Version(program.at_least)
    except InvalidVersion:
        return False
    return version == oldest if program.exactly else version >= oldest


@cache
def _on_path(name: str) -> Path | None:
    program = PROGRAMS[name]
    found = shutil.which(name)
    if found is None:
        return None
    if isinstance(program, DebianProgram):
        return Path(found)
    if isinstance(program, NodeProgram) or not program.version_command:
        return None
    asked = subprocess.run([found, *program.version_command], check=False, capture_output=True, text=True, timeout=60)
    return Path(found) if asked.returncode == 0 and suitable(program, asked.stdout + asked.stderr) else None


def _packages(program: GoProgram, name: str, report: Report) -> int:
    """Count the packages of a build; downloads the modules they are in, which is the slow part of it."""
    with subprocess.Popen(
        [_go(), "list", "-deps", program.package],
        cwd=program.source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None  # noqa: S101  # Popen was asked for pipes
        assert process.stderr is not None  # noqa: S101  # same
        packages: list[str] = []
        reader = threading.Thread(target=lambda out=process.stdout: packages.extend(out))
        reader.start()
        said: list[str] = []
        downloaded = 0
        for line in process.stderr:
            said.append(line)
            if line.startswith("go: downloading"):
                downloaded += 1
                report(name, f"downloading modules ({downloaded})", None)
        reader.join()
    if process.returncode != 0:
        raise MissingToolError(f"Go cannot resolve {name} from {program.source}:\n{''.join(said[-10:])}")
    return len(packages)


def _build(name: str, program: GoProgram, report: Report, niceness: int) -> Path:
    key = build_key(program, _go_version(program.source))
    directory = user_cache_path("eks-node-local-dns") / "tools" / f"{name}-{key}"
    built = directory / name
    if built.exists():
        return built
    directory.mkdir(parents=True, exist_ok=True)
    report(name, "waiting for its turn", None)
    with FileLock(directory / "lock"):  # another process may be building the same program
        if built.exists():
            return built
        report(name, "resolving modules", None)
        total = _packages(program, name, report)
        partial = directory / f"{name}.partial"
        command = ["nice", "-n", str(niceness), *program.build_command, "-o", str(partial), program.package]
        command[command.index("go")] = _go()
        said: list[str] = []
        done = 0
        with subprocess.Popen(
            command, cwd=program.source, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None  # noqa: S101  # Popen was asked for a pipe
            report(name, "compiling", 0.0)
            for line in process.stderr:
                said.append(line)
                done += 1
                report(name, "compiling" if done < total else "linking", min(done / total, 1.0))
        if process.returncode != 0:
            raise MissingToolError(f"Building {name} from {program.source} failed:\n{''.join(said[-20:])}")
        partial.replace(built)  # only a finished build ever has the final name
    return built


def _install_packages(name: str, program: NodeProgram, report: Report) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise MissingToolError(
            f"npm is missing, which installs {name} for {program.purpose}: install Node.js 20 or newer (nodejs.org, "
            "`sudo apt-get install npm`) and run the command again."
        )
    lock = (program.source / "package-lock.json").read_bytes()
    directory = user_cache_path("eks-node-local-dns") / "tools" / f"{name}-{hashlib.sha256(lock).hexdigest()[:16]}"
    installed, finished = directory / "node_modules" / ".bin" / name, directory / "finished"
    if finished.exists():
        return installed
    directory.mkdir(parents=True, exist_ok=True)
    report(name, "waiting for its turn", None)
    with FileLock(directory / "lock"):  # another process may be installing the same packages
        if finished.exists():
            return installed
        report(name, "installing packages", None)
        for each in ("package.json", "package-lock.json"):
            shutil.copy(program.source / each, directory)
        # Types are all that is wanted of the packages: no script of theirs runs.
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=directory, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise MissingToolError(f"npm cannot install {name} from {program.source}:\n{done.stderr.strip()[-500:]}")
        finished.touch()
    return installed


def _install(name: str, program: DebianProgram, report: Report) -> Path:
    remedy = f"run `sudo apt-get install {program.package}` (or your system's equivalent) and try again"
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        raise MissingToolError(f"{name} is missing, which is needed for {program.purpose}: {remedy}.")
    with _DEBIAN_LOCK:
        for step in (("update", "-qq"), ("install", "-y", "-qq", "--no-install-recommends", program.package)):
            report(name, f"apt-get {step[0]}", None)
            done = subprocess.run(
                [apt, *step], check=False, capture_output=True, text=True,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            )  # fmt: skip
            if done.returncode != 0 and step[0] == "install":
                raise MissingToolError(
                    f"{name} is missing, which is needed for {program.purpose}, and apt-get could not "
                    f"install {program.package}: {done.stderr.strip()[-500:]}; {remedy}."
                )
    found = shutil.which(name)
    if found is None:
        raise MissingToolError(f"apt-get installed {program.package}, but {name} is not on PATH: {remedy}.")
    return Path(found)


def locate(name: str, report: Report = _silent, niceness: int = 0) -> Path:
    """Return the path of a program, providing it first if it is missing.

    Looked for on PATH (a suitable version), then in the per-user cache, then built or installed. Building is
    locked, so any number of processes may ask at once. Raises `MissingToolError` with the remedy when it
    cannot be had, and `KeyError` for a name that is not in the catalogue.
    """
    program = PROGRAMS[name]
    found = _on_path(name)
    if found is not None:
        return found
    if isinstance(program, DebianProgram):
        _on_path.cache_clear()
        return _install(name, program, report)
    if isinstance(program, NodeProgram):
        return _install_packages(name, program, report)
    return _build(name, program, report, niceness)


def provision(names: Iterable[str], report: Report = _silent) -> dict[str, Path]:
    """Provide several programs side by side; the earlier in the list, the more of the processor it gets."""
    wanted = list(dict.fromkeys(names))
    with ThreadPoolExecutor(max_workers=max(len(wanted), 1)) as pool:
        running = {
            name: pool.submit(locate, name, report, min(4 * position, 16)) for position, name in enumerate(wanted)
        }
        return {name: future.result() for name, future in running.items()}
