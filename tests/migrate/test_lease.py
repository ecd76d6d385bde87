"""The lease that keeps runs apart, on a real API server."""

import threading
from typing import TYPE_CHECKING

import pytest

from components.running_cluster.kubernetes_api import KubernetesApiError
from components.running_cluster.lease import BusyError, Lease, alone
from tests.waiting import eventually

if TYPE_CHECKING:
    from conftest import ApiServerOfTests

pytestmark = pytest.mark.engine

LEASE = Lease("kube-system", "tests", {"of": "tests"}, seconds=2)


def holder(server: "ApiServerOfTests") -> str | None:
    """Return who holds it."""
    found = server.api.get(LEASE.path)
    return None if found is None else str(found["spec"]["holderIdentity"])


def test_a_living_run_keeps_others_away(server: "ApiServerOfTests") -> None:
    """They are told who it is and what to do; when it ends the lease is gone."""
    with alone(server.api, LEASE, "alice"):
        with pytest.raises(BusyError, match="alice") as busy, alone(server.api, LEASE, "bob"):
            pass
        assert holder(server) == "alice"
    assert str(busy.value) == (
        "another run (alice) is at work on this cluster; wait for it, or end it. When it is dead its lease "
        "kube-system/tests is free after 2 s"
    )
    assert holder(server) is None


def test_the_lease_of_a_dead_run_is_taken_over(server: "ApiServerOfTests") -> None:
    """It renews nothing any more."""
    metadata = {"name": LEASE.name, "namespace": LEASE.namespace}
    dead = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": LEASE.spec("dead")}
    server.api.send("POST", LEASE.collection, dead)
    with alone(server.api, LEASE, "bob"):
        assert holder(server) == "bob"


def test_a_run_whose_lease_was_taken_learns_it(server: "ApiServerOfTests") -> None:
    """It could not renew it in time; the lease is left to the other run."""
    lost = threading.Event()

    def take() -> bool:
        held = server.api.get(LEASE.path) or {}
        try:
            server.api.send("PUT", LEASE.path, {**held, "spec": LEASE.spec("bob")})
        except KubernetesApiError:  # renewed in between
            return False
        return True

    with alone(server.api, LEASE, "alice", lost.set):
        eventually(take)
        assert lost.wait(30)  # many times what it takes to renew, so that a loss nobody tells of is seen soon
    assert holder(server) == "bob"
    server.api.request("DELETE", LEASE.path)


def test_somebody_elses_label_does_not_cost_the_lease(server: "ApiServerOfTests") -> None:
    """A change by others, of something else, is a conflict at the next renewal and no more."""
    lost = threading.Event()
    with alone(server.api, LEASE, "alice", lost.set):
        change = {"metadata": {"labels": {"seen": "yes"}}}
        server.api.send("PATCH", LEASE.path, change, content="application/merge-patch+json")
        first = (server.api.get(LEASE.path) or {})["spec"]["renewTime"]
        eventually(lambda: (server.api.get(LEASE.path) or {})["spec"]["renewTime"] != first)
        assert not lost.is_set()
