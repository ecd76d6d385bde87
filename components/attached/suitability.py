"""Whether a cluster that something else made can have node-local DNS, judged while planning.

Each reason says what is found, why it matters and what to do. All are told at once, and before anything is made.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from components.attached.existing_cluster import ExistingAddOn, ExistingCluster
from components.attached.vpc_cni_takeover import (
    EXTERNAL_SNAT_VARIABLE,
    environment,
    our_values,
    overridden,
    parsed,
    running_version,
    unknown_to_the_add_on,
)
from components.cache.corefile import CorefileSettings, refuse_loops
from components.cluster.addon_configuration import VpcCniSettings
from components.cluster.dns_address import clashes, cluster_dns_address
from components.cluster.versions import ENFORCING_MODE_SINCE, PINNED, addon_version_number
from components.running_cluster.strict_pods import MODE_VARIABLE, POD_ENI_VARIABLE, Manifest, is_on

SIDECARS_SINCE = (1, 29)
"""First Kubernetes version that keeps an init container running beside the others (KEP-753, on by default)."""

OWN_TABLE_SINCE = (1, 23, 0)
"""First VPC CNI whose marks are asked after kube-proxy's rules in nftables mode (its pkg/networkutils)."""

_USABLE = frozenset({"ACTIVE", "UPDATING"})


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the stack is to do with the cluster."""

    cache: bool
    """Whether the cache is installed."""

    local_address: str
    """The cache's link-local address."""

    corefile: CorefileSettings
    """Whom the cache asks."""

    vpc_cni: VpcCniSettings
    """With `manage`: the vpc-cni is taken over and gets our two values."""

    vpc_cni_version: str = ""
    """Version that the add-on is to have; empty: the one it has."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """What runs on the cluster's nodes, as its API serves it."""

    aws_node: Manifest
    """The DaemonSet of the VPC CNI."""

    role_arn: str
    """IAM role of its service account; empty: it has the nodes' rights."""

    kube_proxy_mode: str
    """Mode in kube-proxy's configuration; empty means iptables."""


def version_to_be(cluster: ExistingCluster, wanted: Wanted) -> str:
    """Return the version that a managed vpc-cni add-on will have; empty if nobody says one."""
    pinned = PINNED.get(cluster.kubernetes_version)
    found = cluster.vpc_cni.version if cluster.vpc_cni else pinned.vpc_cni if pinned else ""
    return wanted.vpc_cni_version or found


def kube_proxy_mode(add_on: ExistingAddOn) -> str:
    """Return the mode that a kube-proxy add-on configures; empty for none, which means iptables."""
    return str(parsed(add_on.configuration_values).get("mode") or "")


def can_be_asked(cluster: ExistingCluster) -> bool:
    """Say whether it is certain that what runs in the cluster is found there.

    The engine ends a run at an object that is not there, so whatever else is known has to be said before.
    """
    return (
        cluster.status in _USABLE
        and not cluster.auto_mode
        and cluster.vpc_cni is not None
        and cluster.kube_proxy is not None
    )


def _mode_to_be(running: Running, wanted: Wanted) -> tuple[bool, str]:
    """Return whether pods can have security groups once the stack is up, and in which mode."""
    env = our_values(wanted.vpc_cni) if wanted.vpc_cni.manage else environment(running.aws_node)
    return is_on(env.get(POD_ENI_VARIABLE)), env.get(MODE_VARIABLE, "strict")


def refusals(cluster: ExistingCluster, running: Running | None, wanted: Wanted) -> list[str]:
    """Return why the cluster cannot be used so; none if it can.

    `running` is None as long as only AWS was asked. The mode is not judged then: it may have been set past the add-on.
    """
    found = [*_of_the_cluster(cluster, wanted), *_of_kube_proxy(cluster, running, wanted)]
    if cluster.auto_mode:
        return found  # nothing below exists there
    if running is not None:
        found += _of_the_mode(running, wanted)
    if wanted.vpc_cni.manage:
        found += _of_the_takeover(cluster, running, wanted)
    return found


def _of_the_cluster(cluster: ExistingCluster, wanted: Wanted) -> Iterator[str]:
    if cluster.status not in _USABLE:
        yield (
            f"The cluster is {cluster.status}, and EKS changes nothing in it in that state. Wait until it is ACTIVE, "
            "or find out why it does not become so (`aws eks describe-cluster`)."
        )
    if cluster.auto_mode:
        yield (
            "The cluster runs EKS Auto Mode (computeConfig.enabled): its nodes have a DNS cache of their own that "
            "cannot be replaced, and no DaemonSet of the VPC CNI to configure. It needs nothing from here; turn Auto "
            "Mode off to use this cache on nodes of your own."
        )
    if cluster.ip_family != "ipv4":
        yield (
            f"The cluster's Services have {cluster.ip_family} addresses (kubernetesNetworkConfig.ipFamily): the "
            "cache's rules and its link-local address are IPv4, so no query would reach it. Use a cluster with IPv4."
        )
    major, minor = (int(part) for part in cluster.kubernetes_version.split(".")[:2])
    if wanted.cache and (major, minor) < SIDECARS_SINCE:
        yield (
            f"The cluster is at Kubernetes {cluster.kubernetes_version}, which runs no sidecar containers: the cache "
            "would wait for ever for its rules. Upgrade it to 1.29 or newer."
        )
    if wanted.cache:
        for clash in clashes(wanted.local_address, cluster.networks):
            yield f"nodeLocalDns.localAddress: {clash}"
    if wanted.cache and cluster.service_ipv4_cidr:
        # Where kube-dns is by what EKS does; the address it really has is read later, when there are objects already.
        own_addresses = (wanted.local_address, cluster_dns_address(cluster.service_ipv4_cidr))
        try:
            refuse_loops(wanted.corefile, own_addresses)
        except ValueError as error:
            yield f"nodeLocalDns.corefile.{error}"


_WHY_NOT = {
    "ipvs": "in IPVS mode kube-proxy has the ClusterIP on an interface of its own, so the cache cannot have it",
}


def _of_kube_proxy(cluster: ExistingCluster, running: Running | None, wanted: Wanted) -> Iterator[str]:
    mode = running.kube_proxy_mode if running else kube_proxy_mode(cluster.kube_proxy) if cluster.kube_proxy else ""
    if wanted.cache and mode not in {"", "iptables", "nftables"}:
        why = _WHY_NOT.get(mode, "nobody has tried the cache's rules with that")
        yield (
            f"kube-proxy is in {mode} mode: {why}, and there is no setting here that makes it work. Set the kube-proxy "
            'add-on\'s configuration to {"mode":"iptables"}, EKS\' default, and replace the nodes: rules of the other '
            "mode stay on a node until it restarts."
        )
    if wanted.cache and mode == "nftables" and (old := _older_than_own_table(cluster, running, wanted)):
        yield (
            f"kube-proxy is in nftables mode and the VPC CNI is {old}: before v1.23.0 its marks stand in the same "
            "place as kube-proxy's rules, and which of them is asked first is chance, so that a query could leave by "
            "the node's interface, past the pod's own security group. Upgrade the VPC CNI, or set the kube-proxy "
            'add-on\'s configuration to {"mode":"iptables"} and replace the nodes.'
        )


def _older_than_own_table(cluster: ExistingCluster, running: Running | None, wanted: Wanted) -> str:
    """Return the VPC CNI's version once the stack is up, if it has no nftables table of its own; else nothing."""
    if wanted.vpc_cni.manage and (version := version_to_be(cluster, wanted)):
        number = addon_version_number(version)
    else:
        number = running_version(running.aws_node) if running else None
    return "v" + ".".join(map(str, number)) if number and number < OWN_TABLE_SINCE else ""


def _of_the_mode(running: Running, wanted: Wanted) -> Iterator[str]:
    if not wanted.cache or wanted.vpc_cni.manage:
        return
    has_groups, mode = _mode_to_be(running, wanted)
    if has_groups and mode != "standard":
        yield (
            f"The VPC CNI is in {mode} mode ({MODE_VARIABLE}) and {POD_ENI_VARIABLE} is on: a pod with a security "
            "group could not reach the cache on its own node, and the cache's rules take away the way to CoreDNS it "
            "had before, so every name it asks would time out. Set vpcCni.manage to true, or set the mode to standard "
            "where that add-on is managed; then recreate the pods made in strict mode (`python -m migrate` names "
            "them). Or set nodeLocalDns.enabled to false."
        )


def _of_the_takeover(cluster: ExistingCluster, running: Running | None, wanted: Wanted) -> Iterator[str]:
    version = version_to_be(cluster, wanted)
    if not version:
        yield (
            f"vpcCni.manage: aws-node is no EKS add-on yet, and for Kubernetes {cluster.kubernetes_version} no version "
            "is pinned here, so EKS would choose one. Set addonVersions.vpcCni to the version that runs (`kubectl -n "
            "kube-system get daemonset aws-node -o wide` shows its image)."
        )
    elif addon_version_number(version) < ENFORCING_MODE_SINCE:
        yield (
            f"vpcCni.manage: the vpc-cni add-on is {version}, which does not know {MODE_VARIABLE}; EKS would refuse "
            "the configuration. Set addonVersions.vpcCni to v1.12.1 or newer (`aws eks describe-addon-versions` lists "
            "them)."
        )
    if running is None:
        return
    if not wanted.vpc_cni_version and (downgrade := _downgrade(version, running)):
        yield (
            f"vpcCni.manage: {downgrade}. Set addonVersions.vpcCni to the version that runs or a newer one (`aws eks "
            "describe-addon-versions --addon-name vpc-cni` lists them)."
        )
    if cluster.vpc_cni is None:
        return
    ours = our_values(wanted.vpc_cni)
    for key, value in overridden(cluster.vpc_cni.configuration_values, running.aws_node, wanted.vpc_cni).items():
        yield (
            f"vpcCni.manage: {key} was {f'set to {value}' if value else 'removed'} on the DaemonSet itself, past the "
            f"vpc-cni add-on, whose configuration says {ours[key]}; as that does not change, nobody would put it "
            f"right. Set it there: `kubectl -n kube-system set env daemonset aws-node -c aws-node {key}={ours[key]}`."
        )


def _downgrade(version: str, running: Running) -> str | None:
    """Return what would become older if the add-on had this version."""
    runs = running_version(running.aws_node)
    if not version or runs is None or addon_version_number(version) >= runs:
        return None
    return (
        f"aws-node runs v{'.'.join(map(str, runs))} and the add-on would be the older {version}, which may not "
        "understand what the newer one has left on the nodes: pods there could lose their network"
    )


def warnings(cluster: ExistingCluster, running: Running, wanted: Wanted) -> Iterator[str]:
    """Yield what is legal in this cluster and still surprises people."""
    has_groups, mode = _mode_to_be(running, wanted)
    live = environment(running.aws_node)
    if has_groups and mode == "standard" and not is_on(live.get(EXTERNAL_SNAT_VARIABLE)):
        yield (
            f"{EXTERNAL_SNAT_VARIABLE} is off in {cluster.name}: traffic of pods with a security group that leaves the "
            "VPC (internet, peered VPCs, on-premises) goes out by the node's interface under the node's security "
            "group. Turn it on where the add-on is configured if the private subnets have a NAT gateway and the pod's "
            "own group should decide."
        )
    unknown = unknown_to_the_add_on(running.aws_node)
    if wanted.vpc_cni.manage and cluster.vpc_cni is None and unknown:
        yield (
            f"aws-node of {cluster.name} becomes an EKS add-on, whose configuration is not known to have a place for "
            f"{', '.join(unknown)}. EKS may put its own in the place of that. Keep the output of `kubectl -n "
            "kube-system get daemonset aws-node -o yaml`, and compare it afterwards."
        )
    if wanted.vpc_cni.manage and wanted.vpc_cni_version and (downgrade := _downgrade(wanted.vpc_cni_version, running)):
        yield f"addonVersions.vpcCni: {downgrade}."
    if wanted.vpc_cni.manage and mode == "standard" and is_on(live.get(POD_ENI_VARIABLE)):
        if live.get(MODE_VARIABLE) != "standard":
            yield (
                f"The VPC CNI of {cluster.name} goes from strict to standard mode. Pods with a security group keep "
                "their strict rules until they are recreated, and would lose DNS with the cache beside them: `python "
                "-m migrate` names and recreates them. The safe order is in docs/runbooks/adopt.md."
            )
    elif wanted.vpc_cni.manage and has_groups:
        yield (
            f"{POD_ENI_VARIABLE} is turned on in {cluster.name}: nodes that run already may have no room for the trunk "
            "interface that pods with a security group need. Replace them before such pods are created."
        )
