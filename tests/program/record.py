"""`python -m tests.program.record`: all that the program asks for, as YAML that shows in review what changes.

A file for each stack in tests/program/records. Values that AWS or a cluster gives are mocked; which inputs nobody knows
before the first update is said beside them.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pulumi.runtime import rpc

from tests.program.recorder import UNKNOWN, Recording, Registered
from tests.program.runs import recording

RECORDS = Path(__file__).with_name("records")

FILES = {
    # name of the file: name of the run
    "dev": "dev",
    "stg": "stg",
    "prod": "prod",
    "every-setting": "every setting away from its default",
    "existing-cluster": "a cluster that exists",
    "existing-cluster-and-its-vpc-cni": "a cluster that exists, and its CNI",
    "another-stacks-cluster": "another stack's",
}

SECRET = "<secret>"  # noqa: S105  # stands where one was

Document = dict[str, Any]


class _InOrder(dict[str, Any]):
    """A map whose order says something; any other is sorted."""


class _Json(str):
    """A JSON text, shown as what it holds, in its own order."""

    __slots__ = ("tag",)
    tag: str
    """How it is written: by json.dumps, with or without spaces."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  # the base's
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


def _in_order(dumper: yaml.SafeDumper, value: _InOrder) -> yaml.Node:
    return dumper.represent_mapping("tag:yaml.org,2002:map", value.items())


def _json(dumper: yaml.SafeDumper, value: _Json) -> yaml.Node:
    holds = json.loads(value, object_pairs_hook=_InOrder)
    return dumper.represent_mapping(value.tag, _readable(holds).items())


_Dumper.add_representer(str, _text)
_Dumper.add_representer(_InOrder, _in_order)
_Dumper.add_representer(_Json, _json)


def key_of(each: Registered) -> str:
    """Return the name by which a resource is looked for: `Subnet network-private-a`."""
    return f"{each.type.rpartition(':')[2]} {each.name}"


def _reference(urn: str) -> str:
    _, _, kind, name = urn.split("::")[:4]
    return f"{kind.rpartition(':')[2]} {name}"


def _readable(value: Any) -> Any:
    """Return a value as a reader needs it: URNs as names, JSON as what it holds, secrets not at all."""
    if isinstance(value, dict):
        return _readable_map(value)
    if isinstance(value, list):
        return [_readable(each) for each in value]
    if isinstance(value, str):
        return _reference(value) if value.startswith("urn:pulumi:") else _as_json(value)
    return value


def _readable_map(value: dict[str, Any]) -> Any:
    kind = value.get(rpc._special_sig_key)
    if kind == rpc._special_secret_sig:
        return SECRET
    if kind == rpc._special_resource_sig:
        return f"<{_reference(value['urn'])}>"
    return type(value)((key, _readable(each)) for key, each in value.items())


def _as_json(value: str) -> str:
    if value.startswith("{") and "\n" not in value:
        try:
            holds = json.loads(value)
        except ValueError:
            return value
        for tag, separators in (("!json", None), ("!json-without-spaces", (",", ":"))):
            if json.dumps(holds, separators=separators) == value:
                found = _Json(value)
                found.tag = tag
                return found
    return value


def _unknown(value: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of what nobody knows yet."""
    if value == UNKNOWN:
        yield path
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _unknown(each, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _unknown(each, f"{path}.{number}")


def _options(each: Registered) -> Document:
    options = _readable(each.options)
    return {**options, "dependencies": sorted(options["dependencies"])} if "dependencies" in options else options


def _told(**sections: Any) -> _InOrder:
    return _InOrder({key: value for key, value in sections.items() if value})


def document(found: Recording, previewed: Recording | None = None) -> Document:
    """Return a recording as plain data; with a preview, what nobody knows before the first update is said."""
    early = {each.urn: each.inputs for each in previewed.resources} if previewed else {}
    resources: Document = {}
    for each in found.resources:
        if each.type == "pulumi:pulumi:Stack":
            continue
        assert key_of(each) not in resources, f"two resources are called {key_of(each)}"
        resources[key_of(each)] = _told(
            type=each.type,
            read=each.id,
            options=_options(each),
            inputs=_readable(each.inputs),
            unknownInFirstPreview=sorted(_unknown(early.get(each.urn))),
            outputs=_readable(found.component_outputs.get(each.urn)),
        )
    return _told(
        outputs=_readable(found.outputs),
        unknownOutputsInFirstPreview=sorted(_unknown(previewed.outputs if previewed else None)),
        warnings=found.warnings,
        calls=sorted((_readable(each) for each in found.calls), key=lambda each: json.dumps(each, sort_keys=True)),
        hooks=found.hooks,
        resources=resources,
    )


def text(run: str) -> str:
    """Return the record of one of `RUNS`."""
    found, previewed = recording(run), recording(run, preview=True)
    assert not found.error, found.error
    assert not previewed.error, previewed.error
    assert found.by_urn.keys() == previewed.by_urn.keys(), "a preview shows other resources than an update makes"
    shown = yaml.dump(document(found, previewed), Dumper=_Dumper, width=100_000, allow_unicode=True)
    return f"# What the program asks for: {run}. Written by `make record`.\n{shown}"


def main() -> None:
    """Write every record anew."""
    RECORDS.mkdir(exist_ok=True)
    for file in RECORDS.glob("*.yaml"):
        file.unlink()
    for name, run in FILES.items():
        (RECORDS / f"{name}.yaml").write_text(text(run))


if __name__ == "__main__":
    main()
