"""Typed settings of the VPC CNI add-on, and the JSON that EKS takes.

EKS' schema for the add-on is closed and its values are strings; EKS keeps the text as it is given, so it has
to be the same text every time.
"""

import json
from typing import Any, Literal

from components.setting import Setting

EnforcingMode = Literal["standard", "strict"]


class VpcCniSettings(Setting):
    """How the VPC CNI gives pods their network."""

    manage: bool = False
    """For a cluster that `source` names: take over its vpc-cni, add-on or not, and set `podEni` and
    `podSecurityGroupEnforcingMode` in its configuration; every other value stays as it is, and the add-on stays
    when this stack goes. Of a cluster made here all of vpc-cni is managed, always."""

    pod_eni: bool = True
    """Give pods that a SecurityGroupPolicy selects a branch network interface of their own (ENABLE_POD_ENI).
    Has to be on before nodes start: a node gets its trunk interface when it boots."""

    pod_security_group_enforcing_mode: EnforcingMode = "standard"
    """Where a pod's security group is enforced (POD_SECURITY_GROUP_ENFORCING_MODE). `standard` lets such a pod
    reach its own node, and with it the node's DNS cache; `strict`, the CNI's own default, cuts it off. Pods keep
    the mode they were created with until they are recreated."""

    external_snat: bool = False
    """Leave address translation of traffic out of the VPC to a NAT gateway (AWS_VPC_K8S_CNI_EXTERNALSNAT). If
    off, in standard mode such traffic leaves by the node's interface under the node's security group."""

    prefix_delegation: bool = False
    """Give nodes /28 prefixes instead of single addresses, for more pods a node (ENABLE_PREFIX_DELEGATION)."""

    network_policy: bool = False
    """Enforce Kubernetes NetworkPolicies in the CNI (enableNetworkPolicy)."""

    disable_tcp_early_demux: bool = False
    """Needed only in strict mode, for kubelet's TCP probes (DISABLE_TCP_EARLY_DEMUX, on the init container)."""

    log_level: Literal["DEBUG", "INFO", "WARN", "ERROR"] = "INFO"
    """How much the CNI logs (AWS_VPC_K8S_CNI_LOGLEVEL and AWS_VPC_K8S_PLUGIN_LOG_LEVEL)."""


def _boolean(value: bool) -> str:  # noqa: FBT001  # a converter of one value
    return "true" if value else "false"


def vpc_cni_configuration(settings: VpcCniSettings) -> dict[str, Any]:
    """Return the add-on's configuration: only keys of its schema, only string values."""
    return {
        "enableNetworkPolicy": _boolean(settings.network_policy),
        "env": {
            "AWS_VPC_K8S_CNI_EXTERNALSNAT": _boolean(settings.external_snat),
            "AWS_VPC_K8S_CNI_LOGLEVEL": settings.log_level,
            "AWS_VPC_K8S_PLUGIN_LOG_LEVEL": settings.log_level,
            "ENABLE_POD_ENI": _boolean(settings.pod_eni),
            "ENABLE_PREFIX_DELEGATION": _boolean(settings.prefix_delegation),
            "POD_SECURITY_GROUP_ENFORCING_MODE": settings.pod_security_group_enforcing_mode,
        },
        "init": {"env": {"DISABLE_TCP_EARLY_DEMUX": _boolean(settings.disable_tcp_early_demux)}},
    }


def configuration_json(configuration: dict[str, Any]) -> str:
    """Return the one text of a configuration: sorted keys, no white space, no line end.

    EKS and every tool compare configurations as strings; two texts of one meaning would be a difference in every
    preview.
    """
    return json.dumps(configuration, sort_keys=True, separators=(",", ":"))
