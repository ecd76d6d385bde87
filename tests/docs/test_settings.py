"""What the documents say of settings: the reference is the model's, and examples are taken by the program."""

import re
from pathlib import Path
from typing import Any

import yaml

from stacks.configuration import own
from stacks.reading import parse
from stacks.reference import keys, reference
from stacks.rules import warnings
from stacks.settings import Settings

ROOT = Path(__file__).parents[2]
FILE = "stacks/Pulumi.dev.yaml"


def test_the_reference_is_the_models() -> None:
    """`make reference` was run after the last change of a setting."""
    assert (ROOT / "docs" / "settings.md").read_text() == reference()


def test_every_key_has_a_type_a_default_and_a_meaning() -> None:
    """Nothing is left for the reader to guess; a list of maps says that it is one."""
    rows = {each.key: each for each in keys(Settings)}
    assert [key for key, each in rows.items() if not all(each)] == []
    assert rows["nodeLocalDns.corefile.rewrites"].kind == "list of maps"
    assert rows["nodeGroups"].default == '`{"default":{"instanceTypes":["m6i.large"]}}`'
    assert rows["nodeLocalDns.corefile.reverse"].default == '`{"successCapacity": 1024, "denialCapacity": 1024}`'


def test_the_keys_of_a_cache_are_told_once() -> None:
    """Four caches have the same keys, and each is one row."""
    assert len(re.findall(r"^\| `\S+\.successTtl` \|", reference(), re.MULTILINE)) == 1


def _set(values: dict[str, Any]) -> list[str]:
    """Return the keys that an example sets; a node group is one, however many it has inside."""
    return [
        key if key == "nodeGroups" or not isinstance(value, dict) else f"{key}.{below}"
        for key, value in values.items()
        for below in (_set(value) if isinstance(value, dict) and key != "nodeGroups" else [""])
    ]


def test_the_readme_shows_ten_settings_that_the_program_takes() -> None:
    """The example can be copied as it is: no mistake in it, and no warning about it."""
    [example] = re.findall(r"^```yaml\n(config:\n.*?)```$", (ROOT / "README.md").read_text().split("## Settings")[1],
                           re.MULTILINE | re.DOTALL)  # fmt: skip
    values = own(yaml.safe_load(example)["config"], "eks-node-local-dns", FILE)
    assert len(_set(values)) == 10
    assert list(warnings(parse(values, FILE))) == []
