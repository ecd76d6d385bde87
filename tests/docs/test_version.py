"""The version is in pyproject.toml; wherever else it is read or written it is the same."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HEADINGS = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_the_changelogs_newest_release_is_the_version() -> None:
    """What is not released comes first; then the releases, the newest first, each with its day."""
    unreleased, *releases = HEADINGS
    assert unreleased == ("Unreleased", "")
    assert releases[0][0] == PROJECT["version"]
    assert releases == sorted(releases, key=lambda each: [int(part) for part in each[0].split(".")], reverse=True)
    assert all(day for _version, day in releases)


def test_the_policy_pack_has_the_version() -> None:
    """It is published with the program, and a policy server keeps packs by their number."""
    assert yaml.safe_load((ROOT / "policies" / "PulumiPolicy.yaml").read_text())["version"] == PROJECT["version"]


def test_nothing_else_says_a_version_of_its_own() -> None:
    """The package reads pyproject.toml; no file but the policy pack's and the schema, which is made, has the number."""
    assert 'project["version"]' in (ROOT / "package" / "provider.py").read_text()
    written = re.compile(rf"""version["']?\s*[=:]\s*["']?{re.escape(PROJECT["version"])}\b""")
    rooms = ("components", "stacks", "verify", "migrate", "delivery", "package", "policies")
    files = [path for room in rooms for path in (ROOT / room).rglob("*") if path.suffix in {".py", ".yaml", ".json"}]
    assert [str(path.relative_to(ROOT)) for path in files if written.search(path.read_text())] == [
        "package/schema.json",
        "policies/PulumiPolicy.yaml",
    ]


def test_the_licence_is_the_one_that_is_named() -> None:
    """The wheel's metadata names Apache-2.0 and carries its text."""
    assert PROJECT["license"] == "Apache-2.0"
    assert PROJECT["license-files"] == ["LICENSE"]
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "APPENDIX: How to apply the Apache License to your work." in text
