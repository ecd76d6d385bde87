"""Jobs of the workflow files and of GitLab's pipeline, run as a runner would run what is written there."""

import hashlib
import re
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from local_cloud.stacks import ROOT


@dataclass
class Done:
    """How a job ended."""

    status: int
    """Of the first step that failed; 0 for none."""

    failed_step: str
    """Its name."""

    text: str

    def __post_init__(self) -> None:
        self.failed = self.status != 0


@dataclass
class Runner:
    """A folder with the repository in which jobs run; artifacts simply stay where they are."""

    directory: Path
    environment: Mapping[str, str]
    values: Mapping[str, str]
    """What GitHub's expressions mean."""

    ran: list[str] = field(default_factory=list)
    """Names of the steps."""

    def run(self, workflow: str, job: str) -> Done:
        """Run the `run:` steps of a job of GitHub's, as the file has them."""
        document = yaml.safe_load((self.directory / f".github/workflows/{workflow}.yml").read_text())
        wanted = document["jobs"][job]
        environment = {**self.environment, **self._expanded(wanted.get("env") or {})}
        said, status, failed_step = [], 0, ""
        for step in self._steps(wanted["steps"]):
            condition = step.get("if", "success()")
            known = {"success()", "${{ !cancelled() }}"}
            assert condition in known, f"the test does not know what `if: {condition}` means"
            if status and condition == "success()":
                continue
            self.ran.append(step["name"])
            assert "${{" not in step["run"], "an expression in a script is how strangers' words become commands"
            options = ["--noprofile", "--norc", "-eo", "pipefail"] if step.get("shell") == "bash" else ["-e"]
            more = self._expanded(step.get("env") or {})
            done = self._bash(options, step["run"], {**environment, **more})
            said.append(f"## {step['name']}\n{done.stdout}{done.stderr}")
            if done.returncode and not status:
                status, failed_step = done.returncode, str(step["name"])
        return Done(status, failed_step, "\n".join(said))

    def run_gitlab(self, job: str) -> Done:
        """Run the scripts of a job of GitLab's, with all that it extends."""
        pipeline = yaml.safe_load((self.directory / ".gitlab-ci.yml").read_text())
        wanted = _extended(pipeline, job)
        variables = {**pipeline["variables"], **wanted.get("variables", {})}
        lines = [*wanted.get("before_script", ()), *wanted["script"]]
        done = self._bash(["-eo", "pipefail"], "\n".join(lines), {**self.environment, **variables})
        return Done(done.returncode, job if done.returncode else "", done.stdout + done.stderr)

    def _steps(self, steps: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield what a shell runs, a local action's steps in the place of the action."""
        for step in steps:
            if str(step.get("uses", "")).startswith("./"):
                action = yaml.safe_load((self.directory / step["uses"] / "action.yml").read_text())
                yield from self._steps(action["runs"]["steps"])
            elif "run" in step:
                yield step

    def _expanded(self, variables: Mapping[str, object]) -> dict[str, str]:
        found = {}
        for key, value in variables.items():
            text = str(value)
            for expression, meant in self.values.items():
                text = text.replace(f"${{{{ {expression} }}}}", meant)
            assert "${{" not in text, f"the test does not know what {key}: {text} means"
            found[key] = text
        return found

    def _bash(
        self, options: list[str], script: str, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", *options, "-c", script],
            cwd=self.directory, env=dict(environment), check=False, capture_output=True, text=True, timeout=240,
        )  # fmt: skip


def _extended(pipeline: Mapping[str, Any], job: str) -> dict[str, Any]:
    """Return a job with what it extends, later ones over earlier ones, maps merged, as GitLab does."""
    found: dict[str, Any] = {}
    parents = pipeline[job].get("extends", [])
    for each in [*([parents] if isinstance(parents, str) else parents)]:
        found = _merged(found, _extended(pipeline, each))
    return _merged(found, pipeline[job])


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        key: _merged(under[key], value) if isinstance(value, dict) and isinstance(under.get(key), dict) else value
        for key, value in over.items()
    }
    return {**under, **both}


def offer_release(directory: Path, pulumi: Path, *, honest: bool = True) -> None:
    """Make a release of a program as Pulumi's CLI, and a `curl` in the folder's `bin` that fetches it from there."""
    [version] = re.findall(r"PULUMI_VERSION: (\S+)", (ROOT / ".gitlab-ci.yml").read_text())
    archive = directory / f"pulumi-v{version}-linux-x64.tar.gz"
    starter = directory / "starter"
    starter.write_text(f'#!/bin/sh\nexec "{pulumi}" "$@"\n')
    starter.chmod(0o755)
    with tarfile.open(archive, "w:gz") as made:
        made.add(starter, "pulumi/pulumi")
    digest = hashlib.sha256(archive.read_bytes() if honest else b"").hexdigest()
    sums = f"{'0' * 64}  pulumi-v{version}-linux-arm64.tar.gz\n{digest}  {archive.name}\n"
    (directory / f"pulumi-{version}-checksums.txt").write_text(sums)
    curl = directory / "bin" / "curl"
    curl.parent.mkdir(exist_ok=True)
    curl.write_text(f'#!/bin/sh\ncp "{directory}/$(basename "$2")" .\n')
    curl.chmod(0o755)
