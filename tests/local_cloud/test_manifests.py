"""Every object of the cache, judged by a real API server: strict field validation, and no warning."""

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from components.cache.node_local_dns import POD_SECURITY_LEVEL, NodeLocalDnsSettings, manifests, observability_manifests

if TYPE_CHECKING:
    from conftest import Account

OBSERVED = {"podMonitor": True, "prometheusRule": True, "dashboard": True, "setupEndpoint": True}
LOWER = {"privileged": "baseline", "baseline": "restricted"}


def _definition(kind: str) -> dict[str, Any]:
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com",
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [version],
        },
    }


@pytest.fixture(scope="module")
def watched(account: "Account", bare: str) -> str:
    """Return a cluster that knows the Prometheus operator's kinds."""
    done = _create(account, bare, _definition("PodMonitor"), _definition("PrometheusRule"), dry_run=False)
    assert done.returncode == 0, done.stderr
    names = [f"crd/{each}.monitoring.coreos.com" for each in ("podmonitors", "prometheusrules")]
    account.kubectl(bare, "wait", "--for=condition=Established", *names, "--timeout=30s")
    return bare


def _create(account: "Account", cluster: str, *manifests: dict[str, Any], dry_run: bool = True) -> Any:
    path = account.cloud.layout.directory / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(manifests))
    options = ["--dry-run=server", "--warnings-as-errors", "--validate=strict"] if dry_run else []
    return account.ask(cluster, "create", "-f", str(path), *options)


@pytest.mark.parametrize("interception", ["socket", "upstream"])
def test_every_manifest_is_accepted_without_a_warning(account: "Account", watched: str, interception: str) -> None:
    """A dry run on the server takes every object, with either interception and everything that watches."""
    settings = NodeLocalDnsSettings.model_validate({"interception": interception, "observability": OBSERVED})
    made = {
        **manifests(settings, cluster_dns_ip="10.100.0.10", upstream_ip="10.100.9.9"),
        **observability_manifests(settings),
    }
    done = _create(account, watched, *json.loads(json.dumps([*made.values()])))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("created (server dry run)") == len(made) == 8


@pytest.mark.parametrize("interception", ["socket", "upstream"])
def test_the_pods_fit_their_pod_security_level_and_no_lower_one(
    account: "Account", watched: str, interception: str
) -> None:
    """The pods are admitted without a warning at the declared level, and refused one level lower."""
    settings = NodeLocalDnsSettings.model_validate({"interception": interception})
    daemon_set = manifests(settings, cluster_dns_ip="10.100.0.10", upstream_ip="10.100.9.9")["daemonSet"]
    template = daemon_set["spec"]["template"]
    for level, admitted in ((POD_SECURITY_LEVEL, True), (LOWER[POD_SECURITY_LEVEL], False)):
        namespace = f"{interception}-{level}"
        labels = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "warn")}
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
        done = _create(account, watched, made, dry_run=False)
        assert done.returncode == 0, done.stderr
        # The account's absence would refuse the pod for a reason that is not Pod Security.
        spec = {**template["spec"], "serviceAccountName": "default"}
        account.kubectl(watched, "-n", namespace, "wait", "--for=create", "serviceaccount/default", "--timeout=30s")
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "pod", "namespace": namespace, "labels": template["metadata"]["labels"]},
            "spec": spec,
        }
        done = _create(account, watched, json.loads(json.dumps(pod)))
        assert (done.returncode == 0) is admitted, done.stderr
        assert admitted or "violates PodSecurity" in done.stderr
