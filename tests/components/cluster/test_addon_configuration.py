import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from components.cluster.addon_configuration import VpcCniSettings, configuration_json, vpc_cni_configuration

settings = st.builds(
    VpcCniSettings,
    pod_eni=st.booleans(),
    pod_security_group_enforcing_mode=st.sampled_from(["standard", "strict"]),
    external_snat=st.booleans(),
    prefix_delegation=st.booleans(),
    network_policy=st.booleans(),
    disable_tcp_early_demux=st.booleans(),
    log_level=st.sampled_from(["DEBUG", "INFO", "WARN", "ERROR"]),
)


def _leaves(value: Any) -> list[Any]:
    return [leaf for each in value.values() for leaf in _leaves(each)] if isinstance(value, dict) else [value]


OF_THE_DEFAULTS = (
    '{"enableNetworkPolicy":"false","env":{"AWS_VPC_K8S_CNI_EXTERNALSNAT":"false","AWS_VPC_K8S_CNI_LOGLEVEL":"INFO",'
    '"AWS_VPC_K8S_PLUGIN_LOG_LEVEL":"INFO","ENABLE_POD_ENI":"true","ENABLE_PREFIX_DELEGATION":"false",'
    '"POD_SECURITY_GROUP_ENFORCING_MODE":"standard"},"init":{"env":{"DISABLE_TCP_EARLY_DEMUX":"false"}}}'
)


def test_the_default_is_what_node_local_dns_needs() -> None:
    """Out of the box pods get interfaces of their own and still reach their node; the text to the letter."""
    assert configuration_json(vpc_cni_configuration(VpcCniSettings())) == OF_THE_DEFAULTS


@pytest.mark.parametrize(
    ("setting", "before", "after"),
    [
        ({"podEni": False}, '"ENABLE_POD_ENI":"true"', '"ENABLE_POD_ENI":"false"'),
        ({"podSecurityGroupEnforcingMode": "strict"}, 'MODE":"standard"', 'MODE":"strict"'),
        ({"externalSnat": True}, 'EXTERNALSNAT":"false"', 'EXTERNALSNAT":"true"'),
        ({"prefixDelegation": True}, 'PREFIX_DELEGATION":"false"', 'PREFIX_DELEGATION":"true"'),
        ({"networkPolicy": True}, 'enableNetworkPolicy":"false"', 'enableNetworkPolicy":"true"'),
        ({"disableTcpEarlyDemux": True}, 'DEMUX":"false"', 'DEMUX":"true"'),
        ({"logLevel": "DEBUG"}, '"INFO"', '"DEBUG"'),
        ({"manage": True}, "", ""),
    ],
)
def test_each_setting_changes_its_own_value_and_no_other(setting: dict[str, Any], before: str, after: str) -> None:
    """Turned round, two of them would pass for different."""
    text = configuration_json(vpc_cni_configuration(VpcCniSettings.model_validate(setting)))
    assert text == OF_THE_DEFAULTS.replace(before, after)


@given(settings)
def test_every_value_is_text(chosen: VpcCniSettings) -> None:
    """EKS' schema takes no JSON boolean; none ever leaves here."""
    assert all(isinstance(leaf, str) for leaf in _leaves(vpc_cni_configuration(chosen)))


@given(settings)
def test_the_text_is_one_per_meaning(chosen: VpcCniSettings) -> None:
    """The order of keys makes no difference to the text, so that it makes none in a preview."""
    configuration = vpc_cni_configuration(chosen)
    text = configuration_json(configuration)
    assert json.loads(text) == configuration
    assert configuration_json(dict(reversed(configuration.items()))) == text
    assert "\n" not in text
    assert ": " not in text


def test_an_unknown_mode_is_refused() -> None:
    """The CNI would take an unknown mode for strict."""
    with pytest.raises(ValidationError, match="'standard' or 'strict'"):
        VpcCniSettings.model_validate({"podSecurityGroupEnforcingMode": "standart"})
