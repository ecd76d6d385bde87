"""A security group for an application's pods, with the rules without which they have no DNS."""

from collections.abc import Mapping
from typing import Any, NotRequired, cast

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes
from pydantic import TypeAdapter, ValidationError, with_config
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict

from components.pod_security_groups.branch_interfaces import BranchInterfaceDemandArgs, branch_interface_problems
from components.pod_security_groups.label_selector import ANY_VALUE, LabelSelectorArgs, can_match, selector_problems
from components.pod_security_groups.traffic_rules import (
    HIGHEST_PORT,
    TrafficProtocol,
    TrafficRuleArgs,
    description_problems,
    dns_rule,
    probe_rule,
    rule_problems,
)
from components.refusal import refused_component
from components.setting import CLOSED

PACKAGE = "eks-node-local-dns"
"""Package of the component's type, for programs in any language."""

MOST_GROUPS = 5
"""Security groups of one policy at most (EKS user guide, security groups for pods; the resource's own schema)."""

CORE_DNS_NAMESPACE = "kube-system"

CORE_DNS_POD_LABELS: tuple[dict[str, str | None], ...] = (
    {"k8s-app": "kube-dns", "eks.amazonaws.com/component": "coredns", "pod-template-hash": ANY_VALUE},
    {
        "k8s-app": "kube-dns",
        "app.kubernetes.io/name": "coredns",
        "app.kubernetes.io/instance": ANY_VALUE,
        "pod-template-hash": ANY_VALUE,
    },
)
"""Labels of the pods of the coredns add-on, and of those of its Helm chart."""

CORE_DNS_ACCOUNT_LABELS: tuple[dict[str, str | None], ...] = (
    {},
    {"k8s-app": "kube-dns", "eks.amazonaws.com/component": "coredns"},
)
"""Labels of their service account: some versions of the add-on set them, others none."""


@with_config(CLOSED)
class PodSecurityGroupArgs(TypedDict):
    """Which pods, which traffic, and where the cluster's DNS is."""

    vpc_id: pulumi.Input[str]
    """The cluster's VPC."""

    core_dns_security_group_id: pulumi.Input[str]
    """The group CoreDNS answers from: the cluster security group, unless its pods have one of their own."""

    node_security_group_id: NotRequired[pulumi.Input[str]]
    """The nodes' group, from which the kubelet probes; default: the group of CoreDNS, as EKS has one for both."""

    namespace: str
    """Namespace of the pods. Known while planning, as are all arguments that are checked."""

    pod_selector: NotRequired[LabelSelectorArgs]
    """The pods, by their labels. Either this or `serviceAccountSelector`."""

    service_account_selector: NotRequired[LabelSelectorArgs]
    """The pods, by the labels of their service account."""

    branch_interfaces: BranchInterfaceDemandArgs
    """How many such pods there will be, on which instance types: checked against what those can carry."""

    additional_security_group_ids: NotRequired[list[pulumi.Input[str]]]
    """Groups the pods get beside their own: at most four."""

    probe_ports: NotRequired[list[int]]
    """TCP ports on which the kubelet probes the pods."""

    ingress: NotRequired[dict[str, TrafficRuleArgs]]
    """Traffic to the pods, by a name of the rule that it keeps."""

    egress: NotRequired[dict[str, TrafficRuleArgs]]
    """Traffic from the pods, likewise. Beside it they reach CoreDNS on port 53 and nothing else."""

    tags: NotRequired[dict[str, str]]
    """Tags of the group and its rules."""


class PodSecurityGroup(pulumi.ComponentResource):
    """A security group for pods whose DNS works, and the SecurityGroupPolicy that gives it to them.

    A pod gets its groups when it is created, so make the pods depend on this component. Needs a provider of the
    cluster's Kubernetes API, and one of AWS.
    """

    security_group_id: pulumi.Output[str]
    """The pods' own group, for rules of others, e.g. a database's."""

    policy_name: pulumi.Output[str]
    """Name of the SecurityGroupPolicy in the namespace."""

    def __init__(self, name: str, args: PodSecurityGroupArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        checked = check(name, args)
        super().__init__(f"{PACKAGE}:index:PodSecurityGroup", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        tags = checked.get("tags", {})
        core_dns = checked["core_dns_security_group_id"]
        group = aws.ec2.SecurityGroup(
            name,
            description=f"Pods of {checked['namespace']}: {name}",
            vpc_id=checked["vpc_id"],
            tags=tags,
            opts=child,
        )
        rules: list[pulumi.Resource] = [
            aws.vpc.SecurityGroupEgressRule(
                f"{name}-to-{key}", security_group_id=group.id, tags=tags, opts=child, **_permission(rule)
            )
            for key, rule in egress_rules(checked).items()
        ]
        rules += [
            aws.vpc.SecurityGroupIngressRule(
                f"{name}-from-{key}", security_group_id=group.id, tags=tags, opts=child, **_permission(rule)
            )
            for key, rule in ingress_rules(checked).items()
        ]
        rules += [
            aws.vpc.SecurityGroupIngressRule(
                f"{name}-at-core-dns-{protocol.name.lower()}",
                security_group_id=core_dns,
                referenced_security_group_id=group.id,
                description=_core_dns_description(protocol.upper(), name, checked),
                ip_protocol=protocol.value,
                from_port=53,
                to_port=53,
                tags=tags,
                opts=child,
            )
            for protocol in (TrafficProtocol.UDP, TrafficProtocol.TCP)
        ]
        policy = kubernetes.apiextensions.CustomResource(
            name,
            api_version="vpcresources.k8s.aws/v1beta1",
            kind="SecurityGroupPolicy",
            metadata={"namespace": checked["namespace"]},
            spec={
                **_selection(checked),
                "securityGroups": {"groupIds": [group.id, *checked.get("additional_security_group_ids", [])]},
            },
            # A pod that started before its group had rules would start without DNS.
            opts=pulumi.ResourceOptions(parent=self, depends_on=rules),
        )
        self.security_group_id = group.id
        self.policy_name = policy.id.apply(lambda identity: identity.rpartition("/")[2])
        self.register_outputs({"securityGroupId": self.security_group_id, "policyName": self.policy_name})


def egress_rules(args: PodSecurityGroupArgs) -> dict[str, TrafficRuleArgs]:
    """Return everything the pods may send, by the rule's name."""
    core_dns = args["core_dns_security_group_id"]
    return {
        "core-dns-udp": dns_rule(TrafficProtocol.UDP, core_dns),
        "core-dns-tcp": dns_rule(TrafficProtocol.TCP, core_dns),
        **args.get("egress", {}),
    }


def ingress_rules(args: PodSecurityGroupArgs) -> dict[str, TrafficRuleArgs]:
    """Return everything the pods may be sent, by the rule's name."""
    nodes = args.get("node_security_group_id") or args["core_dns_security_group_id"]
    return {
        **{f"kubelet-{port}": probe_rule(port, nodes) for port in args.get("probe_ports", [])},
        **args.get("ingress", {}),
    }


def _core_dns_description(protocol: str, name: str, args: PodSecurityGroupArgs) -> str:
    """Return the description of a rule at CoreDNS, the longest that has the name of the resource."""
    return f"DNS over {protocol} from the pods of {args['namespace']}: {name}"


def check(name: str, args: PodSecurityGroupArgs) -> PodSecurityGroupArgs:
    """Return the arguments with every value of its declared type; `RunError` lists all that is wrong with them."""
    try:
        checked = _ARGUMENTS.validate_python(args)
        problems = description_problems("the name of the resource", _core_dns_description("UDP", name, checked))
        problems += _problems(checked)
    except ValidationError as error:
        # Of an input every type that it could have been fails: the first of them, text, is the one to tell of.
        first = {each["loc"][:-1] if each["loc"][-1] in _INPUT_TYPES else each["loc"]: each
                 for each in reversed(error.errors())}  # fmt: skip
        problems = [_explained(path, each["msg"], each["input"]) for path, each in reversed(first.items())]
        checked = args
    if problems:
        raise pulumi.RunError(refused_component("PodSecurityGroup", name, problems))
    return checked


_ARGUMENTS = TypeAdapter(PodSecurityGroupArgs)
# pulumi.Input refers to Output by a name that only its own module knows.
_ARGUMENTS.rebuild(_types_namespace=vars(pulumi.output))
_INPUT_TYPES = {"str", "is-instance[Awaitable]", "is-instance[Output]"}
"""How pydantic calls what a `pulumi.Input[str]` may be."""


def _explained(path: tuple[int | str, ...], message: str, given: object) -> str:
    key = ".".join(to_camel(str(each)) for each in path)
    if isinstance(given, pulumi.Output):
        return (
            f"{key} is an output, which is unknown while planning, but it decides what is checked before anything is "
            "created. Give it as plain text, and depends_on for the order."
        )
    return f"{key}: {message}. See the arguments of PodSecurityGroup in docs/pod-security-groups.md."


def _problems(args: PodSecurityGroupArgs) -> list[str]:
    """Return why the arguments would leave pods without DNS, without groups, or Pending."""
    groups = [each for each in args.get("additional_security_group_ids", []) if isinstance(each, str)]
    count = 1 + len(args.get("additional_security_group_ids", []))
    problems: list[str] = []
    if count > MOST_GROUPS:
        problems.append(
            f"additionalSecurityGroupIds has {count - 1} groups, with the pods' own {count}; a SecurityGroupPolicy "
            f"takes 1 to {MOST_GROUPS}. Name at most {MOST_GROUPS - 1}, or move rules into the pods' own group."
        )
    if repeated := sorted({each for each in groups if groups.count(each) > 1}):
        problems.append(
            f"additionalSecurityGroupIds names {', '.join(repeated)} twice; EC2 refuses an interface that has a group "
            "twice. Name each once."
        )
    problems += _selector_problems(args)
    probes = args.get("probe_ports", [])
    valid = [port for port in probes if 1 <= port <= HIGHEST_PORT]
    problems += [
        f"probePorts has {port}, which is no port: the kubelet's probe would fail and the pod never be ready. "
        f"Give ports between 1 and {HIGHEST_PORT}."
        for port in probes
        if port not in valid
    ]
    for direction, made in (("egress", egress_rules), ("ingress", ingress_rules)):
        own = cast("Mapping[str, TrafficRuleArgs]", args.get(direction, {}))
        taken = made({**args, "probe_ports": valid, "ingress": {}, "egress": {}})
        if clash := sorted(taken.keys() & own.keys()):
            problems.append(
                f"{direction} has a rule named {', '.join(clash)}, a name of the component's own rules: that one would "
                "be lost. Choose another name."
            )
        else:
            problems += rule_problems(direction, {**taken, **own})
    return problems + branch_interface_problems(args["branch_interfaces"])


def _selector_problems(args: PodSecurityGroupArgs) -> list[str]:
    pods, accounts = args.get("pod_selector"), args.get("service_account_selector")
    if (pods is None) == (accounts is None):
        return [
            (
                f"{'neither podSelector nor' if pods is None else 'both podSelector and'} serviceAccountSelector "
                f"{'is' if pods is None else 'are'} given; a SecurityGroupPolicy selects by one of them. "
                "Give one (an empty podSelector selects every pod of the namespace)."
            )
        ]
    if pods is not None:
        key, problems = "podSelector", selector_problems("podSelector", pods)
        caught = any(can_match(pods, labels) for labels in CORE_DNS_POD_LABELS)
    else:
        key, problems = "serviceAccountSelector", selector_problems("serviceAccountSelector", accounts or {})
        caught = any(can_match(accounts or {}, labels) for labels in CORE_DNS_ACCOUNT_LABELS)
    if caught and args["namespace"] == CORE_DNS_NAMESPACE:
        problems.append(
            f"{key} selects the pods of CoreDNS in {CORE_DNS_NAMESPACE}: they would move out of the group from which "
            "the cluster expects DNS, and no pod could resolve a name. Select the pods meant by a label that CoreDNS "
            "does not have, or add {key: k8s-app, operator: NotIn, values: [kube-dns]} to its matchExpressions."
        )
    return problems


def _selection(args: PodSecurityGroupArgs) -> dict[str, Any]:
    """Return the selector as a SecurityGroupPolicy spells it."""
    key = "pod_selector" if "pod_selector" in args else "service_account_selector"
    selector = args.get(key, {})
    spelt: dict[str, Any] = {}
    if selector.get("match_labels"):
        spelt["matchLabels"] = selector["match_labels"]
    if selector.get("match_expressions"):
        spelt["matchExpressions"] = [
            {**each, "operator": each["operator"].value} for each in selector["match_expressions"]
        ]
    return {to_camel(key): spelt}


def _permission(rule: TrafficRuleArgs) -> dict[str, Any]:
    """Return a rule as the resources of pulumi-aws take it."""
    permission: dict[str, Any] = {"description": rule["description"], "ip_protocol": rule["protocol"].value}
    first = rule.get("port")
    if first is not None:
        permission |= {"from_port": first, "to_port": rule.get("to_port", first)}
    if "cidr" in rule:
        permission["cidr_ipv4"] = rule["cidr"]
    if "security_group_id" in rule:
        permission["referenced_security_group_id"] = rule["security_group_id"]
    if "prefix_list_id" in rule:
        permission["prefix_list_id"] = rule["prefix_list_id"]
    return permission
