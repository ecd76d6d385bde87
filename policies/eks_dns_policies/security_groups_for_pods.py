"""Rules about security groups for pods: the CNI's mode, the cache beside it, and the groups' way to DNS."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from eks_dns_policies.node_local_dns import is_cache
from eks_dns_policies.rule import Configuration, Resource, Rule, known

ADDON = "aws:eks/addon:Addon"
SECURITY_GROUP_POLICY = "kubernetes:vpcresources.k8s.aws/v1beta1:SecurityGroupPolicy"
SECURITY_GROUP = "aws:ec2/securityGroup:SecurityGroup"
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
    environments = [(each, known(lambda each=each: cni_environment(each))) for each in resources]
    add_ons = [(each, environment) for each, environment in environments if environment is not None]
    for cache in (each for each in resources if is_cache(each)):
        # Of several clusters in a stack the cache's is the one its provider names; if none, all count together.
        beside = [pair for pair in add_ons if _names(cache.provider, pair[0])] or add_ons
        if beside and all(_strict(environment) for _add_on, environment in beside):
            yield cache.urn, f"Node-local DNS is installed while the CNI's {MODE} is {_mode(beside[0][1])}."


def _names(provider: Mapping[str, Any], add_on: Resource) -> bool:
    """Say whether a provider of Kubernetes is one of the add-on's cluster, by what is written in its inputs."""
    cluster = str(known(lambda: add_on.properties["clusterName"], "") or "")
    written = " ".join(
        str(known(lambda key=key: provider.get(key), "")) for key in ("clusterIdentifier", "kubeconfig", "context")
    )
    return bool(cluster) and re.search(rf"(?<![\w-]){re.escape(cluster)}(?![\w-])", written) is not None


def _judge_interfaces(resources: Sequence[Resource], _configuration: Configuration) -> Iterator[tuple[str, str]]:
    environments = [known(lambda each=each: cni_environment(each)) for each in resources]
    if any(each is not None and not is_on(each, POD_ENI) for each in environments):
        for each in resources:
            if each.type == SECURITY_GROUP_POLICY:
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
    named = str(rule.get(protocol))
    if named == "-1":
        yield from _BOTH
    elif named in {"udp", "tcp", "17", "6"} and int(rule.get("fromPort") or 0) <= _DNS <= int(rule.get("toPort") or 0):
        yield {"17": "udp", "6": "tcp"}.get(named, named)


def _pods_groups(resources: Sequence[Resource]) -> Iterator[tuple[Resource, frozenset[str]]]:
    """Yield each SecurityGroupPolicy that takes groups of this stack, with their URNs."""
    groups = {each.urn for each in resources if each.type == SECURITY_GROUP}
    for each in resources:
        if each.type == SECURITY_GROUP_POLICY and (used := each.sources.get("spec", frozenset()) & groups):
            yield each, used


def _missing(found: set[tuple[str, str]], groups: frozenset[str]) -> str:
    return " and ".join(each for each in _BOTH if not any((each, group) in found for group in groups))


def _judge_way_to_dns(resources: Sequence[Resource], _configuration: Configuration) -> Iterator[tuple[str, str]]:
    opened = {pair for each in resources for pair in _opens_dns(each)}
    for policy, groups in _pods_groups(resources):
        if missing := _missing(opened, groups):
            yield policy.urn, f"No security group of this policy lets DNS out over {missing} (port 53)."


def _judge_way_in(resources: Sequence[Resource], _configuration: Configuration) -> Iterator[tuple[str, str]]:
    admitted = {pair for each in resources for pair in _admits_dns(each)}
    for policy, groups in _pods_groups(resources):
        named = known(lambda policy=policy: policy.properties["spec"]["securityGroups"]["groupIds"]) or ()
        if len(named) > len(groups):
            continue  # a group from elsewhere may be the one that CoreDNS lets in
        if missing := _missing(admitted, groups | {""}):
            yield (
                policy.urn,
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
