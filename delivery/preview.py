"""What a run of the engine would change, read from what `pulumi preview --json` prints.

Two forms are read: the one document of `pulumi preview --json`, and the stream of events that the same command
prints, one a line, with PULUMI_ENABLE_STREAMING_JSON_PREVIEW=true. Only the stream has the results of policies.
A stream of `pulumi refresh --preview-only --json` is read too: there a change is what the cloud has and the state
has not, so `old` is what was written last and `new` what was found.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

SECRET = "4dabf18193072939515e22adb298388d"  # noqa: S105  # the mark of Pulumi's protocol, not a secret
"""Key that marks a secret value in the engine's JSON."""

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""What stands for a string that is known only after the update."""

_HALVES = frozenset({"create-replacement", "import-replacement", "delete-replaced"})
"""Told beside the replacement that they belong to."""

_FAILED = frozenset({"preview failed", "update failed", "refresh failed"})
_QUIET = frozenset(
    {"same", "read", "refresh", "read-replacement", "discard", "discard-replaced", "remove-pending-replace"}
)


class UnreadableError(ValueError):
    """What was given is not the whole output of a preview: what would change is not known."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One resource that would change."""

    operation: str
    """`create`, `update`, `delete`, `replace`, `import`, or `forget`: left as it is, and no longer managed."""

    urn: str
    """URN."""

    old: Mapping[str, Any] = field(default_factory=dict)
    """Inputs before."""

    new: Mapping[str, Any] = field(default_factory=dict)
    """Inputs after."""

    because: tuple[str, ...] = ()
    """Properties that make a replacement necessary."""

    @property
    def type(self) -> str:
        """Type token, e.g. `aws:eks/addon:Addon`."""
        return self.urn.split("::")[2].rpartition("$")[2]

    @property
    def kind(self) -> str:
        """Last part of the type, e.g. `Addon`."""
        return self.type.rpartition(":")[2]

    @property
    def name(self) -> str:
        """Name in the program."""
        return self.urn.rpartition("::")[2]

    @property
    def grouping(self) -> bool:
        """Whether it stands for others: a component, or the stack."""
        return ":index:" in self.type or self.type == "pulumi:pulumi:Stack"

    @property
    def component(self) -> str:
        """The outermost component it belongs to; empty for none."""
        chain = self.urn.split("::")[2].split("$")
        # Components have types of the module `index`; resources that something stands for have not.
        return chain[0].rpartition(":")[2] if ":index:" in chain[0] else ""


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A policy that objects."""

    policy: str
    """The rule's name."""

    level: str
    """`mandatory` or `advisory`."""

    message: str
    """What it says."""

    urn: str = ""
    """The resource; empty for the whole stack."""


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What one preview says."""

    changes: tuple[Change, ...] = ()
    """Resources that would change, in the engine's order."""

    unchanged: int = 0
    """Resources that stay."""

    violations: tuple[Violation, ...] = ()
    """Policies that object."""

    errors: tuple[str, ...] = ()
    """Why the preview failed, in the engine's or program's words."""

    warnings: tuple[str, ...] = ()
    """What the program warns of."""


def read(text: str) -> Preview:
    """Return what a preview printed; raises `UnreadableError` for anything else."""
    try:
        whole = json.loads(text)
    except ValueError:
        try:
            events = [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError as error:
            raise UnreadableError(f"this is not the output of `pulumi preview --json`: {error}") from None
        if not events or not all(isinstance(each, dict) and "sequence" in each for each in events):
            raise UnreadableError("this is not the output of `pulumi preview --json`") from None
        return _from_events(events)
    if not isinstance(whole, dict) or not ("steps" in whole or "changeSummary" in whole):
        raise UnreadableError("this is not the output of `pulumi preview --json`: it has no steps")
    return _from_document(whole)


def _change(operation: str, urn: str, old: Any, new: Any, because: Iterable[str]) -> Change | None:  # noqa: ANN401  # JSON
    if operation in _QUIET | _HALVES or ":providers:" in urn.split("::")[2].rpartition("$")[2]:
        return None
    if operation == "delete" and (old or {}).get("retainOnDelete"):
        operation = "forget"
    inputs = [(state or {}).get("inputs") or {} for state in (old, new)]
    return Change(operation=operation, urn=urn, old=inputs[0], new=inputs[1], because=tuple(because))


def _from_document(document: Mapping[str, Any]) -> Preview:
    steps = document.get("steps") or []
    found = [
        _change(each["op"], each["urn"], each.get("oldState"), each.get("newState"), each.get("replaceReasons") or ())
        for each in steps
    ]
    said = document.get("diagnostics") or []
    return Preview(
        changes=tuple(each for each in found if each),
        unchanged=int((document.get("changeSummary") or {}).get("same", 0)),
        errors=_texts(said, "error"),
        warnings=_program_warnings(said),
    )


def _from_events(events: list[dict[str, Any]]) -> Preview:
    position, end = next(
        ((position, each["summaryEvent"]) for position, each in enumerate(events) if "summaryEvent" in each), (0, None)
    )
    result = end.get("result", "succeeded") if end is not None else "unknown"
    # What follows a success is about plugins that are being ended, not about the plan.
    told = events[:position] if result == "succeeded" else events
    said = [each["diagnosticEvent"] for each in told if "diagnosticEvent" in each]
    violations = tuple(_violation(each["policyEvent"]) for each in told if "policyEvent" in each)
    errors = [each for each in _texts(said, "error") if not (violations and each in _FAILED)]
    if end is None and not errors:
        raise UnreadableError(
            "the events end before their summary: the engine was stopped on the way, and what it would have gone on "
            "to plan is not known. See the job's log, and run the job again"
        )
    if result != "succeeded" and not errors and not any(each.level == "mandatory" for each in violations):
        errors = [f"The engine ended with the result {result} and did not say why: see the job's log."]
    return Preview(
        changes=tuple(_changes(told)),
        unchanged=int(((end or {}).get("resourceChanges") or {}).get("same", 0)),
        violations=violations,
        errors=tuple(errors),
        warnings=_program_warnings(said),
    )


def _changes(events: Iterable[Mapping[str, Any]]) -> Iterator[Change]:
    refreshed: set[str] = set()
    for event in events:
        if "resourcePreEvent" in event:
            meta, old = event["resourcePreEvent"]["metadata"], event["resourcePreEvent"]["metadata"].get("old")
            # With `preview --refresh` a resource is read first and planned later.
            (refreshed.add if meta["op"] == "refresh" else refreshed.discard)(meta["urn"])
        elif "resOutputsEvent" in event and event["resOutputsEvent"]["metadata"]["urn"] in refreshed:
            # What a refresh finds is told only once the resource has been read; then it is gone, whoever retains it.
            meta = event["resOutputsEvent"]["metadata"]
            old = {**(meta.get("old") or {}), "retainOnDelete": False}
        else:
            continue
        because = [key for key, each in (meta.get("detailedDiff") or {}).items() if "replace" in each["diffKind"]]
        if found := _change(meta["op"], meta["urn"], old, meta.get("new"), because or meta.get("keys") or ()):
            yield found


def _violation(event: Mapping[str, Any]) -> Violation:
    # The engine puts the rule's description in the first line and what is wrong after it.
    message = event["message"].strip().partition("\n")[2] or event["message"]
    return Violation(
        policy=event["policyName"],
        level=event["enforcementLevel"],
        message=message.strip(),
        urn=event.get("resourceUrn", ""),
    )


def _texts(said: Iterable[Mapping[str, Any]], severity: str) -> tuple[str, ...]:
    found = [_plain(each["message"]) for each in said if each.get("severity") == severity]
    real = [each for each in dict.fromkeys(found) if each not in _FAILED]
    return tuple(real or found[:1])


def _plain(message: str) -> str:
    return message.removeprefix("error: ").removeprefix("warning: ").strip()


def _program_warnings(said: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return what the program warned of, without the engine's remarks about plugins."""
    found = [
        _plain(each["message"])
        for each in said
        if each.get("severity") in {"warning", "info#err"} and each["message"].startswith("warning: ")
    ]
    return tuple(each for each in dict.fromkeys(found) if " from $PATH at " not in each)


def differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401  # any JSON
    """Yield (path, before, after) of every leaf that differs; JSON in strings is looked into."""
    old, new = _opened(old, new), _opened(new, old)
    if isinstance(old, Mapping) and isinstance(new, Mapping) and SECRET not in {*old, *new}:
        for key in sorted({*old, *new} - {"__defaults"}):
            yield from differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for position, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from differences(before, after, f"{path}[{position}]")
    elif old != new:
        yield path, old, new


def _opened(value: Any, other: Any) -> Any:  # noqa: ANN401  # any JSON
    """Return what a text of JSON holds, and of no text nothing of it, so that each side is looked into by itself."""
    if isinstance(value, str) and value.startswith("{") and (other is None or isinstance(other, str)):
        with suppress(ValueError):
            return json.loads(value)
    if not value and isinstance(other, str) and isinstance(_opened(other, None), Mapping):
        return {}
    return value
