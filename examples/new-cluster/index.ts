// A cluster whose nodes answer DNS themselves.
import * as dns from "@pulumi/eks-node-local-dns";

const cluster = new dns.Cluster("dns", {
    region: "eu-central-1",
    settings: {
        cluster: { publicAccessCidrs: ["198.51.100.0/24"], logRetentionDays: 90 },
        network: { zones: ["a", "b", "c"], nat: "perZone" },
        nodeGroups: { small: { instanceTypes: ["m7g.large"], maxSize: 6 } },
        nodeLocalDns: { corefile: { cluster: { successTtl: 45 } } },
    },
});

export const clusterName = cluster.outputs.clusterName;
export const clusterDnsIp = cluster.outputs.clusterDnsIp;
export const nodeLocalDnsIp = cluster.outputs.nodeLocalDnsIp;
export const kubeconfig = cluster.outputs.kubeconfig;
