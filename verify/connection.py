"""Which cluster: the one KUBECONFIG points at, or a stack's."""

from components.running_cluster.kubernetes_api import KubernetesApiError
from verify.cluster import Cluster


def connect(stack: str | None, parallel: int) -> Cluster:
    """Return the cluster of a stack's output, or of KUBECONFIG. Raises `KubernetesApiError`."""
    connections = parallel + 4
    if stack is not None:
        return Cluster.from_stack(stack, connections=connections)
    try:
        return Cluster.from_kubeconfig(connections=connections)
    except KubernetesApiError as error:
        raise KubernetesApiError(f"{error}; set KUBECONFIG or give --stack") from None
