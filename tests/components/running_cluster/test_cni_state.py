"""What one look at a cluster says, of an API that answers from a table."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from components.running_cluster.cni_state import CniState, look, verified_at
from components.running_cluster.strict_pods import SecurityGroupPod
from tests.aws_node import STANDARD, STRICT, aws_node_daemon_set, aws_node_pod

OFF = {**STRICT, "ENABLE_POD_ENI": "false"}


def judged(mode: Any) -> SecurityGroupPod:
    """Return a pod of which this is known."""
    return SecurityGroupPod("shop", "orders", "1", "node", None, mode, "so", leaving=False)


def test_the_mode_is_what_the_daemon_set_asks_for() -> None:
    """Without one there is none."""
    assert CniState().configured == "absent"
    assert CniState(aws_node=aws_node_daemon_set(STANDARD)).configured == "standard"
    assert CniState(aws_node=aws_node_daemon_set({})).configured == "strict"


def test_pods_get_interfaces_where_the_daemon_set_says_so() -> None:
    """Without one nobody gives them any."""
    assert CniState(aws_node=aws_node_daemon_set(STANDARD)).pod_interfaces
    assert not CniState(aws_node=aws_node_daemon_set(OFF)).pod_interfaces
    assert not CniState().pod_interfaces


def test_nodes_are_told_by_the_mode_in_which_aws_node_runs_there() -> None:
    """In order; a pod that has no node yet is told by nothing."""
    pods = [aws_node_pod(STRICT, "b"), aws_node_pod(STANDARD, "c"), aws_node_pod(STRICT, "a"), aws_node_pod({}, None)]
    assert CniState(aws_node_pods=pods).nodes_by_mode == {"standard": ["c"], "strict": ["", "a", "b"]}


@pytest.mark.parametrize(
    ("wanted", "runs", "expected"),
    [
        (STANDARD, STANDARD, False),
        (STRICT, STANDARD, True),
        (STANDARD, STRICT, True),
        (STRICT, STRICT, True),
        (OFF, STRICT, False),
    ],
)
def test_strict_pods_are_made_where_either_is_strict_and_interfaces_are_given(
    wanted: dict[str, str], runs: dict[str, str], expected: bool
) -> None:
    """The template counts for nodes that come, the running ones for those that are there."""
    state = CniState(aws_node=aws_node_daemon_set(wanted), aws_node_pods=[aws_node_pod(runs, "a")])
    assert state.makes_strict_pods is expected


def test_whoever_is_not_known_to_be_safe_is_a_suspect() -> None:
    """Not to know is no proof."""
    pods = [judged("standard"), judged("strict"), judged("unknown")]
    assert [each.mode for each in CniState(pods=pods).suspects] == ["strict", "unknown"]


class Api:
    """Answers from a table, and keeps what it was asked."""

    def __init__(self, objects: dict[str, Any]) -> None:
        self._objects = objects
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def get(self, path: str) -> Any:
        """Return an object."""
        return self._objects.get(path)

    def items(self, path: str, **asked: Any) -> Iterator[Any]:
        """Yield a list's objects."""
        self.asked.append((path, asked))
        yield from self._objects.get(path, [])


KUBE_SYSTEM = "/apis/apps/v1/namespaces/kube-system"
AWS_NODE = {**aws_node_daemon_set(STANDARD), "metadata": {"name": "aws-node", "uid": "ours"}}
ORDERS = {
    "metadata": {
        "namespace": "shop", "name": "orders", "uid": "7", "creationTimestamp": "2026-01-02T03:40:00Z",
        "annotations": {"vpc.amazonaws.com/pod-eni": "[]"},
    },
    "spec": {"nodeName": "node"}, "status": {"startTime": "2026-01-02T03:40:00Z"},
}  # fmt: skip


def revision(number: int, env: dict[str, str], made: int, owner: str = "ours") -> dict[str, Any]:
    """Return a ControllerRevision of a DaemonSet."""
    return {
        "metadata": {"creationTimestamp": f"2026-01-02T03:{made:02}:00Z", "ownerReferences": [{"uid": owner}]},
        "revision": number, "data": aws_node_daemon_set(env),
    }  # fmt: skip


def cluster(**change: Any) -> Api:
    """Return a cluster in standard mode since 03:10, on a node that is younger, and a pod that was started there."""
    return Api(
        {
            f"{KUBE_SYSTEM}/daemonsets/aws-node": AWS_NODE,
            f"{KUBE_SYSTEM}/controllerrevisions": [
                revision(1, STRICT, 1), revision(2, STANDARD, 10), revision(3, STRICT, 50, owner="another"),
            ],
            "/api/v1/namespaces/kube-system/pods": [aws_node_pod(STANDARD, "node")],
            "/api/v1/nodes": [{"metadata": {"name": "node", "creationTimestamp": "2026-01-02T03:20:00Z"}}],
            "/api/v1/pods": [ORDERS, {**ORDERS, "status": {"phase": "Failed"}}, {"metadata": {}, "status": {}}],
            "/api/v1/namespaces/shop/pods": [{**ORDERS, "metadata": {**ORDERS["metadata"], "name": "only"}}],
        } | change
    )  # fmt: skip


def test_one_look_asks_for_all_that_a_judgement_needs() -> None:
    """Only aws-node's own history counts; nodes come without what they hold, which is a hundred times as much."""
    api = cluster()
    state = look(api)  # type: ignore[arg-type]
    assert state.aws_node is AWS_NODE
    assert state.cache is None
    assert state.nodes_by_mode == {"standard": ["node"], "strict": []}
    [pod] = state.pods
    assert (pod.name, pod.mode, pod.reason) == (
        "orders", "standard", "its node is younger than the switch to standard mode",
    )  # fmt: skip
    assert api.asked == [
        (f"{KUBE_SYSTEM}/controllerrevisions", {}),
        ("/api/v1/namespaces/kube-system/pods", {"labelSelector": "k8s-app=aws-node"}),
        ("/api/v1/nodes", {"metadata_only": True}),
        ("/api/v1/pods", {}),
    ]


def test_one_namespace_is_looked_at_alone() -> None:
    """Its pods only are asked for."""
    api = cluster()
    assert [each.name for each in look(api, "shop").pods] == ["only"]  # type: ignore[arg-type]
    assert api.asked[-1] == ("/api/v1/namespaces/shop/pods", {})


def test_a_cluster_without_the_vpc_cni_is_no_error() -> None:
    """Of its pods nothing is known then."""
    state = look(cluster(**{f"{KUBE_SYSTEM}/daemonsets/aws-node": None}))  # type: ignore[arg-type]
    assert (state.configured, [each.mode for each in state.pods]) == ("absent", ["unknown"])


INSTALLED = {
    "metadata": {
        "creationTimestamp": "2026-01-02T03:30:00Z", "annotations": {"eks-node-local-dns/strict-pods": "refused"},
    }
}  # fmt: skip


def test_when_the_cache_was_installed_counts_if_it_was_looked_at() -> None:
    """No pod had strict rules then."""
    assert verified_at(INSTALLED) == datetime(2026, 1, 2, 3, 30, tzinfo=UTC)
    seen = {f"{KUBE_SYSTEM}/daemonsets/node-local-dns": INSTALLED, "/api/v1/nodes": []}
    state = look(cluster(**seen))  # type: ignore[arg-type]
    assert state.cache is INSTALLED
    assert [each.reason for each in state.pods] == [
        "no pod had strict rules when the node-local cache was installed, and the mode stayed"
    ]
