"""The pages that the Pulumi registry shows of the component package."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from components.pod_security_groups.pod_security_group import PACKAGE

ROOT = Path(__file__).parents[2]
LANGUAGES = {"index.ts": "typescript", "__main__.py": "python", "main.go": "go"}
EXAMPLES = {
    (LANGUAGES[file.name], file.read_text())
    for folder in ("new-cluster", "existing-cluster")
    for file in (ROOT / "examples" / folder).iterdir()
}


def test_the_page_shows_the_examples() -> None:
    """What the page shows is what is compiled and run in the tests of the package, to the letter."""
    shown = re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / "docs" / "_index.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(shown) == len(EXAMPLES) == 5
    assert set(shown) == EXAMPLES


@pytest.mark.parametrize("page", ["_index.md", "installation-configuration.md"])
def test_a_page_begins_with_what_the_registry_reads(page: str) -> None:
    """The registry takes title, description and layout from the first lines, and the languages from the choosers."""
    _, front, text = (ROOT / "docs" / page).read_text().split("---\n", maxsplit=2)
    head = yaml.safe_load(front)
    assert head.keys() == {"title", "meta_desc", "layout"}
    assert head["layout"] == "package"
    for languages, body in re.findall(r'{{< chooser language "(.*?)" >}}(.*?){{< /chooser >}}', text, re.DOTALL):
        assert re.findall(r"{{% choosable language (\w+) %}}\n\n```(\w+)", body) == [
            (each, each) for each in languages.split(",")
        ]
    assert text.count("{{% choosable") == text.count("{{% /choosable %}}")


def test_the_page_of_installation_names_this_version() -> None:
    """What it says to add is the release it belongs to, whose SDKs have the settings that the other page shows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = (ROOT / "docs" / "installation-configuration.md").read_text()
    assert re.findall(r"/package@v(\S+)", page) == [project["version"]]


def test_every_component_is_on_the_page() -> None:
    """Whoever reads the registry sees what there is."""
    page = (ROOT / "docs" / "_index.md").read_text()
    assert all(f"| `{each}` |" in page for each in ("Cluster", "NodeLocalDns", "PodSecurityGroup"))
    assert PACKAGE in page
