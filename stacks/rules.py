"""What has to hold between settings: each rule sees several, and all that are broken are told at once."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from pulumi_aws.ec2 import InstanceType

from components.cache.corefile import refuse_loops
from components.cluster.dns_address import check_local_address, clashes, cluster_dns_address
from components.cluster.eks_cluster import check_trunk_capable
from components.cluster.subnets import overlapping
from components.cluster.versions import ENFORCING_MODE_SINCE, STANDARD_SUPPORT_ENDS, addon_version_number
from components.setting import Setting
from stacks.settings import Settings

Judge = Callable[[Settings], Iterator[str]]
"""Yields each mistake: the key, what is wrong, why it matters, what to write instead."""

_KNOWN_INSTANCE_TYPES = frozenset(each.value for each in InstanceType)

OURS = ("podEni", "podSecurityGroupEnforcingMode")
"""Settings of vpcCni that `vpcCni.manage` sets on a cluster made elsewhere."""


USUAL_SERVICE_CIDRS = ("172.20.0.0/16", "10.100.0.0/16")
"""What EKS itself chooses from; no VPC is large enough to overlap both."""

OLDEST_KUBE_PROXY = 3
"""Minor versions that kube-proxy may be behind the control plane (Kubernetes' version skew policy); never ahead."""


@dataclass(frozen=True)
class Rule:
    """Something that several settings have to keep together."""

    reads: frozenset[str]
    """Top-level keys it looks at; with a mistake inside one of them there is nothing to judge."""

    judge: Judge
    """Yields its mistakes."""


RULES: list[Rule] = []


def _rule(*reads: str) -> Callable[[Judge], Judge]:
    def add(judge: Judge) -> Judge:
        RULES.append(Rule(frozenset(reads), judge))
        return judge

    return add


def broken_rules(settings: Settings, unreadable: Collection[str]) -> list[str]:
    """Return every mistake between settings; `unreadable` are top-level keys that hold a mistake of their own."""
    return [each for rule in RULES if not rule.reads.intersection(unreadable) for each in rule.judge(settings)]


def warnings(settings: Settings, today: date | None = None) -> Iterator[str]:
    """Yield what is legal and still surprises people; what needs a look at a cluster is said when it is attached.

    `today` is the day of the preview (default: the clock's), from which an old Kubernetes version is warned of.
    """
    ended = STANDARD_SUPPORT_ENDS.get(settings.kubernetes_version)
    if settings.source.made_here and ended is not None and (today or datetime.now(UTC).date()) >= ended:
        yield (
            f"kubernetesVersion {settings.kubernetes_version} left EKS' standard support on {ended.isoformat()}: until "
            "EKS upgrades the control plane by itself, twelve months later, it costs $0.60 an hour instead of $0.10. "
            "Upgrade it (docs/runbooks/upgrade.md)."
        )
    if settings.node_local_dns.enabled and settings.node_local_dns.ignore_strict_pods:
        yield (
            "nodeLocalDns.ignoreStrictPods is on: an update installs the cache although running pods with a "
            "security group may have strict rules, and those lose DNS until they are recreated "
            "(`./eks-node-local-dns migrate`). Remove the key after this update."
        )
    if settings.source.stack is not None and settings.vpc_cni.manage:
        yield (
            f"vpcCni.manage is on, and source.stack names {settings.source.stack}: if that stack made the cluster, or "
            "manages its vpc-cni too, each `pulumi up` of one takes the add-on's configuration back from the other. "
            "Set the mode there and remove vpcCni.manage here, unless that stack only attached the cluster and leaves "
            "its vpc-cni alone."
        )
    if settings.source.made_here and settings.vpc_cni.pod_eni and not settings.vpc_cni.external_snat:
        yield (
            "vpcCni.externalSnat is off: traffic of pods with a security group that leaves the VPC (internet, "
            "peered VPCs, on-premises) goes out by the node's interface under the node's security group. Turn it "
            "on if the private subnets have a NAT gateway and the pod's own group should decide."
        )
    if settings.source.made_here and not settings.cluster.public_access_cidrs:
        yield (
            "cluster.publicAccessCidrs is empty: the cluster's API answers in the VPC only. Run this where the VPC can "
            "be reached (VPN, peering, a runner inside); elsewhere `pulumi up` makes the cluster and its nodes, and "
            "then fails at the first thing inside the cluster. Or name the networks that may reach the API."
        )
    if settings.source.made_here:
        for name, group in settings.node_groups.items():
            if new := [each for each in group.instance_types if each not in _KNOWN_INSTANCE_TYPES]:
                yield (
                    f"nodeGroups.{name}.instanceTypes: pulumi-aws does not know {', '.join(new)}. If it is not newer "
                    "than that, EKS refuses it, after the cluster was made: `aws ec2 describe-instance-types "
                    f"--instance-types {' '.join(new)}` tells."
                )


def _given(setting: Setting) -> list[str]:
    """Return the keys of a group of settings that the stack file sets, as it spells them."""
    fields = type(setting).model_fields
    return [fields[name].alias or name for name in fields if name in setting.model_fields_set]


def _is_given(settings: Settings, name: str) -> bool:
    value: Any = getattr(settings, name)
    return name in settings.model_fields_set and (bool(_given(value)) if isinstance(value, Setting) else bool(value))


@_rule("nodeLocalDns")
def _local_address_is_free(settings: Settings) -> Iterator[str]:
    try:
        check_local_address(settings.node_local_dns.local_address)
    except ValueError as error:
        yield f"nodeLocalDns.localAddress: {error}"


@_rule("nodeLocalDns", "serviceCidr", "source")
def _no_upstream_is_the_cache(settings: Settings) -> Iterator[str]:
    # Of a cluster made elsewhere the second address is known once it was asked; the manifests are checked then.
    addresses = (settings.node_local_dns.local_address,)
    if settings.source.made_here:
        addresses += (cluster_dns_address(settings.service_cidr),)
    try:
        refuse_loops(settings.node_local_dns.corefile, addresses)
    except ValueError as error:
        yield f"nodeLocalDns.corefile.{error}"


@_rule("serviceCidr", "network", "source")
def _no_overlap(settings: Settings) -> Iterator[str]:
    if settings.source.made_here and overlapping(settings.network.cidr, settings.service_cidr):
        free = next(each for each in USUAL_SERVICE_CIDRS if not overlapping(each, settings.network.cidr))
        yield (
            f"serviceCidr {settings.service_cidr} overlaps network.cidr {settings.network.cidr}; pods could not tell "
            f"Services from hosts of the VPC. Move one of them, e.g. serviceCidr to {free}."
        )


@_rule("nodeLocalDns", "network", "source")
def _local_address_is_no_hosts(settings: Settings) -> Iterator[str]:
    if settings.source.made_here:
        networks = {"network.cidr": str(settings.network.cidr)}
        for clash in clashes(settings.node_local_dns.local_address, networks):
            yield f"nodeLocalDns.localAddress: {clash}"


@_rule("vpcCni", "nodeGroups", "source")
def _nodes_can_trunk(settings: Settings) -> Iterator[str]:
    if settings.source.made_here and settings.vpc_cni.pod_eni:
        # Such pods ask for vpc.amazonaws.com/pod-eni and are scheduled where it is, so one group that has it is enough.
        every = tuple(each for group in settings.node_groups.values() for each in group.instance_types)
        try:
            check_trunk_capable(every)
        except ValueError as error:
            where = ", ".join(f"nodeGroups.{name}.instanceTypes" for name in settings.node_groups)
            yield f"{where}: {error}"


@_rule("vpcCni", "nodeLocalDns")
def _mode_lets_dns_through(settings: Settings) -> Iterator[str]:
    mode = settings.vpc_cni.pod_security_group_enforcing_mode
    if settings.vpc_cni.pod_eni and settings.node_local_dns.enabled and mode == "strict":
        yield (
            "vpcCni.podSecurityGroupEnforcingMode is strict while vpcCni.podEni and nodeLocalDns.enabled are on: "
            "a pod with a security group could not reach the cache on its own node, and the cache's rules take "
            "away the way to CoreDNS it had before, so every name it asks would time out. "
            "Set the mode to standard (and recreate the pods made in strict mode), or nodeLocalDns.enabled to "
            "false."
        )


@_rule("addonVersions", "kubernetesVersion", "source")
def _cni_knows_the_mode(settings: Settings) -> Iterator[str]:
    version = settings.pinned_versions().vpc_cni
    if addon_version_number(version) < ENFORCING_MODE_SINCE:
        yield (
            f"addonVersions.vpcCni {version} does not know POD_SECURITY_GROUP_ENFORCING_MODE; EKS would refuse the "
            "add-on after the cluster was made. Use v1.12.1 or newer, or remove the key to get the pinned one."
        )


@_rule("addonVersions", "kubernetesVersion", "source")
def _kube_proxy_fits(settings: Settings) -> Iterator[str]:
    version = settings.addon_versions.kube_proxy
    if version is None or not settings.source.made_here:
        return
    ours = tuple(int(part) for part in settings.kubernetes_version.split("."))
    major, minor, _patch = addon_version_number(version)
    if major != ours[0] or not 0 <= ours[1] - minor <= OLDEST_KUBE_PROXY:
        yield (
            f"addonVersions.kubeProxy {version} does not fit Kubernetes {settings.kubernetes_version}: kube-proxy may "
            f"be at most {OLDEST_KUBE_PROXY} minor versions older and never newer, and EKS would refuse it after the "
            f"cluster was made. Use a v{settings.kubernetes_version} one, or remove the key to get the pinned one."
        )


@_rule("source")
def _nothing_for_a_cluster_made_here(settings: Settings) -> Iterator[str]:
    if settings.source.made_here:
        return
    fields = type(settings).model_fields
    for name in ("kubernetes_version", "service_cidr", "network", "cluster", "node_groups", "tags"):
        if _is_given(settings, name):
            yield (
                f"{fields[name].alias}: it says how a cluster is made, but source names one that exists, and its "
                "own is kept. Remove the key, or remove source to make a cluster here."
            )
    for each in _given(settings.addon_versions):
        if each != "vpcCni" or not settings.vpc_cni.manage:
            needed = ", or set vpcCni.manage to true" if each == "vpcCni" else ""
            yield (
                f"addonVersions.{each}: source names a cluster that exists, whose add-on this stack does not manage, "
                f"so the version would have no effect. Remove the key{needed}."
            )


@_rule("source", "vpcCni")
def _only_what_is_managed(settings: Settings) -> Iterator[str]:
    given = _given(settings.vpc_cni)
    if settings.source.made_here:
        if "manage" in given:
            yield (
                "vpcCni.manage: it is for a cluster that source names; of a cluster made here all of vpc-cni is "
                "managed, so it would have no effect. Remove the key."
            )
        return
    for each in given:
        if each in OURS and not settings.vpc_cni.manage:
            yield (
                f"vpcCni.{each}: source names a cluster that exists, whose vpc-cni this stack only looks at, so it "
                "would have no effect. Set vpcCni.manage to true to take it over, or remove the key."
            )
        elif each not in {*OURS, "manage"}:
            yield (
                f"vpcCni.{each}: source names a cluster that exists, and of its vpc-cni only {' and '.join(OURS)} are "
                "ever set here, so that nothing else changes by surprise. Remove the key, and set it where the "
                "cluster's other settings are."
            )
