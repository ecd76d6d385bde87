"""Rules about nodes."""

from collections.abc import Iterator, Mapping
from typing import Any

from eks_dns_policies.rule import Configuration, Resource, Rule

LAUNCH_TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
INSTANCE = "aws:ec2/instance:Instance"
NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
_TYPES = frozenset({LAUNCH_TEMPLATE, INSTANCE, NODE_GROUP})


def _judged_elsewhere(resource: Resource) -> bool:
    """Say whether a resource takes its machines' settings from a launch template, which is judged by itself."""
    return resource.type != LAUNCH_TEMPLATE and bool(resource.properties.get("launchTemplate"))


def _judge_metadata(resource: Resource, configuration: Configuration) -> Iterator[str]:
    if _judged_elsewhere(resource):
        return
    if resource.type == NODE_GROUP:
        yield "The node group has no launch template: EKS makes one whose metadata answers travel 2 hops, into pods."
        return
    what = "launch template" if resource.type == LAUNCH_TEMPLATE else "instance"
    options = resource.properties.get("metadataOptions") or {}
    if options.get("httpEndpoint") == "disabled":
        return
    tokens = options.get("httpTokens")
    if tokens is None and not configuration["requiredByDefault"]:
        yield f"The {what} leaves it to its image and the account whether instance metadata has a version 1."
    elif tokens not in {None, "required"}:
        yield f"The {what} allows version 1 of the instance metadata service."
    hops = int(options.get("httpPutResponseHopLimit") or 1)
    if hops > configuration["hops"]:
        yield f"The {what} lets metadata answers travel {hops} hops, into pods."


def _judge_volumes(resource: Resource, configuration: Configuration) -> Iterator[str]:
    if _judged_elsewhere(resource):
        return
    properties = resource.properties
    if resource.type == NODE_GROUP:
        volumes: list[tuple[str, Mapping[str, Any]]] = []
    elif resource.type == INSTANCE:
        volumes = [(str(each.get("deviceName")), each) for each in properties.get("ebsBlockDevices") or ()]
        if root := properties.get("rootBlockDevice"):
            volumes.append(("of the root", root))
    else:
        mappings = [each for each in properties.get("blockDeviceMappings") or () if "ebs" in each]
        volumes = [(str(each.get("deviceName")), each["ebs"] or {}) for each in mappings]
    silent = not volumes if resource.type != INSTANCE else not properties.get("rootBlockDevice")
    if silent and not configuration["encryptedByDefault"]:
        yield "Nothing says that the volume of the root is encrypted."
    for name, volume in volumes:
        said = volume.get("encrypted")
        if str(said).lower() != "true" and not (said is None and configuration["encryptedByDefault"]):
            yield f"The volume {name} is not encrypted."


RULES = (
    Rule(
        name="instance-metadata-v2",
        level="mandatory",
        demand="Nodes answer only version 2 of the instance metadata service, and only themselves.",
        reason="A pod that can be made to fetch a URL would get the node's credentials.",
        remedy="Set httpTokens to required and httpPutResponseHopLimit to 1, of node groups in a launch template; or "
        "require tokens in the whole account, and set this rule's requiredByDefault.",
        source="https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html",
        types=_TYPES,
        judge=_judge_metadata,
        configuration={
            "hops": {"type": "integer", "minimum": 1, "maximum": 64, "default": 1},
            "requiredByDefault": {"type": "boolean", "default": False},
        },
    ),
    Rule(
        name="volumes-encrypted",
        level="mandatory",
        demand="Volumes of nodes are encrypted.",
        reason="Snapshots and discarded disks would hold what pods wrote in the clear.",
        remedy="Set encrypted to true for each volume, the root's too, of node groups in a launch template; or encrypt "
        "all of the account's by default, and set this rule's encryptedByDefault.",
        source="https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption.html",
        types=_TYPES,
        judge=_judge_volumes,
        configuration={"encryptedByDefault": {"type": "boolean", "default": False}},
    ),
)
