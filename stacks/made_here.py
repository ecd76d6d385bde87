"""The cluster that a stack makes for itself: its settings, handed to the network and to what stands on it."""

import pulumi

from components.cluster.eks_cluster import EksCluster, EksClusterArgs
from components.cluster.network import Network, NetworkArgs
from components.running_cluster.aws_identity import AwsIdentity
from stacks.settings import Settings


def made_here(
    settings: Settings,
    region: str,
    identity: AwsIdentity,
    prefix: str = "",
    opts: pulumi.ResourceOptions | None = None,
) -> EksCluster:
    """Make the network and the cluster as `identity`; `prefix` begins both resources' names, `opts` are for both."""
    name = settings.cluster.name or f"{pulumi.get_project()}-{pulumi.get_stack()}"
    network = Network(
        f"{prefix}network",
        NetworkArgs(settings=settings.network, region=region, cluster_name=name, tags=settings.tags),
        opts,
    )
    return EksCluster(
        f"{prefix}cluster",
        EksClusterArgs(
            cluster_name=name,
            kubernetes_version=settings.kubernetes_version,
            settings=settings.cluster,
            vpc_cni=settings.vpc_cni,
            addon_versions=settings.pinned_versions(),
            service_cidr=str(settings.service_cidr),
            node_groups=settings.node_groups,
            vpc_id=network.vpc_id,
            control_plane_subnet_ids=network.control_plane_subnet_ids,
            private_subnet_ids=network.private_subnet_ids,
            public_subnet_ids=network.public_subnet_ids,
            region=region,
            tags=settings.tags,
            identity=identity,
        ),
        opts,
    )
