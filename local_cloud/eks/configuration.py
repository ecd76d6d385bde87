"""The closed JSON schemas of add-on configuration, and their checks in the service's words.

Sources: schemas quoted in aws/amazon-vpc-cni-k8s#3059 and #2173, terraform-aws-eks#2427 and #2667,
aws/containers-roadmap#2420 and the EKS user guide. The current schemas are not published in one place; what is
here is closed like them and holds the keys that were seen.
"""

import json
from collections.abc import Mapping
from typing import Any, cast

import jsonschema
import yaml

from local_cloud.eks.catalogue import number
from local_cloud.eks.errors import InvalidParameterError

Schema = dict[str, Any]

_MODE_KEY = "POD_SECURITY_GROUP_ENFORCING_MODE"
_MODE_KEY_SINCE = (1, 12, 1)  # refused with v1.12.0-eksbuild.1, there by v1.12.1-eksbuild.2 (#2173, #2272)

_CNI_BOOLEANS = [
    "ANNOTATE_POD_IP",
    "AWS_MANAGE_ENIS_NON_SCHEDULABLE",
    "AWS_VPC_CNI_NODE_PORT_SUPPORT",
    "AWS_VPC_K8S_CNI_CONFIGURE_RPFILTER",
    "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG",
    "AWS_VPC_K8S_CNI_EXTERNALSNAT",
    "DISABLE_INTROSPECTION",
    "DISABLE_LEAKED_ENI_CLEANUP",
    "DISABLE_METRICS",
    "DISABLE_NETWORK_RESOURCE_PROVISIONING",
    "DISABLE_POD_V6",
    "ENABLE_BANDWIDTH_PLUGIN",
    "ENABLE_POD_ENI",
    "ENABLE_PREFIX_DELEGATION",
    "ENABLE_SUBNET_DISCOVERY",
    "ENABLE_V4_EGRESS",
    "ENABLE_V6_EGRESS",
]
_CNI_INTEGERS = [
    "AWS_VPC_ENI_MTU",
    "IP_COOLDOWN_PERIOD",
    "MAX_ENI",
    "MINIMUM_IP_TARGET",
    "POD_MTU",
    "WARM_ENI_TARGET",
    "WARM_IP_TARGET",
    "WARM_PREFIX_TARGET",
]
_CNI_STRINGS = [
    "ADDITIONAL_ENI_TAGS",
    "AWS_EC2_ENDPOINT",
    "AWS_EXTERNAL_SERVICE_CIDRS",
    "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS",
    "AWS_VPC_K8S_CNI_LOGLEVEL",
    "AWS_VPC_K8S_CNI_LOG_FILE",
    "AWS_VPC_K8S_CNI_RANDOMIZESNAT",
    "AWS_VPC_K8S_CNI_VETHPREFIX",
    "AWS_VPC_K8S_PLUGIN_LOG_FILE",
    "AWS_VPC_K8S_PLUGIN_LOG_LEVEL",
    "CLUSTER_ENDPOINT",
    "ENI_CONFIG_ANNOTATION_DEF",
    "ENI_CONFIG_LABEL_DEF",
    "INTROSPECTION_BIND_ADDRESS",
    "NETWORK_POLICY_ENFORCING_MODE",
]

_STRING: Schema = {"type": "string"}
_BOOLEAN_STRING: Schema = {"type": "string", "format": "boolean"}
_INTEGER_STRING: Schema = {"type": "string", "format": "integer"}
_OBJECT: Schema = {"type": "object"}
_LIST: Schema = {"type": "array", "items": _OBJECT}


def _closed(title: str, properties: Mapping[str, Schema]) -> Schema:
    return {"title": title, "type": "object", "additionalProperties": False, "properties": dict(properties)}


def _document(name: str, properties: Mapping[str, Schema]) -> Schema:
    return {
        "$ref": f"#/definitions/{name}",
        "$schema": "http://json-schema.org/draft-06/schema#",
        "definitions": {name: _closed(name, properties)},
    }


def _vpc_cni(version: str) -> Schema:
    env = dict.fromkeys(_CNI_BOOLEANS, _BOOLEAN_STRING)
    env |= dict.fromkeys(_CNI_INTEGERS, _INTEGER_STRING)
    env |= dict.fromkeys(_CNI_STRINGS, _STRING)
    if number(version)[:3] >= _MODE_KEY_SINCE:
        env[_MODE_KEY] = _STRING
    init_env = {"DISABLE_TCP_EARLY_DEMUX": _BOOLEAN_STRING, "ENABLE_V6_EGRESS": _BOOLEAN_STRING}
    node_agent = {
        "conntrackCacheCleanupPeriod": _INTEGER_STRING,
        "enableCloudWatchLogs": _BOOLEAN_STRING,
        "enablePolicyEventLogs": _BOOLEAN_STRING,
        "healthProbeBindAddr": _STRING,
        "metricsBindAddr": _STRING,
    }
    eni_config = {"create": {"type": "boolean"}, "region": _STRING, "subnets": _OBJECT}
    return _document(
        "VpcCni",
        {
            "affinity": _OBJECT,
            "enableNetworkPolicy": _BOOLEAN_STRING,
            "eniConfig": _closed("EniConfig", eni_config),
            "env": _closed("Env", dict(sorted(env.items()))),
            "init": _closed("Init", {"env": _closed("InitEnv", init_env)}),
            "nodeAgent": _closed("NodeAgent", node_agent),
            "podAnnotations": _OBJECT,
            "podLabels": _OBJECT,
            "resources": _OBJECT,
            "tolerations": _LIST,
        },
    )


def _kube_proxy(_version: str) -> Schema:
    return _document(
        "KubeProxy",
        {
            "ipvs": _closed("Ipvs", {"scheduler": _STRING}),
            "mode": {"type": "string", "enum": ["iptables", "ipvs"]},
            "podAnnotations": _OBJECT,
            "podLabels": _OBJECT,
            "resources": _OBJECT,
        },
    )


def _coredns(_version: str) -> Schema:
    return _document(
        "Coredns",
        {
            "affinity": _OBJECT,
            "autoScaling": _closed(
                "AutoScaling",
                {
                    "enabled": {"type": "boolean"},
                    "maxReplicas": {"type": "integer"},
                    "minReplicas": {"type": "integer"},
                },
            ),
            "computeType": _STRING,
            "corefile": _STRING,
            "nodeSelector": _OBJECT,
            "podAnnotations": _OBJECT,
            "podDisruptionBudget": _OBJECT,
            "podLabels": _OBJECT,
            "replicaCount": {"type": "integer"},
            "resources": _OBJECT,
            "tolerations": _LIST,
            "topologySpreadConstraints": _LIST,
        },
    )


_SCHEMAS = {"vpc-cni": _vpc_cni, "kube-proxy": _kube_proxy, "coredns": _coredns}


def schema(add_on: str, version: str) -> Schema:
    """Return the configuration schema of one version of an add-on."""
    return _SCHEMAS[add_on](version)


def parse(add_on: str, version: str, configuration_values: str | None) -> dict[str, Any]:
    """Return the configuration, or refuse it as the service does: JSON or YAML, checked by the closed schema."""
    if not configuration_values:
        return {}
    try:
        values = yaml.safe_load(configuration_values)  # JSON is YAML; the service takes both
    except yaml.YAMLError as error:
        raise InvalidParameterError(
            "ConfigurationValue provided in request is not supported: it is neither JSON nor YAML",
            addonName=add_on,
        ) from error
    problems = [
        message
        for error in jsonschema.Draft6Validator(schema(add_on, version)).iter_errors(values)
        for message in _messages(error)
    ]
    if problems:
        raise InvalidParameterError(
            "ConfigurationValue provided in request is not supported: "
            f"Json schema validation failed with error: [{', '.join(problems)}]",
            addonName=add_on,
        )
    return values


_TYPE_NAMES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


def _messages(error: jsonschema.ValidationError) -> list[str]:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
    match error.validator:
        case "additionalProperties":
            known: Any = error.schema
            unknown = set(cast("dict[str, Any]", error.instance)) - set(known["properties"])
            return [
                f"$.{f'{where[1:]}.' if where else ''}{key}: is not defined in the schema "
                "and the schema does not allow additional properties"
                for key in sorted(unknown)
            ]
        case "type":
            found = _TYPE_NAMES.get(type(error.instance), "null")
            return [f"${where}: {found} found, {error.validator_value} expected"]
        case "enum":
            return [f"${where}: does not have a value in the enumeration {json.dumps(error.validator_value)}"]
        case _:
            return [f"${where}: {error.message}"]
