"""Resources as the engine shows them to policies, and what the policies say."""

import copy
import json
from pathlib import Path
from typing import Any

from eks_dns_policies import RULES, Rule
from eks_dns_policies.rule import policy
from pulumi_policy import (
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


def add_on(name: str, **environment: str) -> dict[str, Any]:
    """Return another add-on with the CNI's environment."""
    return {**cni(**environment), "addonName": name}


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


def mirrored(*arguments: str) -> dict[str, Any]:
    """Return a DaemonSet whose image tells nothing, with these arguments."""
    made = workload("mirror.example/dns:1")
    made["spec"]["template"]["spec"]["containers"][0]["args"] = list(arguments)
    return made


def selecting(*, groups: int = 1, namespace: str = "shop", **selector: Any) -> dict[str, Any]:
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


def objections(rule: Rule, kind: str, properties: dict[str, Any], *, stack: str = "dev", **config: Any) -> list[str]:
    """Return what the policy made of the rule reports, as the engine would ask it."""
    found: list[str] = []
    args = ResourceValidationArgs(
        resource_type=kind, props=unknown_checking_proxy(properties), urn=f"urn:pulumi:{stack}::p::{kind}::one",
        name="one", opts=OPTIONS, provider=None, config=config,
    )  # fmt: skip
    policy(rule).validate(args, lambda message, _urn=None: found.append(message))  # type: ignore[attr-defined]
    return found


def resource(
    kind: str, name: str, properties: dict[str, Any], *, stack: str = "dev", protect: bool = False,
    cluster: str = "", **sources: PolicyResource | list[PolicyResource],
) -> PolicyResource:  # fmt: skip
    """Return a resource of a stack, what its properties come from, and the cluster its provider talks to."""
    told = cluster if cluster == UNKNOWN_STRING_VALUE else f"args: [--cluster-name, {cluster}]"
    provider = PolicyProviderResource(
        "pulumi:providers:kubernetes", unknown_checking_proxy({"kubeconfig": told}), "", "provider"
    )
    from_others = {key: each if isinstance(each, list) else [each] for key, each in sources.items()}
    return PolicyResource(
        resource_type=kind, props=unknown_checking_proxy(properties), urn=f"urn:pulumi:{stack}::p::{kind}::{name}",
        name=name, opts=protecting(OPTIONS, protect), provider=provider if cluster else None, parent=None,
        dependencies=[each for listed in from_others.values() for each in listed],
        property_dependencies=from_others,
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
