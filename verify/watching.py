"""What a watcher saw while a node's cache was down: who answered, and who came back."""

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from verify.facts import FactsError
from verify.findings import Result, failed, ok, unknown
from verify.questions import PROTOCOLS, Answer, Client, Question, answer, watched

IN_FLIGHT = 2
"""Questions of one kind that may be lost: the one under way when the cache dies, the one when it comes back."""

_SETTLED = 3
"""Answers of the cache in a row after which it is taken to be there."""


class _Reply(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    tick: int = Field(ge=1)
    id: str
    exit: int
    text: str


class Watch(NamedTuple):
    """The replies one watcher had, by question and in the order in which they were asked."""

    node: str
    answers: Mapping[Question, list[Answer]]

    def from_cache(self, protocol: str) -> list[bool | None]:
        """Say for each marker whether the node's own cache answered it; None: nobody did."""
        return [
            each.values == (self.node,) if each.replied else None
            for question, answers in self.answers.items()
            if question.purpose == "marker" and question.protocol == protocol
            for each in answers
        ]

    @property
    def steady(self) -> bool:
        """Whether the cache answers every marker, and has for some time."""
        return all(_settled(self.from_cache(each)) for each in PROTOCOLS)

    @property
    def fell_back(self) -> bool:
        """Whether somebody else than the cache answered, over both protocols."""
        return all(False in self.from_cache(each) for each in PROTOCOLS)

    @property
    def returned(self) -> bool:
        """Whether the cache was away and is back."""
        return self.steady and all(set(self.from_cache(each)) != {True} for each in PROTOCOLS)

    def lost(self) -> dict[Question, int]:
        """Return how many questions of each kind had no answer, or not the one they should get."""
        return {
            question: sum(
                not each.replied or (question.purpose == "internal" and not each.values) for each in answers
            )
            for question, answers in self.answers.items()
        }  # fmt: skip


def _settled(seen: list[bool | None]) -> bool:
    return len(seen) >= _SETTLED and all(seen[-_SETTLED:])


def read(text: str, run: str, node: str) -> Watch:
    """Return what a watcher has printed so far; raises `FactsError` for what is not a watcher's of this run.

    The last line may be half there: it is left for the next time.
    """
    head, *rest = text.split("\n")
    try:
        told = json.loads(head or "{}")
    except ValueError as error:
        raise FactsError(f"what the watcher printed is not JSON: {error}; it begins {head[:80]!r}") from None
    if head and told != {"format": 1, "run": run, "node": node, "role": "watch"}:
        raise FactsError(f"what the watcher printed is not about run {run} on {node}: {head[:200]!r}")
    known = {each.id: each for each in watched()}
    found: dict[Question, dict[int, Answer]] = defaultdict(dict)
    for line in rest[:-1]:
        try:
            reply = _Reply.model_validate_json(line)
            found[known[reply.id]][reply.tick] = answer(reply.text)
        except (ValidationError, KeyError) as error:
            raise FactsError(f"a line of the watcher is not a reply: {error}") from None
    # Late replies are printed late; what counts is when they were asked for.
    return Watch(node, {each: [found[each][tick] for tick in sorted(found[each])] for each in known.values()})


def judge_fallback(watches: Mapping[Client, Watch], down: str) -> Result:
    """Say whether DNS went on without the cache; `down` says what is known of its end, for an evidence."""
    lost = {
        f"{client}: {question}": f"{count} of {len(watch.answers[question])}"
        for client, watch in watches.items()
        for question, count in watch.lost().items()
        if count > IN_FLIGHT
    }
    if lost:
        worst = ", ".join(f"{count} lost ({what})" for what, count in sorted(lost.items()))
        return failed(f"DNS did not go on while the cache was down: {worst}")
    blind = [client for client, watch in watches.items() if not watch.fell_back]
    if blind:
        return unknown(f"no question of {', '.join(blind)} fell into the time without the cache: {down}")
    asked = sum(len(each) for watch in watches.values() for each in watch.answers.values())
    missed = sum(sum(watch.lost().values()) for watch in watches.values())
    elsewhere = sum(watch.from_cache(each).count(False) for watch in watches.values() for each in PROTOCOLS)
    return ok(f"{asked} questions of {', '.join(watches)}, over UDP and TCP: {elsewhere} markers were answered by "
              f"CoreDNS instead of the cache, {missed} questions under way were lost; {down}")  # fmt: skip


def judge_return(watches: Mapping[Client, Watch], seconds: float) -> Result:
    """Say whether the cache answers again; `seconds` is how long it was waited for."""
    absent = [client for client, watch in watches.items() if not watch.steady]
    if absent:
        return failed(f"{seconds:.0f} s after its end the cache still does not answer {', '.join(absent)}")
    return ok("the cache answers again, over UDP and TCP")
