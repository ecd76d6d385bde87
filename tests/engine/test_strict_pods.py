"""The guard on the real engine: with pods of strict mode there, nothing is installed until they are recreated."""

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from pulumi.automation import CommandError

from components.running_cluster.kubernetes_api import KubernetesApi
from local_cloud.cloud import LocalCloud
from local_cloud.stacks import ROOT, Run, Stack, _surrounded_by
from tests.simulated_controllers import (
    Controllers,
    bare_pod,
    controllers,
    ready,
    run_aws_node,
    workload,
)
from tests.waiting import eventually

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]

SYSTEM = "/api/v1/namespaces/kube-system"
CACHE = "/apis/apps/v1/namespaces/kube-system/daemonsets/node-local-dns"
PODS = "/api/v1/namespaces/shop/pods"


@dataclasses.dataclass
class Adopting:
    """A cluster with pods of strict mode, in standard mode now, on which the cache is about to be installed."""

    cloud: LocalCloud
    stack: Stack
    api: KubernetesApi
    controllers: Controllers

    def up(self, **settings: Any) -> Run:
        """Bring the stack up with these settings of the cache."""
        overrides = {"eks-node-local-dns:nodeLocalDns": settings}
        return dataclasses.replace(self.stack, overrides=overrides).up()

    def refusal(self, **settings: Any) -> str:
        """Return what the engine says when it refuses that."""
        with pytest.raises(CommandError) as refused:
            self.up(**settings)
        return str(refused.value)

    def migrate(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command as the message says."""
        return subprocess.run(
            [sys.executable, "-m", "migrate", "--stack", "dev", *arguments],
            cwd=ROOT,
            env=self.cloud.environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def everything_of_the_cache(self) -> list[Any]:
        """Return every object of the cache as it is."""
        kinds = ("services", "configmaps", "serviceaccounts")
        paths = [*(f"{SYSTEM}/{each}" for each in kinds), CACHE.rpartition("/")[0]]
        found = [each for path in paths for each in self.api.items(path)]
        return [each for each in found if each["metadata"]["name"].startswith(("node-local-dns", "kube-dns-upstream"))]

    def pods(self) -> dict[str, str]:
        """Return the application's pods: name and identity."""
        return {each["metadata"]["name"]: each["metadata"]["uid"] for each in self.api.items(PODS)}

    def plant_bare_pod(self, name: str) -> None:
        """Make a pod that was started under strict mode and that nothing would make anew."""
        with self.controllers.old_pods():
            self.api.send("POST", PODS, bare_pod(name))
            eventually(lambda: ready(self.api.get(f"{PODS}/{name}")))

    def delete(self, name: str) -> None:
        """Delete a pod and wait until it is gone."""
        self.api.send("DELETE", f"{PODS}/{name}")
        eventually(lambda: self.api.get(f"{PODS}/{name}") is None)


@pytest.fixture(scope="module")
def adopting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adopting]:
    """Bring up a cluster without the cache, and in it pods that were started before aws-node was switched."""
    directory = tmp_path_factory.mktemp("adopting")
    with LocalCloud.start(directory) as cloud:
        stack = Stack(cloud.environment, directory / "projects")
        dataclasses.replace(stack, overrides={"eks-node-local-dns:nodeLocalDns": {"enabled": False}}).up()
        with _surrounded_by(cloud.environment):
            api = KubernetesApi.from_kubeconfig(stack.outputs()["kubeconfig"])
        run_aws_node(api, "standard")
        with controllers(api, "shop") as happening:
            apps = "/apis/apps/v1/namespaces/shop"
            api.send("POST", f"{apps}/deployments", workload("Deployment", "orders", 2))
            api.send("POST", f"{apps}/statefulsets", workload("StatefulSet", "store", 1))
            eventually(lambda: sum(map(ready, api.items(PODS))) == 3)
            happening.watch_from_now()
            yield Adopting(cloud, stack, api, happening)
        api.close()


def test_the_cache_is_installed_only_after_the_migration(adopting: Adopting) -> None:
    """Refused, with each pod and the command; nothing is changed; the command run, it is installed."""
    adopting.plant_bare_pod("legacy")
    before = adopting.pods()
    message = adopting.refusal(enabled=True)
    assert "The cache is not installed." in message
    assert "4 running pods with a security group are not known to have the rules of standard mode" in message
    for name in before:
        assert f"shop/{name} on node-1" in message
    assert message.count("(Deployment shop/orders): strict, because it was started at") == 2
    assert "(StatefulSet shop/store): strict" in message
    assert "(no owner: nothing makes it anew): strict" in message
    assert "./eks-node-local-dns migrate --apply" in message
    assert "nodeLocalDns.ignoreStrictPods: true" in message
    assert adopting.everything_of_the_cache() == []
    assert adopting.pods() == before

    migrated = adopting.migrate("--apply")
    assert migrated.returncode == 1, migrated.stderr  # the bare pod is left
    assert "The vpc-cni add-on asks for standard mode. DaemonSet aws-node asks for standard mode;" in migrated.stdout
    assert adopting.pods().keys() & before.keys() == {"legacy", "store-0"}
    assert adopting.pods()["store-0"] != before["store-0"]
    assert adopting.pods()["legacy"] == before["legacy"]
    adopting.delete("legacy")
    done = adopting.migrate()
    assert done.returncode == 0, done.stderr
    adopting.up(enabled=True)
    assert adopting.api.get(CACHE) is not None
    assert adopting.stack.preview().changes() == []


def test_another_interception_is_guarded_too_and_the_override_is_reported(adopting: Adopting) -> None:
    """Refused as the first one was, with no object changed; the override lets it pass with a warning, and only once."""
    if adopting.api.get(CACHE) is None:
        adopting.up(enabled=True, ignoreStrictPods=True)
    adopting.plant_bare_pod("late")
    running = adopting.api.get(CACHE)
    before = adopting.everything_of_the_cache()
    assert len(before) == 5
    # Settings that change other objects than the DaemonSet, some of which come before it.
    observed = {"corefile": {"external": {"successTtl": 60}}, "observability": {"dashboard": True}}
    for interception in ({"interception": "upstream"}, {"localAddress": "169.254.30.10"}):
        message = adopting.refusal(enabled=True, **observed, **interception)
        assert "The cache is left as it is." in message
        assert "shop/late" in message
        assert adopting.everything_of_the_cache() == before

    run = adopting.up(enabled=True, interception="upstream", ignoreStrictPods=True)
    warnings = "\n".join(run.diagnostics)
    assert "nodeLocalDns.ignoreStrictPods is on, so this did not stop the update" in warnings
    assert "shop/late" in warnings
    assert adopting.api.get(CACHE) != running
    assert "shop/late" in adopting.refusal(enabled=True, interception="upstream")


def test_a_cache_that_something_else_installed_is_named(adopting: Adopting) -> None:
    """Nothing is made beside it; when it is gone, the cache is installed."""
    adopting.up(enabled=False)
    labels = {"k8s-app": "nodelocaldns"}
    image = "registry.k8s.io/dns/k8s-dns-node-cache:1.22.28"
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "node-cache", "image": image}]}}
    path = "/apis/apps/v1/namespaces/shop/daemonsets"
    adopting.api.send("POST", path, {
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "nodelocaldns"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    })  # fmt: skip
    message = adopting.refusal(enabled=True, ignoreStrictPods=True)
    assert f"shop/nodelocaldns ({image})" in message
    assert adopting.everything_of_the_cache() == []
    adopting.api.send("DELETE", f"{path}/nodelocaldns")
    adopting.up(enabled=True, ignoreStrictPods=True)
    assert adopting.api.get(CACHE) is not None
