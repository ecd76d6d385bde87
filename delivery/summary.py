"""A preview as Markdown that a reviewer reads in ten seconds."""

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from delivery.effects import effects
from delivery.preview import SECRET, UNKNOWN, Change, Preview, UnreadableError, Violation, differences

Seen = Preview | UnreadableError
"""What is known of an environment: its preview, or why there is none."""

_LONGEST_VALUE = 80  # characters of a value in a line
_MOST_LINES = 25  # of differences of one resource
_MOST_GONE = 12  # resources on top
_GRAVEST = ("Cluster", "Key", "Vpc", "NodeGroup", "Addon", "DaemonSet")  # kinds, the others after them
LONGEST = 60_000
"""Characters of a summary at most: GitHub takes comments of 65,536."""

_LONGEST_ENTRY = 3_000  # characters of a message
_LEFT_OUT = (
    "This is too long for a comment, so the list of all changes is left out here: `./eks-node-local-dns delivery "
    "summary "
    "--all` prints it from the job's artifact."
)


@dataclass(frozen=True, kw_only=True)
class Wording:
    """How changes are told."""

    verbs: Mapping[str, str]
    """What is said of each operation."""

    gone: str
    """Heading of what is replaced or deleted."""

    felt: str
    """Heading of the effects."""


PLANNED = Wording(
    verbs={
        "create": "to create",
        "update": "to update",
        "replace": "to replace",
        "delete": "to delete",
        "import": "to adopt",
        "forget": "to leave as it is, unmanaged",
    },
    gone="Replaced or deleted",
    felt="What pods and DNS will feel",
)
"""Of a preview."""

FOUND = Wording(
    verbs={"update": "changed", "delete": "deleted"}, gone="Deleted by hand", felt="What pods and DNS feel of it"
)
"""Of a refresh."""


def headline(preview: Seen, wording: Wording = PLANNED) -> str:
    """Return one line: counts, or that nothing changes, or that it failed."""
    if isinstance(preview, UnreadableError):
        return "**could not be previewed**" if wording is PLANNED else "**could not be looked at**"
    if preview.errors:
        return "**failed**"
    counts = Counter(each.operation for each in preview.changes)
    told = {**wording.verbs, **{key: f"to {key}" for key in sorted(counts.keys() - wording.verbs.keys())}}
    text = ", ".join(f"{counts[key]} {verb}" for key, verb in told.items() if counts[key]) or "no changes"
    blocked = any(each.level == "mandatory" for each in preview.violations)
    return f"**stopped by policy** ({text})" if blocked else text


def summary(
    previews: Mapping[str, Seen], title: str = "Preview", wording: Wording = PLANNED, longest: int | None = LONGEST
) -> str:
    """Return the Markdown of every environment's preview, by the environment's name.

    What is too long for a comment loses first its list of all changes, then the ends of its sections; each
    environment has the same share, so that what one has to say never hides what another would delete.
    """
    head = f"## {title}\n\n"
    text = head + "\n".join(line for name, each in previews.items() for line in _lines(name, each, wording))
    if longest is None or len(text) <= longest:
        return text
    share = (longest - len(head)) // len(previews) - 1
    return head + "\n".join(line for name, each in previews.items() for line in _shortened(name, each, share, wording))


def _shortened(name: str, preview: Seen, budget: int, wording: Wording) -> list[str]:
    """Return an environment's lines in so many characters: all, or without details, or with fewer entries too."""
    whole = list(_lines(name, preview, wording))
    if len("\n".join(whole)) <= budget:
        return whole
    for most in (200, 100, 50, 40, 30, 20, 10, 5, 2, 1):
        lines = [*_lines(name, preview, wording, details=False, most=most), _LEFT_OUT, ""]
        if len("\n".join(lines)) <= budget:
            return lines
    return [f"### {name}: {headline(preview, wording)}", "", _LEFT_OUT, ""]


def _lines(
    name: str, preview: Seen, wording: Wording, *, details: bool = True, most: int | None = None
) -> Iterator[str]:
    """Yield an environment's lines; `most` is how many entries a section may have."""
    yield f"### {name}: {headline(preview, wording)}"
    yield ""
    if isinstance(preview, UnreadableError):
        yield from _section("Why", [_quoted(str(preview))], most)
        return
    yield from _section("It failed", [_quoted(each) for each in preview.errors], most)
    yield from _section(wording.gone, list(_gone(preview.changes)), most)
    yield from _section(wording.felt, effects(preview.changes), most)
    yield from _section("Policy", [_objection(each) for each in _sorted(preview)], most)
    yield from _section("Warnings", [_plain(each) for each in preview.warnings], most)
    if preview.changes and details:
        yield from ("<details><summary>All changes, by component</summary>", "")
        yield from _by_component(preview.changes, wording)
        yield from ("</details>", "")


def _section(title: str, entries: list[str], most: int | None) -> Iterator[str]:
    if entries:
        yield f"**{title}**"
        yield ""
        yield from (f"- {each}" for each in entries[:most])
        if most is not None and len(entries) > most:
            yield f"- and {len(entries) - most} more"
        yield ""


_INERT = re.compile(r"(`[^`]+`|https?://[^\s<>()\[\]`]+)")
"""Code and addresses, which stay what they are."""


def _plain(text: str) -> str:
    """Return somebody's text as one line that only shows: no HTML, image or link of its own, and nobody is called."""
    parts = _INERT.split(" ".join(_cut(text).split()))
    for position in range(0, len(parts), 2):
        escaped = re.sub(r"([\\`\[\]])", r"\\\1", parts[position])
        parts[position] = escaped.replace("<", "&lt;").replace("@", "@\u200b")
    return "".join(parts)


def _code(text: str) -> str:
    """Return a name as code, whatever is in it."""
    line = " ".join(text.split())
    return f"`{line}`" if "`" not in line else f"{_fence(line, 1)} {line} {_fence(line, 1)}"


def _fence(text: str, least: int = 3) -> str:
    """Return backticks that nothing in the text closes."""
    return "`" * max(least, 1 + max((len(each) for each in re.findall("`+", text)), default=0))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_ENTRY else f"{text[:_LONGEST_ENTRY]} ... (the job's log has the rest)"


def _quoted(text: str) -> str:
    fence = _fence(text)
    return "\n  ".join(["", f"{fence}text", *_cut(text).splitlines(), fence])


def _gone(changes: tuple[Change, ...]) -> Iterator[str]:
    """Yield what is replaced, then what is deleted, the gravest first; components go with what is in them."""
    rank = {kind: position for position, kind in enumerate(_GRAVEST)}
    gone = [each for each in changes if each.operation in {"replace", "delete"} and not each.grouping]
    gone.sort(key=lambda each: (each.operation == "delete", rank.get(each.kind, len(rank))))
    for each in gone[:_MOST_GONE]:
        because = ", ".join(map(_code, each.because))
        verb = "deleted" if each.operation == "delete" else "replaced"
        yield f"{_code(each.name)} ({_plain(each.kind)}) is {verb}{f' because of {because}' if because else ''}"
    if len(gone) > _MOST_GONE:
        yield f"and {len(gone) - _MOST_GONE} more, in the list of all changes"


def _sorted(preview: Preview) -> list[Violation]:
    return sorted(preview.violations, key=lambda each: (each.level != "mandatory", each.policy))


def _objection(each: Violation) -> str:
    where = f" at {_code(each.urn.rpartition('::')[2])}" if each.urn else ""
    level = "**mandatory**" if each.level == "mandatory" else _plain(each.level)
    return f"{level} {_code(each.policy)}{where}: {_plain(each.message)}"


def _by_component(changes: tuple[Change, ...], wording: Wording) -> Iterator[str]:
    ordered = sorted(changes, key=lambda each: each.component)
    for component, group in groupby(ordered, key=lambda each: each.component):
        yield f"**{_plain(component) or 'the stack itself'}**"
        yield ""
        for each in group:
            yield f"- {wording.verbs.get(each.operation, each.operation)}: {_code(each.name)} ({_plain(each.kind)})"
            yield from (f"  {line}" for line in _differences(each))
        yield ""


def _differences(change: Change) -> Iterator[str]:
    if change.operation not in {"update", "replace"}:  # an import's differences are those of the update after it
        return
    lines: list[str] = []
    for path, old, new in differences(change.old, change.new):
        if isinstance(old, str) and isinstance(new, str) and "\n" in old + new:
            hunk = list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=1))[2:]
            lines += [f"{path}:", *(f"  {line}" for line in hunk if not line.startswith("@@"))]
        else:
            lines.append(f"{path}: {_shown(old)} -> {_shown(new)}")
    if lines:
        kept = lines[:_MOST_LINES]
        left_out = [f"... and {len(lines) - len(kept)} more lines"] if len(lines) > len(kept) else []
        fence = _fence("\n".join(kept))
        yield from (f"{fence}diff", *kept, *left_out, fence)


def _shown(value: Any) -> str:  # noqa: ANN401  # any JSON
    if value == UNKNOWN:
        return "(known after the update)"
    text = json.dumps(value, sort_keys=True)
    if SECRET in text or "[secret]" in text:
        return "(secret)"
    if value is None:
        return "(none)"
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
