"""`python -m package.schema`: the package's schema, from which SDKs and the registry's pages are made."""

import argparse
import json
from pathlib import Path

from package.provider import PackageProvider

FILE = Path(__file__).with_name("schema.json")


def text() -> str:
    """Return the schema as the repository keeps it."""
    return json.dumps(PackageProvider().described, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> None:
    """Print the schema, or renew the file that the repository keeps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"renew {FILE.name} in place of printing it")
    if parser.parse_args().write:
        FILE.write_text(text())
    else:
        print(text(), end="")  # noqa: T201  # what the command is for


if __name__ == "__main__":
    main()
