"""A cluster whose nodes answer DNS themselves, also for pods behind security groups."""

import pulumi

from components import NodeLocalDns, NodeLocalDnsArgs, attach
from stacks.made_here import made_here
from stacks.reading import current_identity, current_settings, stack_file
from stacks.rules import warnings


async def main() -> None:
    """Read the settings, get the cluster, install node-local DNS, tell other stacks."""
    settings = current_settings()
    for warning in warnings(settings):
        pulumi.log.warn(warning)
    region, identity = pulumi.Config("aws").require("region"), current_identity()
    if settings.source.made_here:
        cluster = made_here(settings, region, identity)
    else:
        file = stack_file(pulumi.get_stack())
        cluster = await attach(
            "cluster", settings.source, settings.wanted(), region=region, identity=identity, file=file
        )
    cache = settings.node_local_dns
    address: pulumi.Input[str] = ""
    if cache.enabled:
        args = NodeLocalDnsArgs(settings=cache, cluster_dns_ip=cluster.dns_ip, kubeconfig=cluster.kubeconfig)
        address = NodeLocalDns("node-local-dns", args, cluster.inside).local_ip
    cluster.outputs.export(node_local_dns_ip=address)


pulumi.run(main)
