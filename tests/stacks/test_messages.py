"""What is said of the source of the cluster, and what is warned of: each message in full."""

from datetime import date
from typing import Any

import pytest

from stacks.mistakes import SettingsError
from stacks.reading import parse
from stacks.rules import warnings

FILE = "stacks/Pulumi.dev.yaml"
SHOP: dict[str, Any] = {"source": {"clusterName": "shop"}}
DEV = "organization/eks-node-local-dns/dev"

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "two clusters": (
        {"source": {"stack": DEV, "clusterName": "shop"}},
        (
            f"source: both stack ({DEV}) and clusterName (shop) are set, and they could mean two clusters. Keep one: "
            "stack if a stack with these outputs looks after the cluster, else clusterName."
        ),
    ),
    "half a stack's name": (
        {"source": {"stack": "dev"}},
        (
            "source.stack: 'dev' is not the full name of a stack, so it could mean another one on another machine. "
            "Write organization/project/stack, as `pulumi stack ls --all --fully-qualify-stack-names` shows it."
        ),
    ),
    "managing what is managed": (
        {"vpcCni": {"manage": True}},
        (
            "vpcCni.manage: it is for a cluster that source names; of a cluster made here all of vpc-cni is managed, "
            "so it would have no effect. Remove the key."
        ),
    ),
    "how a cluster is made": (
        {**SHOP, "serviceCidr": "172.20.0.0/16"},
        (
            "serviceCidr: it says how a cluster is made, but source names one that exists, and its own is kept. "
            "Remove the key, or remove source to make a cluster here."
        ),
    ),
    "a version of what is not managed": (
        {**SHOP, "addonVersions": {"vpcCni": "v1.23.1-eksbuild.1"}},
        (
            "addonVersions.vpcCni: source names a cluster that exists, whose add-on this stack does not manage, so the "
            "version would have no effect. Remove the key, or set vpcCni.manage to true."
        ),
    ),
    "a version of what is never managed": (
        {**SHOP, "addonVersions": {"coreDns": "v1.14.3-eksbuild.22"}},
        (
            "addonVersions.coreDns: source names a cluster that exists, whose add-on this stack does not manage, so "
            "the version would have no effect. Remove the key."
        ),
    ),
    "the mode of what is not managed": (
        {**SHOP, "vpcCni": {"podSecurityGroupEnforcingMode": "standard"}},
        (
            "vpcCni.podSecurityGroupEnforcingMode: source names a cluster that exists, whose vpc-cni this stack only "
            "looks at, so it would have no effect. Set vpcCni.manage to true to take it over, or remove the key."
        ),
    ),
    "more of a CNI than is ours": (
        {**SHOP, "vpcCni": {"manage": True, "externalSnat": True}},
        (
            "vpcCni.externalSnat: source names a cluster that exists, and of its vpc-cni only podEni and "
            "podSecurityGroupEnforcingMode are ever set here, so that nothing else changes by surprise. Remove the "
            "key, and set it where the cluster's other settings are."
        ),
    ),
    "strict beside the cache": (
        {**SHOP, "vpcCni": {"manage": True, "podSecurityGroupEnforcingMode": "strict"}},
        (
            "vpcCni.podSecurityGroupEnforcingMode is strict while vpcCni.podEni and nodeLocalDns.enabled are on: a "
            "pod with a security group could not reach the cache on its own node, and the cache's rules take away the "
            "way to CoreDNS it had before, so every name it asks would time out. Set the mode to standard (and "
            "recreate the pods made in strict mode), or nodeLocalDns.enabled to false."
        ),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_contradicts_the_source_is_refused(case: str) -> None:
    """With its key, the reason and the remedy."""
    values, message = REFUSED[case]
    with pytest.raises(SettingsError) as refused:
        parse(values, FILE)
    assert str(refused.value) == (
        f"{FILE} has 1 mistake; nothing was created or changed.\n  eks-node-local-dns:{message}"
    )


IGNORED = (
    "nodeLocalDns.ignoreStrictPods is on: an update installs the cache although running pods with a security group may "
    "have strict rules, and those lose DNS until they are recreated (`./eks-node-local-dns migrate`). Remove the key "
    "after this "
    "update."
)
SNAT = (
    "vpcCni.externalSnat is off: traffic of pods with a security group that leaves the VPC (internet, peered VPCs, "
    "on-premises) goes out by the node's interface under the node's security group. Turn it on if the private subnets "
    "have a NAT gateway and the pod's own group should decide."
)
TWO_MANAGERS = (
    f"vpcCni.manage is on, and source.stack names {DEV}: if that stack made the cluster, or manages its vpc-cni too, "
    "each `pulumi up` of one takes the add-on's configuration back from the other. Set the mode there and remove "
    "vpcCni.manage here, unless that stack only attached the cluster and leaves its vpc-cni alone."
)
PRIVATE = (
    "cluster.publicAccessCidrs is empty: the cluster's API answers in the VPC only. Run this where the VPC can be "
    "reached (VPN, peering, a runner inside); elsewhere `pulumi up` makes the cluster and its nodes, and then fails at "
    "the first thing inside the cluster. Or name the networks that may reach the API."
)
OUT: dict[str, Any] = {"externalSnat": True}
PUBLIC: dict[str, Any] = {"publicAccessCidrs": ["203.0.113.0/24"]}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, [SNAT, PRIVATE]),
        ({"cluster": PUBLIC}, [SNAT]),
        ({"cluster": PUBLIC, "vpcCni": OUT}, []),
        ({"cluster": PUBLIC, "vpcCni": {"podEni": False}}, []),
        ({"vpcCni": OUT, "nodeLocalDns": {"ignoreStrictPods": True}}, [IGNORED, PRIVATE]),
        ({"nodeLocalDns": {"ignoreStrictPods": True}}, [IGNORED, SNAT, PRIVATE]),
        ({"cluster": PUBLIC, "vpcCni": OUT, "nodeLocalDns": {"ignoreStrictPods": True, "enabled": False}}, []),
        (SHOP, []),
        ({**SHOP, "vpcCni": {"manage": True}}, []),
        ({"source": {"stack": DEV}}, []),
        ({"source": {"stack": DEV}, "vpcCni": {"manage": True}}, [TWO_MANAGERS]),
    ],
)
def test_what_is_legal_and_surprises_is_warned_of(values: dict[str, Any], said: list[str]) -> None:
    """Only where it applies."""
    assert list(warnings(parse(values, FILE), date(2026, 12, 1))) == said


@pytest.mark.parametrize(
    ("version", "today", "warned"),
    [
        ("1.34", date(2026, 12, 1), False),
        ("1.34", date(2026, 12, 2), True),
        ("1.35", date(2026, 12, 2), False),
        ("1.35", date(2027, 3, 26), False),
        ("1.35", date(2027, 3, 27), True),
        ("1.36", date(2036, 1, 1), False),
    ],
)
def test_a_version_is_warned_of_from_the_end_of_its_support(version: str, today: date, warned: bool) -> None:
    """On the day itself, with what it costs from then on."""
    settings = parse({"kubernetesVersion": version, "cluster": PUBLIC, "vpcCni": OUT}, FILE)
    expected = (
        f"kubernetesVersion {version} left EKS' standard support on "
        f"{'2026-12-02' if version == '1.34' else '2027-03-27'}: until EKS upgrades the control plane by itself, "
        "twelve months later, it costs $0.60 an hour instead of $0.10. Upgrade it (docs/runbooks/upgrade.md)."
    )
    assert list(warnings(settings, today)) == ([expected] if warned else [])


def test_of_a_cluster_made_elsewhere_the_version_is_somebody_elses() -> None:
    """Whoever made it looks after its version."""
    assert list(warnings(parse(SHOP, FILE), date(2036, 1, 1))) == []
