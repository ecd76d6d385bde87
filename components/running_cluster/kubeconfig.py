"""The kubeconfig of an EKS cluster: it names the command that gets a token, and holds no secret."""

import json
from typing import Any

import yaml

from components.running_cluster.aws_identity import AwsIdentity

_NOBODY_IN_PARTICULAR = AwsIdentity()


def kubeconfig(
    *,
    cluster_name: str,
    region: str,
    endpoint: str,
    certificate_authority: str,
    identity: AwsIdentity = _NOBODY_IN_PARTICULAR,
) -> str:
    """Return the kubeconfig, as JSON, in the form that pulumi-eks gives its clusters.

    `certificate_authority` is PEM in base64, as EKS gives it. Without an `identity` it works for whoever has one in
    the environment, and tells nothing about this machine.
    """
    version = "client.authentication.k8s.io/v1beta1"
    token = {
        "apiVersion": version,
        "command": "aws",
        # The profile's output format would apply otherwise, and a token is read as JSON only.
        "args": [
            *("--region", region, *identity.options, "eks", "get-token"),
            *("--cluster-name", cluster_name, "--output", "json", *identity.token_options),
        ],
        "env": [{"name": "KUBERNETES_EXEC_INFO", "value": json.dumps({"apiVersion": version})}],
    }
    cluster = {"server": endpoint, "certificate-authority-data": certificate_authority}
    return json.dumps(
        {
            "apiVersion": "v1",
            "clusters": [{"cluster": cluster, "name": "kubernetes"}],
            "contexts": [{"context": {"cluster": "kubernetes", "user": "aws"}, "name": "aws"}],
            "current-context": "aws",
            "kind": "Config",
            "users": [{"name": "aws", "user": {"exec": token}}],
        }
    )


def as_identity(text: str, identity: AwsIdentity) -> str:
    """Return a kubeconfig whose tokens of `aws eks get-token` are `identity`'s; all others stay as they are."""
    if identity == _NOBODY_IN_PARTICULAR:
        return text
    config: dict[str, Any] = yaml.safe_load(text)
    for each in config["users"]:
        asked: dict[str, Any] = each["user"].get("exec") or {}
        if asked.get("command") == "aws" and "get-token" in asked.get("args", ()):
            asked["args"] = [*identity.options, *asked["args"], *identity.token_options]
    return json.dumps(config)
