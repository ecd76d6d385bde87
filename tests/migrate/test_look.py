"""What one look at a real API server brings together."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from components.running_cluster.cni_state import MARK, REFUSED
from components.running_cluster.strict_pods import created_at
from tests import aws_node
from tests.simulated_controllers import bare_pod, stamp
from tests.waiting import eventually

if TYPE_CHECKING:
    from conftest import ApiServerOfTests, Place

pytestmark = pytest.mark.engine

SYSTEM = "/apis/apps/v1/namespaces/kube-system"


@pytest.fixture
def switched(server: "ApiServerOfTests") -> Iterator[None]:
    """Give aws-node a history: it asks for standard mode since now."""
    api = server.api
    found = api.get(f"{SYSTEM}/daemonsets/aws-node") or {}
    for number, owner in ((1, found["metadata"]["uid"]), (7, "another-daemon-set")):
        reference = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "x", "uid": owner, "controller": True}
        template = {"spec": {"containers": [aws_node.container("standard")]}}
        api.send("POST", f"{SYSTEM}/controllerrevisions", {
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": number,
            "metadata": {"name": f"revision-{number}", "ownerReferences": [reference]},
            "data": {"spec": {"template": template}},
        })  # fmt: skip
    yield
    for number in (1, 7):
        api.send("DELETE", f"{SYSTEM}/controllerrevisions/revision-{number}")


def later(api: Any, create: Any) -> None:
    """Make an object in a later second than the revision's."""
    revision = api.get(f"{SYSTEM}/controllerrevisions/revision-1")
    while stamp() <= revision["metadata"]["creationTimestamp"]:
        threading.Event().wait(0.1)
    create()


@pytest.mark.usefixtures("switched")
def test_a_node_younger_than_the_switch_has_standard_pods(place: "Place") -> None:
    """The history of aws-node, and of no other DaemonSet, dates the switch; the node's own creation is after it."""
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "young"}}
    later(place.api, lambda: place.api.send("POST", "/api/v1/nodes", node))
    young = bare_pod("young")
    young["spec"]["nodeName"] = "young"
    place.make(bare_pod("old"))
    place.settle(1)
    place.make(young)  # starts now, on a node that was there before
    place.settle(2)
    judged = {each.name: (each.mode, each.reason) for each in place.judged()}
    assert judged["old"][0] == "strict"
    assert judged["young"] == ("standard", "its node is younger than the switch to standard mode")
    place.api.send("DELETE", "/api/v1/nodes/young")


@pytest.mark.usefixtures("switched")
@pytest.mark.parametrize(("mark", "mode"), [(REFUSED, "standard"), ("ignored", "strict")])
def test_a_cache_that_was_installed_after_a_look_proves_its_pods(place: "Place", mark: str, mode: str) -> None:
    """A replaced aws-node makes pods look strict, unless none was when the cache was installed."""
    labels = {"app": "cache"}
    cache = {
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "node-local-dns", "annotations": {MARK: mark}},
        "spec": {"selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "x"}]}}},
    }  # fmt: skip
    later(place.api, lambda: place.api.send("POST", f"{SYSTEM}/daemonsets", cache))
    try:
        place.make(bare_pod("old"))
        place.settle(1)
        assert [each.mode for each in place.judged()] == [mode]
    finally:
        place.api.send("DELETE", f"{SYSTEM}/daemonsets/node-local-dns")


def test_lists_longer_than_a_page_are_whole(place: "Place", monkeypatch: pytest.MonkeyPatch) -> None:
    """No pod is missed for being on the second page."""
    monkeypatch.setattr("components.running_cluster.kubernetes_api.KubernetesApi.PAGE", 2)
    place.make(*(bare_pod(f"pod-{number}") for number in range(5)))
    eventually(lambda: len(place.judged()) == 5)


def test_times_are_the_api_servers(place: "Place") -> None:
    """What the judgement compares is read as the API writes it."""
    place.make(bare_pod("old"))
    [pod] = place.pods()
    made = created_at(pod)
    assert made is not None
    assert made.utcoffset() == timedelta(0)
