"""`python -m stacks.reference`: every setting as Markdown, which is docs/settings.md."""

import argparse
import json
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticUndefined

from components.cache.corefile import CacheSettings
from stacks.changes import change
from stacks.mistakes import models_in
from stacks.settings import Settings

_INTRODUCTION = """\
# Settings

In `stacks/Pulumi.<stack>.yaml`, below `config:`, each with `eks-node-local-dns:` before its first word. Neither a
misspelt key nor a value that cannot be used is ignored: the preview stops and tells each with its key, what is wrong
and what to write instead.

```yaml
config:
  eks-node-local-dns:nodeLocalDns:
    corefile:
      maxConcurrent: 2000     # the key nodeLocalDns.corefile.maxConcurrent
```

`pulumi config set --path eks-node-local-dns:nodeLocalDns.corefile.maxConcurrent 2000` writes the same.

The column *a change* says what becomes of a stack that is up. *In place*: the resource stays and is told the new value.
*Replaces*: another is made and this one is deleted, as the preview says before it happens.

`make reference` writes this file, from the model that reads the stack files.
"""

_CACHES = """
## Caches

In place of `<cache>`: {caches}. A change is made in place, and the cache's pods are replaced.

| key | type | default | meaning |
|---|---|---|---|
"""
_OF_A_CACHE = "[map](#caches)"
_OF_ITS_KEYS = "see its keys"

_KINDS: Mapping[Any, tuple[str, str]] = {dict: ("map of maps", ".<name>"), tuple: ("list of maps", "[]")}
"""How settings with keys of their own are held where there may be several, and how the key of one is written."""


class Row(NamedTuple):
    """A key in the reference."""

    key: str
    kind: str
    default: str
    meaning: str


def reference() -> str:
    """Return the document: a table of each section, and one of the keys that every cache has."""
    text = _INTRODUCTION
    for section, rows in groupby(keys(Settings), lambda each: each.key.partition(".")[0]):
        text += f"\n## {section}\n\n| key | type | default | meaning | a change |\n|---|---|---|---|---|\n"
        text += "".join(
            _line(*each, _OF_ITS_KEYS if each.default == _OF_ITS_KEYS else change(each.key)) for each in rows
        )
    text += _CACHES.format(caches=", ".join(f"`{each.key}`" for each in keys(Settings) if each.kind == _OF_A_CACHE))
    return text + "".join(_line(*each) for each in keys(CacheSettings, "<cache>."))


def _line(key: str, *cells: str) -> str:
    return f"| `{key}` | {' | '.join(cells)} |\n"


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[Row]:
    """Yield every key of a model; those of a cache, of which there are several, only for the cache's own model."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        meaning = " ".join((field.description or "").split()).replace("|", "\\|")
        inside = next(models_in(field.annotation), None)
        if inside is None:
            kind = _type(TypeAdapter[Any](field.rebuild_annotation()).json_schema())
            yield Row(key, kind, _default(field.default), meaning)
        elif issubclass(inside, CacheSettings):
            yield Row(key, _OF_A_CACHE, _unlike_others(inside), meaning)
        else:
            kind, one = _KINDS.get(get_origin(field.annotation), ("map", ""))
            yield Row(key, kind, _default(field.default), meaning)
            yield from keys(inside, f"{key}{one}.")


def _type(schema: Mapping[str, Any]) -> str:
    """Return what a JSON Schema asks for, in a reader's words."""
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{each}`" for each in schema.get("enum") or [schema["const"]])
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"] if each.get("type") != "null")
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    if schema["type"] == "object":
        return f"map of {_type(schema['additionalProperties'])}"
    return "CIDR" if schema.get("format") == "ipv4network" else str(schema["type"])


def _default(value: Any) -> str:  # noqa: ANN401  # any default there is
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return "none"
    if isinstance(value, BaseModel):
        return _OF_ITS_KEYS
    return f"`{TypeAdapter[Any](Any).dump_json(value, by_alias=True, exclude_unset=True).decode()}`"


def _unlike_others(cache: type[BaseModel]) -> str:
    """Return the defaults of one cache that are not those of any."""
    fields = CacheSettings.model_fields
    own = {key.alias: key.default for name, key in cache.model_fields.items() if key.default != fields[name].default}
    return f"`{json.dumps(own)}`" if own else _OF_ITS_KEYS


def main() -> None:
    """Print the reference, or write it to a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="write it to FILE")
    file: Path | None = parser.parse_args().write
    if file is None:
        print(reference(), end="")  # noqa: T201  # what the command is for
    else:
        file.write_text(reference())


if __name__ == "__main__":
    main()
