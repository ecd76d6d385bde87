import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _locked(name: str) -> dict[str, str]:
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", (ROOT / name).read_text(), re.MULTILINE)
    return {canonicalize_name(package): version for package, version in pins}


def test_every_dependency_is_locked_at_a_version_that_satisfies_it() -> None:
    """A dependency added or raised in pyproject.toml without `make lock` fails here."""
    development = PROJECT["optional-dependencies"]["dev"]
    for lock, wanted in (
        ("requirements.txt", PROJECT["dependencies"]),
        ("requirements-dev.txt", [*PROJECT["dependencies"], *development]),
    ):
        pins = _locked(lock)
        for text in wanted:
            requirement = Requirement(text)
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), (lock, text)


def test_both_locks_agree() -> None:
    """What the program runs on in production is what it was tested on."""
    runtime, development = _locked("requirements.txt"), _locked("requirements-dev.txt")
    assert runtime.items() <= development.items()


def test_locks_carry_hashes_and_no_addresses() -> None:
    """A lock works behind any mirror and accepts only the files it was made from."""
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert text.count("--hash=sha256:") >= len(_locked(name))
