"""Commands that people and pipelines run, with the environment and the folder they run them in."""

import subprocess
from collections.abc import Mapping
from pathlib import Path


def run(variables: Mapping[str, str], directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command and return what it wrote."""
    return subprocess.run(
        command, cwd=directory, env=dict(variables), check=False, capture_output=True, text=True, timeout=300
    )


def succeeded(variables: Mapping[str, str], directory: Path, *command: str) -> str:
    """Run a command that has to succeed, and return what it printed."""
    done = run(variables, directory, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
