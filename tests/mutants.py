"""Mutation testing by room: mutmut on what changed against main or on a named room, and a table of kill rates.

`make mutants` and `make mutants ROOM=components/cluster` come here. mutmut changes one thing in a copy of the code and
runs the unit tests that reach the changed function; a change that no test notices is a survivor. It changes the bodies
of functions only: not constants, nor class bodies.
"""

import argparse
import ast
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, TextIO

import libcst as cst
import libcst.matchers as m
import mutmut.__main__ as mutmut
from mutmut.configuration import config
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.mutation.file_mutation import MutatedFile, mutate_file_contents
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import copy_also_copy_files, copy_src_dir, setup_source_paths
from mutmut.utils.format_utils import get_mutant_name, orig_function_and_class_names_from_key
from rich.console import Console
from rich.table import Column, Table

ROOT = Path(__file__).parents[1]
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.toml")
REPORT = ROOT / ".local" / "mutants.json"

KNOWN_TO_MUTMUT = m.Name("staticmethod") | m.Name("classmethod")

NOTICED = {"killed", "timeout", "segfault"}
"""mutmut's verdicts that count as noticed: a test failed, never ended, or the interpreter died."""


@dataclass(frozen=True)
class Mutant:
    """One change of the code."""

    name: str
    """mutmut's name; its number changes with the code around it."""

    path: str
    """File."""

    line: int
    """Line in it."""

    function: str
    """Function or Class.method."""

    removed: str
    """The line as it is."""

    added: str
    """The line as it became; empty: it went."""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What stays the same while the code around it changes."""
        return self.path, self.function, self.removed, self.added

    @property
    def room(self) -> str:
        """`components/cluster`, `stacks`, ..."""
        parts = Path(self.path).parts
        return "/".join(parts[: 2 if parts[0] == "components" and len(parts) > 2 else 1])


def _stay(decorators: Sequence[cst.Decorator]) -> bool:
    """Say whether mutmut can do with these: it knows two, and a property's setter is found by its name."""
    named = [each.decorator for each in decorators]
    return (len(named) <= 1 and all(m.matches(each, KNOWN_TO_MUTMUT) for each in named)) or any(
        m.matches(each, m.Attribute(attr=m.Name("setter"))) for each in named
    )


class _Plain(cst.CSTTransformer):
    """Applies decorators in a statement of its own: `@rule def f` as `def f` and `f = rule(f)`.

    mutmut leaves decorated functions alone, as it would have to copy them with what their decorators do; so each copy
    is a plain one. Casts go too: their types are texts, whose mutants nothing could notice.
    """

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:  # noqa: N802, ARG002  # the base class's
        """Go down."""
        self._depth += 1

    def leave_FunctionDef(  # noqa: N802  # the base class's
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef | cst.FlattenSentinel[cst.BaseStatement]:
        """Come up, and take the decorators off what is at the top or in a class."""
        self._depth -= 1
        if self._depth or _stay(original_node.decorators):
            return updated_node
        made: cst.BaseExpression = updated_node.name
        for each in reversed(updated_node.decorators):
            made = cst.Call(each.decorator, [cst.Arg(made)])
        applied = cst.SimpleStatementLine([cst.Assign([cst.AssignTarget(updated_node.name)], made)])
        return cst.FlattenSentinel([updated_node.with_changes(decorators=()), applied])

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:  # noqa: N802
        """Leave of a cast what it is of."""
        if not m.matches(original_node.func, m.Name("cast")):
            return updated_node
        value = updated_node.args[1].value
        return value.with_changes(lpar=[cst.LeftParen(), *value.lpar], rpar=[*value.rpar, cst.RightParen()])


def _mutated_plain(filename: str, code: str, *more: Any) -> MutatedFile:
    return mutate_file_contents(filename, cst.parse_module(code).visit(_Plain()).code, *more)


@dataclass(frozen=True)
class _Place:
    """Where a function is in its file."""

    first: int
    """Line of its first decorator, or of itself."""

    last: int
    """Last line."""

    origin: int
    """Line in the file of what would be line 0 of mutmut's text of it."""


@cache
def _functions(path: str) -> dict[str, _Place]:
    """Return where each function at the top of a file and each method is."""
    found: dict[str, _Place] = {}
    text = (ROOT / path).read_text()
    lines = text.splitlines()

    def visit(body: Iterable[ast.stmt], prefix: str = "") -> None:
        for each in body:
            if isinstance(each, ast.ClassDef):
                visit(each.body, f"{prefix}{each.name}.")
            elif isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([each.lineno, *(decorator.lineno for decorator in each.decorator_list)])
                names = [decorator.id for decorator in each.decorator_list if isinstance(decorator, ast.Name)]
                kept = len(each.decorator_list) == 1 and names and names[0] in {"staticmethod", "classmethod"}
                comments = 0  # those above it are part of the text
                while lines[first - 2 - comments].lstrip().startswith("#"):
                    comments += 1
                begins = first if kept else each.lineno
                found[prefix + each.name] = _Place(first, each.end_lineno or first, begins - comments - 1)

    visit(ast.parse(text).body)
    return found


def _function_of(name: str) -> str:
    function, owner = orig_function_and_class_names_from_key(name)
    return f"{owner}.{function}" if owner else function


def _mutant(name: str, path: str) -> Mutant:
    function = _function_of(name)
    removed: list[str] = []
    added: list[str] = []
    at = line = 0
    for each in get_diff_for_mutant(name, path=path).splitlines()[2:]:
        if hunk := re.match(r"@@ -(\d+)", each):
            at = int(hunk[1])
        elif each.startswith("-"):
            line = line or at
            removed.append(each[1:].strip())
            at += 1
        elif each.startswith("+"):
            line = line or at
            added.append(each[1:].strip())
        else:
            at += 1
    return Mutant(name, path, _functions(path)[function].origin + line, function, "\n".join(removed), "\n".join(added))


def _equivalents() -> dict[tuple[str, str, str, str], str]:
    entries: list[dict[str, str]] = tomllib.loads(EQUIVALENT.read_text()).get("equivalent", [])
    return {(each["file"], each["function"], each["removed"], each["added"]): each["why"] for each in entries}


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True, cwd=ROOT).stdout


def _changed(base: str) -> dict[str, list[range]]:
    """Return the lines that differ from where this branch left `base`, by file."""
    changed: dict[str, list[range]] = {}
    path = ""
    for line in _git("diff", "--unified=0", _git("merge-base", base, "HEAD").strip(), "--", "*.py").splitlines():
        if line.startswith("+++ "):
            path = line.removeprefix("+++ ").removeprefix("b/")
        elif hunk := re.match(r"@@ -\S+ \+(\d+)(?:,(\d+))?", line):
            changed.setdefault(path, []).append(range(int(hunk[1]), int(hunk[1]) + int(hunk[2] or 1)))
    for path in _git("ls-files", "--others", "--exclude-standard", "--", "*.py").splitlines():
        changed[path] = [range(1, sys.maxsize)]
    return changed


def _tests_of(path: str) -> list[str]:
    """Return where the unit tests of a file are: those of its room, and of the settings for what they reach."""
    parts = Path(path).parts
    mirrored = ROOT / "tests" / Path(*(parts[:-1] or parts))
    places = [str(mirrored.relative_to(ROOT)) if mirrored.is_dir() else f"tests/{parts[0]}"]
    if parts[0] in {"components", "stacks"}:
        places.append("tests/stacks")  # not tests/program: it runs the program in processes that tell mutmut nothing
    return places


def _chosen(asked: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Yield the name and file of each mutant that was asked for, once mutmut has made all of the files chosen."""
    changed = None if asked.room or asked.again else _changed(asked.base)
    for data, name, _ in mutmut.collect_source_file_mutation_data(mutant_names=[])[0]:
        path = str(data.path)
        place = _functions(path)[_function_of(name)]
        if changed is None or any(each.start <= place.last and place.first < each.stop for each in changed[path]):
            yield name, path


def _name_as_imported(path: Path, function: str) -> str:
    """Name a mutant as the tests import its module: the policy pack's from its own folder."""
    return get_mutant_name(Path(str(path).removeprefix("policies/")), function)


def _generate(files: list[str], tests: list[str]) -> None:
    os.chdir(ROOT)
    mutmut.mutate_file_contents = _mutated_plain  # type: ignore[reportPrivateImportUsage]  # likewise
    mutmut.get_mutant_name = _name_as_imported  # type: ignore[reportPrivateImportUsage]  # what it calls
    shutil.rmtree("mutants", ignore_errors=True)
    Path("mutants").mkdir()
    settings = config()
    settings.only_mutate = files
    settings.pytest_add_cli_args_test_selection = tests
    with Path("mutants/generated.txt").open("w") as said:
        kept, sys.stdout = sys.stdout, said
        try:
            copy_src_dir()
            copy_also_copy_files()
            setup_source_paths()
            mutmut.create_mutants(os.cpu_count() or 1)
        finally:
            sys.stdout = kept


def _keep_only(names: set[str]) -> None:
    """Take the other mutants out of mutmut's files: it runs all that are there."""
    for data in mutmut.collect_source_file_mutation_data(mutant_names=[])[1].values():
        data.exit_code_by_key = {name: None for name in data.exit_code_by_key if name in names}
        data.save()


class LineAtATime(io.TextIOBase):
    """For a log: of a line that a terminal would see overwritten, one version in a while."""

    SECONDS = 20

    def __init__(self, onto: TextIO) -> None:
        self._onto = onto
        self._next = 0.0

    def write(self, text: str, /) -> int:
        """Pass on what is no progress, and progress when it is time."""
        if text.startswith("\r"):
            if time.monotonic() < self._next:
                return len(text)
            self._next = time.monotonic() + self.SECONDS
            text = text.strip() + "\n"
        self._onto.write(text)
        self._onto.flush()
        return len(text)

    def fileno(self) -> int:
        """Return that of the log: mutmut's processes turn it away from their own output."""
        return self._onto.fileno()


def _files(asked: argparse.Namespace, last: dict[str, Any]) -> list[str]:
    sources = [str(path) for path in config().source_paths]
    if asked.again:
        chosen = {each["path"] for each in last["survivors"]}
    elif asked.room:
        place = ROOT / asked.room
        if not place.exists():
            raise SystemExit(f"There is no {asked.room}. ROOM is a folder or file under: {', '.join(sources)}.")
        found = [place] if place.is_file() else place.rglob("*.py")
        chosen = {str(path.relative_to(ROOT)) for path in found}
    else:
        chosen = set(_changed(asked.base))
    return sorted(path for path in chosen if Path(path).parts[0] in sources and (ROOT / path).is_file())


def _tell(console: Console, mutant: Mutant, verdict: str) -> None:
    note = "" if verdict == "survived" else f"  ({verdict})"
    lines = [f"{mutant.path}:{mutant.line} {mutant.function}{note}"]
    lines += [f"    {sign} {line}" for sign, text in zip("-+", (mutant.removed, mutant.added), strict=True)
              for line in text.splitlines()]  # fmt: skip
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _report(console: Console, verdicts: list[tuple[Mutant, str]], said: str) -> list[Mutant]:
    """Print the table and what survived, and return the latter."""
    equivalents = _equivalents()
    counts: dict[str, Counter[str]] = {}
    survivors: list[tuple[Mutant, str]] = []
    for mutant, verdict in verdicts:
        counted = counts.setdefault(mutant.path, Counter())
        if verdict in NOTICED:
            counted["noticed"] += 1
            if mutant.identity in equivalents:
                console.print(f"[yellow]A test notices what {EQUIVALENT.name} calls equivalent: {mutant}")
        elif mutant.identity in equivalents:
            counted["equivalent"] += 1
        else:
            counted["survived"] += 1
            survivors.append((mutant, verdict))
    for mutant, verdict in sorted(survivors, key=lambda each: (each[0].path, each[0].line)):
        _tell(console, mutant, verdict)
    table = Table(Column("", no_wrap=True), "mutants", "noticed", "survived", "equivalent", "rate", title=said)
    rooms: dict[str, Counter[str]] = {}
    for mutant, _ in verdicts:
        rooms.setdefault(mutant.room, Counter())
    for path, counted in sorted(counts.items()):
        room = next(mutant.room for mutant, _ in verdicts if mutant.path == path)
        rooms[room] += counted
        table.add_row(path, *_row(counted))
    table.add_section()
    for room, counted in sorted(rooms.items()):
        table.add_row(room, *_row(counted))
    console.print(table)
    return [mutant for mutant, _ in survivors]


def _row(counted: Counter[str]) -> list[str]:
    judged = counted["noticed"] + counted["survived"]
    rate = f"{100 * counted['noticed'] / judged:.1f} %" if judged else "-"
    return [str(each) for each in (sum(counted.values()), counted["noticed"], counted["survived"])] + [
        str(counted["equivalent"]), rate,
    ]  # fmt: skip


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("room", nargs="?", help="folder or file; without: the functions that changed against --base")
    parser.add_argument("--base", default="main", help="what the changes are against; default: main")
    parser.add_argument("--sample", type=int, metavar="N", help="only N mutants, drawn at random")
    parser.add_argument("--seed", type=int, default=1, help="of the sample; default: 1")
    parser.add_argument("--again", action="store_true", help="only what survived the last run")
    parser.add_argument("--tests", nargs="+", help="where the tests are; default: those of the room")
    asked = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    last: dict[str, Any] = json.loads(REPORT.read_text()) if asked.again else {}
    files = _files(asked, last)
    if not files:
        console.print(f"No function that can be mutated differs from {asked.base}; name a ROOM to judge one.")
        return
    tests = asked.tests or sorted({place for path in files for place in _tests_of(path)})
    _generate(files, tests)
    chosen = list(_chosen(asked))
    if asked.again:
        survived = {tuple(each[key] for key in ("path", "function", "removed", "added")) for each in last["survivors"]}
        chosen = [(name, path) for name, path in chosen if _mutant(name, path).identity in survived]
    every = len(chosen)
    if asked.sample and asked.sample < every:
        chosen = random.Random(asked.seed).sample(sorted(chosen), asked.sample)  # noqa: S311  # no secret
    if not chosen:
        console.print("mutmut finds nothing to change there: it changes the bodies of functions only.")
        return
    console.print(f"{len(chosen)} of {every} mutants of {len(files)} files; tests: {' '.join(tests)}")
    _keep_only({name for name, _ in chosen})
    if not sys.stdout.isatty():
        sys.stdout = sys.__stdout__ = LineAtATime(sys.stdout)  # type: ignore[misc]  # mutmut writes there
    mutmut.cli.main(["run"], standalone_mode=False)
    results = {name: result for _, name, result in mutmut.collect_source_file_mutation_data(mutant_names=[])[0]}
    verdicts = [(_mutant(name, path), status_by_exit_code[results[name]]) for name, path in chosen]
    drawn = f", drawn with seed {asked.seed}" if len(chosen) < every else ""
    survivors = _report(console, verdicts, f"{len(chosen)} of {every} mutants{drawn}")
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps({"survivors": [asdict(each) for each in survivors]}, indent=2))


if __name__ == "__main__":
    main()
