"""Rules that see a whole stack: each with stacks that pass and stacks that do not, at their boundary."""

from typing import Any

import pytest
from asked import (
    ADDON,
    CLUSTER,
    DAEMON_SET,
    EGRESS,
    GROUP,
    INGRESS,
    KEY,
    NAMED,
    RULE,
    SERVED,
    SGP,
    STANDARD,
    STRICT,
    cache,
    cni,
    mirrored,
    resource,
    selecting,
    stack_objections,
    workload,
)
from eks_dns_policies import RULES
from eks_dns_policies.rule import Resource
from pulumi_policy import PolicyResource
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE

UNKNOWN = UNKNOWN_STRING_VALUE
OFF = {"ENABLE_POD_ENI": "false"}
WITH_STRICT, NEEDS_ENI = "node-local-dns-not-with-strict", "security-group-policy-needs-pod-eni"
KEEPS, UNSEEN = "security-group-policy-keeps-dns", "security-group-policy-dns-unseen"
REACHES, PROTECTED = "security-group-policy-reaches-coredns", "production-protected"


def the_cni(environment: dict[str, str], cluster: str = "one") -> PolicyResource:
    """Return the add-on of a cluster."""
    return resource(ADDON, f"cni-of-{cluster}", {**cni(**environment), "clusterName": cluster})


def a_cache(properties: dict[str, Any] | None = None, cluster: str = "") -> PolicyResource:
    """Return a node-local cache, in a cluster that its provider names."""
    return resource(DAEMON_SET, "cache", properties or cache("-localip", "169.254.20.10"), cluster=cluster)


def named(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest of another name."""
    return {**properties, "metadata": {"name": name}}


def a_policy(groups: int = 1, cluster: str = "", **sources: Any) -> PolicyResource:
    """Return a SecurityGroupPolicy."""
    return resource(SGP, "policy", selecting(groups=groups, **SERVED), cluster=cluster, **sources)


OURS, OTHER = resource(GROUP, "group", {"id": "sg-0"}), resource(GROUP, "other", {"id": "sg-9"})
NEW = resource(GROUP, "group", {"id": UNKNOWN})
THE_CLUSTER = resource(CLUSTER, "cluster", {"name": "one"})


def out(protocol: str, first: int = 53, last: int = 53, group: PolicyResource = OURS, **more: Any) -> PolicyResource:
    """Return an egress rule."""
    properties = {"ipProtocol": protocol, "fromPort": first, "toPort": last}
    return resource(EGRESS, f"{protocol}-{first}", properties, securityGroupId=group, **more)


def older(kind: str, protocol: str = "-1", first: int = 0, last: int = 0, **sources: Any) -> PolicyResource:
    """Return a rule of the older type."""
    properties = {"type": kind, "protocol": protocol, "fromPort": first, "toPort": last}
    return resource(RULE, f"{kind}-{protocol}", properties, **sources)


def let_in(protocol: str, group: PolicyResource | None, first: int = 53, last: int = 53, **more: Any) -> PolicyResource:
    """Return an ingress rule at CoreDNS."""
    properties = {"ipProtocol": protocol, "fromPort": first, "toPort": last, **more}
    if group is None:
        return resource(INGRESS, f"{protocol}-{first}", properties)
    return resource(INGRESS, f"{protocol}-{first}", properties, referencedSecurityGroupId=group)


def inside(*protocols: str, key: str = "egress") -> PolicyResource:
    """Return a group with its rules in itself."""
    rules = [{"protocol": each, "fromPort": 53, "toPort": 53} for each in protocols]
    return resource(GROUP, "group", {"id": "sg-0", key: rules})


BOTH_MISSING = "No security group of this policy lets DNS out over udp and tcp (port 53)."
TCP_MISSING = "No security group of this policy lets DNS out over tcp (port 53)."
NOT_LET_IN = "Nothing in this stack lets the pods of this policy in at CoreDNS over udp and tcp (port 53)."
ENI_OFF = "A SecurityGroupPolicy is there while the CNI's ENABLE_POD_ENI is off."
BESIDE_STRICT = "Node-local DNS is installed while the CNI's POD_SECURITY_GROUP_ENFORCING_MODE is strict."
USED = a_policy(spec=OURS)
WITH_KEY_A = {"encryptionConfig": {"provider": {"keyArn": "a"}}}


def cannot_see(missing: str, groups: str) -> str:
    """Return what is said where the groups of the stack let no DNS out, and others might."""
    return (
        f"This policy's groups in this stack do not let DNS out over {missing} (port 53), and {groups} cannot be "
        "looked into from here."
    )


# By rule: a stack, and what is said of its resource, if anything.
ROWS: dict[str, list[tuple[list[PolicyResource], str]]] = {
    WITH_STRICT: [
        ([the_cni(STANDARD), a_cache()], ""),
        ([the_cni(STRICT), a_cache()], BESIDE_STRICT),
        ([the_cni({"ENABLE_POD_ENI": "true"}), a_cache()], BESIDE_STRICT),
        ([the_cni({}), a_cache()], ""),
        ([the_cni(OFF), a_cache()], ""),
        ([a_cache()], ""),
        # Which workload is a cache: by its arguments, by its image wherever it is mirrored, by its name.
        ([the_cni(STRICT), a_cache(workload("r.example/else:1"))], ""),
        ([the_cni(STRICT), a_cache(workload("mirror.example/k8s-dns-node-cache:1"))], BESIDE_STRICT),
        ([the_cni(STRICT), a_cache(workload("mirror.example/node-cache/else:1"))], ""),
        ([the_cni(STRICT), a_cache(mirrored("-localip", "169.254.20.10"))], BESIDE_STRICT),
        ([the_cni(STRICT), a_cache(mirrored("--localip=169.254.20.10"))], BESIDE_STRICT),
        ([the_cni(STRICT), a_cache(mirrored("-local", "169.254.20.10"))], ""),
        ([the_cni(STRICT), a_cache(named("nodelocaldns", workload("mirror.example/dns:1")))], BESIDE_STRICT),
        ([the_cni(STRICT), a_cache(named("my-node-local-dns-cache", workload("mirror.example/dns:1")))], BESIDE_STRICT),
        ([the_cni(STRICT), a_cache(named("node-local-dns-dashboard", workload("mirror.example/web:1")))], ""),
        ([the_cni(STRICT), a_cache({"metadata": {"name": "node-local-dns"}, "spec": UNKNOWN})], BESIDE_STRICT),
        ([the_cni(STRICT), a_cache({"metadata": {"name": "else"}, "spec": UNKNOWN})], ""),
        ([the_cni(STRICT), resource("kubernetes:apps/v1:Deployment", "cache", cache("-localip", "1.2.3.4"))], ""),
        # Whose CNI counts: that of the cache's own cluster, and of a cluster elsewhere nothing is known.
        ([the_cni(STANDARD), the_cni(STRICT, "one-strict"), a_cache(cluster="one")], ""),
        ([the_cni(STANDARD), the_cni(STRICT, "one-strict"), a_cache(cluster="one-strict")], BESIDE_STRICT),
        ([the_cni(STANDARD), the_cni(STRICT, "two"), a_cache()], ""),
        ([the_cni(STRICT), the_cni(STRICT, "two"), a_cache()], BESIDE_STRICT),
        ([the_cni(STRICT), a_cache(cluster="another")], ""),
        ([the_cni(STRICT), a_cache(cluster=UNKNOWN)], BESIDE_STRICT),
        ([the_cni(STRICT, UNKNOWN), a_cache(cluster="another")], BESIDE_STRICT),
    ],
    NEEDS_ENI: [
        ([the_cni(STANDARD), a_policy()], ""),
        ([the_cni(OFF), a_policy()], ENI_OFF),
        ([the_cni({}), a_policy()], ENI_OFF),
        ([the_cni({}), the_cni({}, "two"), a_policy()], ENI_OFF),
        ([a_policy()], ""),
        ([the_cni(OFF), a_policy(cluster="another")], ""),
        ([the_cni(OFF), the_cni(STANDARD, "two"), a_policy(cluster="two")], ""),
        ([the_cni(OFF), the_cni(STANDARD, "two"), a_policy(cluster="one")], ENI_OFF),
        ([the_cni(OFF), the_cni(STANDARD, "two"), a_policy()], ""),
        ([the_cni(OFF), resource(DAEMON_SET, "policy", workload("a:1"))], ""),
    ],
    KEEPS: [
        ([OURS, USED, out("udp"), out("tcp")], ""),
        ([OURS, USED, out("-1", 0, 0)], ""),
        ([OURS, USED, out("17"), out("6")], ""),
        ([OURS, USED, out("UDP"), out("TCP")], ""),
        ([OURS, USED], BOTH_MISSING),
        ([OURS, USED, out("icmp")], BOTH_MISSING),
        ([OURS, USED, out("udp")], TCP_MISSING),
        ([OURS, USED, out("udp"), out("tcp", 53, 65535)], ""),
        ([OURS, USED, out("udp"), out("tcp", 54, 65535)], TCP_MISSING),
        ([OURS, USED, out("udp"), out("tcp", 0, 53)], ""),
        ([OURS, USED, out("udp"), out("tcp", 0, 52)], TCP_MISSING),
        # Whose rules count: of the group itself, and those that let out.
        ([OURS, OTHER, USED, out("-1", group=OTHER, referencedSecurityGroupId=OURS)], BOTH_MISSING),
        ([OURS, OTHER, USED, out("-1", referencedSecurityGroupId=OTHER)], ""),
        ([OURS, USED, older("egress", securityGroupId=OURS)], ""),
        ([OURS, USED, older("egress", "all", securityGroupId=OURS)], ""),
        ([OURS, USED, older("ingress", securityGroupId=OURS)], BOTH_MISSING),
        ([OURS, OTHER, USED, older("egress", securityGroupId=OTHER, sourceSecurityGroupId=OURS)], BOTH_MISSING),
        ([OURS, USED, let_in("-1", OURS)], BOTH_MISSING),
        ([inside("udp", "tcp"), USED], ""),
        ([inside("udp"), USED], TCP_MISSING),
        ([inside("udp", "tcp", key="ingress"), USED], BOTH_MISSING),
        # Of two groups of this stack either may let DNS out.
        ([OURS, OTHER, a_policy(groups=2, spec=[OURS, OTHER]), out("udp"), out("tcp", group=OTHER)], ""),
        ([OURS, OTHER, a_policy(groups=2, spec=[OURS, OTHER]), out("udp")], TCP_MISSING),
        # What is not in the stack is not judged.
        ([OURS, a_policy(groups=2, spec=OURS)], ""),
        ([OURS, THE_CLUSTER, a_policy(groups=2, spec=[OURS, THE_CLUSTER])], ""),
        ([a_policy()], ""),
        ([OURS, resource(SGP, "policy", {"metadata": {}, "spec": UNKNOWN}, spec=OURS)], ""),
        ([OURS, resource(DAEMON_SET, "policy", {}, spec=OURS)], ""),
        ([NEW, resource(SGP, "policy", {"spec": {"securityGroups": {"groupIds": [UNKNOWN]}}}, spec=NEW)], BOTH_MISSING),
    ],
    UNSEEN: [
        ([OURS, USED], ""),
        ([OURS, a_policy(groups=2, spec=OURS)],
         cannot_see("udp and tcp", "sg-1")),
        ([OURS, a_policy(groups=3, spec=OURS), out("udp")],
         cannot_see("tcp", "sg-1, sg-2")),
        ([OURS, a_policy(groups=2, spec=OURS), out("-1")], ""),
        ([OURS, THE_CLUSTER, a_policy(groups=2, spec=[OURS, THE_CLUSTER])], ""),
        ([a_policy(groups=2)], ""),
        ([NEW, resource(SGP, "policy", {"spec": {"securityGroups": {"groupIds": [UNKNOWN, UNKNOWN]}}}, spec=NEW)],
         cannot_see("udp and tcp", "1 more")),
    ],
    REACHES: [
        ([OURS, USED, let_in("udp", OURS), let_in("tcp", OURS)], ""),
        ([OURS, USED], NOT_LET_IN),
        ([OURS, OTHER, USED, let_in("-1", OTHER)], NOT_LET_IN),
        ([OURS, USED, let_in("-1", None, cidrIpv4="10.0.0.0/8")], ""),
        ([OURS, USED, let_in("-1", None, cidrIpv6="2001:db8::/32")], ""),
        ([OURS, USED, let_in("-1", None, prefixListId="pl-1")], ""),
        ([OURS, USED, let_in("-1", None)], NOT_LET_IN),
        ([OURS, USED, let_in("tcp", OURS, 52, 53), let_in("udp", OURS, 53, 54)], ""),
        ([OURS, USED, older("ingress", sourceSecurityGroupId=OURS)], ""),
        ([OURS, USED, older("egress", sourceSecurityGroupId=OURS)], NOT_LET_IN),
        ([OURS, USED, resource(RULE, "r", {"type": "ingress", "protocol": "-1", "cidrBlocks": ["10.0.0.0/8"]})], ""),
        ([OURS, USED, resource(RULE, "r", {"type": "ingress", "protocol": "-1", "prefixListIds": ["pl-1"]})], ""),
        ([OURS, USED, resource(RULE, "r", {"type": "egress", "protocol": "-1", "cidrBlocks": ["10.0.0.0/8"]})],
         NOT_LET_IN),
        ([OURS, a_policy(groups=2, spec=OURS)], ""),
    ],
    PROTECTED: [
        ([resource(CLUSTER, "cluster", {}, stack="prod", protect=True)], ""),
        ([resource(CLUSTER, "cluster", {}, stack="prod")], "Cluster is not protected in the stack prod."),
        ([resource(CLUSTER, "cluster", {}, stack="dev")], ""),
        ([resource(KEY, "key", {}, stack="prod")], ""),
        ([resource(KEY, "key", {"arn": "a"}, stack="prod"),
          resource(CLUSTER, "cluster", WITH_KEY_A, stack="prod", protect=True)],
         "Key is not protected in the stack prod."),
        ([resource(KEY, "key", {"arn": "b"}, stack="prod"),
          resource(CLUSTER, "cluster", WITH_KEY_A, stack="prod", protect=True)],
         ""),
        ([resource(KEY, "key", {"arn": UNKNOWN}, stack="prod"),
          resource(CLUSTER, "cluster", {}, stack="prod", protect=True)], ""),
        ([resource(KEY, "key", {}, stack="prod"), resource(CLUSTER, "cluster", {}, stack="prod", protect=True,
                                                           encryptionConfig=resource(KEY, "key", {}, stack="prod"))],
         "Key is not protected in the stack prod."),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "stack", "said"),
    [pytest.param(rule, *row, id=f"{rule} {number}") for rule, rows in ROWS.items() for number, row in enumerate(rows)],
)
def test_what_is_said_of_a_stack(rule: str, stack: list[PolicyResource], said: str) -> None:
    """The objection, with reason, remedy and source; or none."""
    found = [message for _where, message in stack_objections(rule, *stack)]
    assert found == ([NAMED[rule].message(said)] if said else [])


def test_every_rule_about_a_stack_has_stacks_on_both_sides() -> None:
    """No rule is there that nothing tests, and none that objects to everything or nothing."""
    assert set(ROWS) == {each.name for each in RULES if each.judge_stack}
    assert all({bool(said) for _stack, said in rows} == {True, False} for rows in ROWS.values())


@pytest.mark.parametrize("rule", [WITH_STRICT, NEEDS_ENI, KEEPS, UNSEEN, REACHES, PROTECTED])
def test_the_resource_is_named(rule: str) -> None:
    """An objection is about the resource that has to be changed."""
    (stack,) = [stack for stack, said in ROWS[rule] if said][:1]
    [(where, _message)] = stack_objections(rule, *stack)
    assert where == {WITH_STRICT: "cache", PROTECTED: "cluster"}.get(rule, "policy")


@pytest.mark.parametrize(
    ("stack", "refused"),
    [
        ("prod", True), ("production-eu", True), ("eu-prod", True), ("Prod2", True), ("eu.prod.one", True),
        ("dev", False), ("reproduce", False), ("product", False), ("nonprod", False),
    ],
)  # fmt: skip
def test_production_has_to_be_protected(stack: str, *, refused: bool) -> None:
    """Only stacks whose name says so have to protect the cluster, and the key of its Secrets; no other key."""
    key, other = resource(KEY, "key", {}, stack=stack), resource(KEY, "other", {}, stack=stack)
    cluster = resource(CLUSTER, "one", {}, stack=stack, encryptionConfig=key)
    found = stack_objections(PROTECTED, key, other, cluster)
    assert [where for where, _message in found] == (["key", "one"] if refused else [])


def test_which_stacks_are_production_can_be_said() -> None:
    """By a pattern of one's own."""
    judge = NAMED[PROTECTED].judge_stack
    assert judge is not None
    seen = [Resource(type=CLUSTER, properties={}, urn="urn:pulumi:live::p::aws:eks/cluster:Cluster::one")]
    assert list(judge(seen, NAMED[PROTECTED].configured({}))) == []
    assert len(list(judge(seen, NAMED[PROTECTED].configured({"stacks": "^live$"})))) == 1
