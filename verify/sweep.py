"""Removes whatever a run of the command has left in a cluster."""

import time

from verify import probe
from verify.cluster import POLICIES, Cluster

_GOING_SECONDS = 10
"""How long a kubelet may take to end a pod that has a grace; one that is dead takes for ever."""

_POLL_SECONDS = 0.5


def sweep(cluster: Cluster, namespace: str) -> None:
    """Remove every probe and policy; the caller holds the lease. Raises `KubernetesApiError`."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    end = time.monotonic() + _GOING_SECONDS
    while pods := list(cluster.items(path, labelSelector=probe.LABEL)):
        over = time.monotonic() > end
        for each in pods:
            if over or "deletionTimestamp" not in each["metadata"]:
                cluster.delete(f"{path}/{each['metadata']['name']}", 0 if over else probe.grace_seconds(each))
        if over:
            break
        time.sleep(_POLL_SECONDS)
    # Last: a pod keeps its groups, and one that is still being made must not lose them half way.
    policies = f"{POLICIES}/namespaces/{namespace}/securitygrouppolicies"
    for each in cluster.items(policies, labelSelector=probe.LABEL):
        cluster.delete(f"{policies}/{each['metadata']['name']}")
