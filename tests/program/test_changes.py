"""What docs/settings.md says of a change of each setting, against what the program asks of the engine after it.

Which property of which resource is then another is seen on mocks; whether AWS takes it in place is what the local
cloud's stand-in for pulumi-aws knows.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from components.cache.corefile import CacheSettings
from components.cache.node_local_dns import NodeLocalDnsSettings, manifests, observability_manifests
from components.cluster.addon_configuration import VpcCniSettings, vpc_cni_configuration
from local_cloud.plugins.aws.__main__ import TYPES
from local_cloud.plugins.kubernetes import must_replace
from stacks.changes import CACHE_RESTARTED, CHANGES, CNI_RESTARTED, STATE_ONLY, change
from stacks.reference import keys
from stacks.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Recording

DEV = Path(__file__).parents[2] / "stacks" / "Pulumi.dev.yaml"

PARTS = {
    # what pulumi-eks makes of its components' arguments
    "eks:index:Cluster": {
        "kubernetesServiceIpAddressRange": ("eks/cluster:Cluster", "kubernetesNetworkConfig"),
        "publicAccessCidrs": ("eks/cluster:Cluster", "vpcConfig"),
        "endpointPublicAccess": ("eks/cluster:Cluster", "vpcConfig"),
        "vpcCniOptions": ("eks/addon:Addon", "addonVersion"),
        "kubeProxyAddonOptions": ("eks/addon:Addon", "addonVersion"),
        **{each: ("eks/cluster:Cluster", each) for each in ("name", "version", "enabledClusterLogTypes", "tags")},
    },
    "eks:index:ManagedNodeGroup": {
        each: ("eks/nodeGroup:NodeGroup", each)
        for each in (
            *("amiType", "capacityType", "clusterName", "instanceTypes", "labels"),
            *("scalingConfig", "subnetIds", "tags", "version"),
        )
    },
}

TAGGED = {
    *(f"aws:ec2/{each} tags" for each in (
        "eip:Eip", "internetGateway:InternetGateway", "launchTemplate:LaunchTemplate", "natGateway:NatGateway",
        "routeTable:RouteTable", "subnet:Subnet", "vpc:Vpc",
    )),
    *(f"aws:{each} tags" for each in (
        "cloudwatch/logGroup:LogGroup", "eks/addon:Addon", "iam/role:Role", "kms/key:Key",
        "iam/openIdConnectProvider:OpenIdConnectProvider",
    )),
    "eks:index:Cluster tags", "eks:index:ManagedNodeGroup tags",
    "aws:ec2/launchTemplate:LaunchTemplate tagSpecifications",
}  # fmt: skip

GROUP = "nodeGroups.default"

RUNS: tuple[dict[str, tuple[Any, set[str]]], ...] = (
    # by key: its new value, and what else is asked for: a property, or + and - with what is more and less
    {
        "kubernetesVersion": (
            "1.34",
            {"eks:index:Cluster version", "eks:index:ManagedNodeGroup version",
             "eks:index:Cluster kubeProxyAddonOptions", "aws:eks/addon:Addon addonVersion"},
        ),
        "network.cidr": ("10.99.0.0/16", {"aws:ec2/vpc:Vpc cidrBlock", "aws:ec2/subnet:Subnet cidrBlock"}),
        "network.nat": (
            "perZone",
            {"+ aws:ec2/natGateway:NatGateway", "+ aws:ec2/eip:Eip", "aws:ec2/route:Route natGatewayId"},
        ),
        "cluster.logTypes": (["audit"], {"eks:index:Cluster enabledClusterLogTypes"}),
        "cluster.logRetentionDays": (5, {"aws:cloudwatch/logGroup:LogGroup retentionInDays"}),
        "cluster.deletionProtection": (True, set()),
        "cluster.publicAccessCidrs": (
            ["203.0.113.0/24"],
            {"eks:index:Cluster endpointPublicAccess", "eks:index:Cluster publicAccessCidrs"},
        ),
        f"{GROUP}.capacityType": ("ON_DEMAND", {"eks:index:ManagedNodeGroup capacityType"}),
        f"{GROUP}.diskSizeGib": (60, {"aws:ec2/launchTemplate:LaunchTemplate blockDeviceMappings"}),
    },
    {
        "serviceCidr": (
            "10.100.0.0/16",
            {"eks:index:Cluster kubernetesServiceIpAddressRange", "kubernetes:core/v1:ConfigMap data",
             "kubernetes:core/v1:Service metadata", "kubernetes:apps/v1:DaemonSet spec"},
        ),
        "network.zones": (
            ["a", "b", "c"],
            {"eks:index:ManagedNodeGroup subnetIds", "+ aws:ec2/subnet:Subnet", "+ aws:ec2/routeTable:RouteTable",
             "+ aws:ec2/route:Route", "+ aws:ec2/routeTableAssociation:RouteTableAssociation"},
        ),
        "cluster.admins": (
            ["arn:aws:iam::111122223333:role/platform"],
            {"+ aws:eks/accessEntry:AccessEntry", "+ aws:eks/accessPolicyAssociation:AccessPolicyAssociation"},
        ),
        "addonVersions.vpcCni": ("v1.22.3-eksbuild.1", {"eks:index:Cluster vpcCniOptions"}),
        "addonVersions.kubeProxy": ("v1.34.6-eksbuild.25", {"eks:index:Cluster kubeProxyAddonOptions"}),
        "addonVersions.coreDns": ("v1.13.2-eksbuild.24", {"aws:eks/addon:Addon addonVersion"}),
        f"{GROUP}.instanceTypes": (
            ["m7g.large"],
            {"eks:index:ManagedNodeGroup instanceTypes", "eks:index:ManagedNodeGroup amiType"},
        ),
        f"{GROUP}.minSize": (0, {"eks:index:ManagedNodeGroup scalingConfig"}),
        f"{GROUP}.labels": ({"team": "shop"}, {"eks:index:ManagedNodeGroup labels"}),
        f"{GROUP}.autoscaled": (True, {"eks:index:ManagedNodeGroup ignoreScalingChanges"}),
    },
    {
        "cluster.name": (
            "shop",
            {"eks:index:Cluster name", "eks:index:ManagedNodeGroup clusterName", "aws:eks/addon:Addon clusterName",
             "aws:cloudwatch/logGroup:LogGroup name", "aws:kms/key:Key description",
             "pulumi:providers:kubernetes clusterIdentifier", "pulumi:providers:kubernetes kubeconfig"},
        ),
        "tags": ({"environment": "trial"}, TAGGED),
        "nodeLocalDns.enabled": (
            False,
            {"- eks-node-local-dns:index:NodeLocalDns", "- kubernetes:core/v1:Service",
             *(f"- kubernetes:{each}" for each in (
                 "core/v1:ServiceAccount", "core/v1:ConfigMap", "apps/v1:DaemonSet",
             ))},
        ),
    },
)  # fmt: skip


def _put(settings: dict[str, Any], key: str, value: object) -> None:
    *outer, last = key.split(".")
    for each in outer:
        settings = settings.setdefault(each, {})
    settings[last] = value


def _changed(before: "Recording", after: "Recording") -> set[str]:
    assert after.error == ""
    old, new = before.by_urn, after.by_urn
    return (
        {f"- {old[urn].type}" for urn in old.keys() - new.keys()}
        | {f"+ {new[urn].type}" for urn in new.keys() - old.keys()}
        | {
            f"{new[urn].type} {key}"
            for urn in old.keys() & new.keys()
            for key in old[urn].inputs.keys() | new[urn].inputs.keys()
            if old[urn].inputs.get(key) != new[urn].inputs.get(key)
        }
    )


@pytest.fixture(scope="module")
def changed(recordings: "dict[str, Recording]", record: "Callable[[dict[str, Any]], Recording]") -> list[set[str]]:
    """Return what each of `RUNS` asks for otherwise than the stack dev."""

    def run(values: dict[str, tuple[Any, set[str]]]) -> set[str]:
        given = yaml.safe_load(DEV.read_text())["config"]
        settings = {key.partition(":")[2]: each for key, each in given.items() if key.startswith("eks-node")}
        for key, (value, _asked) in values.items():
            _put(settings, key, value)
        mocked = {"kube-dns": "10.100.0.10"} if "serviceCidr" in values else {}
        return _changed(recordings["dev"], record({"stack": "dev", "settings": settings, "mocked": mocked}))

    return [run(each) for each in RUNS]


@pytest.mark.parametrize("number", range(len(RUNS)))
def test_settings_change_these_resources(changed: list[set[str]], number: int) -> None:
    """Setting these keys anew asks for exactly this, so nothing else is replaced or restarted by them."""
    assert changed[number] == set().union(*(asked for _value, asked in RUNS[number].values()))


def _replaced(asked: set[str]) -> set[str]:
    """Return what AWS makes anew because of these properties; a route is a line of a table, and nobody's loss."""
    found: set[str] = set()
    for kind, name in (each.split(" ") for each in asked if each[0] not in "+-"):
        token, own = PARTS.get(kind, {}).get(name, (kind.removeprefix("aws:"), name))
        known = TYPES.get(f"aws:{token}")
        if known is not None and own not in known.updates and "route:Route" not in token:
            found.add(token.partition(":")[2])
    return found


def _exchanged(asked: set[str]) -> bool:
    """Say whether nodes are exchanged within their group: for another version, or another of their template."""
    template = "aws:ec2/launchTemplate:LaunchTemplate "
    return "eks:index:ManagedNodeGroup version" in asked or any(
        each.startswith(template) and each != f"{template}tags" for each in asked
    )


@pytest.mark.parametrize("key", [key for run in RUNS for key in run])
def test_the_reference_says_what_is_replaced(key: str) -> None:
    """Where AWS makes something anew the reference says so, and only there; and where nodes are exchanged."""
    [asked] = [run[key][1] for run in RUNS if key in run]
    said = change(key.replace("default", "<name>"))
    gone = _replaced(asked)
    assert ("**replaces" in said) is bool(gone), gone
    for kind, word in {"Cluster": "cluster", "Vpc": "VPC", "NodeGroup": "node group"}.items():
        assert kind not in gone or word in said or "Cluster" in gone
    assert gone or ("exchanged" in said) is _exchanged(asked)
    assert (said == STATE_ONLY) is (asked <= {"eks:index:ManagedNodeGroup ignoreScalingChanges"})


CACHE: dict[str, Any] = {
    "localAddress": "169.254.25.10",
    "interception": "upstream",
    "image": "registry.k8s.io/dns/k8s-dns-node-cache:1.27.0",
    "cpuRequest": "30m",
    "memoryRequestMebibytes": 20,
    "ignoreStrictPods": True,
    "corefile.clusterDomain": None,  # has one value only
    "corefile.upstreamServers": ["10.0.0.2"],
    "corefile.clusterForceTcp": False,
    "corefile.maxConcurrent": 2000,
    "corefile.stubDomains": {"corp.example.com": {"servers": ["10.1.0.2"]}},
    "corefile.rewrites": [{"source": "a.example.com", "target": "b.example.com"}],
    "corefile.log": True,
    "corefile.extraPlugins": ["pprof"],
    "observability.podMonitor": False,
    "observability.prometheusRule": False,
    "observability.dashboard": False,
    "observability.labels": {"release": "prometheus"},
    "observability.scrapeIntervalSeconds": 60,
    "observability.setupEndpoint": True,
    "observability.runbooks": "https://example.com/alerts",
    **{
        f"corefile.{zone}.{key}": value
        for zone in ("cluster", "reverse", "external")
        for key, value in {
            "successCapacity": 5000, "successTtl": 7, "denialCapacity": 5000, "denialTtl": 7, "serveStaleSeconds": 60,
            "prefetch": None, "prefetch.enabled": False, "prefetch.amount": 7, "prefetch.durationSeconds": 50,
            "prefetch.percentage": 20,
        }.items()
    },
}  # fmt: skip
"""By key below nodeLocalDns: another value than `WATCHED` has."""

WATCHED = {"podMonitor": True, "prometheusRule": True, "dashboard": True}


def _objects(**more: Any) -> dict[str, dict[str, Any]]:
    settings = NodeLocalDnsSettings.model_validate({"observability": WATCHED} | more)
    made = manifests(settings, cluster_dns_ip="172.20.0.10", upstream_ip="172.20.3.3")
    return {**made, **observability_manifests(settings)}


@pytest.mark.parametrize("key", [key for key in CACHE if key != "corefile.clusterDomain"])
def test_the_reference_says_when_the_cache_restarts(key: str) -> None:
    """A setting of the cache changes its pods' template, or else the reference says that nothing restarts."""
    given: dict[str, Any] = {"observability": dict(WATCHED)}
    if key == "observability.podMonitor":
        given["observability"]["prometheusRule"] = False
    before = _objects(**given)
    _put(given, key, CACHE[key])
    after = _objects(**given)
    assert before != after
    restarted = before["daemonSet"]["spec"]["template"] != after["daemonSet"]["spec"]["template"]
    said = (
        CACHE_RESTARTED if re.match(r"corefile\.(cluster|reverse|external)\.", key) else change(f"nodeLocalDns.{key}")
    )
    assert (said == CACHE_RESTARTED) is restarted
    for name in before.keys() & after.keys():
        kind = before[name]["kind"]
        assert must_replace(kind, before[name], after[name], mutable_config_maps=True) == []
    if key.startswith("observability"):
        watching = {name for name in before if before[name] != after.get(name)}
        assert watching <= {"podMonitor", "prometheusRule", "dashboard"}


def test_every_setting_of_the_cni_is_the_add_ons() -> None:
    """Each changes the configuration that EKS hands to aws-node, which then restarts."""
    assert {"addonVersion", "configurationValues"} <= TYPES["aws:eks/addon:Addon"].updates.keys()
    others: dict[str, Any] = {
        "pod_security_group_enforcing_mode": "strict", "log_level": "DEBUG", "pod_eni": False, "external_snat": True,
        "prefix_delegation": True, "network_policy": True, "disable_tcp_early_demux": True,
    }  # fmt: skip
    assert {*others, "manage"} == VpcCniSettings.model_fields.keys()
    for name, value in others.items():
        other = VpcCniSettings.model_validate({name: value})
        assert vpc_cni_configuration(other) != vpc_cni_configuration(VpcCniSettings())
        assert change(f"vpcCni.{VpcCniSettings.model_fields[name].alias}") == CNI_RESTARTED


def test_a_vpc_that_exists_takes_the_place_of_the_one_made_here(recordings: "dict[str, Recording]") -> None:
    """Naming one deletes the VPC that was made, and the nodes get other subnets; public ones reach outputs only."""
    made, existing = recordings["dev"], recordings["in an existing VPC"]
    asked = _changed(made, existing)
    assert {"- aws:ec2/vpc:Vpc", "eks:index:ManagedNodeGroup subnetIds", "eks:index:Cluster vpcId"} <= asked
    assert "subnetIds" not in TYPES["aws:eks/nodeGroup:NodeGroup"].updates
    assert not any("subnet-3" in str(each.inputs) for each in existing.resources)


def test_every_setting_has_been_changed_here() -> None:
    """No sentence of the reference about a change is without its case."""
    tried = {key.replace("default", "<name>") for run in RUNS for key in run}
    tried |= {f"nodeLocalDns.{key}" for key in CACHE}
    tried |= {each.key for each in keys(Settings) if each.key.startswith(("vpcCni.", "network.existing", "source."))}
    # with the three sizes; with the domains and rewrites they are in
    tried |= {f"nodeGroups.<name>.{each}" for each in ("desiredSize", "maxSize")} | {"nodeGroups"}
    apart = ("nodeLocalDns.corefile.stubDomains.", "nodeLocalDns.corefile.rewrites[")
    asked = {each.key for each in keys(Settings) if each.default != "see its keys" and not each.key.startswith(apart)}
    assert asked - tried == {"nodeLocalDns.corefile.reverse"}  # whose keys are
    assert {each.key for each in keys(CacheSettings)} - {"prefetch"} <= {key.split(".", 2)[-1] for key in CACHE}
    assert CHANGES.keys() <= {each.key for each in keys(Settings)}
