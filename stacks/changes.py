"""What a change of a setting does to a stack that is up, by key: what is replaced, what restarts, what stays."""

from collections.abc import Mapping

CLUSTER_REPLACED = "**replaces the cluster** with all that is in it"
VPC_REPLACED = "**replaces the VPC**, its subnets and the node groups; EKS moves no cluster there: make a new one"
GROUP_REPLACED = "**replaces the node group**: all its nodes go, and every pod on them moves"
NODES_EXCHANGED = "in place; the group's nodes are exchanged, one after the other"
ALL_NODES_EXCHANGED = "in place; every node is exchanged, one after the other"
NODES_COUNTED = "in place; nodes come or go as the number asks"
CNI_RESTARTED = "in place; aws-node restarts on every node, running pods keep their network"
ADD_ON_RESTARTED = "in place; the add-on's pods are replaced"
CACHE_RESTARTED = "in place; the cache's pods are replaced"
NOTHING_RESTARTED = "in place; nothing restarts"
STATE_ONLY = "changes nothing in AWS: Pulumi keeps it in its state"

CHANGES: Mapping[str, str] = {
    "source": "what was made for the other cluster is deleted; of a cluster that was made here that is all of it",
    "kubernetesVersion": "in place, in the order of [upgrade.md](runbooks/upgrade.md); every node is exchanged",
    "serviceCidr": CLUSTER_REPLACED,
    "network.cidr": VPC_REPLACED,
    "network.zones": "adds or deletes subnets; **replaces the node groups**",
    "network.nat": "adds or deletes NAT gateways; other zones' routes follow",
    "network.existing": VPC_REPLACED,
    "network.existing.privateSubnetIds": "**replaces the node groups**; the control plane takes them in place",
    "network.existing.publicSubnetIds": "changes the output `publicSubnetIds` only",
    "cluster.name": CLUSTER_REPLACED,
    "cluster.publicAccessCidrs": NOTHING_RESTARTED,
    "cluster.admins": "adds or deletes access entries",
    "cluster.logTypes": NOTHING_RESTARTED,
    "cluster.logRetentionDays": NOTHING_RESTARTED,
    "cluster.deletionProtection": STATE_ONLY,
    "vpcCni": CNI_RESTARTED,
    "vpcCni.manage": "imports the add-on or makes it; false lets go of it and leaves it as it is",
    "nodeGroups": "adds or deletes a group",
    "nodeGroups.<name>.instanceTypes": GROUP_REPLACED,
    "nodeGroups.<name>.minSize": NODES_COUNTED,
    "nodeGroups.<name>.desiredSize": NODES_COUNTED,
    "nodeGroups.<name>.maxSize": NODES_COUNTED,
    "nodeGroups.<name>.autoscaled": STATE_ONLY,
    "nodeGroups.<name>.capacityType": GROUP_REPLACED,
    "nodeGroups.<name>.diskSizeGib": NODES_EXCHANGED,
    "nodeGroups.<name>.labels": NOTHING_RESTARTED,
    "nodeLocalDns": CACHE_RESTARTED,
    "nodeLocalDns.enabled": "makes or deletes the cache; no other pod restarts",
    "nodeLocalDns.ignoreStrictPods": NOTHING_RESTARTED,
    "nodeLocalDns.observability": "the objects it is about; no cache restarts",
    "addonVersions": ADD_ON_RESTARTED,
    "tags": ALL_NODES_EXCHANGED,
}
"""By key; what is not here is as the key above it. `tests/program/test_changes.py` holds them against the program."""


def change(key: str) -> str:
    """Return what a change of a setting does; raises `KeyError` for one that nobody has said it of."""
    above = key
    while above not in CHANGES:
        above, dot, _name = above.rpartition(".")
        if not dot:
            raise KeyError(f"{key}: say in stacks/changes.py what a change of it does.")
    return CHANGES[above]
