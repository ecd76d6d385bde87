"""Taking a cluster's vpc-cni over: what is there is kept, and only our two values change.

The configuration of an EKS add-on is one text, so whoever changes two values of it has to write all the others again.
What somebody set on the DaemonSet itself (`kubectl set env`) goes into that text too: EKS is told to overwrite what
others own, because it would otherwise leave our values as they are wherever anybody else has ever applied them, and say
nothing. An aws-node that is no add-on is the same case with an empty text.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, cast

import yaml

from components.cluster.addon_configuration import VpcCniSettings, configuration_json, vpc_cni_configuration
from components.running_cluster.strict_pods import (
    AWS_NODE,
    MODE_VARIABLE,
    POD_ENI_VARIABLE,
    Manifest,
    entries,
    is_on,
    part,
)

OUR_VALUES = (POD_ENI_VARIABLE, MODE_VARIABLE)
"""Environment variables of aws-node that are ours to set."""

EXTERNAL_SNAT_VARIABLE = "AWS_VPC_K8S_CNI_EXTERNALSNAT"

_INIT = "aws-vpc-cni-init"
_AGENT = "aws-eks-nodeagent"

_INIT_DEFAULTS: Mapping[str, str] = {"DISABLE_TCP_EARLY_DEMUX": "false", "ENABLE_V6_EGRESS": "false"}
"""Variables of the init container that the add-on's schema has, likewise."""

_AGENT_ARGUMENTS: Mapping[str, tuple[str, str]] = {
    "--conntrack-cache-cleanup-period": ("conntrackCacheCleanupPeriod", "300"),
    "--enable-cloudwatch-logs": ("enableCloudWatchLogs", "false"),
    "--enable-policy-event-logs": ("enablePolicyEventLogs", "false"),
    "--health-probe-bind-addr": ("healthProbeBindAddr", "8163"),
    "--metrics-bind-addr": ("metricsBindAddr", "8162"),
}
"""Arguments of the network policy agent: the key of `nodeAgent` that sets one, and its default."""

_AGENT_ARGUMENTS_OF_THE_ADD_ON = frozenset({"--enable-ipv6", "--enable-network-policy", "--log-file", "--log-level"})
"""Arguments of the agent that the add-on sets itself, or by another key."""

_TOLERATIONS: list[Manifest] = [{"operator": "Exists"}]
_RESOURCES: Manifest = {"requests": {"cpu": "25m"}}
"""Defaults of the chart for the pod's tolerations and the main container's resources."""

_VERSION = re.compile(r":v?(\d+)\.(\d+)\.(\d+)")

_DEFAULTS: Mapping[str, str | None] = {
    "ADDITIONAL_ENI_TAGS": "{}",
    "ANNOTATE_POD_IP": "false",
    "AWS_EC2_ENDPOINT": None,
    "AWS_EXTERNAL_SERVICE_CIDRS": None,
    "AWS_MANAGE_ENIS_NON_SCHEDULABLE": "false",
    "AWS_VPC_CNI_NODE_PORT_SUPPORT": "true",
    "AWS_VPC_ENI_MTU": "9001",
    "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG": "false",
    "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS": None,
    "AWS_VPC_K8S_CNI_EXTERNALSNAT": "false",
    "AWS_VPC_K8S_CNI_LOGLEVEL": "DEBUG",
    "AWS_VPC_K8S_CNI_LOG_FILE": "/host/var/log/aws-routed-eni/ipamd.log",
    "AWS_VPC_K8S_CNI_RANDOMIZESNAT": "prng",
    "AWS_VPC_K8S_CNI_VETHPREFIX": "eni",
    "AWS_VPC_K8S_PLUGIN_LOG_FILE": "/var/log/aws-routed-eni/plugin.log",
    "AWS_VPC_K8S_PLUGIN_LOG_LEVEL": "DEBUG",
    "DISABLE_INTROSPECTION": "false",
    "DISABLE_METRICS": "false",
    "DISABLE_NETWORK_RESOURCE_PROVISIONING": "false",
    "ENABLE_POD_ENI": "false",
    "ENABLE_PREFIX_DELEGATION": "false",
    "ENABLE_SUBNET_DISCOVERY": "true",
    "ENABLE_V4_EGRESS": "true",
    "ENABLE_V6_EGRESS": "false",
    "ENI_CONFIG_ANNOTATION_DEF": None,
    "ENI_CONFIG_LABEL_DEF": None,
    "INTROSPECTION_BIND_ADDRESS": None,
    "IP_COOLDOWN_PERIOD": "30",
    "MAX_ENI": None,
    "MINIMUM_IP_TARGET": None,
    "NETWORK_POLICY_ENFORCING_MODE": "standard",
    "POD_SECURITY_GROUP_ENFORCING_MODE": None,
    "WARM_ENI_TARGET": "1",
    "WARM_IP_TARGET": None,
    "WARM_PREFIX_TARGET": "1",
}
"""Variables of aws-node that the add-on's schema has (aws/amazon-vpc-cni-k8s#3059), with the default of its chart
(charts/aws-vpc-cni/values.yaml); None: absent by default."""

_SET_BY_THE_ADD_ON = frozenset(
    {
        "CLUSTER_ENDPOINT",
        "CLUSTER_NAME",
        "ENABLE_IPv4",
        "ENABLE_IPv6",
        "MY_NODE_NAME",
        "MY_POD_NAME",
        "VPC_CNI_VERSION",
        "VPC_ID",
    }
)
"""Variables that describe the cluster and the pod; the add-on sets them itself."""


def our_values(settings: VpcCniSettings) -> dict[str, str]:
    """Return the two environment variables that are ours."""
    env = vpc_cni_configuration(settings)["env"]
    return {key: env[key] for key in OUR_VALUES}


def parsed(configuration_values: str) -> dict[str, Any]:
    """Return an add-on's configuration, which EKS takes and gives back as JSON or YAML; empty for none."""
    try:
        found: Any = json.loads(configuration_values or "{}")
    except ValueError:  # YAML reads most JSON, but not all of it
        found = yaml.safe_load(configuration_values)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def environment(daemon_set: Manifest, container: str = AWS_NODE) -> dict[str, str]:
    """Return the plain environment variables of a container of aws-node."""
    spec = daemon_set["spec"]["template"]["spec"]
    both = [*entries(spec, "containers"), *entries(spec, "initContainers")]
    return {
        str(variable["name"]): str(variable["value"])
        for each in both
        if each.get("name") == container
        for variable in entries(each, "env")
        if variable.get("value") is not None
    }


def _containers(daemon_set: Manifest) -> dict[str, Manifest]:
    spec = part(daemon_set, "spec", "template", "spec")
    both = [*entries(spec, "containers"), *entries(spec, "initContainers")]
    return {str(each.get("name")): each for each in both}


def running_version(daemon_set: Manifest) -> tuple[int, int, int] | None:
    """Return the version of the VPC CNI that runs, by its image; None if that does not tell."""
    found = _VERSION.search(str(_containers(daemon_set).get(AWS_NODE, {}).get("image", "")).rpartition("/")[2])
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def _past(configured: Mapping[str, Any], live: Mapping[str, str], defaults: Mapping[str, str | None]) -> dict[str, str]:
    """Return what runs and is neither configured nor default."""
    return {
        key: live[key] for key, default in defaults.items() if key in live and live[key] != configured.get(key, default)
    }


def _agent_arguments(daemon_set: Manifest) -> dict[str, str]:
    given = [str(each).partition("=") for each in _containers(daemon_set).get(_AGENT, {}).get("args") or ()]
    # An address that is a port is written with and without the colon.
    return {key: value.removeprefix(":") for key, _, value in given}


def as_it_runs(configuration_values: str, daemon_set: Manifest) -> dict[str, Any]:
    """Return an add-on's configuration together with what was set past it; of no add-on, all that is not default."""
    configuration = parsed(configuration_values)
    env = part(configuration, "env")
    if past := _past(env, environment(daemon_set), _DEFAULTS):
        configuration["env"] = {**env, **past}
    init = part(configuration, "init", "env")
    if past := _past(init, environment(daemon_set, _INIT), _INIT_DEFAULTS):
        configuration["init"] = {**part(configuration, "init"), "env": {**init, **past}}
    arguments = _agent_arguments(daemon_set)
    if arguments.get("--enable-network-policy") == "true":
        configuration["enableNetworkPolicy"] = "true"
    agent = part(configuration, "nodeAgent")
    live = {key: arguments[name] for name, (key, _) in _AGENT_ARGUMENTS.items() if name in arguments}
    if past := _past(agent, live, dict(_AGENT_ARGUMENTS.values())):
        configuration["nodeAgent"] = {**agent, **past}
    tolerations = entries(daemon_set, "spec", "template", "spec", "tolerations")
    if tolerations and tolerations != configuration.get("tolerations", _TOLERATIONS):
        configuration["tolerations"] = tolerations
    resources = part(_containers(daemon_set).get(AWS_NODE, {}), "resources")
    if resources and resources != configuration.get("resources", _RESOURCES):
        configuration["resources"] = resources
    return configuration


def with_our_values(configuration_values: str, daemon_set: Manifest, settings: VpcCniSettings) -> str:
    """Return an add-on's configuration with our two values, and all others as they run.

    If they are right already it is the same text: EKS and every tool compare configurations as text.
    """
    found = as_it_runs(configuration_values, daemon_set)
    wanted = {**found, "env": {**part(found, "env"), **our_values(settings)}}
    return configuration_values if wanted == parsed(configuration_values) else configuration_json(wanted)


def unknown_to_the_add_on(daemon_set: Manifest) -> list[str]:
    """Return what aws-node is set to and the configuration of the add-on is not known to have a place for."""
    known_arguments = _AGENT_ARGUMENTS.keys() | _AGENT_ARGUMENTS_OF_THE_ADD_ON
    containers = _containers(daemon_set)
    return [
        *sorted(environment(daemon_set).keys() - _DEFAULTS.keys() - _SET_BY_THE_ADD_ON),
        *(f"{each} of {_AGENT}" for each in sorted(_agent_arguments(daemon_set).keys() - known_arguments)),
        *(f"resources of {each}" for each in (_INIT, _AGENT) if _has_other_resources(containers.get(each, {}))),
        *(f"container {each}" for each in sorted(containers.keys() - {AWS_NODE, _INIT, _AGENT})),
        *(["nodeSelector"] if part(daemon_set, "spec", "template", "spec", "nodeSelector") else []),
    ]


def _has_other_resources(container: Manifest) -> bool:
    return part(container, "resources") not in ({}, _RESOURCES)


def overridden(configuration_values: str, daemon_set: Manifest, settings: VpcCniSettings) -> dict[str, str]:
    """Return our variables that the configuration has and the DaemonSet has not: somebody changed them there.

    The configuration stays as it is, so EKS is not asked to put them right. One that was taken away has the value "".
    """
    configured = part(parsed(configuration_values), "env")
    live, wanted = environment(daemon_set), our_values(settings)
    return {
        key: live.get(key, "")
        for key in OUR_VALUES
        if configured.get(key) == wanted[key] and not _means(key, live.get(key), wanted[key])
    }


def _means(key: str, live: str | None, wanted: str) -> bool:
    return is_on(live) == is_on(wanted) if key == POD_ENI_VARIABLE and live is not None else live == wanted
