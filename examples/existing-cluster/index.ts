// A DNS cache for a cluster that exists, and a security group for pods that need it.
import * as dns from "@pulumi/eks-node-local-dns";
import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";

const config = new pulumi.Config();
const kubeconfig = config.require("kubeconfig");
const inside = { providers: [new kubernetes.Provider("cluster", { kubeconfig })] };

const cache = new dns.NodeLocalDns("cache", {
    clusterDnsIp: config.require("clusterDnsIp"),
    kubeconfig,
    settings: { corefile: { external: { successTtl: 45 } } },
}, inside);

const pods = new dns.PodSecurityGroup("shop", {
    vpcId: config.require("vpcId"),
    coreDnsSecurityGroupId: config.require("clusterSecurityGroupId"),
    namespace: "default",
    podSelector: { matchLabels: { app: "shop" } },
    branchInterfaces: { instanceTypes: ["m6i.large"], pods: 2, nodes: 1 },
    egress: { web: { description: "The web", protocol: "tcp", port: 443, cidr: "0.0.0.0/0" } },
}, inside);

export const localIp = cache.localIp;
export const upstreamIp = cache.upstreamIp;
export const securityGroupId = pods.securityGroupId;
export const policyName = pods.policyName;
