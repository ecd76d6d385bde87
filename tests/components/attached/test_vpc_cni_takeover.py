import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.attached.vpc_cni_takeover import (
    as_it_runs,
    environment,
    overridden,
    parsed,
    running_version,
    unknown_to_the_add_on,
    with_our_values,
)
from components.cluster.addon_configuration import VpcCniSettings
from tests.aws_node import aws_node_daemon_set

OURS = {"ENABLE_POD_ENI": "true", "POD_SECURITY_GROUP_ENFORCING_MODE": "standard"}
MANAGED = VpcCniSettings(manage=True)

values = st.recursive(st.text(max_size=5), lambda inner: st.dictionaries(st.text(max_size=5), inner, max_size=3))


def aws_node(env: dict[str, str], **more: Any) -> dict[str, Any]:
    """Return a DaemonSet aws-node with this environment, beside its agent."""
    return aws_node_daemon_set(env, **{"agent": (), **more})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", {"env": OURS}),
        ('{"env": {}}', {"env": OURS}),
        ('{"env":{"WARM_IP_TARGET":"3"}}', {"env": {"WARM_IP_TARGET": "3", **OURS}}),
        ("enableNetworkPolicy: 'true'\n", {"enableNetworkPolicy": "true", "env": OURS}),  # EKS takes YAML too
        ('{"env":{"POD_SECURITY_GROUP_ENFORCING_MODE":"strict"}}', {"env": OURS}),
        # Such a key, YAML does not read.
        (json.dumps({"podLabels": {"a" * 1100: ""}}), {"podLabels": {"a" * 1100: ""}, "env": OURS}),
    ],
)
def test_our_two_values_are_set_and_all_others_stay(before: str, after: dict[str, Any]) -> None:
    """Whatever the configuration was, and however it was written."""
    made = with_our_values(before, aws_node({}), MANAGED)
    assert json.loads(made) == after
    assert with_our_values(made, aws_node(after["env"]), MANAGED) == made


def test_a_configuration_that_is_right_keeps_its_text() -> None:
    """No update for the sake of a space."""
    text = json.dumps({"env": {**OURS, "WARM_IP_TARGET": "3"}}, indent=4)
    assert with_our_values(text, aws_node({**OURS, "WARM_IP_TARGET": "3"}), MANAGED) == text


@given(
    st.dictionaries(st.text(max_size=5).filter(lambda key: key != "env"), values), st.dictionaries(st.text(), st.text())
)
def test_nothing_but_our_two_values_ever_changes(others: dict[str, Any], env: dict[str, str]) -> None:
    """For any configuration there is."""
    made = json.loads(with_our_values(json.dumps({**others, "env": env}), aws_node({}), MANAGED))
    assert {key: value for key, value in made["env"].items() if key not in OURS} == {
        key: value for key, value in env.items() if key not in OURS
    }
    assert made["env"].items() >= OURS.items()
    assert {key: value for key, value in made.items() if key != "env"} == others


def test_the_way_back_is_the_same_way() -> None:
    """Strict mode, and no interfaces, are settings like the others."""
    back = VpcCniSettings(manage=True, pod_eni=False, pod_security_group_enforcing_mode="strict")
    made = json.loads(with_our_values(json.dumps({"env": OURS}), aws_node(OURS), back))
    assert made == {"env": {"ENABLE_POD_ENI": "false", "POD_SECURITY_GROUP_ENFORCING_MODE": "strict"}}


def test_what_was_set_past_the_add_on_is_part_of_what_runs() -> None:
    """Values that are neither configured nor default are kept; what EKS sets itself and its defaults are not."""
    live = {"WARM_IP_TARGET": "5", "WARM_ENI_TARGET": "1", "AWS_VPC_ENI_MTU": "9001", "VPC_ID": "vpc-1", "OUR_OWN": "x"}
    configured = {"env": {"WARM_IP_TARGET": "3", "AWS_VPC_ENI_MTU": "9001"}, "nodeAgent": {"metricsBindAddr": "8162"}}
    runs = as_it_runs(json.dumps(configured), aws_node(live))
    assert runs == {**configured, "env": {**configured["env"], "WARM_IP_TARGET": "5"}}


def test_an_aws_node_that_is_no_add_on_is_all_that_is_not_default() -> None:
    """Environment, the init container's, and whether it enforces network policies."""
    env = {"WARM_IP_TARGET": "3", "WARM_ENI_TARGET": "1", "ENABLE_POD_ENI": "true", "VPC_ID": "vpc-1"}
    daemon_set = aws_node(env, init={"DISABLE_TCP_EARLY_DEMUX": "true"}, agent=("--enable-network-policy=true",))
    assert as_it_runs("", daemon_set) == {
        "enableNetworkPolicy": "true",
        "env": {"ENABLE_POD_ENI": "true", "WARM_IP_TARGET": "3"},
        "init": {"env": {"DISABLE_TCP_EARLY_DEMUX": "true"}},
    }
    assert as_it_runs("", aws_node({"WARM_ENI_TARGET": "1"})) == {}


@pytest.mark.parametrize(
    ("configured", "live", "found"),
    [
        ({}, {"POD_SECURITY_GROUP_ENFORCING_MODE": "strict"}, {}),  # ours are written, and overwrite it
        (OURS, OURS, {}),
        (OURS, {"ENABLE_POD_ENI": "true"}, {"POD_SECURITY_GROUP_ENFORCING_MODE": ""}),  # removed by hand
        (OURS, {**OURS, "ENABLE_POD_ENI": "false"}, {"ENABLE_POD_ENI": "false"}),
        (OURS, {**OURS, "ENABLE_POD_ENI": "1"}, {}),  # the same in other words
    ],
)
def test_values_that_no_update_would_put_right_are_found(
    configured: dict[str, str], live: dict[str, str], found: dict[str, str]
) -> None:
    """Only ours, and only if the configuration has them already."""
    assert overridden(json.dumps({"env": configured}), aws_node(live), MANAGED) == found


def pod(**spec: Any) -> dict[str, Any]:
    """Return a DaemonSet aws-node with this pod."""
    return {"spec": {"template": {"spec": spec}}}


AGENT = "aws-eks-nodeagent"
DEFAULTS = ["--enable-ipv6=false", "--health-probe-bind-addr=:8163", "--conntrack-cache-cleanup-period=300"]
TOLERATION = {"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}


def test_what_is_set_beside_the_environment_is_carried_over() -> None:
    """Tolerations, resources, and what the agent and the init container are told; no default of them."""
    runs = pod(
        tolerations=[TOLERATION],
        containers=[
            {"name": "aws-node", "resources": {"requests": {"cpu": "100m"}}},
            {"name": AGENT, "args": [*DEFAULTS, "--metrics-bind-addr=:9000", "--enable-policy-event-logs=true"]},
        ],
        initContainers=[{"name": "aws-vpc-cni-init", "env": [{"name": "ENABLE_V6_EGRESS", "value": "true"}]}],
    )
    carried = {
        "init": {"env": {"ENABLE_V6_EGRESS": "true"}},
        "nodeAgent": {"enablePolicyEventLogs": "true", "metricsBindAddr": "9000"},
        "resources": {"requests": {"cpu": "100m"}},
        "tolerations": [TOLERATION],
    }
    assert as_it_runs("", runs) == carried
    assert as_it_runs(json.dumps(carried), runs) == carried
    usual = {"name": "aws-node", "resources": {"requests": {"cpu": "25m"}}}
    agent = {"name": AGENT, "args": DEFAULTS}
    assert as_it_runs("", pod(tolerations=[{"operator": "Exists"}], containers=[usual, agent])) == {}


def test_what_the_add_on_has_no_place_for_is_named() -> None:
    """Whatever it is; nothing of what the add-on sets itself."""
    runs = pod(
        nodeSelector={"cni": "aws"},
        containers=[
            {"name": "aws-node", "env": [{"name": "OUR_OWN", "value": "x"}, {"name": "VPC_ID", "value": "vpc-1"}]},
            {"name": AGENT, "args": [*DEFAULTS, "--own=1"], "resources": {"limits": {"cpu": "1"}}},
            {"name": "exporter"},
        ],
    )
    assert unknown_to_the_add_on(runs) == [
        "OUR_OWN",
        f"--own of {AGENT}",
        f"resources of {AGENT}",
        "container exporter",
        "nodeSelector",
    ]
    assert unknown_to_the_add_on(pod(containers=[{"name": AGENT, "args": DEFAULTS}])) == []


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("602401143452.dkr.ecr.eu-central-1.amazonaws.com/amazon-k8s-cni:v1.20.1-eksbuild.3", (1, 20, 1)),
        ("registry:5000/cni:1.9.0", (1, 9, 0)),
        ("amazon-k8s-cni@sha256:0123", None),
        ("", None),
    ],
)
def test_the_version_that_runs_is_read_from_the_image(image: str, version: tuple[int, int, int] | None) -> None:
    """Of an image without one nothing is guessed."""
    assert running_version(pod(containers=[{"name": "aws-node", "image": image}])) == version


def test_an_init_container_and_an_agent_keep_what_else_is_configured() -> None:
    """Only what was set past the configuration is added to it."""
    configured = {"init": {"image": "x", "env": {"A": "1"}}, "nodeAgent": {"enabled": "true"}}
    runs = aws_node(
        {}, init={"ENABLE_V6_EGRESS": "true"}, agent=["--metrics-bind-addr=:9000", "--enable-network-policy=false"]
    )
    assert as_it_runs(json.dumps(configured), runs) == {
        "init": {"image": "x", "env": {"A": "1", "ENABLE_V6_EGRESS": "true"}},
        "nodeAgent": {"enabled": "true", "metricsBindAddr": "9000"},
    }


def test_the_environment_of_a_container_is_its_own() -> None:
    """By the container's name, of both kinds; what comes from a field has no value."""
    runs = aws_node({"A": "1"}, init={"B": "2"})
    assert environment(runs) == {"A": "1"}
    assert environment(runs, "aws-vpc-cni-init") == {"B": "2"}
    assert environment(runs, "another") == {}


@pytest.mark.parametrize("text", ["", "[1]", "text", "null", "{}"])
def test_a_configuration_that_is_no_map_is_empty(text: str) -> None:
    """EKS would not have taken it."""
    assert parsed(text) == {}


def test_an_aws_node_without_a_container_of_that_name_has_no_version() -> None:
    """Nor has one without an image."""
    assert running_version(pod(containers=[{"name": "other", "image": "cni:v1.2.3"}])) is None
    assert running_version(pod(containers=[{"name": "aws-node"}])) is None
    assert running_version({}) is None


@pytest.mark.parametrize(("resources", "named"), [({}, []), ({"requests": {"cpu": "25m"}}, []), ({"x": 1}, ["init"])])
def test_resources_of_other_containers_have_no_place(resources: dict[str, Any], named: list[str]) -> None:
    """Unless they are the chart's."""
    runs = aws_node({})
    runs["spec"]["template"]["spec"]["initContainers"] = [{"name": "aws-vpc-cni-init", "resources": resources}]
    assert unknown_to_the_add_on(runs) == [f"resources of aws-vpc-cni-{each}" for each in named]
