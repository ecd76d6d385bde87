"""NodeLocal DNSCache for programs in other languages: the component, with arguments that a schema can hold."""

from collections.abc import Mapping
from typing import Any, NotRequired

import pulumi
from pydantic import ValidationError
from typing_extensions import TypedDict

from components.cache import node_local_dns
from components.cache.node_local_dns import NodeLocalDnsSettings
from components.refusal import refused_component
from package.known import not_known
from stacks.mistakes import explained


class NodeLocalDnsArgs(TypedDict):
    """Where the cluster's DNS is, and how its cache answers."""

    cluster_dns_ip: pulumi.Input[str]
    """ClusterIP of the cluster's `kube-dns` Service: the stack output `clusterDnsIp`, or the Service's own address."""

    kubeconfig: pulumi.Input[str]
    """Kubeconfig (text) with which an update asks the cluster for pods that would lose DNS, before it goes on."""

    settings: NotRequired[dict[str, Any]]
    """What a stack file has under `nodeLocalDns`, with the same keys; default: none of them. Plain values, known while
    planning, as they are checked before anything is created."""


class NodeLocalDns(node_local_dns.NodeLocalDns):
    """NodeLocal DNSCache on every EC2 node, which falls back to CoreDNS by itself.

    Needs a provider of the cluster's Kubernetes API. Where pods have security groups, the VPC CNI has to be in standard
    mode first; an update that would take DNS from running pods is refused.
    """

    local_ip: pulumi.Output[str]
    """The cache's link-local address."""

    upstream_ip: pulumi.Output[str]
    """ClusterIP at which the cache finds CoreDNS."""

    def __init__(self, name: str, args: NodeLocalDnsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        checked = node_local_dns.NodeLocalDnsArgs(
            settings=check(name, args.get("settings", {})),
            cluster_dns_ip=args["cluster_dns_ip"],
            kubeconfig=args["kubeconfig"],
        )
        super().__init__(name, checked, opts)


def check(name: str, settings: Mapping[str, Any]) -> NodeLocalDnsSettings:
    """Return the typed settings; `RunError` lists all that is wrong with them."""
    if unknown := list(not_known("settings", settings)):
        raise pulumi.RunError(refused_component("NodeLocalDns", name, unknown))
    try:
        checked = NodeLocalDnsSettings.model_validate(settings, by_alias=True, by_name=False)
        mistakes = [] if checked.enabled else ["enabled is false: leave the component out to have no cache."]
    except ValidationError as error:
        checked = NodeLocalDnsSettings()
        mistakes = [explained(each, NodeLocalDnsSettings) for each in error.errors()]
    if mistakes:
        raise pulumi.RunError(refused_component("NodeLocalDns", name, [f"settings.{each}" for each in mistakes]))
    return checked
