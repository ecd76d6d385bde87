"""A cluster whose nodes answer DNS themselves, also for pods behind security groups."""

import pulumi

from components.eks_cluster import EksCluster, EksClusterArgs
from components.network import Network, NetworkArgs
from components.node_local_dns import NodeLocalDns, NodeLocalDnsArgs
from components.outputs import StackOutputs
from stacks.settings import current_settings

settings = current_settings()
for warning in settings.warnings():
    pulumi.log.warn(warning)
region = pulumi.Config("aws").require("region")
cluster_name = settings.cluster.name or f"{pulumi.get_project()}-{pulumi.get_stack()}"
versions = settings.pinned_versions()

network = Network(
    "network",
    NetworkArgs(settings=settings.network, region=region, cluster_name=cluster_name, tags=settings.tags),
)
cluster = EksCluster(
    "cluster",
    EksClusterArgs(
        cluster_name=cluster_name,
        kubernetes_version=settings.kubernetes_version,
        settings=settings.cluster,
        vpc_cni=settings.vpc_cni,
        addon_versions=versions,
        service_cidr=str(settings.service_cidr),
        node_groups=settings.node_groups,
        vpc_id=network.vpc_id,
        private_subnet_ids=network.private_subnet_ids,
        public_subnet_ids=network.public_subnet_ids,
        tags=settings.tags,
    ),
)
if settings.node_local_dns.enabled:
    NodeLocalDns(
        "node-local-dns",
        NodeLocalDnsArgs(settings=settings.node_local_dns, cluster_dns_ip=cluster.dns_ip),
        pulumi.ResourceOptions(
            providers={"kubernetes": cluster.kubernetes},
            depends_on=[cluster.core_dns],
            deleted_with=cluster.control_plane,
        ),
    )
StackOutputs(
    cluster_name=cluster.name,
    cluster_endpoint=cluster.endpoint,
    cluster_certificate_authority=cluster.certificate_authority,
    kubernetes_version=settings.kubernetes_version,
    region=region,
    oidc_issuer=cluster.oidc_issuer,
    oidc_provider_arn=cluster.oidc_provider.arn,
    vpc_id=network.vpc_id,
    private_subnet_ids=network.private_subnet_ids,
    public_subnet_ids=network.public_subnet_ids,
    cluster_security_group_id=cluster.security_group_id,
    service_ipv4_cidr=cluster.service_cidr,
    cluster_dns_ip=cluster.dns_ip,
    node_local_dns_ip=settings.node_local_dns.local_address if settings.node_local_dns.enabled else "",
    pod_security_group_enforcing_mode=settings.vpc_cni.pod_security_group_enforcing_mode,
    vpc_cni_version=versions.vpc_cni,
    kube_proxy_version=versions.kube_proxy,
    core_dns_version=versions.core_dns,
    kubeconfig=cluster.kubeconfig,
).export()
