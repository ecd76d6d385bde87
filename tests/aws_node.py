"""The VPC CNI's DaemonSet and its pods, as far as the mode of pods depends on them."""

from typing import Any


def container(mode: str, *, pod_interfaces: str = "true", image: str = "amazon-k8s-cni:v1.23.1") -> dict[str, Any]:
    """Return aws-node's main container in a mode."""
    variables = {"POD_SECURITY_GROUP_ENFORCING_MODE": mode, "ENABLE_POD_ENI": pod_interfaces}
    environment = [{"name": name, "value": value} for name, value in variables.items()]
    return {"name": "aws-node", "image": image, "env": environment}
