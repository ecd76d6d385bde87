"""The Kubernetes objects that EKS leaves in a cluster: written from the published facts, in the amount they matter.

Images, versions, labels and the environment are EKS's; pods never run here, so probes, affinities and the like are
left out where nothing reads them.
"""

from collections.abc import Mapping
from typing import Any

from local_cloud.cluster_objects.coredns import coredns
from local_cloud.cluster_objects.definitions import custom_resource_definitions
from local_cloud.cluster_objects.kube_proxy import kube_proxy
from local_cloud.cluster_objects.nodes import node
from local_cloud.cluster_objects.vpc_cni import vpc_cni
from local_cloud.eks.catalogue import default_version
from local_cloud.eks.registry import Cluster
from local_cloud.kubernetes_client import Manifest

__all__ = ["add_on_objects", "initial_objects", "node", "self_managed_add_on_objects"]


def add_on_objects(cluster: Cluster, add_on: str, version: str, values: Mapping[str, Any]) -> list[Manifest]:
    """Return the objects of an add-on with this configuration."""
    match add_on:
        case "vpc-cni":
            return vpc_cni(cluster, version, values)
        case "kube-proxy":
            return kube_proxy(cluster, version, values)
        case "coredns":
            return coredns(cluster, version, values)
        case _:
            raise ValueError(add_on)


def self_managed_add_on_objects(cluster: Cluster) -> list[Manifest]:
    """Return what a cluster has when it is created with bootstrapSelfManagedAddons."""
    kubernetes = cluster.document["version"]
    return [
        manifest
        for add_on in ("vpc-cni", "kube-proxy", "coredns")
        for manifest in add_on_objects(cluster, add_on, default_version(add_on, kubernetes), {})
    ]


def initial_objects() -> list[Manifest]:
    """Return what every cluster has, whatever its add-ons."""
    return custom_resource_definitions()
