"""A DNS cache for a cluster that exists, and a security group for pods that need it."""

import pulumi
import pulumi_eks_node_local_dns as dns
import pulumi_kubernetes as kubernetes

config = pulumi.Config()
kubeconfig = config.require("kubeconfig")
inside = pulumi.ResourceOptions(providers=[kubernetes.Provider("cluster", kubeconfig=kubeconfig)])

cache = dns.NodeLocalDns(
    "cache",
    cluster_dns_ip=config.require("clusterDnsIp"),
    kubeconfig=kubeconfig,
    settings={"corefile": {"external": {"success_ttl": 45}}},
    opts=inside,
)

pods = dns.PodSecurityGroup(
    "shop",
    vpc_id=config.require("vpcId"),
    core_dns_security_group_id=config.require("clusterSecurityGroupId"),
    namespace="default",
    pod_selector={"match_labels": {"app": "shop"}},
    branch_interfaces={"instance_types": ["m6i.large"], "pods": 2, "nodes": 1},
    egress={"web": {"description": "The web", "protocol": "tcp", "port": 443, "cidr": "0.0.0.0/0"}},
    opts=inside,
)

pulumi.export("localIp", cache.local_ip)
pulumi.export("upstreamIp", cache.upstream_ip)
pulumi.export("securityGroupId", pods.security_group_id)
pulumi.export("policyName", pods.policy_name)
