"""A cluster whose nodes answer DNS themselves, also for pods behind security groups."""

import pulumi

from components.attached_cluster import attach
from components.eks_cluster import EksCluster, EksClusterArgs
from components.network import Network, NetworkArgs
from components.node_local_dns import NodeLocalDns, NodeLocalDnsArgs
from stacks.rules import warnings
from stacks.settings import Settings, current_settings, stack_file


def made_here(settings: Settings, region: str) -> EksCluster:
    """Make the network and the cluster."""
    name = settings.cluster.name or f"{pulumi.get_project()}-{pulumi.get_stack()}"
    network = Network(
        "network", NetworkArgs(settings=settings.network, region=region, cluster_name=name, tags=settings.tags)
    )
    return EksCluster(
        "cluster",
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
        ),
    )


async def main() -> None:
    """Read the settings, get the cluster, install node-local DNS, tell other stacks."""
    settings = current_settings()
    for warning in warnings(settings):
        pulumi.log.warn(warning)
    region = pulumi.Config("aws").require("region")
    if settings.source.made_here:
        cluster = made_here(settings, region)
    else:
        file = stack_file(pulumi.get_stack())
        cluster = await attach("cluster", settings.source, settings.wanted(), region=region, file=file)
    cache = settings.node_local_dns
    address: pulumi.Input[str] = ""
    if cache.enabled:
        args = NodeLocalDnsArgs(settings=cache, cluster_dns_ip=cluster.dns_ip, kubeconfig=cluster.kubeconfig)
        address = NodeLocalDns("node-local-dns", args, cluster.inside).local_ip
    cluster.outputs.export(node_local_dns_ip=address)


pulumi.run(main)
