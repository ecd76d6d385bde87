"""The lease that lets one run at a time look at a cluster, or crash a cache of it."""

from contextlib import AbstractContextManager

from components.running_cluster.lease import Lease
from components.running_cluster.lease import alone as holding
from verify import probe
from verify.cluster import Cluster


def alone(cluster: Cluster, namespace: str, run: str) -> AbstractContextManager[None]:
    """Hold the cluster's lease while the block runs; raises `BusyError` if a living run holds it."""
    return holding(cluster, Lease(namespace, "verify-dns", {probe.LABEL: "lease"}), run)
