"""Rules about security groups for pods: the CNI's mode, the cache beside it, and the groups' way to DNS."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from eks_dns_policies.node_local_dns import is_cache
from eks_dns_policies.rule import Configuration, Resource, Rule, known

ADDON = "aws:eks/addon:Addon"
SECURITY_GROUP_POLICY = "kubernetes:vpcresources.k8s.aws/v1beta1:SecurityGroupPolicy"
SECURITY_GROUP = "aws:ec2/securityGroup:SecurityGroup"
_CLUSTERS = frozenset({"aws:eks/cluster:Cluster", "eks:index:Cluster"})
_GROUPS = range(1, 6)
_RULE = "aws:ec2/securityGroupRule:SecurityGroupRule"
_DNS = 53
_BOTH = ("udp", "tcp")

MODE = "POD_SECURITY_GROUP_ENFORCING_MODE"
POD_ENI = "ENABLE_POD_ENI"
_WHY_STRICT_HURTS = (
    "In strict mode, the CNI's default, a pod with a security group of its own cannot reach its own node, so it loses "
    "DNS the moment a node-local cache is there."
)


def cni_environment(resource: Resource) -> Mapping[str, str] | None:
    """Return the environment that a vpc-cni add-on configures, or None for any other resource."""
    if resource.type != ADDON or resource.properties.get("addonName") != "vpc-cni":
        return None
    text = resource.properties.get("configurationValues")
    try:
        # EKS takes YAML as well as JSON, which is YAML too.
        configuration: Any = yaml.safe_load(text) if text else None
    except yaml.YAMLError:
        configuration = None  # EKS refuses it
    environment = configuration.get("env") if isinstance(configuration, dict) else None
    return {key: str(value) for key, value in environment.items()} if isinstance(environment, dict) else {}


def is_on(environment: Mapping[str, str], switch: str) -> bool:
    """Say whether a switch of the CNI is on, as the CNI reads it (Go's strconv.ParseBool); unset is off."""
    return environment.get(switch, "false") in {"1", "t", "T", "TRUE", "true", "True"}


def _mode(environment: Mapping[str, str]) -> str:
    return environment.get(MODE, "strict")


def _strict(environment: Mapping[str, str]) -> bool:
    return is_on(environment, POD_ENI) and _mode(environment) != "standard"


def _judge_mode(resource: Resource, _configuration: Configuration) -> Iterator[str]:
    environment = cni_environment(resource)
    if environment is not None and _strict(environment):
        said = f"is {environment[MODE]}" if MODE in environment else "is not set, which means strict"
        yield f"The vpc-cni add-on gives pods security groups of their own while {MODE} {said}."


def _judge_cache(resources: Sequence[Resource], _configuration: Configuration) -> Iterator[tuple[str, str]]:
    add_ons = _add_ons(resources)
    for cache in (each for each in resources if is_cache(each)):
        beside = _of_its_cluster(cache, add_ons)
        if beside and all(map(_strict, beside)):
            yield cache.urn, f"Node-local DNS is installed while the CNI's {MODE} is {_mode(beside[0])}."


_AddOns = list[tuple[Resource, Mapping[str, str]]]


def _add_ons(resources: Sequence[Resource]) -> _AddOns:
    """Return the vpc-cni add-ons whose configuration is known, with the environment that it sets."""
    found = [(each, known(lambda each=each: cni_environment(each))) for each in resources]
    return [(each, environment) for each, environment in found if environment is not None]


def _of_its_cluster(resource: Resource, add_ons: _AddOns) -> list[Mapping[str, str]]:
    """Return the environments of the add-ons that may be those of a resource's cluster.

    That is the cluster that its provider names; where what the provider says is not known yet, any of the stack's. A
    provider that names none of them is one of a cluster elsewhere, of whose CNI nothing is known here.
    """
    written = _written(resource.provider)
    return [environment for add_on, environment in add_ons if not written or _names(written, add_on)]


def _written(provider: Mapping[str, Any]) -> str:
    """Return what a provider of Kubernetes says about its cluster; empty if that is nothing, or not known yet."""
    keys = ("clusterIdentifier", "kubeconfig", "context")
    return " ".join(filter(None, (str(known(lambda key=key: provider.get(key)) or "") for key in keys)))


def _names(written: str, add_on: Resource) -> bool:
    """Say whether a text names the add-on's cluster; one that is not known yet may be the one."""
    cluster = known(lambda: add_on.properties["clusterName"])
    return not cluster or re.search(rf"(?<![\w-]){re.escape(str(cluster))}(?![\w-])", written) is not None


def _judge_interfaces(resources: Sequence[Resource], _configuration: Configuration) -> Iterator[tuple[str, str]]:
    add_ons = _add_ons(resources)
    for each in resources:
        if each.type != SECURITY_GROUP_POLICY:
            continue
        beside = _of_its_cluster(each, add_ons)
        if beside and not any(is_on(environment, POD_ENI) for environment in beside):
            yield each.urn, "A SecurityGroupPolicy is there while the CNI's ENABLE_POD_ENI is off."


def _judge_groups(resource: Resource, _configuration: Configuration) -> Iterator[str]:
    spec = resource.properties.get("spec") or {}
    groups = (spec.get("securityGroups") or {}).get("groupIds") or []
    if len(groups) not in _GROUPS:
        yield f"The SecurityGroupPolicy names {len(groups)} security groups; 1 to 5 are possible."
    metadata = resource.properties.get("metadata") or {}
    selector, account = spec.get("podSelector"), spec.get("serviceAccountSelector")
    if metadata.get("namespace") != "kube-system":
        return
    pods = {"k8s-app": "kube-dns", "eks.amazonaws.com/component": "coredns"}
    if selector is not None and _selects(selector, pods):
        yield "The SecurityGroupPolicy selects the pods of CoreDNS."
    if account is not None and _selects(account, pods):
        yield "The SecurityGroupPolicy selects the service account of CoreDNS."


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Say whether a label selector can match labels; an empty one matches everything."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for each in selector.get("matchExpressions") or ():
        value, values = labels.get(each["key"]), each.get("values") or ()
        matches = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not matches.get(each["operator"], True):
            return False
    return True


def _opens_dns(resource: Resource) -> Iterator[tuple[str, str]]:
    """Yield (protocol, URN of the group) for each protocol that a resource lets a group send to port 53."""
    properties = resource.properties
    if resource.type == SECURITY_GROUP:
        for rule in known(lambda: properties.get("egress")) or ():
            yield from ((protocol, resource.urn) for protocol in _protocols(rule, "protocol"))
    elif resource.type == "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule":
        yield from _of_group(resource, "ipProtocol", "securityGroupId")
    elif resource.type == _RULE and properties.get("type") == "egress":
        yield from _of_group(resource, "protocol", "securityGroupId")


def _admits_dns(resource: Resource) -> Iterator[tuple[str, str]]:
    """Yield (protocol, URN of the group) for each group that a rule lets in at port 53; "" for networks."""
    properties = resource.properties
    if resource.type == "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule":
        yield from _of_group(resource, "ipProtocol", "referencedSecurityGroupId")
        networks = properties.get("cidrIpv4") or properties.get("cidrIpv6") or properties.get("prefixListId")
        yield from ((protocol, "") for protocol in _protocols(properties, "ipProtocol") if networks)
    elif resource.type == _RULE and properties.get("type") == "ingress":
        yield from _of_group(resource, "protocol", "sourceSecurityGroupId")
        networks = properties.get("cidrBlocks") or properties.get("prefixListIds")
        yield from ((protocol, "") for protocol in _protocols(properties, "protocol") if networks)


def _of_group(resource: Resource, protocol: str, group: str) -> Iterator[tuple[str, str]]:
    """Yield (protocol, URN) of the groups that one property of a rule names; its others name other groups."""
    for each in _protocols(resource.properties, protocol):
        yield from ((each, urn) for urn in resource.sources.get(group, ()))


def _protocols(rule: Mapping[str, Any], protocol: str) -> Iterator[str]:
    named = str(rule.get(protocol)).lower()
    if named in {"-1", "all"}:
        yield from _BOTH
    elif named in {"udp", "tcp", "17", "6"} and int(rule.get("fromPort") or 0) <= _DNS <= int(rule.get("toPort") or 0):
        yield {"17": "udp", "6": "tcp"}.get(named, named)


@dataclass(frozen=True, kw_only=True)
class _PodsGroups:
    """The security groups that one SecurityGroupPolicy gives to pods."""

    policy: str
    """URN of the policy."""

    ours: frozenset[str]
    """URNs of those that are in this stack."""

    elsewhere: tuple[str, ...] | None
    """Ids of those that are not, "" for one that is not known yet; None: how many there are is not known."""

    of_a_cluster: bool
    """Whether one elsewhere comes from a cluster of this stack: EKS makes that group, and it lets everything out."""

    def missing(self, found: set[tuple[str, str]]) -> str:
        """Return the protocols for which none of the groups of this stack is in (protocol, URN); "" counts for all."""
        return " and ".join(each for each in _BOTH if not any((each, group) in found for group in self.ours | {""}))


def _pods_groups(resources: Sequence[Resource]) -> Iterator[_PodsGroups]:
    """Yield the groups of each SecurityGroupPolicy that takes some of this stack."""
    ours = {
        each.urn: known(lambda each=each: each.properties["id"]) for each in resources if each.type == SECURITY_GROUP
    }
    clusters = {each.urn for each in resources if each.type in _CLUSTERS}
    for each in resources:
        sources = each.sources.get("spec", frozenset())
        used = sources & ours.keys()
        if each.type != SECURITY_GROUP_POLICY or not used:
            continue
        yield _PodsGroups(
            policy=each.urn,
            ours=used,
            elsewhere=_elsewhere(each, [ours[urn] for urn in used]),
            of_a_cluster=bool(sources & clusters),
        )


def _elsewhere(policy: Resource, ours: Sequence[Any]) -> tuple[str, ...] | None:
    """Return the ids that a policy names beside ours, "" for each that is not known yet; None if the list is not."""
    named = known(lambda: policy.properties["spec"]["securityGroups"]["groupIds"])
    count = known(lambda: len(named))
    if count is None:
        return None
    ids = [known(lambda at=at: str(named[at]), "") for at in range(count)]
    told = [each for each in ids if each and each not in ours]
    return tuple((told + [""] * count)[: max(count - len(ours), 0)])


def _judge_way_to_dns(resources: Sequence[Resource], _configuration: Configuration) -> Iterator[tuple[str, str]]:
    opened = {pair for each in resources for pair in _opens_dns(each)}
    for each in _pods_groups(resources):
        # A group from elsewhere may be the one that lets DNS out.
        if each.elsewhere == () and (missing := each.missing(opened)):
            yield each.policy, f"No security group of this policy lets DNS out over {missing} (port 53)."


def _judge_unseen(resources: Sequence[Resource], _configuration: Configuration) -> Iterator[tuple[str, str]]:
    opened = {pair for each in resources for pair in _opens_dns(each)}
    for each in _pods_groups(resources):
        if not each.elsewhere or each.of_a_cluster:
            continue
        if missing := each.missing(opened):
            names = ", ".join(filter(None, each.elsewhere)) or f"{len(each.elsewhere)} more"
            said = f"This policy's groups in this stack do not let DNS out over {missing} (port 53)"
            yield each.policy, f"{said}, and {names} cannot be looked into from here."


def _judge_way_in(resources: Sequence[Resource], _configuration: Configuration) -> Iterator[tuple[str, str]]:
    admitted = {pair for each in resources for pair in _admits_dns(each)}
    for each in _pods_groups(resources):
        # A group from elsewhere may be the one that CoreDNS lets in.
        if each.elsewhere == () and (missing := each.missing(admitted)):
            yield (
                each.policy,
                f"Nothing in this stack lets the pods of this policy in at CoreDNS over {missing} (port 53).",
            )


RULES = (
    Rule(
        name="pod-security-groups-standard-mode",
        level="mandatory",
        demand="Where pods have security groups of their own, the VPC CNI enforces them in standard mode.",
        reason=_WHY_STRICT_HURTS,
        remedy=f"Set {MODE} to standard in the add-on's configuration (here: vpcCni.podSecurityGroupEnforcingMode), "
        "then recreate the pods that were made in strict mode.",
        source="https://docs.aws.amazon.com/eks/latest/userguide/sg-pods-example-deployment.html",
        types=frozenset({ADDON}),
        judge=_judge_mode,
    ),
    Rule(
        name="node-local-dns-not-with-strict",
        level="mandatory",
        demand="Node-local DNS is never installed beside a VPC CNI in strict mode.",
        reason=_WHY_STRICT_HURTS,
        remedy=f"Set {MODE} to standard first and recreate the pods with a branch interface; install the cache last.",
        source="https://github.com/aws/amazon-vpc-cni-k8s/issues/1384",
        judge_stack=_judge_cache,
    ),
    Rule(
        name="security-group-policy-needs-pod-eni",
        level="mandatory",
        demand="Where a SecurityGroupPolicy selects pods, the VPC CNI gives them interfaces of their own.",
        reason="Nodes that start from then on carry none, and the pods that it selects stay Pending there.",
        remedy="Set ENABLE_POD_ENI to true (here: vpcCni.podEni) before nodes start, or remove the policy.",
        source="https://docs.aws.amazon.com/eks/latest/userguide/security-groups-for-pods.html",
        judge_stack=_judge_interfaces,
    ),
    Rule(
        name="security-group-policy-spares-coredns",
        level="mandatory",
        demand="A SecurityGroupPolicy names 1 to 5 groups and does not select CoreDNS.",
        reason="CoreDNS behind a security group of its own is lost to every pod that group does not name.",
        remedy="Select your own pods by a label that CoreDNS does not carry.",
        source="https://docs.aws.amazon.com/eks/latest/userguide/security-groups-for-pods.html",
        types=frozenset({SECURITY_GROUP_POLICY}),
        judge=_judge_groups,
    ),
    Rule(
        name="security-group-policy-keeps-dns",
        level="mandatory",
        demand="The security groups of a SecurityGroupPolicy let UDP and TCP port 53 out.",
        reason="A pod's DNS falls back to CoreDNS under the pod's own group while the node's cache is down.",
        remedy="Add egress rules for UDP and TCP 53 to the cluster's security group, or use PodSecurityGroup.",
        source="https://docs.aws.amazon.com/eks/latest/userguide/security-groups-for-pods.html",
        judge_stack=_judge_way_to_dns,
    ),
    Rule(
        name="security-group-policy-dns-unseen",
        level="advisory",
        demand="Of a SecurityGroupPolicy's groups, those that let DNS out are in this stack.",
        reason="Whether the pods' DNS can fall back to CoreDNS is decided by groups that nobody can judge here.",
        remedy="Look at their egress rules (`aws ec2 describe-security-group-rules`); ignore this if they have UDP and "
        "TCP 53.",
        source="https://docs.aws.amazon.com/eks/latest/userguide/security-groups-for-pods.html",
        judge_stack=_judge_unseen,
    ),
    Rule(
        name="security-group-policy-reaches-coredns",
        level="advisory",
        demand="CoreDNS' security group lets the pods of a SecurityGroupPolicy in.",
        reason="What the pods send to port 53 is dropped there; every name they ask for times out.",
        remedy="Add ingress rules for UDP and TCP 53 from the pods' group to the cluster's, or use PodSecurityGroup; "
        "ignore this if another stack does.",
        source="https://docs.aws.amazon.com/eks/latest/userguide/security-groups-for-pods.html",
        judge_stack=_judge_way_in,
    ),
)
