"""The external programs the project runs: found on PATH, or built once from pinned sources and cached."""

from tools.catalogue import PROGRAMS
from tools.provisioning import MissingToolError, locate, provision

__all__ = ["PROGRAMS", "MissingToolError", "locate", "provision"]
