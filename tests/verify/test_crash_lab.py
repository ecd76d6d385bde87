import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from probing import LOCAL, MACHINES, RUN

from components.cache.interception import Interception
from lab import scenarios
from lab.kubelet import Pod
from lab.node import CLUSTER_DNS, NODE_NAME, Node, worker_node
from verify import watching
from verify.crash import CACHE_CONTAINER, CRASH
from verify.findings import Result, Verdict
from verify.probe import COLLECTOR, environment
from verify.questions import Addresses, Client, Names
from verify.watching import Watch

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

CLIENTS: tuple[Client, ...] = ("plain", "branch")


@contextlib.contextmanager
def watchers(node: Node) -> Iterator[Callable[[], Mapping[Client, Watch]]]:
    """Run the watchers where their pods would run; yield what reads what they have seen so far."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        logs: dict[Client, Path] = {}
        for client in CLIENTS:
            scratch = Path(directory, client)
            scratch.mkdir()
            logs[client] = Path(directory, f"{client}.log")
            told = environment(client, RUN, NODE_NAME, Addresses(CLUSTER_DNS, LOCAL), Names(RUN), watching=True)
            variables = [f"{key}={value}" for key, value in {**told, "ROLE": "watch", "SCRATCH": scratch}.items()]
            log = stack.enter_context(logs[client].open("wb"))
            process = node.machines[MACHINES[client]].start(("env", *variables, "sh", COLLECTOR), log)
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield lambda: {client: watching.read(log.read_text(), RUN, NODE_NAME) for client, log in logs.items()}


def until(look: Callable[[], Mapping[Client, Watch]], there: Callable[[Watch], bool]) -> None:
    """Wait until every watcher has seen something."""
    scenarios.wait_for("what the watchers wait for", lambda: all(map(there, look().values())))


def crash(pod: Pod) -> None:
    """Crash the cache as the command does: from inside its container."""
    (container,) = pod.containers
    assert container.name == CACHE_CONTAINER
    container.execute(CRASH)
    assert container.wait(60)


def judged(
    interception: Interception, *, back_off: Sequence[float] = (), crashes: bool = True
) -> tuple[Result, Result]:
    """Let the cache crash on a node under watch, and return what is said of the fallback and of its return."""
    with worker_node("standard") as node:
        pod = scenarios.cache(node, interception, back_off=back_off)
        pod.start()
        with watchers(node) as look:
            until(look, lambda seen: seen.steady)
            if crashes:
                crash(pod)
            if crashes and not back_off:
                time.sleep(4)
            elif crashes:
                until(look, lambda seen: seen.returned)
            seen = look()
    return watching.judge_fallback(seen, "here"), watching.judge_return(seen, 4)


def test_dns_goes_on_without_the_cache() -> None:
    """With conditional rules pods of both kinds are answered by CoreDNS until the cache is back."""
    fallback, back = judged("socket", back_off=(1,))
    assert (fallback.verdict, back.verdict) == (Verdict.OK, Verdict.OK), (fallback, back)
    assert "answered by CoreDNS instead" in fallback.evidence


def test_upstreams_rules_lose_dns() -> None:
    """With node-cache's own rules DNS is gone with the cache, and that is said."""
    fallback, back = judged("upstream")
    assert (fallback.verdict, back.verdict) == (Verdict.FAILED, Verdict.FAILED)
    assert "plain: internal name at cluster over udp" in fallback.evidence


def test_cache_that_stays_away_is_told() -> None:
    """A cache that does not come back is what is wrong, and the fallback is not."""
    fallback, back = judged("socket")
    assert (fallback.verdict, back.verdict) == (Verdict.OK, Verdict.FAILED), (fallback, back)


def test_cache_that_did_not_crash_proves_nothing() -> None:
    """Where the cache was never away, nothing is said about the fallback."""
    fallback, back = judged("socket", crashes=False)
    assert (fallback.verdict, back.verdict) == (Verdict.UNKNOWN, Verdict.OK)
