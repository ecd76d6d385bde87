"""The executables by which the engine finds the stand-ins: it looks for them by name on PATH."""

import shlex
import sys
from pathlib import Path

PACKAGES = ("aws", "eks", "kubernetes")
"""Provider plugins that have a stand-in."""

SHIMS = {f"pulumi-resource-{package}": package for package in PACKAGES} | {
    "pulumi-language-python": "language_python",
    "pulumi-language-go": "language_host go",
    "pulumi-language-nodejs": "language_host nodejs",
}
"""Executables and the modules beside this one that they run, with arguments."""


def write_shims(directory: Path) -> Path:
    """Write one executable for each stand-in into `directory`, for this interpreter, and return the directory.

    The directory belongs at the end of PATH, so that a real plugin that is installed is the one that is used.
    """
    directory.mkdir(parents=True, exist_ok=True)
    root = Path(__file__).parents[2]
    for name, module in SHIMS.items():
        shim = directory / name
        shim.write_text(
            "#!/bin/sh\n"
            f"export PYTHONPATH={shlex.quote(str(root))}\n"
            f'exec {shlex.quote(sys.executable)} -P -m local_cloud.plugins.{module} "$@"\n'
        )
        shim.chmod(0o755)
    return directory
