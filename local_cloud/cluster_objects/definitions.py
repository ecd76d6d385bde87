"""The custom resources of the VPC resource controller and the VPC CNI."""

from collections.abc import Mapping

from local_cloud.kubernetes_client import Manifest

_STRINGS = {"type": "array", "items": {"type": "string"}}
_SELECTOR = {
    "type": "object",
    "properties": {
        "matchLabels": {"type": "object", "additionalProperties": {"type": "string"}},
        "matchExpressions": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["key", "operator"],
                "properties": {"key": {"type": "string"}, "operator": {"type": "string"}, "values": _STRINGS},
            },
        },
    },
}
_SECURITY_GROUP_POLICY = {
    "podSelector": _SELECTOR,
    "serviceAccountSelector": _SELECTOR,
    "securityGroups": {
        "type": "object",
        "properties": {"groupIds": {"type": "array", "minItems": 1, "maxItems": 5, "items": {"type": "string"}}},
    },
}
_CNI_NODE = {
    "features": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "value": {"type": "string"}},
        },
    },
    "tags": {"type": "object", "additionalProperties": {"type": "string"}},
}
_ENI_CONFIG = {"subnet": {"type": "string"}, "securityGroups": _STRINGS}


def _definition(
    group: str, version: str, kind: str, plural: str, scope: str, properties: Mapping[str, object]
) -> Manifest:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "scope": scope,
            "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def custom_resource_definitions() -> list[Manifest]:
    """Return SecurityGroupPolicy, CNINode and ENIConfig."""
    resources = "vpcresources.k8s.aws"
    return [
        _definition(
            resources, "v1beta1", "SecurityGroupPolicy", "securitygrouppolicies", "Namespaced", _SECURITY_GROUP_POLICY
        ),
        _definition(resources, "v1alpha1", "CNINode", "cninodes", "Cluster", _CNI_NODE),
        _definition("crd.k8s.amazonaws.com", "v1alpha1", "ENIConfig", "eniconfigs", "Cluster", _ENI_CONFIG),
    ]
