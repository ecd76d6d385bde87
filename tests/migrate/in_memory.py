"""A stand-in for the API server, in memory: as much of it as recreating pods is told apart by.

Every test that uses it runs on a real API server too (`engine`), which is what keeps it honest. It knows objects,
generations, conflicts, merging patches without lists by key, graceful deletion of pods, label selectors of equality,
and evictions under budgets. It validates nothing, knows no users, pages no list, and refuses any other request.
"""

import copy
import json
import threading
from collections.abc import Mapping
from itertools import count
from typing import Any

from components.running_cluster.kubernetes_api import KubernetesApi, KubernetesApiError
from tests.simulated_controllers import ready, stamp

Object = dict[str, Any]

_DEFAULTS: dict[str, Object] = {
    "Deployment": {
        "replicas": 1,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
    },
    "StatefulSet": {"replicas": 1, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}},
}
_COLLECTIONS = {
    "pods", "nodes", "namespaces", "serviceaccounts", "deployments", "statefulsets", "daemonsets",
    "controllerrevisions", "poddisruptionbudgets",
}  # fmt: skip
NOT_FOUND, CONFLICT, TOO_MANY, BROKEN = 404, 409, 429, 500


def _merged(old: Any, change: Any) -> Any:
    """Return a value with a change merged in; null takes a key away, and a map without keys is none."""
    if not isinstance(old, dict) or not isinstance(change, dict):
        return change
    merged = {**old, **{key: _merged(old.get(key, {}), value) for key, value in change.items()}}
    return {key: value for key, value in merged.items() if value not in (None, {})}


def _matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return selector.items() <= labels.items()


class InMemoryApi(KubernetesApi):
    """An empty cluster."""

    def __init__(self) -> None:
        super().__init__(client=None)  # type: ignore[arg-type]  # nothing is sent anywhere
        self._objects: dict[str, Object] = {}
        self._numbers = count(1)
        self._lock = threading.RLock()

    def close(self) -> None:
        """Do nothing."""

    def request(self, method: str, path: str, body: Any = None, **more: Any) -> bytes:
        """Return the reply to a request as text."""
        return json.dumps(self.send(method, path, body, **more)).encode()

    def send(
        self, method: str, path: str, body: Any = None, *, query: Any = None, content: str = "", accept: str = ""
    ) -> Object:
        """Return the reply to a request."""
        del content, accept
        with self._lock:
            return copy.deepcopy(self._reply(method, path, copy.deepcopy(body), query or {}))

    def _reply(self, method: str, path: str, body: Any, query: Mapping[str, Any]) -> Object:
        if path.endswith("/eviction"):
            return self._evict(path.removesuffix("/eviction"), body)
        if path.rpartition("/")[2] in _COLLECTIONS:
            return self._made(path, body) if method == "POST" else self._listed(path, query)
        about_status = path.endswith("/status")
        path = path.removesuffix("/status")
        found = self._objects.get(path)
        if found is None:
            raise KubernetesApiError(f"{method} {path}: not found", NOT_FOUND)
        if method == "GET":
            return found
        if method == "DELETE":
            return self._deleted(path, {**query, **(body or {})}.get("gracePeriodSeconds"))
        told = body.get("metadata", {})
        if any(told.get(key, found["metadata"][key]) != found["metadata"][key] for key in ("uid", "resourceVersion")):
            raise KubernetesApiError(f"{method} {path}: the object has been modified", CONFLICT)
        if method == "PATCH":
            return self._changed(path, _merged(found, body))
        if method == "PUT":
            return self._changed(path, {**found, "status": body["status"]} if about_status else body)
        raise AssertionError(f"{method} {path} is not known here")

    def _listed(self, path: str, query: Mapping[str, Any]) -> Object:
        selector = dict(each.split("=") for each in query.get("labelSelector", "").split(",") if each)
        collection, everywhere = path.rpartition("/")[2], "/namespaces/" not in path
        items = [
            each
            for key, each in self._objects.items()
            if (key.rpartition("/")[0] == path or (everywhere and key.rpartition("/")[0].endswith(f"/{collection}")))
            and _matches(selector, each["metadata"].get("labels") or {})
        ]
        return {"metadata": {}, "items": items}

    def _made(self, path: str, body: Object) -> Object:
        name = body["metadata"]["name"]
        if f"{path}/{name}" in self._objects:
            raise KubernetesApiError(f"POST {path}/{name}: it already exists", CONFLICT)
        place = {"namespace": path.split("/namespaces/")[1].split("/", maxsplit=1)[0]} if "/namespaces/" in path else {}
        spec = _merged(_DEFAULTS.get(body["kind"], {}), body.get("spec", {}))
        if body["kind"] == "Deployment" and spec["strategy"]["type"] == "Recreate":
            spec["strategy"] = {"type": "Recreate"}
        metadata = {
            "uid": str(next(self._numbers)), "creationTimestamp": stamp(), "generation": 1,
            "resourceVersion": str(next(self._numbers)), **place, **body["metadata"],
        }  # fmt: skip
        status = {"phase": "Pending"} if body["kind"] == "Pod" else {}
        self._objects[f"{path}/{name}"] = {"status": status, **body, "spec": spec, "metadata": metadata}
        return self._objects[f"{path}/{name}"]

    def _changed(self, path: str, made: Object) -> Object:
        before = self._objects[path]
        metadata = {**made["metadata"], "resourceVersion": str(next(self._numbers))}
        metadata["generation"] = before["metadata"]["generation"] + (made["spec"] != before["spec"])
        self._objects[path] = {**made, "metadata": metadata}
        return self._objects[path]

    def _deleted(self, path: str, grace: int | None) -> Object:
        if "/pods/" not in path or grace == 0:
            return self._objects.pop(path)
        self._objects[path]["metadata"].setdefault("deletionTimestamp", stamp())
        return self._objects[path]

    def _evict(self, path: str, body: Object) -> Object:
        pod = self._objects.get(path)
        if pod is None:
            raise KubernetesApiError(f"POST {path}/eviction: not found", NOT_FOUND)
        uid = body["deleteOptions"].get("preconditions", {}).get("uid")
        if uid not in {None, pod["metadata"]["uid"]}:
            raise KubernetesApiError(f"POST {path}/eviction: the UID in the precondition does not match", CONFLICT)
        place, labels = f"/namespaces/{pod['metadata']['namespace']}/poddisruptionbudgets/", pod["metadata"]["labels"]
        budgets = [
            each
            for key, each in self._objects.items()
            if place in key and _matches(each["spec"]["selector"]["matchLabels"], labels)
        ]
        if len(budgets) > 1:
            raise KubernetesApiError("This pod has more than one PodDisruptionBudget", BROKEN)
        for each in budgets:
            status = each["status"]
            heals = not ready(pod) and status.get("currentHealthy", 0) >= status.get("desiredHealthy", 1)
            current = status.get("observedGeneration") == each["metadata"]["generation"]
            if not heals and (not current or status["disruptionsAllowed"] < 1):
                raise KubernetesApiError("Cannot evict pod as it would violate the pod's disruption budget.", TOO_MANY)
            status["disruptionsAllowed"] = max(0, status["disruptionsAllowed"] - 1)
        return self._deleted(path, None)
