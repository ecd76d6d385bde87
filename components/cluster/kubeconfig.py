"""The kubeconfig of an EKS cluster: it names the command that gets a token, and holds no secret."""

import json


def kubeconfig(*, cluster_name: str, region: str, endpoint: str, certificate_authority: str) -> str:
    """Return the kubeconfig, as JSON, in the form that pulumi-eks gives its clusters.

    `certificate_authority` is PEM in base64, as EKS gives it.
    """
    version = "client.authentication.k8s.io/v1beta1"
    token = {
        "apiVersion": version,
        "command": "aws",
        "args": ["--region", region, "eks", "get-token", "--cluster-name", cluster_name],
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
