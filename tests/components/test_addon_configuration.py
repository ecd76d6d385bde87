import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from components.addon_configuration import VpcCniSettings, configuration_json, vpc_cni_configuration

SETTINGS = st.builds(
    VpcCniSettings,
    pod_eni=st.booleans(),
    pod_security_group_enforcing_mode=st.sampled_from(["standard", "strict"]),
    external_snat=st.booleans(),
    prefix_delegation=st.booleans(),
    network_policy=st.booleans(),
    disable_tcp_early_demux=st.booleans(),
    log_level=st.sampled_from(["DEBUG", "INFO", "WARN", "ERROR"]),
)


def test_the_default_is_the_mode_in_which_dns_works() -> None:
    """Pod interfaces are on and the mode is standard unless somebody says otherwise."""
    env = vpc_cni_configuration(VpcCniSettings())["env"]
    assert env["ENABLE_POD_ENI"] == "true"
    assert env["POD_SECURITY_GROUP_ENFORCING_MODE"] == "standard"


@given(SETTINGS)
def test_every_value_is_a_string_and_the_text_is_the_only_one(settings: VpcCniSettings) -> None:
    """EKS takes strings only and compares texts: same settings, same text, without spaces, keys in order."""
    configuration = vpc_cni_configuration(settings)
    text = configuration_json(configuration)
    assert all(isinstance(value, str) for value in configuration["env"].values())
    assert all(isinstance(value, str) for value in configuration["init"]["env"].values())
    assert isinstance(configuration["enableNetworkPolicy"], str)
    assert json.loads(text) == configuration
    assert text == configuration_json(json.loads(text))
    assert " " not in text
    assert "\n" not in text


@given(SETTINGS, SETTINGS)
def test_different_settings_are_different_texts(first: VpcCniSettings, second: VpcCniSettings) -> None:
    """No setting is lost on the way to the add-on."""
    same = configuration_json(vpc_cni_configuration(first)) == configuration_json(vpc_cni_configuration(second))
    assert same == (first == second)


@pytest.mark.parametrize("mode", ["Standard", "STRICT", "none", ""])
def test_a_mode_the_cni_does_not_know_is_refused(mode: str) -> None:
    """The CNI would silently take anything else for strict."""
    with pytest.raises(ValidationError):
        VpcCniSettings.model_validate({"podSecurityGroupEnforcingMode": mode})
