"""`python -m stacks.reference`: the settings as Markdown, for the README."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from stacks.settings import Settings, models_in

BEGIN, END = "<!-- settings:begin -->\n", "<!-- settings:end -->"


def reference() -> str:
    """Return a table of every setting: key, default and meaning."""
    rows = "".join(f"| `{key}` | {default} | {meaning} |\n" for key, default, meaning in _rows(Settings, ""))
    return f"| key | default | meaning |\n|---|---|---|\n{rows}"


def _rows(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        meaning = " ".join((field.description or "").split()).replace("|", "\\|")
        nested = next(models_in(field.annotation), None)
        mapping = "dict" in str(field.annotation)
        if nested is None:
            yield key, _default(field.default), meaning
        else:
            yield key, _default(None if mapping else {}) if not mapping else "", meaning
            yield from _rows(nested, f"{key}.<name>." if mapping else f"{key}.")


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
