"""What a check says: its verdict, the evidence, the remedy, and which failed questions it explains."""

from dataclasses import dataclass, field
from enum import StrEnum

from verify.questions import Client, Question


class Verdict(StrEnum):
    """What a check found."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "could not tell"
    NOT_VISIBLE = "not visible"


Asked = tuple[Client, Question]
"""Who asked, and what."""

LONGEST_EVIDENCE = 1000
"""Characters: what is kept of a node has a bound."""


@dataclass(frozen=True)
class Result:
    """What a check found in one place."""

    verdict: Verdict
    evidence: str
    explains: frozenset[Asked] = field(default_factory=frozenset)
    """The failed questions that need no other cause."""


def ok(evidence: str) -> Result:
    """Return that all is well."""
    return Result(Verdict.OK, evidence)


def failed(evidence: str, explains: frozenset[Asked] = frozenset()) -> Result:
    """Return a failure."""
    return Result(Verdict.FAILED, evidence[:LONGEST_EVIDENCE], explains)


def unknown(evidence: str, explains: frozenset[Asked] = frozenset()) -> Result:
    """Return that there was not enough to see."""
    return Result(Verdict.UNKNOWN, evidence[:LONGEST_EVIDENCE], explains)


def not_visible(evidence: str) -> Result:
    """Return that this cannot be seen here at all, which says nothing against the cluster."""
    return Result(Verdict.NOT_VISIBLE, evidence[:LONGEST_EVIDENCE])


@dataclass(frozen=True)
class Finding:
    """A check's result, with the check's name and place."""

    check: str
    number: int | None
    """Failure mode (docs/verify.md); None: a check beside them."""

    place: str
    """The node; empty: the whole cluster."""

    verdict: Verdict
    evidence: str
    remedy: str

    looks_at: str = ""
    """What the check looked at."""
