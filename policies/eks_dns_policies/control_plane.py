"""Rules about the EKS control plane."""

import ipaddress
import re
from collections.abc import Iterator, Sequence

from eks_dns_policies.rule import Configuration, Resource, Rule, known

CLUSTER = "aws:eks/cluster:Cluster"
KEY = "aws:kms/key:Key"
LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"


def _judge_endpoint(resource: Resource, configuration: Configuration) -> Iterator[str]:
    vpc = resource.properties.get("vpcConfig") or {}
    if vpc.get("endpointPublicAccess") is False:
        return
    cidrs = list(vpc.get("publicAccessCidrs") or ())
    if not cidrs:
        yield "The cluster's public endpoint names no networks, which means the whole internet."
    open_to = [cidr for cidr in cidrs if _prefix(cidr) < configuration["shortestPrefix"]]
    if open_to:
        yield f"The cluster's public endpoint is open to {', '.join(open_to)}."


def _prefix(cidr: str) -> int:
    """Return how many bits of a network are fixed: all of a single address, none of what is no network."""
    try:
        return ipaddress.ip_network(cidr, strict=False).prefixlen
    except ValueError:
        return 0


def _judge_encryption(resource: Resource, _configuration: Configuration) -> Iterator[str]:
    encryption = resource.properties.get("encryptionConfig") or {}
    if "secrets" not in (encryption.get("resources") or ()):
        yield "The cluster's Secrets are not encrypted with a key of yours."


def _judge_logs(resource: Resource, configuration: Configuration) -> Iterator[str]:
    missing = sorted(set(configuration["required"]) - set(resource.properties.get("enabledClusterLogTypes") or ()))
    if missing:
        yield f"The control plane does not log {', '.join(missing)}."


def _judge_retention(resource: Resource, _configuration: Configuration) -> Iterator[str]:
    if not resource.properties.get("retentionInDays"):
        yield f"The log group {resource.properties.get('name', '')} keeps its logs for ever."


def _judge_protection(resources: Sequence[Resource], configuration: Configuration) -> Iterator[tuple[str, str]]:
    clusters = [each for each in resources if each.type == CLUSTER]
    keys = {urn for each in clusters for urn in each.sources.get("encryptionConfig", ())}
    arns = {known(lambda each=each: each.properties["encryptionConfig"]["provider"]["keyArn"]) for each in clusters}
    arns.discard(None)
    for each in resources:
        of_a_cluster = each.type == KEY and (
            each.urn in keys or known(lambda each=each: each.properties["arn"]) in arns
        )
        if each.protected or not (each.type == CLUSTER or of_a_cluster):
            continue
        if re.search(configuration["stacks"], each.stack, re.IGNORECASE):
            yield each.urn, f"{each.type.rpartition(':')[2]} is not protected in the stack {each.stack}."


RULES = (
    Rule(
        name="endpoint-restricted",
        level="mandatory",
        demand="A public endpoint of the Kubernetes API names the networks it answers.",
        reason="Anybody on the internet could try the cluster's API.",
        remedy="Name the networks of your people and pipelines (here: cluster.publicAccessCidrs), or make it private.",
        source="https://docs.aws.amazon.com/eks/latest/userguide/cluster-endpoint.html",
        types=frozenset({CLUSTER}),
        judge=_judge_endpoint,
        configuration={"shortestPrefix": {"type": "integer", "minimum": 1, "maximum": 32, "default": 8}},
    ),
    Rule(
        name="secrets-encrypted",
        level="mandatory",
        demand="Kubernetes Secrets are encrypted with a KMS key.",
        reason="Whoever reads the control plane's storage could read them.",
        remedy="Give the cluster an encryptionConfig for secrets (pulumi-eks: encryptionConfigKeyArn).",
        source="https://docs.aws.amazon.com/eks/latest/best-practices/data-encryption-and-secrets-management.html",
        types=frozenset({CLUSTER}),
        judge=_judge_encryption,
    ),
    Rule(
        name="control-plane-logs",
        level="mandatory",
        demand="The control plane's logs are kept.",
        reason="After an incident nobody can say who did what.",
        remedy="Enable the log types (here: cluster.logTypes).",
        source="https://docs.aws.amazon.com/eks/latest/userguide/control-plane-logs.html",
        types=frozenset({CLUSTER}),
        judge=_judge_logs,
        configuration={
            "required": {"type": "array", "items": {"type": "string"}, "default": ["api", "audit", "authenticator"]}
        },
    ),
    Rule(
        name="logs-end",
        level="advisory",
        demand="A log group says how long it keeps its logs.",
        reason="They cost more every month, and keep personal data longer than you may.",
        remedy="Set retentionInDays (here: cluster.logRetentionDays).",
        source="https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/Working-with-log-groups-and-streams.html",
        types=frozenset({LOG_GROUP}),
        judge=_judge_retention,
    ),
    Rule(
        name="production-protected",
        level="mandatory",
        demand="In production the cluster and its key are protected from deletion.",
        reason="One wrong rename would replace the cluster, and without the key its Secrets are gone.",
        remedy="Set the resource option protect (here: cluster.deletionProtection: true).",
        source="https://www.pulumi.com/docs/iac/concepts/resources/options/protect/",
        judge_stack=_judge_protection,
        configuration={
            # prod, production, eu-prod, prod2: a word of its own anywhere in the stack's name.
            "stacks": {"type": "string", "format": "regex", "default": "(^|[^a-z])prod(uction)?([^a-z]|$)"}
        },
    ),
)
