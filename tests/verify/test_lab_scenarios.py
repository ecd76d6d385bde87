"""Every scenario of the lab, looked at wherever it stands still."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from probing import findings, installation, named

from components.cache.interception import Interception
from lab import kube_proxy, scenarios
from lab.kubelet import SOON, Pod
from lab.node import Node, worker_node
from verify.findings import Verdict
from verify.installation import Installation

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]


class Stage(NamedTuple):
    """A moment of a scenario in which nothing changes."""

    node: Node
    installed: Installation | None = None
    expected: tuple[str, ...] = ()
    """The checks that name what is wrong."""

    said: str = ""
    """What the first of them says."""


Stages = Callable[[], Iterator[Stage]]
INSTALLED = installation()


def no_cache() -> Iterator[Stage]:
    """Look before the installation: nothing is wrong in either mode."""
    for mode in ("strict", "standard"):
        with worker_node(mode) as node:
            yield Stage(node)


def strict() -> Iterator[Stage]:
    """Look at a pod with the rules of strict mode: it is what is wrong, until it is recreated."""
    with worker_node("strict") as node:
        scenarios.cache(node).start()
        yield Stage(node, INSTALLED, ("no strict rules",))
        node.switch_to_standard()
        yield Stage(node, INSTALLED, ("no strict rules",))
        node.delete_branch_pod()
        node.create_branch_pod()
        yield Stage(node, INSTALLED)


def standard(interception: Interception, said: str) -> Stages:
    """Look at a cache that was killed: whether its rules lose the questions is said."""

    def stages() -> Iterator[Stage]:
        installed = installation(interception)
        with worker_node("standard") as node:
            pod = scenarios.cache(node, interception)
            pod.start()
            yield Stage(node, installed)
            pod.crash()
            yield Stage(node, installed, ("cache listens",), said)

    return stages


def crash_loop() -> Iterator[Stage]:
    """Look at a cache that has come back twice: it is well; while it is away it is one that was killed."""
    with worker_node("standard") as node:
        pod = scenarios.cache(node, back_off=SOON)
        pod.start()
        for number in (1, 2):
            pod.crash()
            scenarios.wait_for("the restart", lambda: pod.restarts == number)  # noqa: B023  # waited for here
            scenarios.wait_for("the cache", lambda: pod.containers[0].probe("readinessProbe"))
        yield Stage(node, INSTALLED)


def hung_cache() -> Iterator[Stage]:
    """Look at a cache that keeps its sockets and answers nobody: its DNS does not work."""
    with worker_node("standard") as node:
        pod = scenarios.cache(node)
        pod.start()
        pod.freeze()
        yield Stage(node, INSTALLED, ("DNS works",))


def rolling_update() -> Iterator[Stage]:
    """Look at two caches on one node, and at the new one alone: they are as good as one."""
    with worker_node("standard") as node:
        old, new = scenarios.cache(node, name="old"), scenarios.cache(node, name="new")
        old.start()
        new.start()
        yield Stage(node, INSTALLED)
        old.stop()
        yield Stage(node, INSTALLED)


def interception_changed() -> Iterator[Stage]:
    """Look at a node whose interception was changed, and changed back: each time it is as installed."""
    interceptions: tuple[Interception, ...] = ("upstream", "socket", "upstream")
    with worker_node("standard") as node:
        for number, interception in enumerate(interceptions):
            pod = scenarios.cache(node, interception, name=f"cache-{number}")
            pod.start()
            yield Stage(node, installation(interception))
            pod.stop()


def rules_flushed() -> Iterator[Stage]:
    """Look at rules that somebody flushed, while nobody repairs them."""
    with worker_node("standard") as node:
        pod = scenarios.cache(node)
        pod.start()
        pod.crash("interception")
        for table in ("raw", "filter"):
            node.host.run(node.iptables(), "-w", "-t", table, "-F")
        yield Stage(node, INSTALLED, ("packet rules are there",))


def legacy_iptables() -> Iterator[Stage]:
    """Look where kube-proxy writes with iptables-legacy: all is as with nft."""
    with worker_node("standard", "legacy") as node:
        pod = scenarios.cache(node)
        pod.start()
        yield Stage(node, INSTALLED)
        pod.crash()
        yield Stage(node, INSTALLED, ("cache listens",), "CoreDNS answers")
        pod.stop()
        yield Stage(node)


def another_node(
    interception: Interception, said: str, *, kube_proxy_mode: kube_proxy.Mode = "iptables", external_snat: bool = False
) -> Stages:
    """Look at a node of another kind before the installation, with the cache, at its death and after it."""

    def stages() -> Iterator[Stage]:
        installed = installation(interception)
        with worker_node("standard", kube_proxy_mode=kube_proxy_mode, external_snat=external_snat) as node:
            yield Stage(node)
            pod = scenarios.cache(node, interception)
            pod.start()
            yield Stage(node, installed)
            pod.crash()
            yield Stage(node, installed, ("cache listens",), said)
            pod.stop()
            yield Stage(node)

    return stages


def no_socket_match() -> Iterator[Stage]:
    """Look where the kernel has no socket match: the rules are node-cache's own, and go when it is dead."""
    with worker_node("standard") as node:
        pod = scenarios.cache(node, hidden=[scenarios.NO_SOCKET_MATCH])
        pod.start()
        yield Stage(node, INSTALLED)
        pod.crash()
        scenarios.wait_for("the fallback", lambda: not any("NOTRACK" in line for line in node.leftovers()))
        yield Stage(node, INSTALLED, ("cache listens",), "CoreDNS answers")
        pod.stop()
        yield Stage(node)


def uninstalled(interception: Interception = "socket", accident: Callable[[Pod], None] | None = None) -> Stages:
    """Look at a node whose cache was uninstalled: it is well without one."""

    def stages() -> Iterator[Stage]:
        with worker_node("standard") as node:
            pod = scenarios.cache(node, interception)
            pod.start()
            if accident is not None:
                accident(pod)
            pod.stop(grace_seconds=3)
            yield Stage(node)

    return stages


def coredns_unreachable() -> Iterator[Stage]:
    """Look where nobody reaches CoreDNS: that is what is wrong, and not the cache."""
    with worker_node("standard") as node:
        scenarios.cache(node).start()
        node.cut_coredns_off()
        yield Stage(node, INSTALLED, ("CoreDNS and the resolver answer",))


def security_group_without_dns() -> Iterator[Stage]:
    """Look at a group without port 53: while the cache hides it, beside its death, and without a cache."""
    with worker_node("standard") as node:
        pod = scenarios.cache(node)
        pod.start()
        node.refuse_dns_of_branch_pod()
        yield Stage(node, INSTALLED, ("security group lets DNS through",))
        pod.crash()
        yield Stage(node, INSTALLED, ("cache listens", "security group lets DNS through"))
        pod.stop()
        yield Stage(node, None, ("security group lets DNS through",))


def right_order() -> Iterator[Stage]:
    """Look before and after an installation that came last: nothing is wrong at any time."""
    with worker_node("strict") as node:
        node.switch_to_standard()
        node.delete_branch_pod()
        node.create_branch_pod()
        yield Stage(node)
        scenarios.cache(node).start()
        yield Stage(node, INSTALLED)


def wrong_order() -> Iterator[Stage]:
    """Look at a pod from before the switch, in whose node's mode nothing is wrong any more."""
    with worker_node("strict") as node:
        scenarios.cache(node).start()
        node.switch_to_standard()
        yield Stage(node, INSTALLED, ("no strict rules",))


STAGES: dict[str, Stages] = {
    "no cache": no_cache,
    "strict, cache running": strict,
    "standard, cache running": standard("socket", "CoreDNS answers"),
    "standard, cache running, upstream's rules": standard("upstream", "every question to the ClusterIP is lost"),
    "crash loop": crash_loop,
    "cache hangs": hung_cache,
    "rolling update": rolling_update,
    "interception changed": interception_changed,
    "rules flushed": rules_flushed,
    "legacy iptables": legacy_iptables,
    "kube-proxy in nftables mode": another_node("socket", "CoreDNS answers", kube_proxy_mode="nftables"),
    "kube-proxy in nftables mode, upstream's rules": another_node(
        "upstream", "every question to the ClusterIP is lost", kube_proxy_mode="nftables"
    ),
    "external SNAT": another_node("socket", "CoreDNS answers", external_snat=True),
    "no socket match": no_socket_match,
    "uninstalled": uninstalled(),
    "uninstalled while the cache hangs": uninstalled(accident=Pod.freeze),
    "uninstalled, upstream's rules": uninstalled("upstream"),
    "CoreDNS unreachable": coredns_unreachable,
    "security group without port 53": security_group_without_dns,
    "right order of migration": right_order,
    "wrong order of migration": wrong_order,
}

NOWHERE_STILL: dict[str, str] = {"crash loop, a kubelet's back-off": "stands still where the other crash loop does"}
"""Scenarios of the lab that never stand still for long enough to be looked at, and why."""


def test_every_scenario_is_looked_at() -> None:
    """No scenario of the lab is left out without a reason."""
    assert set(scenarios.SCENARIOS) <= set(STAGES) | set(NOWHERE_STILL)
    assert set(STAGES).isdisjoint(NOWHERE_STILL)


@pytest.mark.parametrize("name", STAGES)
def test_scenario_is_judged_right(name: str) -> None:
    """What is wrong is named by the check meant for it, and by no other; where nothing is, every check says so."""
    for number, stage in enumerate(STAGES[name](), start=1):
        found = findings(stage.node, stage.installed)
        wrong = named(found)
        assert tuple(wrong) == stage.expected, f"stage {number}: {wrong}"
        if stage.expected:
            assert stage.said in wrong[stage.expected[0]]
        else:
            assert [each for each in found if each.verdict is not Verdict.OK] == [], f"stage {number}"
