"""`python -m stacks.reference`: the settings as Markdown, for the README."""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticUndefined

from stacks.mistakes import models_in
from stacks.settings import Settings

BEGIN, END = "<!-- settings:begin -->\n", "<!-- settings:end -->"


def reference() -> str:
    """Return a table of every setting: key, type, default and meaning."""
    rows = "".join(f"| `{key}` | {' | '.join(rest)} |\n" for key, *rest in _rows(Settings, ""))
    return f"| key | type | default | meaning |\n|---|---|---|---|\n{rows}"


def _rows(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        meaning = " ".join((field.description or "").split()).replace("|", "\\|")
        nested = next(models_in(field.annotation), None)
        mapping = "dict" in str(field.annotation)
        if nested is None:
            yield (
                key,
                _type(TypeAdapter[Any](field.rebuild_annotation()).json_schema()),
                _default(field.default),
                meaning,
            )
        else:
            yield key, "map" if mapping else "", "", meaning
            yield from _rows(nested, f"{key}.<name>." if mapping else f"{key}.")


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
    if value is None or value in ({}, (), ""):
        return ""
    return f"`{json.dumps(value, default=str)}`"


def with_reference(text: str) -> str:
    """Return a document with the table between its two markers renewed."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{reference()}{END}{after}"


def main() -> None:
    """Print the table, or renew it in a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="renew the table between the markers in FILE")
    file: Path | None = parser.parse_args().write
    if file is None:
        print(reference(), end="")  # noqa: T201  # what the command is for
    else:
        file.write_text(with_reference(file.read_text()))


if __name__ == "__main__":
    main()
