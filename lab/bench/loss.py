"""Questions lost when the cache crashes, restarts or is updated, under upstream's rules and ours at once."""

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

from components.cache.interception import Interception
from lab import queries
from lab.bench.subject import OURS, UPSTREAM_RULES, Subject, running
from lab.kubelet import replace
from lab.node import CLUSTER_DNS

OFFERED = 1000
"""Questions per second while something happens to the cache."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What one event cost."""

    event: str
    interception: Interception
    round: int

    sent: int
    """Questions sent in all."""

    sent_after: int
    """Those of them sent from the event on."""

    lost: int
    """Questions never answered."""

    in_flight: int
    """Those of them that were asked and not answered when the cache was dead."""


def _crash(subject: Subject, load: queries.Load) -> queries.Moment:
    assert subject.pod is not None  # noqa: S101  # both subjects have a cache
    subject.pod.crash()
    dead = load.now()
    time.sleep(1)
    return dead


def _restart(subject: Subject, load: queries.Load) -> queries.Moment:
    assert subject.pod is not None  # noqa: S101  # same
    restarts = subject.pod.restarts
    subject.pod.crash()
    dead = load.now()
    while subject.pod.restarts == restarts or not subject.pod.containers[0].probe("readinessProbe"):
        time.sleep(0.05)
    return dead


def _update(subject: Subject, load: queries.Load) -> queries.Moment:
    """Replace the pod as the DaemonSet does; nobody dies."""
    assert subject.pod is not None  # noqa: S101  # same
    old, new = subject.pod, subject.new_pod(back_off=(0,))
    begun = queries.Moment(sent=load.sent, unanswered=frozenset())
    replace(old, new)
    subject.pod = new
    return begun


def _renew(subject: Subject) -> None:
    assert subject.pod is not None  # noqa: S101  # same
    subject.pod.stop()
    subject.start()


EVENTS: dict[str, Callable[[Subject, queries.Load], queries.Moment]] = {
    "rolling update": _update, "restart": _restart, "crash": _crash,
}  # fmt: skip
"""From the mildest to the one after which there is no cache."""


def _one(subject: Subject, event: str, number: int) -> Loss:
    interception = subject.variant.interception
    assert interception is not None  # noqa: S101  # same
    # Where nearly all are lost, they are asked all the same: how many, is what is measured.
    at_once = math.inf if interception == "upstream" and event != "rolling update" else queries.AT_ONCE
    with queries.under_load(subject.client, CLUSTER_DNS, OFFERED, at_once=at_once) as load:
        time.sleep(0.5)
        moment = EVENTS[event](subject, load)
        time.sleep(0.3)
    return Loss(
        event=event, interception=interception, round=number, sent=load.sent, sent_after=load.sent - moment.sent,
        lost=load.lost, in_flight=len(load.unanswered & moment.unanswered),
    )  # fmt: skip


def measure(rounds: int) -> Iterator[Loss]:
    """Let every event happen to a cache under upstream's rules and to one under ours at the same time."""
    for number in range(rounds):
        with running(UPSTREAM_RULES, OURS) as subjects, ThreadPoolExecutor(max_workers=len(subjects)) as pool:
            for event in EVENTS:
                if event == "crash":  # in the pause of a crash loop nobody restarts the cache
                    list(pool.map(_renew, subjects))
                yield from pool.map(_one, subjects, repeat(event), repeat(number))
