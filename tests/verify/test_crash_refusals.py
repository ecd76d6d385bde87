from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from components.cache.interception import Interception
from components.cache.node_local_dns import NodeLocalDnsSettings, manifests
from verify.cluster_facts import ClusterFacts, NodeObject
from verify.crash import CALM, refusal
from verify.findings import Finding, Verdict

NODE, NOW = "node-1", datetime(2026, 3, 1, 12, tzinfo=UTC)


def healthy(interception: Interception = "socket") -> ClusterFacts:
    """Return a cluster whose only node has a cache that may be made to crash."""
    settings = NodeLocalDnsSettings(interception=interception)
    pod: dict[str, Any] = {
        "metadata": {"name": "cache"},
        "spec": {"nodeName": NODE},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "node-cache", "restartCount": 0, "state": {"running": {}}}],
        },
    }
    return ClusterFacts(
        daemon_set=manifests(settings, cluster_dns_ip="172.20.0.10", upstream_ip="172.20.30.30")["daemonSet"],
        cache_pods=[pod],
        nodes=[NodeObject(NODE, ready=True, address="10.0.0.1", has_trunk=True, without_cache="")],
    )


def _excluded(facts: ClusterFacts) -> None:
    facts.nodes = [replace(each, without_cache="fargate") for each in facts.nodes]


def _uninstalled(facts: ClusterFacts) -> None:
    facts.daemon_set = None


def _elsewhere(facts: ClusterFacts) -> None:
    facts.nodes = []


def _two(facts: ClusterFacts) -> None:
    facts.cache_pods *= 2


def _not_ready(facts: ClusterFacts) -> None:
    facts.cache_pods[0]["status"]["conditions"][0]["status"] = "False"


def _restarted(ago: timedelta) -> Callable[[ClusterFacts], None]:
    def change(facts: ClusterFacts) -> None:
        (status,) = facts.cache_pods[0]["status"]["containerStatuses"]
        status.update(restartCount=1, state={"running": {"startedAt": (NOW - ago).isoformat()}})

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_excluded, "there is no cache to crash on this node"),
        (_uninstalled, "there is no cache to crash on this node"),
        (_elsewhere, "there is no cache to crash on this node"),
        (_two, "it takes exactly one pod of the cache on this node, and a ready one; pods there now: 2"),
        (_not_ready, "pods there now: 1"),
        (_restarted(CALM / 2), "restarted at 11:55:00 UTC, and the kubelet would wait before the next start"),
    ],
)
def test_a_node_on_which_a_crash_could_last_is_refused(change: Callable[[ClusterFacts], None], said: str) -> None:
    """What would make the crash longer than the kubelet's first restart, or hit nothing, is refused with its reason."""
    facts = healthy()
    change(facts)
    assert said in refusal(facts, NODE, [], NOW)


def test_upstreams_rules_are_refused() -> None:
    """With node-cache's own rules a crash takes the node's DNS along."""
    assert "DNS on this node would die with it" in refusal(healthy("upstream"), NODE, [], NOW)


@pytest.mark.parametrize(
    ("place", "verdict", "refused"),
    [
        (NODE, Verdict.FAILED, True),
        (NODE, Verdict.UNKNOWN, True),
        ("cluster", Verdict.FAILED, True),
        ("node-2", Verdict.UNKNOWN, False),
        (NODE, Verdict.OK, False),
    ],
)
def test_only_a_healthy_node_is_crashed(place: str, verdict: Verdict, *, refused: bool) -> None:
    """A failure anywhere, or a doubt about the node itself, stands against it."""
    found = [Finding("cache listens", 1, place, verdict, "", "")]
    assert ("cache listens" in refusal(healthy(), NODE, found, NOW)) is refused


def test_a_calm_healthy_node_is_not_refused() -> None:
    """A restart that is long over does not stand against it."""
    assert refusal(healthy(), NODE, [], NOW) == ""
    facts = healthy()
    _restarted(CALM * 2)(facts)
    assert refusal(facts, NODE, [], NOW) == ""
