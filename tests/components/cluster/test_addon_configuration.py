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


def test_the_default_is_what_node_local_dns_needs() -> None:
    """Out of the box pods get interfaces of their own and still reach their node."""
    env = vpc_cni_configuration(VpcCniSettings())["env"]
    assert env["ENABLE_POD_ENI"] == "true"
    assert env["POD_SECURITY_GROUP_ENFORCING_MODE"] == "standard"


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


@given(settings, settings)
def test_different_settings_are_different_texts(first: VpcCniSettings, second: VpcCniSettings) -> None:
    """No setting is forgotten on the way to EKS."""
    texts = [configuration_json(vpc_cni_configuration(each)) for each in (first, second)]
    assert (texts[0] == texts[1]) == (first == second)


def test_an_unknown_mode_is_refused() -> None:
    """The CNI would take an unknown mode for strict."""
    with pytest.raises(ValidationError, match="'standard' or 'strict'"):
        VpcCniSettings.model_validate({"podSecurityGroupEnforcingMode": "standart"})
