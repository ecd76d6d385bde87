"""What the rules between settings let through at their boundaries, and what the settings hand on."""

from typing import Any

import pytest

from components.attached.suitability import Wanted
from components.cache.corefile import CorefileSettings
from components.cluster.addon_configuration import VpcCniSettings
from components.cluster.versions import AddonVersions
from stacks.mistakes import SettingsError
from stacks.reading import judged, parse
from stacks.rules import RULES, Rule
from stacks.settings import Settings

FILE = "stacks/Pulumi.dev.yaml"


@pytest.mark.parametrize(
    ("kubernetes", "kube_proxy", "fits"),
    [
        ("1.35", "v1.35.0-eksbuild.1", True),
        ("1.35", "v1.34.9-eksbuild.1", True),
        ("1.35", "v1.32.0-eksbuild.1", True),
        ("1.35", "v1.31.9-eksbuild.1", False),
        ("1.35", "v1.36.0-eksbuild.1", False),
        ("1.35", "v0.35.0-eksbuild.1", False),
        ("1.35", "v2.35.0-eksbuild.1", False),
        ("1.34", "v1.34.1-eksbuild.1", True),
        ("1.34", "v1.35.0-eksbuild.1", False),
    ],
)
def test_kube_proxy_may_be_three_minor_versions_older_and_never_newer(
    kubernetes: str, kube_proxy: str, fits: bool
) -> None:
    """Kubernetes' version skew policy, at each boundary."""
    values = {"kubernetesVersion": kubernetes, "addonVersions": {"kubeProxy": kube_proxy}}
    if fits:
        assert parse(values, FILE).pinned_versions().kube_proxy == kube_proxy
        return
    with pytest.raises(SettingsError, match=f"addonVersions.kubeProxy {kube_proxy} does not fit Kubernetes"):
        parse(values, FILE)


@pytest.mark.parametrize(
    ("version", "taken"),
    [
        ("v1.12.0-eksbuild.9", False),
        ("v1.12.1-eksbuild.1", True),
        ("v1.9.9-eksbuild.1", False),
        ("v2.0.0-eksbuild.1", True),
    ],
)
def test_the_cni_knows_the_mode_since_one_version(version: str, taken: bool) -> None:
    """Compared as numbers."""
    values = {"addonVersions": {"vpcCni": version}}
    if taken:
        assert parse(values, FILE).pinned_versions().vpc_cni == version
        return
    with pytest.raises(SettingsError, match=f"addonVersions.vpcCni {version} does not know"):
        parse(values, FILE)


def test_pinned_versions_stay_but_for_those_that_are_named() -> None:
    """Of the Kubernetes version that is asked for."""
    assert Settings.model_validate(
        {"kubernetesVersion": "1.34", "addonVersions": {"coreDns": "v1.99.0-eksbuild.1"}}
    ).pinned_versions() == AddonVersions(
        vpc_cni="v1.23.1-eksbuild.1", kube_proxy="v1.34.6-eksbuild.25", core_dns="v1.99.0-eksbuild.1"
    )


def test_all_that_is_wanted_of_a_cluster_that_exists_is_handed_on() -> None:
    """Every value away from its default, and every default."""
    settings = parse(
        {
            "source": {"clusterName": "shop"},
            "nodeLocalDns": {
                "enabled": False, "localAddress": "169.254.30.10", "corefile": {"upstreamServers": ["10.0.0.2"]},
            },
            "vpcCni": {"manage": True, "podEni": False},
            "addonVersions": {"vpcCni": "v1.20.0-eksbuild.1"},
        },
        FILE,
    )  # fmt: skip
    assert settings.wanted() == Wanted(
        cache=False,
        local_address="169.254.30.10",
        corefile=CorefileSettings(upstream_servers=("10.0.0.2",)),
        vpc_cni=VpcCniSettings(manage=True, pod_eni=False),
        vpc_cni_version="v1.20.0-eksbuild.1",
    )
    assert Settings().wanted() == Wanted(
        cache=True,
        local_address="169.254.20.10",
        corefile=CorefileSettings(),
        vpc_cni=VpcCniSettings(),
        vpc_cni_version="",
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.judge.__name__)
def test_a_rule_is_judged_only_where_all_it_reads_could_be_read(rule: Rule) -> None:
    """Else it would judge a default that nobody meant; it reads top-level keys, and says which."""
    assert rule.reads
    assert rule.reads <= {field.alias for field in Settings.model_fields.values()}


@pytest.mark.parametrize(
    ("values", "mistakes"),
    [
        ({"serviceCidr": "10.0.0.0/16", "network": {"cidr": "10.0.0.0/16"}}, 1),
        ({"serviceCidr": "10.0.0.0/16", "network": {"cidr": "10.0.0.0/16", "nat": "none"}}, 1),
        ({"serviceCidr": "10.0.0.0/30", "network": {"cidr": "10.0.0.0/16"}}, 1),
    ],
)
def test_a_mistake_inside_a_key_is_told_without_what_follows_from_it(values: dict[str, Any], mistakes: int) -> None:
    """One mistake is one line."""
    assert len(judged(values)[1]) == mistakes
