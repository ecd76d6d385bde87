"""What the three networking add-ons have in common: where their images are and how their objects are shaped."""

from collections.abc import Mapping
from typing import Any

from local_cloud.kubernetes_client import Manifest

NAMESPACE = "kube-system"

# The account that holds EKS's images in most regions; the others are not needed to name one.
_REGISTRY_ACCOUNT = "602401143452"


def image(region: str, repository: str, tag: str) -> str:
    """Return the name of an EKS image in its regional registry."""
    return f"{_REGISTRY_ACCOUNT}.dkr.ecr.{region}.amazonaws.com/eks/{repository}:{tag}"


def environment(variables: Mapping[str, str]) -> list[dict[str, str]]:
    """Return container environment entries, sorted."""
    return [{"name": name, "value": variables[name]} for name in sorted(variables)]


def service_account(name: str, role_arn: str | None = None) -> Manifest:
    """Return a service account, with its IAM role if it has one."""
    metadata: dict[str, Any] = {"name": name, "namespace": NAMESPACE}
    if role_arn:
        metadata["annotations"] = {"eks.amazonaws.com/role-arn": role_arn}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def template(labels: Mapping[str, str], spec: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a pod template with what any of the three add-ons lets a configuration say about its pods."""
    pod = dict(spec)
    for key in ("affinity", "tolerations", "nodeSelector", "topologySpreadConstraints"):
        if key in values:
            pod[key] = values[key]
    if "resources" in values:
        first, *others = pod["containers"]
        pod["containers"] = [{**first, "resources": values["resources"]}, *others]
    metadata: dict[str, Any] = {"labels": {**labels, **values.get("podLabels", {})}}
    if values.get("podAnnotations"):
        metadata["annotations"] = dict(values["podAnnotations"])
    return {"metadata": metadata, "spec": pod}


def daemon_set(name: str, labels: Mapping[str, str], selector: str, pod_template: Mapping[str, Any]) -> Manifest:
    """Return a DaemonSet that rolls a tenth of its nodes at a time, as EKS's do."""
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": dict(labels)},
        "spec": {
            "selector": {"matchLabels": {"k8s-app": selector}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}},
            "template": dict(pod_template),
        },
    }
