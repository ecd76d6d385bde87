"""Copies of the repository, as a clone and an installation would make them."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from delivery.preview import Preview, read
from local_cloud.stacks import ROOT

_LEFT_OUT = (".git", ".venv", ".local", ".pulumi", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis")


def copy_repository(directory: Path) -> None:
    """Copy what a clone would have."""
    shutil.copytree(ROOT, directory, ignore=shutil.ignore_patterns(*_LEFT_OUT))


def link_packages(directory: Path) -> None:
    """Give a folder a virtual environment that has every package, as if they had been installed there."""
    packages = directory / ".venv"
    packages.mkdir(parents=True)
    for each in Path(sys.prefix).iterdir():
        if each.name != ".synced":
            (packages / each.name).symlink_to(each)
    (packages / ".synced").touch()


def install_sdk(sdk: Path, package: str, version: str) -> None:
    """Leave beside an SDK what pip would; it would ask an index for its build tools."""
    described = sdk / f"{package}-{version}.dist-info" / "METADATA"
    described.parent.mkdir()
    described.write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")


@dataclass
class Clone:
    """A clone in which somebody changes a stack file and looks at what that would do."""

    directory: Path
    environment: Mapping[str, str]

    def select(self, stack: str) -> None:
        """Create a stack that is not there."""
        subprocess.run(
            ["pulumi", "stack", "select", "--create", stack, "--non-interactive"],
            cwd=self.directory, env=dict(self.environment), check=True, capture_output=True, timeout=60,
        )  # fmt: skip

    def preview(self, settings: Mapping[str, Any], *command: str, stack: str = "dev") -> Preview:
        """Return a preview with settings on top of those of the stack file; `command` is by default `preview`."""
        file = self.directory / "stacks" / f"Pulumi.{stack}.yaml"
        before = file.read_text()
        document = yaml.safe_load(before)
        for key, value in settings.items():
            document["config"][f"eks-node-local-dns:{key}"] = value
        file.write_text(yaml.safe_dump(document))
        try:
            done = subprocess.run(
                ["pulumi", *(command or ("preview",)), "--stack", stack, "--json", "--non-interactive"],
                cwd=self.directory, env={**self.environment, "PULUMI_ENABLE_STREAMING_JSON_PREVIEW": "true"},
                check=False, capture_output=True, text=True, timeout=240,
            )  # fmt: skip
            return read(done.stdout)
        finally:
            file.write_text(before)
