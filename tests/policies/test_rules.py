import dataclasses
from typing import Any

import pytest
from asked import (
    ADDON,
    ADMINISTRATOR,
    CLUSTER,
    DAEMON_SET,
    INSTANCE,
    LOGS,
    NAMED,
    NODE_GROUP,
    OF_NODES,
    ROOT,
    SERVED,
    SGP,
    STANDARD,
    STRICT,
    TEMPLATE,
    add_on,
    allowing,
    cache,
    cni,
    in_yaml,
    mirrored,
    objections,
    selecting,
    statement,
    workload,
)
from eks_dns_policies import RULES
from eks_dns_policies.rule import policy
from pulumi_policy import EnforcementLevel


def with_expression(selector: str, expression: dict[str, Any]) -> Any:
    """Return a selector of one expression."""
    return {selector: {"matchExpressions": [expression]}}


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
    ("pod-security-groups-standard-mode", ADDON, add_on("coredns", **STRICT), cni(ENABLE_POD_ENI="t")),
    ("security-group-policy-spares-coredns", SGP, selecting(groups=5, **SERVED), selecting(groups=6, **SERVED)),
    ("security-group-policy-spares-coredns", SGP, selecting(groups=1, **SERVED), selecting(groups=0, **SERVED)),
    ("security-group-policy-spares-coredns", SGP, selecting(**SERVED), {"metadata": {}, "spec": SERVED}),
    *(
        (
            "security-group-policy-spares-coredns", SGP,
            selecting(namespace="kube-system", **with_expression(key, well)),
            selecting(namespace="kube-system", **with_expression(key, ill)),
        )
        for key in ("podSelector", "serviceAccountSelector")
        for well, ill in (
            ({"key": "k8s-app", "operator": "In", "values": ["web"]},
             {"key": "k8s-app", "operator": "In", "values": ["web", "kube-dns"]}),
            ({"key": "k8s-app", "operator": "DoesNotExist"}, {"key": "role", "operator": "DoesNotExist"}),
            ({"key": "role", "operator": "Exists"}, {"key": "role", "operator": "NotIn", "values": ["api"]}),
        )
    ),
    (
        "security-group-policy-spares-coredns", SGP,
        selecting(namespace="kube-system", podSelector={"matchLabels": {"k8s-app": "kube-dns", "role": "api"}}),
        selecting(namespace="kube-system", podSelector={"matchLabels": {"k8s-app": "kube-dns"}}),
    ),
    (
        "node-local-dns-survives-its-crash", DAEMON_SET,
        mirrored("-localip", "169.254.20.10", "--setupiptables=false"), mirrored("-localip=169.254.20.10"),
    ),
    (
        "node-local-dns-survives-its-crash", DAEMON_SET,
        mirrored("-localipvs"), mirrored("--localip", "169.254.20.10", "-setupiptables=falsely"),
    ),
    ("add-ons-pinned", ADDON, cni(), {**cni(), "addonVersion": "v1.23-eksbuild.1"}),
    ("add-ons-pinned", ADDON, cni(), {**cni(), "addonVersion": "v1.23.1-eksbuild.1-rc"}),
    (
        "external-snat-with-pod-security-groups", ADDON,
        cni(**STRICT), cni(**STANDARD, AWS_VPC_K8S_CNI_EXTERNALSNAT="false"),
    ),
    ("external-snat-with-pod-security-groups", ADDON, cni(**{**STANDARD, "ENABLE_POD_ENI": "no"}), cni(**STANDARD)),
    *(
        ("images-pinned", DAEMON_SET, workload("r.example/a:v2"), workload("r.example/a:v2", f"r.example/a:{tag}"))
        for tag in ("latest", "stable", "main", "master")
    ),
    ("images-pinned", DAEMON_SET, workload("r.example/a:" + "9" * 128), workload("r.example/a:" + "9" * 129)),
    ("images-pinned", DAEMON_SET, workload(f"a@sha256:{'0' * 64}"), workload(f"a@sha256:{'0' * 63}")),
    (
        "images-pinned", "kubernetes:core/v1:Pod",
        {"spec": {"initContainers": [{"name": "a", "image": "a:1"}]}},
        {"spec": {"initContainers": [{"name": "a", "image": "a"}]}},
    ),
    (
        "endpoint-restricted", CLUSTER,
        {"vpcConfig": {"publicAccessCidrs": ["10.0.0.0/8"]}},
        {"vpcConfig": {"publicAccessCidrs": ["203.0.113.0/24", "10.0.0.0/7"]}},
    ),
    (
        "secrets-encrypted", CLUSTER,
        {"encryptionConfig": {"resources": ["secrets"]}}, {"encryptionConfig": {"resources": ["pods"]}},
    ),
    *(
        (
            "control-plane-logs", CLUSTER,
            {"enabledClusterLogTypes": LOGS}, {"enabledClusterLogTypes": [each for each in LOGS if each != missing]},
        )
        for missing in LOGS
    ),
    ("logs-end", "aws:cloudwatch/logGroup:LogGroup", {"retentionInDays": 1}, {"name": "all", "retentionInDays": 0}),
    (
        "instance-metadata-v2", TEMPLATE,
        {"metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1}},
        {"metadataOptions": {"httpTokens": "optional", "httpPutResponseHopLimit": 1}},
    ),
    (
        "volumes-encrypted", TEMPLATE,
        {"blockDeviceMappings": [{"deviceName": "a", "noDevice": ""}, {"ebs": {"encrypted": "True"}}]},
        {"blockDeviceMappings": [{"ebs": {"encrypted": True}}, {"deviceName": "b", "ebs": {"encrypted": False}}]},
    ),
    (
        "volumes-encrypted", INSTANCE,
        {"rootBlockDevice": {"encrypted": True}, "ebsBlockDevices": [{"encrypted": True}]},
        {"ebsBlockDevices": [{"encrypted": True}]},
    ),
    *(
        (
            "iam-without-wildcards", f"aws:iam/{kind}",
            {"policyArn": OF_NODES}, {"policyArn": f"arn:aws:iam::aws:policy/{name}"},
        )
        for kind in (
            "policyAttachment:PolicyAttachment", "rolePolicyAttachment:RolePolicyAttachment",
            "userPolicyAttachment:UserPolicyAttachment", "groupPolicyAttachment:GroupPolicyAttachment",
        )
        for name in ("AdministratorAccess", "PowerUserAccess", "IAMFullAccess")
    ),
    (
        "iam-without-wildcards", "aws:iam/rolePolicyAttachmentsExclusive:RolePolicyAttachmentsExclusive",
        {"policyArns": [OF_NODES]}, {"policyArns": [OF_NODES, ADMINISTRATOR]},
    ),
    *(
        ("iam-without-wildcards", f"aws:iam/{kind}", allowing(f"s3:{reads}*"), allowing(f"s3:{reads}*:*"))
        for kind in ("userPolicy:UserPolicy", "groupPolicy:GroupPolicy")
        for reads in ("BatchGet", "Describe", "Get", "List", "Lookup", "Search", "View")
    ),
    ("iam-without-wildcards", "aws:iam/policy:Policy", allowing("s3:*", "arn:aws:s3:::a/*"), allowing("s3:Put?bject")),
    ("iam-without-wildcards", "aws:iam/policy:Policy", {"policy": ""}, allowing("s3:*", "arn:aws:s3:::?")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kind", "good", "bad"), CASES)
def test_rule_passes_what_is_right_and_says_what_is_not(
    name: str, kind: str, good: dict[str, Any], bad: dict[str, Any]
) -> None:
    """Each rule has a passing and a failing case, and its message carries the reason, the remedy and the source."""
    rule = NAMED[name]
    assert objections(rule, kind, good) == []
    [message] = objections(rule, kind, bad)
    assert all(part in message for part in (rule.reason, rule.remedy, rule.source, rule.name))


def test_the_documentation_lists_the_rules() -> None:
    """A reader finds every rule with its level, what it demands and what can be configured."""
    documented = (ROOT / "docs" / "delivery.md").read_text()
    for rule in RULES:
        settings = ", ".join(f"`{key}`" for key in rule.configuration)
        assert f"| `{rule.name}` | {rule.level} | {rule.demand} | {settings} |\n" in documented
    assert documented.count(" | mandatory | ") + documented.count(" | advisory | ") == len(RULES)


def test_every_rule_has_a_case() -> None:
    """No rule about a resource is there that nothing tests."""
    assert {case[0] for case in CASES} == {each.name for each in RULES if each.judge}


def test_settings_of_a_rule_have_defaults_and_can_be_changed() -> None:
    """A pack's configuration goes over the defaults, setting by setting."""
    tagged = workload("r.example/a:1.2")
    assert objections(NAMED["images-pinned"], DAEMON_SET, tagged) == []
    assert objections(NAMED["images-pinned"], DAEMON_SET, tagged, digestOnly=True) != []
    two_hops = {"metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 2}}
    assert objections(NAMED["instance-metadata-v2"], TEMPLATE, two_hops, hops=2) == []
    assert objections(NAMED["instance-metadata-v2"], TEMPLATE, two_hops, hops=1) != []
    assert objections(NAMED["instance-metadata-v2"], TEMPLATE, {}, requiredByDefault=True) == []
    weaker = {"metadataOptions": {"httpTokens": "optional"}}
    assert objections(NAMED["instance-metadata-v2"], TEMPLATE, weaker, requiredByDefault=True) != []
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
