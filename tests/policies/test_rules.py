import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from eks_dns_policies import RULES, Rule
from eks_dns_policies.rule import Resource, policy
from pulumi_policy import (
    EnforcementLevel,
    PolicyCustomTimeouts,
    PolicyProviderResource,
    PolicyResource,
    PolicyResourceOptions,
    ResourceValidationArgs,
    StackValidationArgs,
)
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, unknown_checking_proxy

ROOT = Path(__file__).parents[2]
NAMED = {rule.name: rule for rule in RULES}
ADDON = "aws:eks/addon:Addon"
CLUSTER = "aws:eks/cluster:Cluster"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
INSTANCE = "aws:ec2/instance:Instance"
KEY = "aws:kms/key:Key"
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
OF_NODES = "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy"
DAEMON_SET = "kubernetes:apps/v1:DaemonSet"
SGP = "kubernetes:vpcresources.k8s.aws/v1beta1:SecurityGroupPolicy"
GROUP = "aws:ec2/securityGroup:SecurityGroup"
EGRESS = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
RULE = "aws:ec2/securityGroupRule:SecurityGroupRule"
LOGS = ["api", "audit", "authenticator"]
OPTIONS = PolicyResourceOptions(
    protect=False, ignore_changes=[], delete_before_replace=None, aliases=[],
    custom_timeouts=PolicyCustomTimeouts(0, 0, 0), additional_secret_outputs=[], parent=None,
)  # fmt: skip


def cni(**environment: str) -> dict[str, Any]:
    """Return a vpc-cni add-on with this environment."""
    return {
        "addonName": "vpc-cni",
        "addonVersion": "v1.23.1-eksbuild.1",
        "configurationValues": json.dumps({"env": environment}),
    }


def workload(*images: str) -> dict[str, Any]:
    """Return a DaemonSet of these images."""
    return {
        "metadata": {"name": "some"},
        "spec": {"template": {"spec": {"containers": [{"name": "one", "image": each} for each in images]}}},
    }


def cache(*arguments: str) -> dict[str, Any]:
    """Return a DaemonSet of node-cache."""
    made = workload("registry.k8s.io/dns/k8s-dns-node-cache:1.26.8")
    made["spec"]["template"]["spec"]["containers"][0]["args"] = list(arguments)
    return made


def selecting(groups: int = 1, namespace: str = "shop", **selector: Any) -> dict[str, Any]:
    """Return a SecurityGroupPolicy."""
    ids = [f"sg-{number}" for number in range(groups)]
    return {"metadata": {"namespace": namespace}, "spec": {**selector, "securityGroups": {"groupIds": ids}}}


def allowing(action: str, resource: str = "*") -> dict[str, Any]:
    """Return an IAM policy that allows one thing."""
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return {"policy": json.dumps({"Version": "2012-10-17", "Statement": [statement]})}


def in_yaml(mode: str) -> dict[str, Any]:
    """Return a vpc-cni add-on whose configuration is YAML, with booleans that are no strings."""
    return {**cni(), "configurationValues": f"env:\n  ENABLE_POD_ENI: true\n  {MODE}: {mode}\n"}


def statement(**more: Any) -> dict[str, Any]:
    """Return an IAM policy of one statement."""
    return {"policy": json.dumps({"Statement": {"Effect": "Allow", **more}})}


MODE = "POD_SECURITY_GROUP_ENFORCING_MODE"
STANDARD = {"ENABLE_POD_ENI": "true", "POD_SECURITY_GROUP_ENFORCING_MODE": "standard"}
STRICT = {"ENABLE_POD_ENI": "true", "POD_SECURITY_GROUP_ENFORCING_MODE": "strict"}
SERVED: dict[str, Any] = {"podSelector": {"matchLabels": {"role": "api"}}}

# (rule, type, properties that pass, properties that do not)
CASES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("pod-security-groups-standard-mode", ADDON, cni(**STANDARD), cni(**STRICT)),
    ("pod-security-groups-standard-mode", ADDON, cni(ENABLE_POD_ENI="false"), cni(ENABLE_POD_ENI="true")),
    ("pod-security-groups-standard-mode", ADDON, in_yaml("standard"), in_yaml("strict")),
    ("pod-security-groups-standard-mode", ADDON, cni(ENABLE_POD_ENI="yes"), cni(ENABLE_POD_ENI="T")),
    (
        "pod-security-groups-standard-mode", ADDON,
        {**cni(), "configurationValues": '{"env":null}'}, cni(ENABLE_POD_ENI="1"),
    ),
    (
        "pod-security-groups-standard-mode", ADDON,
        {**cni(), "configurationValues": "{not: [closed"}, cni(ENABLE_POD_ENI="TRUE"),
    ),
    ("security-group-policy-spares-coredns", SGP, selecting(**SERVED), selecting(groups=6, **SERVED)),
    ("security-group-policy-spares-coredns", SGP, selecting(podSelector={}), selecting(groups=0, **SERVED)),
    (
        "security-group-policy-spares-coredns", SGP,
        selecting(namespace="kube-system", **SERVED), selecting(namespace="kube-system", podSelector={}),
    ),
    (
        "security-group-policy-spares-coredns", SGP,
        selecting(namespace="kube-system", serviceAccountSelector={"matchLabels": {"role": "api"}}),
        selecting(namespace="kube-system", serviceAccountSelector={}),
    ),
    (
        "security-group-policy-spares-coredns", SGP,
        selecting(
            namespace="kube-system",
            podSelector={"matchExpressions": [{"key": "k8s-app", "operator": "NotIn", "values": ["kube-dns"]}]},
        ),
        selecting(
            namespace="kube-system", podSelector={"matchExpressions": [{"key": "k8s-app", "operator": "Exists"}]}
        ),
    ),
    (
        "node-local-dns-survives-its-crash", DAEMON_SET,
        cache("-localip", "169.254.20.10", "-setupiptables=false"), cache("-localip", "169.254.20.10"),
    ),
    (
        "node-local-dns-survives-its-crash", DAEMON_SET,
        workload("r.example/else:1.2"), cache("-setupiptables=true"),
    ),
    ("add-ons-pinned", ADDON, cni(), {**cni(), "addonVersion": "latest"}),
    ("add-ons-pinned", ADDON, cni(), {"addonName": "coredns"}),
    (
        "external-snat-with-pod-security-groups", ADDON,
        cni(**STANDARD, AWS_VPC_K8S_CNI_EXTERNALSNAT="true"), cni(**STANDARD),
    ),
    ("images-pinned", DAEMON_SET, workload("r.example/a/b:1.2"), workload("r.example/a/b:latest")),
    ("images-pinned", DAEMON_SET, workload(f"r.example:5000/a@sha256:{'0' * 64}"), workload("r.example:5000/a")),
    (
        "endpoint-restricted", CLUSTER,
        {"vpcConfig": {"endpointPublicAccess": True, "publicAccessCidrs": ["203.0.113.0/24"]}},
        {"vpcConfig": {"endpointPublicAccess": True, "publicAccessCidrs": ["0.0.0.0/0"]}},
    ),
    ("endpoint-restricted", CLUSTER, {"vpcConfig": {"endpointPublicAccess": False}}, {"vpcConfig": {}}),
    (
        "endpoint-restricted", CLUSTER,
        {"vpcConfig": {"publicAccessCidrs": ["203.0.113.7"]}}, {"vpcConfig": {"publicAccessCidrs": ["everybody"]}},
    ),
    (
        "endpoint-restricted", CLUSTER,
        {"vpcConfig": {"publicAccessCidrs": ["2001:db8::/32"]}}, {"vpcConfig": {"publicAccessCidrs": ["::/0"]}},
    ),
    ("secrets-encrypted", CLUSTER, {"encryptionConfig": {"resources": ["secrets"]}}, {}),
    (
        "control-plane-logs", CLUSTER,
        {"enabledClusterLogTypes": [*LOGS, "scheduler"]}, {"enabledClusterLogTypes": ["api", "audit"]},
    ),
    ("logs-end", "aws:cloudwatch/logGroup:LogGroup", {"retentionInDays": 30}, {"name": "all"}),
    ("instance-metadata-v2", TEMPLATE, {"metadataOptions": {"httpTokens": "required"}}, {}),
    (
        "instance-metadata-v2", TEMPLATE,
        {"metadataOptions": {"httpEndpoint": "disabled"}},
        {"metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 2}},
    ),
    (
        "volumes-encrypted", TEMPLATE,
        {"blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"encrypted": "true"}}]},
        {"blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"volumeSize": 50}}]},
    ),
    ("iam-without-wildcards", "aws:iam/policy:Policy", allowing("s3:GetObject"), allowing("s3:*")),
    (
        "iam-without-wildcards", "aws:iam/policy:Policy",
        allowing("s3:GetObject"), allowing("*", "arn:aws:s3:::one"),
    ),
    ("iam-without-wildcards", "aws:iam/rolePolicy:RolePolicy", allowing("s3:*", "arn:aws:s3:::one"), allowing("*")),
    (
        "iam-without-wildcards", "aws:iam/policy:Policy",
        allowing("s3:*", "arn:aws:s3:::one/*"), allowing("s3:*", "arn:aws:s3:::*"),
    ),
    (
        "iam-without-wildcards", "aws:iam/policy:Policy",
        allowing("iam:GetRole", "arn:aws:iam::*:*"), allowing("iam:*", "arn:aws:iam::*:*"),
    ),
    ("iam-without-wildcards", "aws:iam/policy:Policy", allowing("ec2:Describe*"), allowing("iam:*Role*")),
    (
        "iam-without-wildcards", "aws:iam/policy:Policy",
        allowing("s3:PutObject", "arn:aws:s3:::one"), allowing("*:*", "arn:aws:s3:::one"),
    ),
    (
        "iam-without-wildcards", "aws:iam/policy:Policy",
        statement(Action="s3:GetObject", NotResource="arn:aws:s3:::one"),
        statement(Action=["s3:*"], NotResource="arn:aws:s3:::one"),
    ),
    (
        "iam-without-wildcards", "aws:iam/policy:Policy",
        statement(Effect="Deny", NotAction="s3:*", Resource="*"), statement(NotAction="iam:*", Resource="*"),
    ),
    (
        "iam-without-wildcards", "aws:iam/role:Role",
        {"inlinePolicies": [{"name": "a", **allowing("s3:GetObject")}], "managedPolicyArns": [OF_NODES]},
        {"inlinePolicies": [{"name": "a", **allowing("*")}]},
    ),
    ("iam-without-wildcards", "aws:iam/role:Role", {}, {"managedPolicyArns": [OF_NODES, ADMINISTRATOR]}),
    (
        "iam-without-wildcards", "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        {"policyArn": OF_NODES}, {"policyArn": ADMINISTRATOR},
    ),
    (
        "iam-without-wildcards", "aws:iam/userPolicyAttachment:UserPolicyAttachment",
        {"policyArn": "arn:aws:iam::111122223333:policy/AdministratorAccess"}, {"policyArn": ADMINISTRATOR},
    ),
    ("images-pinned", DAEMON_SET, {"metadata": {"name": "x"}, "spec": {}}, workload("")),
    (
        "images-pinned", "kubernetes:batch/v1:CronJob",
        {"spec": {"jobTemplate": {"spec": workload("r.example/a:1")["spec"]}}},
        {"spec": {"jobTemplate": {"spec": workload("r.example/a")["spec"]}}},
    ),
    ("instance-metadata-v2", NODE_GROUP, {"launchTemplate": {"id": "lt-1"}}, {"nodeGroupName": "one"}),
    ("instance-metadata-v2", INSTANCE, {"metadataOptions": {"httpTokens": "required"}}, {"ami": "ami-1"}),
    ("volumes-encrypted", NODE_GROUP, {"launchTemplate": {"id": "lt-1"}}, {"nodeGroupName": "one"}),
    ("volumes-encrypted", INSTANCE, {"rootBlockDevice": {"encrypted": True}}, {"ami": "ami-1"}),
    (
        "volumes-encrypted", INSTANCE,
        {"launchTemplate": {"id": "lt-1"}},
        {"rootBlockDevice": {"encrypted": True}, "ebsBlockDevices": [{"deviceName": "/dev/sdb"}]},
    ),
    ("volumes-encrypted", TEMPLATE, {"blockDeviceMappings": [{"ebs": {"encrypted": True}}]}, {"imageId": "ami-1"}),
]  # fmt: skip


def objections(rule: Rule, kind: str, properties: dict[str, Any], *, stack: str = "dev", **config: Any) -> list[str]:
    """Return what the policy made of the rule reports, as the engine would ask it."""
    found: list[str] = []
    args = ResourceValidationArgs(
        resource_type=kind, props=unknown_checking_proxy(properties), urn=f"urn:pulumi:{stack}::p::{kind}::one",
        name="one", opts=OPTIONS, provider=None, config=config,
    )  # fmt: skip
    policy(rule).validate(args, lambda message, _urn=None: found.append(message))  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize(("name", "kind", "good", "bad"), CASES)
def test_rule_passes_what_is_right_and_says_what_is_not(
    name: str, kind: str, good: dict[str, Any], bad: dict[str, Any]
) -> None:
    """Each rule has a passing and a failing case, and its message carries the reason, the remedy and the source."""
    rule = NAMED[name]
    assert objections(rule, kind, good) == []
    [message] = objections(rule, kind, bad)
    assert all(part in message for part in (rule.reason, rule.remedy, rule.source, rule.name))


STACK_CASES = (
    "node-local-dns-not-with-strict",
    "security-group-policy-keeps-dns",
    "security-group-policy-reaches-coredns",
    "security-group-policy-needs-pod-eni",
    "production-protected",
)


def test_the_documentation_lists_the_rules() -> None:
    """A reader finds every rule with its level, what it demands and what can be configured."""
    documented = (ROOT / "docs" / "delivery.md").read_text()
    for rule in RULES:
        settings = ", ".join(f"`{key}`" for key in rule.configuration)
        assert f"| `{rule.name}` | {rule.level} | {rule.demand} | {settings} |\n" in documented
    assert documented.count(" | mandatory | ") + documented.count(" | advisory | ") == len(RULES)


def test_every_rule_has_a_case() -> None:
    """No rule is there that nothing tests."""
    assert {case[0] for case in CASES} | set(STACK_CASES) == set(NAMED)


def resource(
    kind: str, name: str, properties: dict[str, Any], *, stack: str = "dev", protect: bool = False,
    cluster: str = "", **sources: PolicyResource,
) -> PolicyResource:  # fmt: skip
    """Return a resource of a stack, what its properties come from, and the cluster its provider talks to."""
    provider = PolicyProviderResource(
        "pulumi:providers:kubernetes", {"kubeconfig": f"args: [--cluster-name, {cluster}]"}, "", "provider"
    )
    return PolicyResource(
        resource_type=kind, props=unknown_checking_proxy(properties), urn=f"urn:pulumi:{stack}::p::{kind}::{name}",
        name=name, opts=protecting(OPTIONS, protect), provider=provider if cluster else None, parent=None,
        dependencies=list(sources.values()),
        property_dependencies={key: [each] for key, each in sources.items()},
    )  # fmt: skip


def protecting(options: PolicyResourceOptions, protect: bool) -> PolicyResourceOptions:
    """Return options with another protection."""
    copied = copy.copy(options)
    copied.protect = protect
    return copied


def stack_objections(name: str, *resources: PolicyResource) -> list[tuple[str, str]]:
    """Return (resource, message) of what a stack policy reports."""
    found: list[tuple[str, str]] = []

    def report(message: str, urn: str | None = None) -> None:
        found.append(((urn or "").rpartition("::")[2], message))

    policy(NAMED[name]).validate(StackValidationArgs(list(resources)), report)  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize(
    ("environment", "cache", "refused"),
    [
        (STANDARD, workload("registry.k8s.io/dns/k8s-dns-node-cache:1.26.8"), False),
        (STRICT, workload("registry.k8s.io/dns/k8s-dns-node-cache:1.26.8"), True),
        (
            {"ENABLE_POD_ENI": "true"},
            {**workload("mirror.example/cache:1"), "metadata": {"name": "nodelocaldns"}},
            True,
        ),
        ({}, workload("registry.k8s.io/dns/k8s-dns-node-cache:1.26.8"), False),
        ({"ENABLE_POD_ENI": "false"}, workload("registry.k8s.io/dns/k8s-dns-node-cache:1.26.8"), False),
        (STRICT, workload("r.example/else:1"), False),
        (STRICT, {"metadata": {"name": "node-local-dns"}, "spec": UNKNOWN_STRING_VALUE}, True),
        (STRICT, {"metadata": {"name": "else"}, "spec": UNKNOWN_STRING_VALUE}, False),
    ],
)
def test_cache_beside_strict_mode_is_refused(
    environment: dict[str, str], cache: dict[str, Any], *, refused: bool
) -> None:
    """Whatever it is called, a node-local cache and a CNI that is not in standard mode do not go together."""
    found = stack_objections(
        "node-local-dns-not-with-strict", resource(ADDON, "cni", cni(**environment)), resource(DAEMON_SET, "x", cache)
    )
    assert [where for where, _message in found] == (["x"] if refused else [])


@pytest.mark.parametrize(
    ("environment", "refused"), [(STANDARD, False), ({"ENABLE_POD_ENI": "false"}, True), ({}, True)]
)
def test_a_policy_needs_interfaces(environment: dict[str, str], *, refused: bool) -> None:
    """Pods that nobody can give an interface would stay Pending."""
    found = stack_objections(
        "security-group-policy-needs-pod-eni",
        resource(ADDON, "cni", cni(**environment)),
        resource(SGP, "policy", selecting(**SERVED)),
    )
    assert [where for where, _message in found] == (["policy"] if refused else [])


def test_a_cache_is_judged_by_the_cni_of_its_own_cluster() -> None:
    """Of two clusters in a stack, the one that the cache's provider names counts; if none is named, both do."""
    node_cache = workload("registry.k8s.io/dns/k8s-dns-node-cache:1.26.8")
    add_ons = [
        resource(ADDON, name, {**cni(**environment), "clusterName": name})
        for name, environment in (("one", STANDARD), ("one-strict", STRICT))
    ]
    for cluster, refused in (("one", []), ("one-strict", ["x"]), ("", [])):
        beside = resource(DAEMON_SET, "x", node_cache, cluster=cluster)
        found = stack_objections("node-local-dns-not-with-strict", *add_ons, beside)
        assert [where for where, _message in found] == refused, cluster


def rule_of(group: PolicyResource, protocol: str, first: int = 53, last: int = 53) -> PolicyResource:
    """Return an egress rule of a security group."""
    properties = {"ipProtocol": protocol, "fromPort": first, "toPort": last}
    return resource(EGRESS, f"{group.name}-{protocol}-{first}", properties, securityGroupId=group)


@pytest.mark.parametrize(
    ("rules", "missing"),
    [
        ([("udp", 53, 53), ("tcp", 53, 53)], ""),
        ([("-1", 0, 0)], ""),
        ([("udp", 0, 1024), ("tcp", 443, 443)], "tcp"),
        ([("tcp", 443, 443)], "udp and tcp"),
    ],
)
def test_groups_of_a_policy_have_to_let_dns_out(rules: list[tuple[str, int, int]], missing: str) -> None:
    """The groups that a SecurityGroupPolicy takes its ids from are looked at, with their rules."""
    group = resource(GROUP, "group", {})
    used = resource(SGP, "policy", selecting(**SERVED), spec=group)
    found = stack_objections("security-group-policy-keeps-dns", group, used, *(rule_of(group, *each) for each in rules))
    assert [where for where, _message in found] == (["policy"] if missing else [])
    assert all(f"over {missing} (port 53)" in message for _where, message in found)


def test_a_rule_of_another_group_that_names_this_one_does_not_count() -> None:
    """What a database may send to the pods lets nothing out of the pods."""
    group, other = resource(GROUP, "group", {}), resource(GROUP, "other", {})
    used = resource(SGP, "policy", selecting(**SERVED), spec=group)
    dns = {"ipProtocol": "-1"}
    beside = resource(EGRESS, "rule", dns, securityGroupId=other, referencedSecurityGroupId=group)
    assert stack_objections("security-group-policy-keeps-dns", group, other, used, beside) != []
    own = resource(EGRESS, "rule", dns, securityGroupId=group, referencedSecurityGroupId=other)
    assert stack_objections("security-group-policy-keeps-dns", group, other, used, own) == []


def test_groups_with_rules_inside_are_understood() -> None:
    """Egress rules written in the group itself count as well."""
    inside = {"egress": [{"protocol": each, "fromPort": 53, "toPort": 53} for each in ("udp", "tcp")]}
    group = resource(GROUP, "group", inside)
    used = resource(SGP, "p", selecting(**SERVED), spec=group)
    assert stack_objections("security-group-policy-keeps-dns", group, used) == []


def let_in(protocol: str, group: PolicyResource | None, **more: Any) -> PolicyResource:
    """Return an ingress rule at CoreDNS."""
    properties = {"ipProtocol": protocol, "fromPort": 53, "toPort": 53, **more}
    if group is None:
        return resource(INGRESS, protocol, properties)
    return resource(INGRESS, protocol, properties, referencedSecurityGroupId=group)


def test_the_pods_of_a_policy_have_to_be_let_in_at_core_dns() -> None:
    """A rule for the pods' group or for networks counts; with a group from elsewhere nobody can tell."""
    group, other = resource(GROUP, "group", {}), resource(GROUP, "other", {})
    used = resource(SGP, "policy", selecting(**SERVED), spec=group)

    def missing(*rules: PolicyResource, policy: PolicyResource = used) -> list[str]:
        found = stack_objections("security-group-policy-reaches-coredns", group, other, policy, *rules)
        return [message.partition(" over ")[2].partition(" (")[0] for _where, message in found]

    assert missing() == ["udp and tcp"]
    assert missing(let_in("udp", group), let_in("tcp", other)) == ["tcp"]
    assert missing(let_in("udp", group), let_in("tcp", group)) == []
    assert missing(let_in("-1", None, cidrIpv4="10.0.0.0/8")) == []
    older = {"type": "ingress", "protocol": "-1"}
    assert missing(resource(RULE, "r", older, sourceSecurityGroupId=group)) == []
    assert missing(policy=resource(SGP, "policy", selecting(groups=2, **SERVED), spec=group)) == []


@pytest.mark.parametrize(
    ("stack", "refused"),
    [("prod", True), ("production-eu", True), ("eu-prod", True), ("Prod2", True), ("dev", False), ("reproduce", False)],
)
def test_production_has_to_be_protected(stack: str, *, refused: bool) -> None:
    """Only stacks whose name says so have to protect the cluster, and the key of its Secrets; no other key."""
    key, other = resource(KEY, "key", {}, stack=stack), resource(KEY, "other", {}, stack=stack)
    cluster = resource(CLUSTER, "one", {}, stack=stack, encryptionConfig=key)
    found = stack_objections("production-protected", key, other, cluster)
    assert [where for where, _message in found] == (["key", "one"] if refused else [])
    safe = [resource(kind, "safe", {}, stack=stack, protect=True) for kind in (CLUSTER, KEY)]
    assert stack_objections("production-protected", *safe) == []
    rule = NAMED["production-protected"]
    assert rule.judge_stack is not None
    seen = [Resource(type=CLUSTER, properties={}, urn=cluster.urn)]
    assert list(rule.judge_stack(seen, rule.configured({"stacks": "^nothing$"}))) == []


def test_settings_of_a_rule_have_defaults_and_can_be_changed() -> None:
    """A pack's configuration goes over the defaults, setting by setting."""
    tagged = workload("r.example/a:1.2")
    assert objections(NAMED["images-pinned"], DAEMON_SET, tagged) == []
    assert objections(NAMED["images-pinned"], DAEMON_SET, tagged, digestOnly=True) != []
    two_hops = {"metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 2}}
    assert objections(NAMED["instance-metadata-v2"], TEMPLATE, two_hops, hops=2) == []
    assert objections(NAMED["volumes-encrypted"], TEMPLATE, {}, encryptedByDefault=True) == []
    plain = {"blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"encrypted": "false"}}]}
    assert objections(NAMED["volumes-encrypted"], TEMPLATE, plain, encryptedByDefault=True) != []


def test_policies_carry_what_their_rules_say() -> None:
    """Level, remedy and source reach the engine; a rule that judges nothing is refused."""
    for rule in RULES:
        made = policy(rule)
        assert made.enforcement_level == EnforcementLevel(rule.level)
        assert (made.url, made.remediation_steps) == (rule.source, rule.remedy)
    with pytest.raises(TypeError, match="judges nothing"):
        policy(dataclasses.replace(RULES[0], judge=None))
