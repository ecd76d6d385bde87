"""A cluster whose nodes answer DNS themselves."""

import pulumi
import pulumi_eks_node_local_dns as dns

cluster = dns.Cluster(
    "dns",
    region="eu-central-1",
    settings={
        "cluster": {"public_access_cidrs": ["198.51.100.0/24"], "log_retention_days": 90},
        "network": {"zones": ["a", "b", "c"], "nat": "perZone"},
        "node_groups": {"small": {"instance_types": ["m7g.large"], "max_size": 6}},
        "node_local_dns": {"corefile": {"cluster": {"success_ttl": 45}}},
    },
)

pulumi.export("clusterName", cluster.outputs.cluster_name)
pulumi.export("clusterDnsIp", cluster.outputs.cluster_dns_ip)
pulumi.export("nodeLocalDnsIp", cluster.outputs.node_local_dns_ip)
pulumi.export("kubeconfig", cluster.outputs.kubeconfig)
