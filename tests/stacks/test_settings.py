from pathlib import Path
from typing import Any

import pytest
import yaml

from stacks.reference import reference, with_reference
from stacks.settings import SettingsError, load_stack_file, parse

ROOT = Path(__file__).parents[2]
FILE = "stacks/Pulumi.dev.yaml"


def _refusal(values: dict[str, Any]) -> str:
    with pytest.raises(SettingsError) as refused:
        parse(values, FILE)
    return str(refused.value)


REFUSED: dict[str, tuple[dict[str, Any], str, str, str]] = {
    # what is wrong: (settings, the key, the reason, the remedy)
    "unknown key": (
        {"vpcCni": {"podEnl": True}},
        "eks-node-local-dns:vpcCni.podEnl:",
        "a misspelt one must not be ignored",
        "Did you mean podEni?",
    ),
    "unknown top-level key": (
        {"serviceCIDR": "10.100.0.0/16"},
        "eks-node-local-dns:serviceCIDR:",
        "there is no such setting",
        "Did you mean serviceCidr?",
    ),
    "wrong type": (
        {"nodeGroups": {"default": {"instanceTypes": ["m6i.large"], "minSize": "many"}}},
        "eks-node-local-dns:nodeGroups.default.minSize:",
        'it is "many", which the program cannot use. It means: Nodes at least.',
        "Correct the value.",
    ),
    "overlap": (
        {"serviceCidr": "10.10.128.0/20", "network": {"cidr": "10.10.0.0/16"}},
        "serviceCidr 10.10.128.0/20 overlaps network.cidr 10.10.0.0/16",
        "pods could not tell Services from hosts of the VPC",
        "Move one of them",
    ),
    "VPC too small": (
        {"network": {"cidr": "10.10.0.0/24"}},
        "eks-node-local-dns:network:",
        "too small for 2 zones",
        "Choose a VPC of /22 or larger.",
    ),
    "service CIDR too small": (
        {"serviceCidr": "10.100.0.0/28"},
        "eks-node-local-dns:serviceCidr:",
        "has a /28 prefix",
        "e.g. 172.20.0.0/16",
    ),
    "strict": (
        {"vpcCni": {"podSecurityGroupEnforcingMode": "strict"}},
        "vpcCni.podSecurityGroupEnforcingMode is strict",
        "every name it asks would time out",
        "Set the mode to standard",
    ),
    "local address not link-local": (
        {"nodeLocalDns": {"localAddress": "10.0.0.10"}},
        "nodeLocalDns.localAddress: 10.0.0.10 is not link-local",
        "it would hide the host or Service that owns it",
        "by default 169.254.20.10",
    ),
    "no trunk": (
        {"nodeGroups": {"default": {"instanceTypes": ["t3.large", "m6i.large"]}}},
        "nodeGroups.default.instanceTypes: t3.large cannot carry branch network interfaces",
        "would stay Pending there for ever",
        "Use a Nitro type such as m6i.large",
    ),
    "one zone": (
        {"network": {"zones": ["a"]}},
        "eks-node-local-dns:network.zones:",
        "EKS refuses a cluster with subnets in fewer than two",
        "Name at least two",
    ),
    "add-on too old": (
        {"addonVersions": {"vpcCni": "v1.12.0-eksbuild.1"}},
        "addonVersions.vpcCni v1.12.0-eksbuild.1 does not know POD_SECURITY_GROUP_ENFORCING_MODE",
        "EKS would refuse the add-on after the cluster was made",
        "Use v1.12.1 or newer",
    ),
    "Kubernetes not pinned": (
        {"kubernetesVersion": "1.29"},
        "eks-node-local-dns:kubernetesVersion:",
        "has no pinned add-on versions",
        "Use one of 1.34, 1.35",
    ),
    "the whole internet": (
        {"cluster": {"publicAccessCidrs": ["0.0.0.0/0"]}},
        "eks-node-local-dns:cluster.publicAccessCidrs:",
        "the whole internet",
        "Name the networks of your people",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_with_key_file_reason_and_remedy(case: str) -> None:
    """Who made the mistake is told where it is, why it matters and what to write instead."""
    values, key, reason, remedy = REFUSED[case]
    message = _refusal(values)
    assert message.startswith(f"{FILE} has 1 mistake; nothing was created or changed.")
    for part in (key, reason, remedy):
        assert part in message


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "169.254.169.253", "169.254.169.123", "169.254.170.2", "169.254.170.23", "169.254.1.1"],
)
def test_addresses_that_aws_uses_are_refused(address: str) -> None:
    """The cache never takes metadata, DNS, time, credentials or the pods' gateway from a node."""
    message = _refusal({"nodeLocalDns": {"localAddress": address}})
    assert f"nodeLocalDns.localAddress: {address} is in" in message
    assert "the node would lose it" in message


def test_all_mistakes_are_told_at_once() -> None:
    """Nobody corrects a file five times."""
    message = _refusal({"kubernetesVersion": "1.29", "network": {"zones": ["a"]}, "tagz": {}})
    assert "has 3 mistakes" in message
    assert all(key in message for key in ("kubernetesVersion", "network.zones", "tagz"))


def test_strict_mode_is_allowed_where_it_cannot_hurt() -> None:
    """Without the cache, or without security groups for pods, strict mode is somebody's right."""
    strict = {"podSecurityGroupEnforcingMode": "strict"}
    assert parse({"vpcCni": strict, "nodeLocalDns": {"enabled": False}}, FILE)
    assert parse({"vpcCni": {**strict, "podEni": False}}, FILE)


def test_nodes_need_no_trunk_without_pod_interfaces() -> None:
    """Small burstable nodes are fine for who wants no security groups for pods."""
    assert parse({"vpcCni": {"podEni": False}, "nodeGroups": {"a": {"instanceTypes": ["t3.large"]}}}, FILE)


def test_off_vpc_traffic_is_warned_of_only_where_it_surprises() -> None:
    """The warning goes away with the setting it names."""
    assert any("externalSnat is off" in each for each in parse({}, FILE).warnings())
    assert not list(parse({"vpcCni": {"externalSnat": True}}, FILE).warnings())


def test_environments_differ_as_a_platform_team_would_have_them() -> None:
    """Production is private, protected and has no shared NAT; development is cheap."""
    stacks = {name: load_stack_file(ROOT / "stacks" / f"Pulumi.{name}.yaml") for name in ("dev", "stg", "prod")}
    assert [each.network.nat for each in stacks.values()] == ["single", "single", "perZone"]
    assert [len(each.network.zones) for each in stacks.values()] == [2, 3, 3]
    assert [each.cluster.deletion_protection for each in stacks.values()] == [False, False, True]
    assert not stacks["prod"].cluster.public_access_cidrs
    assert len({each.network.cidr for each in stacks.values()}) == len(stacks)  # so that they can be peered


def test_the_project_file_declares_every_top_level_setting() -> None:
    """The engine's view of the configuration is the model's, and every key is described."""
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    settings = parse({}, FILE)
    assert declared.keys() == {field.alias for field in type(settings).model_fields.values()}
    assert all(each["description"] for each in declared.values())


def test_the_readme_lists_every_setting() -> None:
    """`python -m stacks.reference --write README.md` was run after the last change of a setting."""
    readme = (ROOT / "README.md").read_text()
    assert with_reference(readme) == readme
    assert "| `vpcCni.podSecurityGroupEnforcingMode` |" in reference()
