"""The executables by which the engine finds the stand-ins: it looks for `pulumi-resource-<package>` on PATH."""

import shlex
import sys
from pathlib import Path

PACKAGES = ("aws", "eks", "kubernetes")


def write_shims(directory: Path) -> Path:
    """Write one executable for each stand-in into `directory`, for this interpreter, and return the directory.

    The directory belongs at the end of PATH, so that a real plugin that is installed is the one that is used.
    """
    directory.mkdir(parents=True, exist_ok=True)
    root = Path(__file__).parents[2]
    for package in PACKAGES:
        shim = directory / f"pulumi-resource-{package}"
        shim.write_text(
            "#!/bin/sh\n"
            f"export PYTHONPATH={shlex.quote(str(root))}\n"
            f'exec {shlex.quote(sys.executable)} -P -m local_cloud.plugins.{package} "$@"\n'
        )
        shim.chmod(0o755)
    return directory
