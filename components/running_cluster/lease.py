"""A lease in the cluster that lets one run at a time work on it."""

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus

from components.running_cluster.kubernetes_api import KubernetesApi, KubernetesApiError, Manifest

_POLL_SECONDS = 0.5


class BusyError(RuntimeError):
    """Another run is at work on this cluster."""


@dataclass(frozen=True)
class Lease:
    """Which lease it is."""

    namespace: str
    """Namespace."""

    name: str
    """Name: of the work that only one may do."""

    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """Labels of the object."""

    seconds: float = 15
    """How long a run that was killed keeps the next one waiting."""

    @property
    def collection(self) -> str:
        """Path of the leases of its namespace."""
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases"

    @property
    def path(self) -> str:
        """Path of the object."""
        return f"{self.collection}/{self.name}"

    def spec(self, holder: str) -> Manifest:
        """Return what a holder writes now."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {"holderIdentity": holder, "leaseDurationSeconds": int(self.seconds), "renewTime": now}


@contextlib.contextmanager
def alone(
    api: KubernetesApi, lease: Lease, holder: str, on_loss: Callable[[], None] = lambda: None
) -> Generator[None, None, None]:
    """Hold a lease while the block runs; raises `BusyError`, which names the holder, if a living run holds it.

    A run that was killed renews nothing, so its lease can be taken over when its seconds are over. That happens too to
    one that cannot reach the API for as long; it learns it by `on_loss`, from another thread.
    """
    held = _taken(api, lease, holder)
    over = threading.Event()

    def renew() -> None:
        current = held
        while not over.wait(lease.seconds / 3):
            try:
                current = api.send("PUT", lease.path, {**current, "spec": lease.spec(holder)})
            except KubernetesApiError as error:
                if error.status not in {HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND}:
                    continue  # it may come back in time
                with contextlib.suppress(KubernetesApiError):
                    found = api.get(lease.path)
                    if found is None or _holder(found) != holder:
                        on_loss()
                        return
                    current = found

    renewing = threading.Thread(target=renew, daemon=True)
    renewing.start()
    try:
        yield
    finally:
        over.set()
        renewing.join()
        _given_back(api, lease, holder)


def _spec(lease: Manifest) -> Manifest:
    return lease.get("spec") or {}


def _holder(lease: Manifest) -> str:
    return str(_spec(lease).get("holderIdentity"))


def _taken(api: KubernetesApi, lease: Lease, holder: str) -> Manifest:
    """Return the lease once it is this holder's."""
    seen: str | None = None
    since = 0.0
    for _ in range(int(2 * lease.seconds / _POLL_SECONDS)):
        try:
            held = api.get(lease.path)
            if held is None:
                return api.send("POST", lease.collection, {
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"name": lease.name, "namespace": lease.namespace, "labels": dict(lease.labels)},
                    "spec": lease.spec(holder),
                })  # fmt: skip
            # Judged by whether it is renewed while we look, so that no two clocks have to agree.
            renewed = str(_spec(held).get("renewTime"))
            if seen is None:
                seen, since = renewed, time.monotonic()
            elif renewed != seen:
                raise BusyError(
                    f"another run ({_holder(held)}) is at work on this cluster; wait for it, or end "
                    f"it. When it is dead its lease {lease.namespace}/{lease.name} is free after {lease.seconds:g} s"
                )
            elif time.monotonic() - since > lease.seconds:
                return api.send("PUT", lease.path, {**held, "spec": lease.spec(holder)})
        except KubernetesApiError as error:
            if error.status != HTTPStatus.CONFLICT:  # somebody else was faster
                raise
            seen = None
        time.sleep(_POLL_SECONDS)
    raise BusyError("the lease of another run could be neither had nor waited for; try again")


def _given_back(api: KubernetesApi, lease: Lease, holder: str) -> None:
    with contextlib.suppress(KubernetesApiError):  # it runs out
        found = api.get(lease.path)
        if found is not None and _holder(found) == holder:
            api.request("DELETE", lease.path)
