"""The VPC CNI's DaemonSet and its pods as the Kubernetes API serves them, for every test that judges one."""

from collections.abc import Mapping, Sequence
from typing import Any

STANDARD = {"ENABLE_POD_ENI": "true", "POD_SECURITY_GROUP_ENFORCING_MODE": "standard"}
"""Environment of aws-node where pods can have security groups and reach their node."""

STRICT = {"ENABLE_POD_ENI": "true", "POD_SECURITY_GROUP_ENFORCING_MODE": "strict"}
"""Environment of aws-node where pods with security groups cannot reach their node."""


def _variables(env: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in env.items()]


def aws_node_spec(
    env: Mapping[str, str],
    *,
    image: str = "amazon-k8s-cni:v1.23.1",
    init: Mapping[str, str] | None = None,
    agent: Sequence[str] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return a pod's spec: aws-node's environment and image, its init container's environment, its agent's arguments.

    As in the chart one variable of aws-node comes from a field and has no value.
    """
    field = {"name": "MY_NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    containers: list[dict[str, Any]] = [{"name": "aws-node", "image": image, "env": [*_variables(env), field]}]
    if agent is not None:
        containers.append({"name": "aws-eks-nodeagent", "args": list(agent)})
    inits = [] if init is None else [{"name": "aws-vpc-cni-init", "env": _variables(init)}]
    return {"containers": containers, "initContainers": inits, **more}


def aws_node_daemon_set(env: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """Return the DaemonSet; `more` is that of `aws_node_spec`."""
    return {"metadata": {"name": "aws-node"}, "spec": {"template": {"spec": aws_node_spec(env, **more)}}}


def aws_node_pod(
    env: Mapping[str, str], node: str | None = "node", ready: str | None = None, **more: Any
) -> dict[str, Any]:
    """Return a pod on a node, or on none yet; ready since a time, or not."""
    conditions = [] if ready is None else [{"type": "Ready", "status": "True", "lastTransitionTime": ready}]
    placed = {} if node is None else {"nodeName": node}
    return {
        "metadata": {"name": "aws-node-x", "namespace": "kube-system"},
        "spec": aws_node_spec(env, **placed, **more),
        "status": {"conditions": conditions},
    }


def container(mode: str, *, pod_interfaces: str = "true", image: str = "amazon-k8s-cni:v1.23.1") -> dict[str, Any]:
    """Return aws-node's main container in a mode."""
    env = {"POD_SECURITY_GROUP_ENFORCING_MODE": mode, "ENABLE_POD_ENI": pod_interfaces}
    [made] = aws_node_spec(env, image=image)["containers"]
    return made
