// A cluster whose nodes answer DNS themselves.
package main

import (
	dns "example.com/pulumi-eks-node-local-dns/sdk/go/eks-node-local-dns"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error {
		perZone := dns.NetworkNatPerZone
		days := dns.ClusterLogRetentionDaysDays90
		cluster, err := dns.NewCluster(ctx, "dns", &dns.ClusterArgs{
			Region: "eu-central-1",
			Settings: &dns.SettingsArgs{
				Cluster: &dns.ClusterSettingsArgs{
					PublicAccessCidrs: []string{"198.51.100.0/24"},
					LogRetentionDays:  &days,
				},
				Network: &dns.NetworkSettingsArgs{Zones: []string{"a", "b", "c"}, Nat: &perZone},
				NodeGroups: map[string]dns.NodeGroupSettingsArgs{
					"small": {InstanceTypes: []string{"m7g.large"}, MaxSize: pulumi.IntRef(6)},
				},
				NodeLocalDns: &dns.NodeLocalDnsSettingsArgs{
					Corefile: &dns.CorefileSettingsArgs{
						Cluster: &dns.CacheSettingsArgs{SuccessTtl: pulumi.IntRef(45)},
					},
				},
			},
		})
		if err != nil {
			return err
		}
		ctx.Export("clusterName", cluster.Outputs.ClusterName())
		ctx.Export("clusterDnsIp", cluster.Outputs.ClusterDnsIp())
		ctx.Export("nodeLocalDnsIp", cluster.Outputs.NodeLocalDnsIp())
		ctx.Export("kubeconfig", cluster.Outputs.Kubeconfig())
		return nil
	})
}
