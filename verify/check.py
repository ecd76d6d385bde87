"""What a check is: one failure mode, looked at in one way."""

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from verify.cluster_facts import ClusterFacts
from verify.facts import Facts
from verify.findings import Finding, Result
from verify.node_view import NodeView

Judge = TypeVar("Judge")


class Check(NamedTuple, Generic[Judge]):
    """One check."""

    name: str
    number: int | None
    """Failure mode (docs/verify.md); None: a check beside them."""

    looks_at: str
    remedy: str
    judge: Judge

    def finding(self, place: str, result: Result) -> Finding:
        """Return what it found in a place."""
        return Finding(
            self.name, self.number, place, result.verdict, result.evidence, self.remedy, looks_at=self.looks_at
        )


NodeCheck = Check[Callable[[NodeView, Facts], Result]]
"""A check of one node, by its view and what the probe on the node itself saw."""

ClusterCheck = Check[Callable[[ClusterFacts], Result]]
"""A check of the whole cluster."""


def check(name: str, number: int | None, looks_at: str, remedy: str) -> Callable[[Judge], Check[Judge]]:
    """Return what makes a check of a function that judges."""
    return lambda judge: Check(name, number, looks_at, remedy, judge)
