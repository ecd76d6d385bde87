"""Stand-ins for what keeps pods alive, on a real API server that is alone.

They play the Deployment, StatefulSet and disruption controllers, an operator, and every kubelet, as far as the
migration can tell: templates become pods with owners and branch interfaces, rollouts go one pod at a time (Deployments
one above what is wanted, StatefulSets one below), evicted pods are made anew, deleted ones end, budgets are counted.
Admission, eviction and everything that is stored is the API server's own. What they do not show is how long things
take on real nodes, and what real controllers do when they are themselves in trouble.
"""

import contextlib
import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from components.running_cluster.kubernetes_api import KubernetesApi, KubernetesApiError
from components.running_cluster.strict_pods import BRANCH_INTERFACE, owner_of
from tests import aws_node

SYSTEM = "kube-system"
_APPS = "/apis/apps/v1/namespaces/{}"
_POLL_SECONDS = 0.05

Object = dict[str, Any]


def stamp(ago: timedelta = timedelta(0)) -> str:
    """Return a time as Kubernetes writes it."""
    return (datetime.now(UTC) - ago).strftime("%Y-%m-%dT%H:%M:%SZ")


def ready(pod: Any) -> bool:
    """Say whether a pod serves and stays."""
    conditions = pod.get("status", {}).get("conditions") or []
    return "deletionTimestamp" not in pod["metadata"] and any(
        each["type"] == "Ready" and each["status"] == "True" for each in conditions
    )


def _hash(template: Object) -> str:
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:8]


class Controllers:
    """Everything that happens by itself in one namespace."""

    def __init__(self, api: KubernetesApi, namespace: str, node: str = "node-1", pace: float = 1) -> None:
        self._api, self._namespace, self._node, self._pause = api, namespace, node, _POLL_SECONDS * pace
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self.long_ago: timedelta | None = timedelta(hours=2)
        """How long ago pods say they were started; None: they tell the truth."""
        self.never_ready: set[str] = set()
        """Owners whose pods do not get ready from now on."""
        self.wanted_by_operators: dict[str, int] = {}
        """Pods that an operator keeps, by the name of a Widget."""
        self.least_ready: dict[str, int] = {}
        """Fewest pods that served at a time, by owner, since `watch_from_now` (which counts once itself)."""
        self.busy: list[frozenset[str]] = []
        """Every set of owners that were replacing pods at one time, since `watch_from_now`."""
        self._hashes: dict[str, str] = {}
        self._number = 0
        self._over = threading.Event()
        self._step = threading.Lock()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def stop_soon(self) -> None:
        """Begin nothing more."""
        self._over.set()

    def stop(self) -> None:
        """End the thread."""
        self._over.set()
        self._thread.join()

    def pause(self) -> contextlib.AbstractContextManager[bool]:
        """Let nothing happen meanwhile."""
        return self._step

    @contextlib.contextmanager
    def old_pods(self) -> Iterator[None]:
        """Let pods that are started meanwhile say that it was long ago."""
        self.long_ago = timedelta(hours=2)
        yield
        self.long_ago = None

    def watch_from_now(self) -> None:
        """Forget what was seen, and look once: all is set up, and pods that are made from now on are new."""
        with self._step:
            self.long_ago = None
            self.least_ready.clear()
            self.busy.clear()
            self._observed()

    def _work(self) -> None:
        while not self._over.wait(self._pause):
            with self._step, contextlib.suppress(KubernetesApiError):  # somebody was faster: next time
                self._turn()

    def _turn(self) -> None:
        for pod in self._observed():
            self._kubelet(pod)
        pods = defaultdict[str, list[Any]](list)
        for pod in self._observed():
            owner = owner_of(pod)
            pods[owner.name if owner else ""].append(pod)
        apps = _APPS.format(self._namespace)
        self._budgets([pod for each in pods.values() for pod in each])
        for each in list(self._api.items(f"{apps}/deployments")):
            self._deployment(dict(each), pods[each["metadata"]["name"]])
        for each in list(self._api.items(f"{apps}/statefulsets")):
            self._stateful_set(dict(each), pods[each["metadata"]["name"]])
        for name, count in self.wanted_by_operators.items():
            staying = [each for each in pods[name] if "deletionTimestamp" not in each["metadata"]]
            if len(staying) < count:
                self._number += 1
                self._make(f"{name}-{self._number}", {"labels": {"app": name}}, "Widget", name, name)

    def _observed(self) -> list[Any]:
        found = list(self._api.items(self._pods))
        serving = dict[str, int]()
        for pod in found:
            owner = owner_of(pod)
            if owner is not None:
                serving[owner.name] = serving.get(owner.name, 0) + ready(pod)
        for name, count in serving.items():
            self.least_ready[name] = min(count, self.least_ready.get(name, count))
        moving = {owner.name for pod in found if (owner := owner_of(pod)) and not ready(pod)}
        if moving:
            self.busy.append(frozenset(moving))
        return found

    def _kubelet(self, pod: Any) -> None:
        path = f"{self._pods}/{pod['metadata']['name']}"
        if "deletionTimestamp" in pod["metadata"]:
            self._api.send("DELETE", path, {"gracePeriodSeconds": 0})
            return
        owner = owner_of(pod)
        status = pod.get("status", {})
        broken = owner is not None and owner.name in self.never_ready
        if status.get("phase") == "Pending" or (not ready(pod) and not broken and status.get("phase") == "Running"):
            self._api.send("PUT", f"{path}/status", {**pod, "status": {
                "phase": "Running",
                "startTime": status.get("startTime") or stamp(self.long_ago or timedelta(0)),
                "conditions": [{"type": "Ready", "status": "False" if broken else "True"}],
            }})  # fmt: skip

    def _make(self, name: str, metadata: Object, kind: str, owner: str, uid: str) -> None:
        reference = {"apiVersion": "any/v1", "kind": kind, "name": owner, "uid": uid, "controller": True}
        self._api.send("POST", self._pods, {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": name, "ownerReferences": [reference], "labels": metadata["labels"],
                "annotations": {**(metadata.get("annotations") or {}), BRANCH_INTERFACE: "[]"},
            },
            "spec": {"nodeName": self._node, "containers": [{"name": "app", "image": "x"}]},
        })  # fmt: skip

    def _deployment(self, deployment: Object, pods: list[Any]) -> None:
        name, spec = deployment["metadata"]["name"], deployment["spec"]
        template = spec["template"]["metadata"]
        current = self._hashes[name] = (
            self._hashes[name] if spec.get("paused") and name in self._hashes else _hash(spec["template"])
        )
        wanted = spec["replicas"]
        staying = [each for each in pods if "deletionTimestamp" not in each["metadata"]]
        old = [each for each in staying if each["metadata"]["labels"]["pod-template-hash"] != current]
        new = [each for each in staying if each not in old]
        if spec["strategy"]["type"] == "Recreate" and old:
            for each in old:
                self._api.send("DELETE", f"{self._pods}/{each['metadata']['name']}")
        elif len(new) < wanted and len(staying) <= wanted:
            self._number += 1
            labels = {**template["labels"], "pod-template-hash": current}
            self._make(f"{name}-{current}-{self._number}", {**template, "labels": labels}, "ReplicaSet",
                       f"{name}-{current}", f"{name}-{current}")  # fmt: skip
        elif old and sum(map(ready, staying)) > wanted:
            self._api.send("DELETE", f"{self._pods}/{old[0]['metadata']['name']}")
        serving = sum(map(ready, staying))
        self._report(f"deployments/{name}", deployment, {
            "observedGeneration": deployment["metadata"]["generation"], "replicas": len(staying),
            "updatedReplicas": len(new), "readyReplicas": serving, "availableReplicas": serving,
        })  # fmt: skip

    def _stateful_set(self, stateful_set: Object, pods: list[Any]) -> None:
        name, spec = stateful_set["metadata"]["name"], stateful_set["spec"]
        template, wanted, current = spec["template"]["metadata"], spec["replicas"], _hash(spec["template"])
        by_name = {each["metadata"]["name"]: each for each in pods}
        for number in range(wanted):
            if f"{name}-{number}" not in by_name:
                labels = {**template["labels"], "controller-revision-hash": current}
                self._make(f"{name}-{number}", {**template, "labels": labels}, "StatefulSet", name, name)
        new = [each for each in pods if each["metadata"]["labels"]["controller-revision-hash"] == current]
        rolling = spec["updateStrategy"]["type"] == "RollingUpdate"
        if rolling and sum(map(ready, pods)) == wanted and len(new) < wanted:
            last = max(each["metadata"]["name"] for each in pods if each not in new)
            self._api.send("DELETE", f"{self._pods}/{last}")
        serving = sum(map(ready, pods))
        self._report(f"statefulsets/{name}", stateful_set, {
            "observedGeneration": stateful_set["metadata"]["generation"], "replicas": len(pods),
            "updatedReplicas": len(new), "readyReplicas": serving, "availableReplicas": serving,
        })  # fmt: skip

    def _report(self, path: str, manifest: Object, status: Object) -> None:
        if manifest.get("status") != status:
            kind = "Deployment" if path.startswith("deployments") else "StatefulSet"
            self._api.send("PUT", f"{_APPS.format(self._namespace)}/{path}/status",
                           {"apiVersion": "apps/v1", "kind": kind, **manifest, "status": status})  # fmt: skip

    def _budgets(self, pods: list[Any]) -> None:
        path = f"/apis/policy/v1/namespaces/{self._namespace}/poddisruptionbudgets"
        for each in list(self._api.items(path)):
            spec = each["spec"]
            labels = spec["selector"]["matchLabels"].items()
            protected = [pod for pod in pods if labels <= pod["metadata"]["labels"].items()]
            serving = sum(map(ready, protected))
            staying = sum("deletionTimestamp" not in pod["metadata"] for pod in protected)
            needed = spec.get("minAvailable", max(0, staying - spec.get("maxUnavailable", 0)))
            status = {
                "observedGeneration": each["metadata"]["generation"], "currentHealthy": serving,
                "desiredHealthy": needed, "disruptionsAllowed": max(0, serving - needed), "expectedPods": staying,
            }  # fmt: skip
            told = {key: value for key, value in (each.get("status") or {}).items() if key in status}
            if told != status:
                named = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", **each, "status": status}
                self._api.send("PUT", f"{path}/{each['metadata']['name']}/status", named)


@contextlib.contextmanager
def controllers(api: KubernetesApi, namespace: str, pace: float = 1) -> Iterator[Controllers]:
    """Make a namespace and let things happen in it; `pace` is how long they take, 1 being as on a real API server."""
    api.send("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    with contextlib.suppress(KubernetesApiError):
        api.send("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", account)
    found = Controllers(api, namespace, pace=pace)
    try:
        yield found
    finally:
        found.stop()


def run_aws_node(api: KubernetesApi, mode: str, nodes: tuple[str, ...] = ("node-1",)) -> None:
    """Play aws-node: it has been ready in this mode, on every node, for an hour."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    with contextlib.suppress(KubernetesApiError):
        api.send("POST", f"/api/v1/namespaces/{SYSTEM}/serviceaccounts", account)
    pods = f"/api/v1/namespaces/{SYSTEM}/pods"
    for node in nodes:
        with contextlib.suppress(KubernetesApiError):
            api.send("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
        with contextlib.suppress(KubernetesApiError):
            api.send("DELETE", f"{pods}/aws-node-{node}", {"gracePeriodSeconds": 0})
        made = api.send("POST", pods, {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": f"aws-node-{node}", "labels": {"k8s-app": "aws-node"}},
            "spec": {"nodeName": node, "containers": [aws_node.container(mode)]},
        })  # fmt: skip
        api.send("PUT", f"{pods}/aws-node-{node}/status", {**made, "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": stamp(timedelta(hours=1))}],
        }})  # fmt: skip


def workload(kind: str, name: str, replicas: int = 2, **spec: Any) -> Object:
    """Return a Deployment or StatefulSet whose pods are labelled `app: <name>`."""
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "app", "image": "x"}]}}
    return {
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template,
                 **({"serviceName": name} if kind == "StatefulSet" else {}), **spec},
    }  # fmt: skip


def bare_pod(name: str, **metadata: Any) -> Object:
    """Return a pod with a branch interface that nothing would make anew."""
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}, "annotations": {BRANCH_INTERFACE: "[]"}, **metadata},
        "spec": {"nodeName": "node-1", "containers": [{"name": "app", "image": "x"}]},
    }  # fmt: skip


def budget(name: str, **spec: Any) -> Object:
    """Return a PodDisruptionBudget of the pods labelled `app: <name>`."""
    return {
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, **spec},
    }  # fmt: skip
