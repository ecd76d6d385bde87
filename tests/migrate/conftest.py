"""The API servers of the tests of the migration; each test has a namespace of its own in one."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.running_cluster.cni_state import look
from components.running_cluster.kubernetes_api import KubernetesApi
from components.running_cluster.strict_pods import Owner, SecurityGroupPod
from local_cloud.control_plane import ApiServer, ApiServerSettings, Etcd
from migrate.recreate import RESTARTED_AT, Options, Recreation, Result
from tests import aws_node
from tests.simulated_controllers import (
    Controllers,
    controllers,
    ready,
    run_aws_node,
)
from tests.waiting import eventually
from tools import locate

sys.path.insert(0, str(Path(__file__).parent))
from in_memory import InMemoryApi  # of this room

_numbers = count(1)


@dataclass
class ApiServerOfTests:
    """An API server and how to reach it."""

    api: KubernetesApi
    kubeconfig: Path
    pace: float = 1
    """How long things take there: a part of what they take on a real one."""

    def set_mode(self, mode: str) -> None:
        """Let aws-node ask for a mode, and run in it everywhere."""
        path = "/apis/apps/v1/namespaces/kube-system/daemonsets/aws-node"
        self.api.send(
            "PATCH",
            path,
            {"spec": {"template": {"spec": {"containers": [aws_node.container(mode)]}}}},
            content="application/strategic-merge-patch+json",
        )
        self.set_running_mode(mode)

    def set_running_mode(self, mode: str) -> None:
        """Let aws-node run in a mode everywhere, whatever is asked for."""
        run_aws_node(self.api, mode)


def _install_aws_node(api: KubernetesApi) -> None:
    labels = {"k8s-app": "aws-node"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [aws_node.container("standard")]}}
    api.send("POST", "/apis/apps/v1/namespaces/kube-system/daemonsets", {
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "aws-node"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    })  # fmt: skip
    run_aws_node(api, "standard")


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerOfTests]:
    """Run an API server on whose only node aws-node is in standard mode, since an hour."""
    directory = tmp_path_factory.mktemp("migrate")
    etcd = Etcd(locate("etcd"), directory / "etcd")
    try:
        etcd.wait_until_ready()
        settings = ApiServerSettings("c", "172.20.0.0/16", "https://issuer.invalid", "https://127.0.0.1:9/")
        running = ApiServer(locate("kube-apiserver"), directory / "server", etcd, settings)
        try:
            running.wait_until_ready()
            path = _kubeconfig(directory / "server", running.endpoint)
            api = KubernetesApi.from_kubeconfig(path)
            _install_aws_node(api)
            yield ApiServerOfTests(api, path)
            api.close()
        finally:
            running.stop()
    finally:
        etcd.stop()


@pytest.fixture
def server(api_server: ApiServerOfTests) -> ApiServerOfTests:
    """Return the API server of a module's tests: the real one, if the module names no other."""
    return api_server


@pytest.fixture(scope="module")
def memory() -> ApiServerOfTests:
    """Return an API server in memory, whose controllers and kubelets are ten times as fast."""
    api = InMemoryApi()
    _install_aws_node(api)
    return ApiServerOfTests(api, Path("/nowhere"), pace=0.1)


def _kubeconfig(directory: Path, endpoint: str) -> Path:
    path = directory / "kubeconfig"
    cluster = {"server": endpoint, "certificate-authority": str(directory / "ca.crt")}
    user = {"client-certificate": str(directory / "eks.crt"), "client-key": str(directory / "eks.key")}
    path.write_text(yaml.safe_dump({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "c", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    }))  # fmt: skip
    return path


@dataclass
class Place:
    """A namespace with workloads whose pods have strict rules."""

    api: KubernetesApi
    kubeconfig: Path
    namespace: str
    controllers: Controllers
    pace: float

    def options(self, timeout: float = 60, parallel: int = 1) -> Options:
        """Return how the work is done; `timeout` is seconds of a real API server."""
        return Options(timeout=timeout * self.pace, parallel=parallel, poll=0.05 * self.pace)

    def make(self, *objects: Any) -> None:
        """Make objects."""
        groups = {
            "Pod": "/api/v1/namespaces/{}/pods",
            "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
        }
        for each in objects:
            path: str = groups.get(each["kind"]) or f"/apis/apps/v1/namespaces/{{}}/{each['kind'].lower()}s"
            self.api.send("POST", path.format(self.namespace), each)

    def settle(self, pods: int, budgets: int = 0) -> None:
        """Wait until that many pods serve and budgets count them; all that come later get the present mode's rules."""
        eventually(lambda: len([each for each in self.pods() if ready(each)]) == pods)
        path = f"/apis/policy/v1/namespaces/{self.namespace}/poddisruptionbudgets"
        eventually(lambda: sum("expectedPods" in each.get("status", {}) for each in self.api.items(path)) == budgets)
        self.controllers.watch_from_now()

    def pods(self) -> list[Any]:
        """Return the pods."""
        return list(self.api.items(f"/api/v1/namespaces/{self.namespace}/pods"))

    def uids(self, app: str) -> set[str]:
        """Return the identities of a workload's pods."""
        return {each["metadata"]["uid"] for each in self.pods() if each["metadata"]["labels"].get("app") == app}

    def restarted_at(self, deployment: str) -> str | None:
        """Return when a Deployment was last restarted."""
        found = self.api.get(f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{deployment}") or {}
        return found["spec"]["template"]["metadata"].get("annotations", {}).get(RESTARTED_AT)

    def judged(self) -> list[SecurityGroupPod]:
        """Return every pod and whose rules it has."""
        return list(look(self.api, self.namespace).pods)

    def suspects(self) -> list[str]:
        """Return the names of those that are not known to have the rules of standard mode."""
        return [each.name for each in self.judged() if each.mode != "standard"]

    def owner(self, kind: str, name: str) -> Owner:
        """Return an owner here."""
        return Owner(self.namespace, kind, name)

    def recreate(self, *owners: Owner, timeout: float = 60, parallel: int = 1) -> tuple[list[Result], list[str]]:
        """Recreate in this process; return what became of each owner, and what was said."""
        said: list[str] = []
        options = self.options(timeout, parallel)
        recreation = Recreation(self.api, options, lambda owner, text: said.append(f"{owner.name}: {text}"))
        return recreation.run(owners), said


@pytest.fixture
def place(server: ApiServerOfTests) -> Iterator[Place]:
    """Return a namespace in which things happen."""
    namespace = f"shop-{next(_numbers)}"
    with controllers(server.api, namespace, server.pace) as found:
        yield Place(server.api, server.kubeconfig, namespace, found, server.pace)
        # The next test's cluster has no pods but its own.
        with found.pause():
            found.stop_soon()
            for each in list(server.api.items(f"/api/v1/namespaces/{namespace}/pods")):
                path = f"/api/v1/namespaces/{namespace}/pods/{each['metadata']['name']}"
                server.api.send("DELETE", path, {"gracePeriodSeconds": 0})
