"""Rules about EKS add-ons."""

import re
from collections.abc import Iterator

from eks_dns_policies.rule import Configuration, Resource, Rule
from eks_dns_policies.security_groups_for_pods import ADDON, MODE, POD_ENI, cni_environment, is_on

_VERSION = re.compile(r"v\d+\.\d+\.\d+-eksbuild\.\d+")


def _judge_pinned(resource: Resource, _configuration: Configuration) -> Iterator[str]:
    version = resource.properties.get("addonVersion")
    if not version or not _VERSION.fullmatch(version):
        yield f"The add-on {resource.properties.get('addonName')} has the version {version or '(none)'}."


def _judge_snat(resource: Resource, _configuration: Configuration) -> Iterator[str]:
    environment = cni_environment(resource)
    if environment is None or not is_on(environment, POD_ENI) or environment.get(MODE) != "standard":
        return
    if not is_on(environment, "AWS_VPC_K8S_CNI_EXTERNALSNAT"):
        yield "Pods with a security group leave the VPC by the node's interface under the node's security group."


RULES = (
    Rule(
        name="add-ons-pinned",
        level="mandatory",
        demand="Every EKS add-on has a pinned version.",
        reason="Without one EKS chooses, and two previews of one commit differ.",
        remedy="Write a version like v1.23.1-eksbuild.1; `aws eks describe-addon-versions` lists them.",
        source="https://docs.aws.amazon.com/eks/latest/userguide/updating-an-add-on.html",
        types=frozenset({ADDON}),
        judge=_judge_pinned,
    ),
    Rule(
        name="external-snat-with-pod-security-groups",
        level="advisory",
        demand="In standard mode traffic out of the VPC is translated outside the node.",
        reason="The pod's own group does not decide about such traffic then.",
        remedy="Set AWS_VPC_K8S_CNI_EXTERNALSNAT to true (here: vpcCni.externalSnat) where subnets have a NAT gateway.",
        source="https://docs.aws.amazon.com/eks/latest/best-practices/sgpp.html",
        types=frozenset({ADDON}),
        judge=_judge_snat,
    ),
)
