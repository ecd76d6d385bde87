"""All that this program makes, for programs in other languages: one component, with what a stack file would say."""

import dataclasses
from typing import Any, NotRequired

import pulumi
from typing_extensions import TypedDict

from components.cache.node_local_dns import NodeLocalDns, NodeLocalDnsArgs
from components.outputs import StackOutputs
from components.pod_security_groups.pod_security_group import PACKAGE
from components.refusal import refused_component
from package.known import not_known
from stacks.made_here import made_here
from stacks.reading import current_identity, judged
from stacks.rules import warnings
from stacks.settings import Settings


class ClusterArgs(TypedDict):
    """Where the cluster is, and how it differs from the defaults."""

    region: str
    """AWS region: that of the provider which makes the resources (`aws:region`)."""

    settings: NotRequired[dict[str, Any]]
    """What a stack file has, with the same keys, but for those about a cluster that exists; default: none of them.
    Plain values, known while planning, as they are checked before anything is created."""


class Cluster(pulumi.ComponentResource):
    """An EKS cluster with its network, whose nodes answer DNS themselves, also for pods behind security groups.

    Control plane, then VPC CNI and kube-proxy, then nodes, then CoreDNS, then NodeLocal DNSCache, unless
    `nodeLocalDns.enabled` is false. Two clusters in one stack need a `cluster.name` each.
    """

    outputs: StackOutputs
    """What this program's stacks tell other stacks."""

    def __init__(self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        settings = check(name, args)
        super().__init__(f"{PACKAGE}:index:Cluster", name, None, opts)
        for warning in warnings(settings):
            pulumi.log.warn(warning, self)
        inside = pulumi.ResourceOptions(parent=self)
        cluster = made_here(settings, args["region"], current_identity(), f"{name}-", inside)
        outputs = cluster.outputs
        if settings.node_local_dns.enabled:
            cache = NodeLocalDns(
                f"{name}-node-local-dns",
                NodeLocalDnsArgs(
                    settings=settings.node_local_dns, cluster_dns_ip=cluster.dns_ip, kubeconfig=cluster.kubeconfig
                ),
                pulumi.ResourceOptions.merge(cluster.inside, inside),
            )
            outputs = dataclasses.replace(outputs, node_local_dns_ip=cache.local_ip)
        # As the SDK maps them to the schema's names: by key. Each is known on its own, as early as it can be.
        self.outputs = vars(outputs)  # type: ignore[assignment]
        self.register_outputs({"outputs": vars(outputs)})


def check(name: str, args: ClusterArgs) -> Settings:
    """Return the typed settings; `RunError` lists all that is wrong with the arguments."""
    given = args.get("settings", {})
    if unknown := [*not_known("region", args["region"]), *not_known("settings", given)]:
        raise pulumi.RunError(refused_component("Cluster", name, unknown))
    settings, mistakes = judged(given)
    if not settings.source.made_here:
        mistakes = ["source: it names a cluster that exists, and this makes one. Use NodeLocalDns for that cluster."]
    if mistakes:
        raise pulumi.RunError(refused_component("Cluster", name, [f"settings.{each}" for each in mistakes]))
    return settings
