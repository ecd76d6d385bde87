"""The resources of a cluster with node-local DNS, and the pure functions they stand on."""

from components.eks_cluster import EksCluster, EksClusterArgs
from components.network import Network, NetworkArgs
from components.node_local_dns import NodeLocalDns, NodeLocalDnsArgs
from components.outputs import StackOutputs

__all__ = [
    "EksCluster",
    "EksClusterArgs",
    "Network",
    "NetworkArgs",
    "NodeLocalDns",
    "NodeLocalDnsArgs",
    "StackOutputs",
]
