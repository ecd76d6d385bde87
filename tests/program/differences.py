"""What differs between two recordings of the program: path by path, from what to what."""

import difflib
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from tests.program.record import Document, document
from tests.program.recorder import Recording

ABSENT, PRESENT, HASH, ANOTHER_HASH = "<absent>", "<present>", "<hash>", "<another hash>"

Changes = dict[str, tuple[Any, Any]]
"""From what to what, by path."""

LONG = 60
"""Characters of a text of which only the words that differ are told."""

_HASH = re.compile(r"[0-9a-f]{16}")


def differences(before: Recording, after: Recording) -> Changes:
    """Return what the program asks for otherwise: inputs, options, outputs, and what it asks AWS.

    A path begins with the resource (`Subnet network-private-a: cidrBlock`); an entry of a list is found by its name or
    its place, and lines of a Corefile by their zone. A resource that comes or goes is told as a whole,
    as is such an entry of a list, and hashes are told as such.
    """
    return dict(_resources(_shown(before), _shown(after)))


def _shown(recording: Recording) -> Document:
    assert not recording.error, recording.error
    return document(recording)


def _resources(before: Document, after: Document) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for section in ("outputs", "hooks"):
        yield from _of(before.get(section, {}), after.get(section, {}), section)
    yield from _sets("asks", *(_calls(each) for each in (before, after)))
    was, now = before["resources"], after["resources"]
    for key in sorted(was.keys() | now.keys()):
        if key not in was or key not in now:
            yield key, ((PRESENT, ABSENT) if key in was else (ABSENT, PRESENT))
            continue
        for part in ("type", "read", "options", "outputs"):
            yield from _of(was[key].get(part), now[key].get(part), f"{key}: {part}")
        yield from _of(was[key].get("inputs", {}), now[key].get("inputs", {}), f"{key}:")


def _calls(shown: Document) -> list[str]:
    return [
        f"{function.rpartition(':')[2]} {json.dumps(arguments, sort_keys=True)}"
        for each in shown.get("calls", [])
        for function, arguments in each.items()
    ]


def _of(before: Any, after: Any, path: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            below = f"{path} {key}" if path.endswith(":") else f"{path}.{key}"
            yield from _of(before.get(key, ABSENT), after.get(key, ABSENT), below)
    elif isinstance(before, list) and isinstance(after, list):
        yield from list(_of_lists(before, after, path)) or [(path, (before, after))]  # else only the order differs
    elif isinstance(before, str) and isinstance(after, str):
        yield from _of_texts(before, after, path)
    else:
        yield path, (before, after)


def _of_texts(before: str, after: str, path: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if holds := _json(before, after):
        yield from _of(*holds, path)
    elif path.endswith(".Corefile"):
        yield from _lines(before, after, path)
    elif min(len(before), len(after)) > LONG and len(before.split()) == len(after.split()):
        yield path, _words(before, after)
    elif _HASH.fullmatch(before) and _HASH.fullmatch(after):
        yield path, (HASH, ANOTHER_HASH)
    else:
        yield path, (before, after)


def _json(before: str, after: str) -> tuple[Any, Any] | None:
    """Return what two JSON texts hold, if that is all there is to their difference."""
    try:
        was, now = json.loads(before), json.loads(after)
    except ValueError:
        return None
    return (was, now) if isinstance(was, dict | list) and was != now else None


def _of_lists(before: list[Any], after: list[Any], path: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if path.endswith("options.dependencies") or (len(before) != len(after) and not any(map(_many, [*before, *after]))):
        yield from _sets(path, before, after)
    elif names := _names(before, after):
        named = [{_name(each): each for each in entries} for entries in (before, after)]
        for name in names:
            was, now = (entries.get(name, ABSENT) for entries in named)
            yield from _of_entries(was, now, f"{path}.{name}")
    else:
        for number, (was, now) in enumerate(itertools.zip_longest(before, after, fillvalue=ABSENT)):
            yield from _of_entries(was, now, f"{path}.{number}")


def _of_entries(before: Any, after: Any, path: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if ABSENT in (before, after):
        yield path, ((ABSENT, PRESENT) if before == ABSENT else (PRESENT, ABSENT))
    else:
        yield from _of(before, after, path)


def _names(before: list[Any], after: list[Any]) -> list[str]:
    """Return the names of entries that are told by them, in the order in which they come; else nothing."""
    both = [*before, *after]
    if not all(isinstance(each, dict) and _name(each) for each in both):
        return []
    unique = all(len({_name(each) for each in entries}) == len(entries) for entries in (before, after))
    return list(dict.fromkeys(_name(each) for each in both)) if unique else []


def _many(entry: Any) -> bool:
    return isinstance(entry, dict | list)


def _name(entry: dict[str, Any]) -> str:
    return str(entry.get("name") or entry.get("alert") or "")


def _sets(path: str, before: list[Any], after: list[Any]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    gone = [each for each in before if each not in after]
    come = [each for each in after if each not in before]
    if gone or come:
        yield path, (gone, come)


def _lines(before: str, after: str, path: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the lines of a text that differ, without their indentation, with those beside them that do, too."""
    was, now = before.splitlines(), after.splitlines()
    found: dict[str, tuple[list[str], list[str]]] = {}
    for kind, first, last, begin, end in difflib.SequenceMatcher(None, was, now, autojunk=False).get_opcodes():
        if kind != "equal":
            place = _opening(was, first) if first < last else _opening(now, begin)
            gone, come = found.setdefault(f"{path} [{place}]" if place else path, ([], []))
            gone += [each.strip() for each in was[first:last]]
            come += [each.strip() for each in now[begin:end]]
    for place, (gone, come) in found.items():
        yield place, ("\n".join(gone), "\n".join(come))


def _words(before: str, after: str) -> tuple[str, str]:
    """Return the words that differ, each once: an address is in many lines of a shell program."""
    both = dict.fromkeys(pair for pair in zip(before.split(), after.split(), strict=True) if pair[0] != pair[1])
    return " ".join(first for first, _ in both), " ".join(second for _, second in both)


def _opening(lines: list[str], number: int) -> str:
    """Return the line that opens the block in which a line stands; nothing outside of blocks."""
    if not lines[number].startswith(" "):
        return ""
    above = (each for each in reversed(lines[:number]) if each and not each.startswith(" "))
    return next(above, "").removesuffix("{").strip()
