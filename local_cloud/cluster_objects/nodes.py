"""Node objects of a managed node group: there to be counted and selected, and saying that nobody is behind them."""

from collections.abc import Mapping
from typing import Any

from local_cloud.eks.registry import NodeInstance
from local_cloud.kubernetes_client import Manifest

STAND_IN = "local-cloud.eks-node-local-dns/stand-in"
"""Label and annotation of what only stands for something."""

_NOBODY = "A stand-in of the local cloud: no machine and no kubelet is behind this object, and no pod runs on it."
_EFFECTS = {"NO_SCHEDULE": "NoSchedule", "NO_EXECUTE": "NoExecute", "PREFER_NO_SCHEDULE": "PreferNoSchedule"}


def node(instance: NodeInstance, node_group: Mapping[str, Any]) -> Manifest:
    """Return the Node of an instance; it never claims to be ready."""
    arm = "ARM" in node_group["amiType"].upper()
    labels = {
        **node_group["labels"],
        STAND_IN: "true",
        "eks.amazonaws.com/capacityType": node_group["capacityType"],
        "eks.amazonaws.com/nodegroup": node_group["nodegroupName"],
        "kubernetes.io/arch": "arm64" if arm else "amd64",
        "kubernetes.io/hostname": instance.private_dns_name,
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": instance.instance_type,
        "topology.kubernetes.io/region": instance.zone[:-1],
        "topology.kubernetes.io/zone": instance.zone,
    }
    taints = [
        {"key": taint["key"], "effect": _EFFECTS[taint["effect"]]}
        | ({"value": taint["value"]} if "value" in taint else {})
        for taint in node_group["taints"]
    ]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": instance.private_dns_name,
            "labels": labels,
            "annotations": {STAND_IN: _NOBODY},
        },
        "spec": {"providerID": f"aws:///{instance.zone}/{instance.instance_id}", "taints": taints},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": instance.private_ip},
                {"type": "Hostname", "address": instance.private_dns_name},
            ],
            "conditions": [
                {"type": "Ready", "status": "Unknown", "reason": "StandIn", "message": _NOBODY},
            ],
        },
    }
