"""What watches the cache, brought up by the engine: refused where its kinds are unknown, made where they are known."""

import contextlib
import dataclasses
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from local_cloud.plugins.kubernetes import Cluster

if TYPE_CHECKING:
    from conftest import BroughtUp

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]

KINDS = ("PodMonitor", "PrometheusRule")
OBSERVED = {"podMonitor": True, "prometheusRule": True, "dashboard": True}


def kubectl(brought_up: "BroughtUp", *arguments: str, given: str | None = None) -> str:
    """Run kubectl with the kubeconfig that the stack exports, and return what it prints."""
    kubeconfig = brought_up.cloud.layout.directory / "observed.kubeconfig"
    kubeconfig.write_text(brought_up.stack.outputs()["kubeconfig"])
    done = subprocess.run(
        ["kubectl", "--kubeconfig", str(kubeconfig), *arguments],
        check=False, capture_output=True, text=True, input=given, timeout=60, env=dict(brought_up.cloud.environment),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def definition(kind: str) -> dict[str, Any]:
    """Return a CustomResourceDefinition of a kind of the Prometheus operator, without its schema."""
    plural = f"{kind.lower()}s"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com",
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


def test_what_watches_the_cache_needs_its_kinds_and_comes_and_goes(
    brought_up: "BroughtUp", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the operator's definitions the plugin says what is missing; with them all is made, and removed again."""
    settings = {"eks-node-local-dns:nodeLocalDns": {"observability": OBSERVED}}
    watched = dataclasses.replace(brought_up.stack, overrides=settings)
    planned = {(each.operation, each.type) for each in watched.preview().changes()}
    custom = {("create", f"kubernetes:monitoring.coreos.com/v1:{kind}") for kind in KINDS}
    assert planned == {*custom, ("create", "kubernetes:core/v1:ConfigMap")}
    for name, value in brought_up.cloud.environment.items():
        monkeypatch.setenv(name, value)
    cluster = Cluster(brought_up.stack.outputs()["kubeconfig"])
    refused = pytest.raises(
        RuntimeError, match=r"does not serve monitoring.coreos.com/v1 PodMonitor.*CustomResourceDef"
    )
    with contextlib.closing(cluster._http), refused:
        cluster.path("monitoring.coreos.com/v1", "PodMonitor", "kube-system", "node-local-dns")
    try:
        for kind in KINDS:
            kubectl(brought_up, "create", "-f", "-", given=json.dumps(definition(kind)))
            name = f"crd/{kind.lower()}s.monitoring.coreos.com"
            kubectl(brought_up, "wait", "--for=condition=Established", name, "--timeout=30s")
        watched.up()
        assert watched.preview().changes() == []
        rules = json.loads(kubectl(brought_up, "-n", "kube-system", "get", "prometheusrules", "-o", "json"))["items"]
        monitors = json.loads(kubectl(brought_up, "-n", "kube-system", "get", "podmonitors", "-o", "json"))["items"]
        assert [each["metadata"]["name"] for each in (*rules, *monitors)] == ["node-local-dns", "node-local-dns"]
        assert rules[0]["spec"]["groups"][0]["rules"]
    finally:
        removed = brought_up.stack.up()
    assert {each.operation for each in removed.changes()} == {"delete"}
    assert brought_up.stack.preview().changes() == []
