"""Connection-tracking entries a node makes for DNS, when each question comes from a port of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lab.bench.subject import Subject
from lab.bench.workloads import Workload
from lab.namespaces import LabError

QUESTIONS = 500
"""As many as are quickly asked one after the other; each makes at most one entry."""


@dataclass(frozen=True, kw_only=True)
class Conntrack:
    """What one workload left in the node's table."""

    subject: str
    workload: str
    questions: int

    of_client: int
    """Entries of the pod that asked."""

    of_cache: int
    """Entries of the cache's own connections to CoreDNS and the VPC resolver."""


def _names(workload: Workload) -> list[str]:
    if not workload.repeated:
        return workload.names("c", QUESTIONS)
    names = workload.names("c", 20)
    return (names * QUESTIONS)[:QUESTIONS]


def measure(subjects: Sequence[Subject], workloads: Sequence[Workload]) -> Iterator[Conntrack]:
    """Ask each workload's questions once. Raises `LabError` if one is not answered: nothing would be proved."""
    for subject in subjects:
        for workload in workloads:
            before = subject.conntrack_entries()
            answered = subject.ask_from_new_ports(_names(workload))
            after = subject.conntrack_entries()
            if answered != QUESTIONS:
                raise LabError(f"{subject.variant.title}: {answered} of {QUESTIONS} questions were answered.")
            yield Conntrack(
                subject=subject.variant.name, workload=workload.name, questions=QUESTIONS,
                of_client=after[0] - before[0], of_cache=after[1] - before[1],
            )  # fmt: skip
