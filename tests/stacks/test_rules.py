"""What has to hold between settings: of each rule, what it takes and what it refuses, next to each other."""

from typing import Any

import pytest

from stacks.reading import judged
from stacks.rules import RULES

SHOP: dict[str, Any] = {"source": {"clusterName": "shop"}}
OTHERS: dict[str, Any] = {"source": {"stack": "organization/eks-node-local-dns/dev"}}
MANAGED: dict[str, Any] = {**SHOP, "vpcCni": {"manage": True}}


def _cache(**settings: Any) -> dict[str, Any]:
    return {"nodeLocalDns": settings}


def _upstream(*servers: str) -> dict[str, Any]:
    return _cache(corefile={"upstreamServers": servers})


def _stub(server: str) -> dict[str, Any]:
    return _cache(corefile={"stubDomains": {"corp": {"servers": [server]}}})


def _types(*types: str) -> dict[str, Any]:
    return {"nodeGroups": {"a": {"instanceTypes": types}}}


def _kube_proxy(version: str, kubernetes: str = "1.35") -> dict[str, Any]:
    return {"kubernetesVersion": kubernetes, "addonVersions": {"kubeProxy": f"v{version}-eksbuild.1"}}


def _vpc_cni(version: str) -> dict[str, Any]:
    return {"addonVersions": {"vpcCni": f"v{version}-eksbuild.1"}}


TAKEN: list[dict[str, Any]] = [
    # the cache's address, beside what is reserved
    *(
        _cache(localAddress=f"169.254.{each}")
        for each in (
            *("1.0", "1.2", "168.255", "176.0", "254.255", "20.10"),
            *("20.9", "20.11"),
        )
    ),
    # an upstream, beside the cache's own two addresses
    *(_upstream(each) for each in ("172.20.0.9", "172.20.0.11", "169.254.20.9", "169.254.20.11:53")),
    _stub("172.20.0.11"),
    {**_upstream("172.20.0.10"), "serviceCidr": "10.100.0.0/16"},
    {**SHOP, **_upstream("172.20.0.10")},  # of a cluster made elsewhere nobody knows yet
    {**OTHERS, **_upstream("172.20.0.10")},
    _cache(localAddress="169.254.20.11", corefile={"upstreamServers": ["169.254.20.10"]}),
    # Services beside the VPC
    {"network": {"cidr": "10.10.0.0/16"}, "serviceCidr": "10.9.0.0/16"},
    {"network": {"cidr": "10.10.0.0/16"}, "serviceCidr": "10.9.255.0/24"},
    {"network": {"cidr": "10.10.0.0/16"}, "serviceCidr": "10.11.0.0/24"},
    # the cache's address beside a VPC of link-local addresses
    {"network": {"cidr": "169.254.16.0/20"}, **_cache(localAddress="169.254.15.255")},
    {"network": {"cidr": "169.254.16.0/20"}, **_cache(localAddress="169.254.32.0")},
    # nodes for pods with security groups
    _types("m6i.large"),
    _types("i3.metal"),
    _types("t3.large", "m6i.large"),
    {"nodeGroups": {"a": {"instanceTypes": ["t3.large"]}, "b": {"instanceTypes": ["m7g.large"]}}},
    {**_types("t3.large"), "vpcCni": {"podEni": False}},
    # add-ons' versions
    *(_vpc_cni(each) for each in ("1.12.1", "1.12.2", "1.13.0", "2.0.0")),
    {**MANAGED, **_vpc_cni("1.12.1")},
    *(_kube_proxy(each) for each in ("1.35.0", "1.35.99", "1.34.0", "1.32.0")),
    *(_kube_proxy(each, "1.34") for each in ("1.34.0", "1.31.99")),
    # what says nothing about a cluster made elsewhere
    {**SHOP, "network": {}, "cluster": {}, "vpcCni": {}, "addonVersions": {}, "tags": {}},
    {**SHOP, **_cache(localAddress="169.254.25.10")},
    {**OTHERS, "vpcCni": {"manage": False}},
    {**SHOP, "vpcCni": {"manage": True, "podEni": True, "podSecurityGroupEnforcingMode": "standard"}},
    {**SHOP, "vpcCni": {"manage": True, "podEni": False, "podSecurityGroupEnforcingMode": "strict"}},
    {"vpcCni": {"podEni": True}},
]

STRICT = "vpcCni.podSecurityGroupEnforcingMode is strict while vpcCni.podEni and nodeLocalDns.enabled are on"
NO_EFFECT = "source names a cluster that exists, whose vpc-cni this stack only looks at, so it would have no effect"
NOT_OURS = "source names a cluster that exists, and of its vpc-cni only podEni and podSecurityGroupEnforcingMode"
NOT_MANAGED = "source names a cluster that exists, whose add-on this stack does not manage"
HOW_MADE = "it says how a cluster is made, but source names one that exists"

REFUSED: list[tuple[dict[str, Any], str]] = [
    # settings, how the mistake begins
    *(
        (_cache(localAddress=each), f"nodeLocalDns.localAddress: {each} is not link-local")
        for each in ("169.253.255.255", "169.255.0.0", "10.0.0.10")
    ),
    *(
        (_cache(localAddress=each), f"nodeLocalDns.localAddress: '{each}' is not an IPv4 address")
        for each in ("fe80::1", "169.254.20", "169.254.20.10/32", "169.254.20.256")
    ),
    *(
        (_cache(localAddress=f"169.254.{each}"), f"nodeLocalDns.localAddress: 169.254.{each} is in 169.254.{network},")
        for each, network in (
            *(("0.0", "0.0/24"), ("0.255", "0.0/24"), ("1.1", "1.1/32")),
            *(("169.0", "169.0/24"), ("169.255", "169.0/24"), ("170.0", "170.0/24"), ("170.255", "170.0/24")),
            *(("171.0", "171.0/24"), ("171.255", "171.0/24"), ("172.0", "172.0/22"), ("175.255", "172.0/22")),
            *(("255.0", "255.0/24"), ("255.255", "255.0/24")),
        )
    ),
    *(
        (_upstream(each), f"nodeLocalDns.corefile.upstreamServers: {each} is the address of the cache itself")
        for each in ("172.20.0.10", "172.20.0.10:53", "169.254.20.10")
    ),
    (_upstream("10.9.0.1", "172.20.0.10"), "nodeLocalDns.corefile.upstreamServers: 172.20.0.10 is the address"),
    (_stub("169.254.20.10"), "nodeLocalDns.corefile.stubDomains.corp: 169.254.20.10 is the address"),
    (
        {**_upstream("10.100.0.10"), "serviceCidr": "10.100.0.0/16"},
        "nodeLocalDns.corefile.upstreamServers: 10.100.0.10 is the address",
    ),
    ({**SHOP, **_upstream("169.254.20.10")}, "nodeLocalDns.corefile.upstreamServers: 169.254.20.10 is the address"),
    *(
        (
            {"network": {"cidr": "10.10.0.0/16"}, "serviceCidr": each},
            f"serviceCidr {each} overlaps network.cidr 10.10.0.0/16",
        )
        for each in ("10.10.0.0/24", "10.10.255.0/24", "10.10.0.0/16", "10.0.0.0/12")
    ),
    *(
        (
            {"network": {"cidr": "169.254.16.0/20"}, **_cache(localAddress=each)},
            f"nodeLocalDns.localAddress: {each} is in network.cidr (169.254.16.0/20)",
        )
        for each in ("169.254.16.0", "169.254.31.255")
    ),
    *(
        (_types(each), f"nodeGroups.a.instanceTypes: {each} cannot carry branch network interfaces")
        for each in ("t3.large", "i3.large", "p3.2xlarge")
    ),
    (
        {"nodeGroups": {"a": {"instanceTypes": ["t3.large"]}, "b": {"instanceTypes": ["t4g.large"]}}},
        "nodeGroups.a.instanceTypes, nodeGroups.b.instanceTypes: t3.large, t4g.large cannot carry",
    ),
    *((_vpc_cni(each), f"addonVersions.vpcCni v{each}-eksbuild.1 does not know") for each in ("1.12.0", "0.13.9")),
    ({**MANAGED, **_vpc_cni("1.12.0")}, "addonVersions.vpcCni v1.12.0-eksbuild.1 does not know"),
    *(
        (_kube_proxy(each, minor), f"addonVersions.kubeProxy v{each}-eksbuild.1 does not fit Kubernetes {minor}")
        for each, minor in (
            *(("1.36.0", "1.35"), ("1.31.99", "1.35"), ("2.35.0", "1.35"), ("0.35.0", "1.35")),
            *(("1.35.0", "1.34"), ("1.30.99", "1.34")),
        )
    ),
    *(
        ({**source, key: value}, f"{key}: {HOW_MADE}")
        for source in (SHOP, OTHERS)
        for key, value in {
            "kubernetesVersion": "1.35",
            "serviceCidr": "172.20.0.0/16",
            "network": {"nat": "single"},
            "cluster": {"logRetentionDays": 30},
            "nodeGroups": {"a": {"instanceTypes": ["m6i.large"]}},
            "tags": {"environment": "dev"},
        }.items()
    ),
    ({**SHOP, "network": {"cidr": "172.20.0.0/16"}}, f"network: {HOW_MADE}"),  # and nothing of the usual Services
    *(
        ({**source, "addonVersions": {key: version}}, f"addonVersions.{key}: {NOT_MANAGED}")
        for source, key, version in (
            (SHOP, "vpcCni", "v1.23.1-eksbuild.1"),
            (SHOP, "kubeProxy", "v1.35.3-eksbuild.29"),
            (SHOP, "kubeProxy", "v1.20.0-eksbuild.1"),  # of which Kubernetes nobody has said
            (SHOP, "coreDns", "v1.14.3-eksbuild.22"),
            (MANAGED, "kubeProxy", "v1.35.3-eksbuild.29"),
            (MANAGED, "coreDns", "v1.14.3-eksbuild.22"),
        )
    ),
    *(({"vpcCni": {"manage": each}}, "vpcCni.manage: it is for a cluster that source names") for each in (True, False)),
    *(
        ({**SHOP, "vpcCni": {**managed, key: value}}, f"vpcCni.{key}: {NO_EFFECT}")
        for key, value in {"podEni": True, "podSecurityGroupEnforcingMode": "standard"}.items()
        for managed in ({}, {"manage": False})
    ),
    *(
        ({**SHOP, "vpcCni": {**managed, key: value}}, f"vpcCni.{key}: {NOT_OURS}")
        for key, value in {
            "externalSnat": True,
            "prefixDelegation": True,
            "networkPolicy": True,
            "disableTcpEarlyDemux": True,
            "logLevel": "WARN",
        }.items()
        for managed in ({}, {"manage": True})
    ),
    ({**SHOP, "vpcCni": {"manage": True, "podSecurityGroupEnforcingMode": "strict"}}, STRICT),
]


@pytest.mark.parametrize("values", TAKEN, ids=str)
def test_what_does_no_harm_is_taken(values: dict[str, Any]) -> None:
    """The last value on the right side of each rule."""
    assert judged(values)[1] == []


@pytest.mark.parametrize(("values", "begins"), REFUSED, ids=str)
def test_what_would_do_harm_is_refused(values: dict[str, Any], begins: str) -> None:
    """The first value on the wrong side of each rule breaks that rule and no other."""
    _, [mistake] = judged(values)
    assert mistake.startswith(begins)


@pytest.mark.parametrize("pod_eni", [True, False])
@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("mode", ["standard", "strict"])
def test_strict_mode_is_refused_only_where_it_takes_dns(pod_eni: bool, enabled: bool, mode: str) -> None:
    """Where pods have security groups and the cache takes the way to CoreDNS away: all three, and no two of them."""
    vpc_cni = {"podEni": pod_eni, "podSecurityGroupEnforcingMode": mode}
    _, mistakes = judged({"vpcCni": vpc_cni, "nodeLocalDns": {"enabled": enabled}})
    hurts = (pod_eni, enabled, mode) == (True, True, "strict")
    assert [each.startswith(STRICT) for each in mistakes] == [True] * hurts


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.judge.__name__)
def test_a_rule_has_a_case(rule: Any) -> None:
    """Whoever adds a rule writes down what breaks it."""
    assert any(list(rule.judge(judged(values)[0])) for values, _ in REFUSED)
