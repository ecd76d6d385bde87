import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from stacks.mistakes import models_in
from stacks.reading import parse
from stacks.settings import Settings
from tests.program.differences import differences
from tests.program.runs import EVERY_SETTING, recording_with


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of settings.yaml, which says what its keys mean."""

    setting: str
    base: str
    value: Any
    changes: dict[str, Any]
    beside: dict[str, Any] = field(default_factory=dict)
    nowhere: list[str] = field(default_factory=list)


TABLE = Path(__file__).with_name("settings.yaml")
ROWS = [Row(**each) for each in yaml.load(TABLE.read_text(), yaml.CSafeLoader)]
WITHOUT_A_PLACE_BESIDE_OTHERS = {
    # settings that the run with every setting leaves at their default, and why
    "source.stack": "the cluster is made here",
    "source.clusterName": "the cluster is made here",
    "network.existing": "the VPC is made here",
    "vpcCni.manage": "of a cluster made here all is managed",
    "nodeLocalDns.enabled": "without the cache its settings say nothing",
    "nodeLocalDns.corefile.cluster.prefetch.enabled": "without prefetching its numbers say nothing",
    "nodeLocalDns.corefile.external.prefetch.enabled": "without prefetching its numbers say nothing",
    "nodeLocalDns.corefile.stubDomains.*.cache.prefetch.enabled": "without prefetching its numbers say nothing",
}


def _paths(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """Yield the path of every setting; `*` stands for a name, or a place in a list."""
    for name, each in model.model_fields.items():
        path = f"{above}{each.alias or name}"
        inner = next(models_in(each.annotation), None)
        many = re.search("dict|tuple", str(each.annotation))
        if inner is None:
            yield path
        else:
            yield from _paths(inner, f"{path}.*." if many else f"{path}.")


def _is(path: str, pattern: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", "[^.]+"), path) is not None


@pytest.mark.parametrize("path", [*_paths(Settings)])
def test_a_setting_has_a_row(path: str) -> None:
    """Whoever adds a setting says what it changes."""
    assert any(_is(row.setting, path) for row in ROWS), f"{path} has no row in tests/program/{TABLE.name}"


def _listed(changes: dict[str, Any]) -> str:
    return yaml.safe_dump({"changes": changes}, sort_keys=False, default_flow_style=None, width=100_000)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.setting} of {row.base}")
def test_a_setting_reaches_its_place_and_no_other(row: Row) -> None:
    """Another value changes the inputs that the table says, from what it says to what it says, and nothing else."""
    before = recording_with(row.base, row.beside)
    after = recording_with(row.base, {**row.beside, row.setting: row.value})
    found = {path: list(both) for path, both in differences(before, after).items()}
    assert found, f"{row.setting} has no effect"
    asked = json.dumps([after.outputs, *(each.inputs for each in after.resources)])
    assert [each for each in row.nowhere if each in asked] == []
    if found != row.changes:
        missing, more = ({key: this[key] for key in this if this[key] != that.get(key)}
                         for this, that in ((row.changes, found), (found, row.changes)))  # fmt: skip
        pytest.fail(
            f"{row.setting} changes something else than tests/program/{TABLE.name} says.\n"
            f"In the table, and not so:\n{_listed(missing)}Found, and not in the table:\n{_listed(more)}",
            pytrace=False,
        )


def test_a_row_changes_one_thing_once() -> None:
    """Two rows of one setting are of two kinds of stacks."""
    assert len({(row.setting, row.base) for row in ROWS}) == len(ROWS)


def _values(settings: BaseModel, above: str = "") -> Iterator[tuple[str, Any]]:
    for name, each in type(settings).model_fields.items():
        value, path = getattr(settings, name), f"{above}{each.alias or name}"
        if isinstance(value, BaseModel):
            yield from _values(value, f"{path}.")
        elif isinstance(value, dict) and all(isinstance(one, BaseModel) for one in value.values()) and value:
            yield from _values(next(iter(value.values())), f"{path}.*.")
        else:
            yield path, value


def test_every_setting_is_away_from_its_default() -> None:
    """In the run that is on the record for it: what is set there and has no effect would be seen."""
    parsed = parse(EVERY_SETTING, "stacks/Pulumi.every.yaml")
    default = parse({"nodeLocalDns": {"corefile": {"stubDomains": {"a": {"servers": ["10.9.0.9"]}}}}}, "a file")
    away, usual = dict(_values(parsed)), dict(_values(default))
    same = {path for path in usual if path in away and away[path] == usual[path]}
    assert same == WITHOUT_A_PLACE_BESIDE_OTHERS.keys()
