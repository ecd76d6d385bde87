"""Add-on configuration is checked by closed schemas, and refused in the service's words."""

import json

import pytest

from local_cloud.eks import configuration
from local_cloud.eks.errors import InvalidParameterError

_PREFIX = "ConfigurationValue provided in request is not supported: Json schema validation failed with error: "
_CLOSED = "is not defined in the schema and the schema does not allow additional properties"
_CNI = "v1.23.1-eksbuild.1"


@pytest.mark.parametrize(
    ("add_on", "version", "values", "problem"),
    [
        ("vpc-cni", _CNI, {"env": {"ENABLE_PODENI": "true"}}, f"[$.env.ENABLE_PODENI: {_CLOSED}]"),
        ("vpc-cni", _CNI, {"environment": {}}, f"[$.environment: {_CLOSED}]"),
        ("vpc-cni", _CNI, {"env": {"ENABLE_POD_ENI": True}}, "[$.env.ENABLE_POD_ENI: boolean found, string expected]"),
        ("vpc-cni", _CNI, {"env": {"WARM_ENI_TARGET": 1}}, "[$.env.WARM_ENI_TARGET: integer found, string expected]"),
        ("vpc-cni", _CNI, {"enableNetworkPolicy": True}, "[$.enableNetworkPolicy: boolean found, string expected]"),
        ("vpc-cni", _CNI, {"init": {"env": {"X": "1"}}}, f"[$.init.env.X: {_CLOSED}]"),
        (
            "vpc-cni",
            "v1.12.0-eksbuild.1",
            {"env": {"POD_SECURITY_GROUP_ENFORCING_MODE": "standard"}},
            f"[$.env.POD_SECURITY_GROUP_ENFORCING_MODE: {_CLOSED}]",
        ),
        (
            "kube-proxy",
            "v1.35.3-eksbuild.29",
            {"mode": "nftables"},
            '[$.mode: does not have a value in the enumeration ["iptables", "ipvs"]]',
        ),
        ("coredns", "v1.14.3-eksbuild.22", {"replicas": 3}, f"[$.replicas: {_CLOSED}]"),
    ],
)
def test_refusals(add_on: str, version: str, values: dict[str, object], problem: str) -> None:
    """A key or a type the schema does not have is refused with its path."""
    with pytest.raises(InvalidParameterError) as refused:
        configuration.parse(add_on, version, json.dumps(values))
    assert refused.value.message == _PREFIX + problem


@pytest.mark.parametrize("version", ["v1.12.1-eksbuild.2", _CNI])
def test_mode_key_is_known_from_1_12_1_on(version: str) -> None:
    """The enforcing mode is a configuration key since v1.12.1."""
    values = {"env": {"POD_SECURITY_GROUP_ENFORCING_MODE": "standard"}}
    assert configuration.parse("vpc-cni", version, json.dumps(values)) == values


def test_text_that_is_no_document() -> None:
    """What is neither JSON nor YAML is refused, not a failure of the service."""
    with pytest.raises(InvalidParameterError, match="neither JSON nor YAML"):
        configuration.parse("vpc-cni", _CNI, '{"env": ')
