import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pulumi
import pytest
from pulumi.errors import InputPropertyError

from components.cache.corefile import CacheSettings
from components.pod_security_groups.pod_security_group import PACKAGE
from package import cluster, node_local_dns
from package.provider import PackageProvider
from package.schema import FILE, text
from package.settings_types import ONLY_FOR_A_CLUSTER_THAT_EXISTS, SettingsTypes
from stacks.reference import keys
from stacks.settings import Settings

PREFIX = f"#/types/{PACKAGE}:index:"


@pytest.fixture(scope="module")
def provider() -> PackageProvider:
    """Return what the engine asks."""
    return PackageProvider()


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """Return the schema that the repository keeps."""
    return json.loads(FILE.read_text())  # type: ignore[no-any-return]


def test_the_schema_in_the_repository_is_the_packages() -> None:
    """`make schema` was run after the last change of a setting, an argument, a description or the version."""
    assert FILE.read_text() == text()


def properties(schema: dict[str, Any], model: str, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every property by its path, as the table of settings spells it."""
    for key, each in schema["types"][f"{PACKAGE}:index:{model}"]["properties"].items():
        yield f"{prefix}{key}", each
        named = each.get("additionalProperties", {})
        inner = next((part["$ref"] for part in (each, named, each.get("items", {})) if "$ref" in part), PREFIX)
        if "properties" in schema["types"].get(inner.removeprefix("#/types/"), {}):
            between = ".<name>." if "$ref" in named else "."
            yield from properties(schema, inner.removeprefix(PREFIX), f"{prefix}{key}{between}")


def _documented() -> Iterator[str]:
    """Yield the keys of the reference, those of a cache for each of the caches."""
    for row in keys(Settings):
        yield row.key
        if row.kind == "[map](#caches)":
            yield from (each.key for each in keys(CacheSettings, f"{row.key}."))


def test_the_types_have_every_setting(schema: dict[str, Any]) -> None:
    """A program in another language sees what a stack file can say, but for what is about a cluster that exists."""
    documented = {each.replace("[]", "") for each in _documented()}
    elsewhere = {"source", "source.stack", "source.clusterName", "vpcCni.manage"}
    assert {path for path, _ in properties(schema, "Settings")} == documented - elsewhere
    cache = {path for path, _ in properties(schema, "NodeLocalDnsSettings")}
    assert {f"nodeLocalDns.{path}" for path in cache} == {
        each for each in documented if each.startswith("nodeLocalDns.")
    }


def test_every_setting_is_plain_and_described_and_has_no_default_to_send(schema: dict[str, Any]) -> None:
    """Types leave no room for outputs, an editor shows what a key means, and no SDK sends what nobody gave."""

    def plain(part: dict[str, Any]) -> bool:
        inner = [part[each] for each in ("items", "additionalProperties") if each in part]
        return part["plain"] is True and all(plain(each) for each in inner)

    for path, each in properties(schema, "Settings"):
        assert plain(each), path
        assert each["description"], path
        assert "\n" not in each["description"].replace("\n\n", ""), path
        assert "default" not in each, path


def test_descriptions_tell_limits_and_defaults(schema: dict[str, Any]) -> None:
    """What a schema cannot say in a way that is safe is said in words, and what nobody may leave out is required."""
    told = dict(properties(schema, "Settings"))
    ttl = told["nodeLocalDns.corefile.cluster.successTtl"]
    assert ttl["type"] == "integer"
    assert ttl["description"].endswith("From 1 to 3600; `30` unless given.")
    assert told["nodeGroups.<name>.diskSizeGib"]["description"].endswith("At least 20; `50` unless given.")
    assert told["nodeLocalDns.corefile.upstreamServers"]["description"].endswith("At most 15 of them.")
    required = {name.rpartition(":")[2]: each.get("required", []) for name, each in schema["types"].items()}
    assert required["NodeGroupSettings"] == ["instanceTypes"]
    assert required["ExistingVpc"] == ["vpcId", "privateSubnetIds"]
    assert required["Settings"] == required["CacheSettings"] == []


def test_enums_have_the_values_of_the_model(schema: dict[str, Any]) -> None:
    """Where only certain values are taken, an editor offers them by names that a program can say."""

    def enum(name: str) -> dict[str, str | int]:
        return {each["name"]: each["value"] for each in schema["types"][f"{PACKAGE}:index:{name}"]["enum"]}

    assert enum("NetworkNat") == {"Single": "single", "PerZone": "perZone"}
    assert enum("NodeGroupCapacityType") == {"OnDemand": "ON_DEMAND", "Spot": "SPOT"}
    assert enum("VpcCniPodSecurityGroupEnforcingMode") == {"Standard": "standard", "Strict": "strict"}
    assert enum("ClusterLogRetentionDays")["Days30"] == 30
    types = dict(properties(schema, "Settings"))
    assert types["cluster.logTypes"]["items"]["$ref"] == f"{PREFIX}ClusterLogType"
    assert types["network.nat"]["$ref"] == f"{PREFIX}NetworkNat"


def test_what_no_type_has_is_refused() -> None:
    """Keys are left out of the types only because the component that makes a cluster refuses them all."""
    given = {"Settings": {"source": {"clusterName": "shop"}}, "VpcCniSettings": {"vpcCni": {"manage": True}}}
    assert given.keys() == ONLY_FOR_A_CLUSTER_THAT_EXISTS.keys()
    for settings in given.values():
        with pytest.raises(pulumi.RunError, match="Cluster 'dns' has 1 mistake"):
            cluster.check("dns", {"region": "eu-central-1", "settings": settings})


def test_a_null_that_means_something_is_no_type() -> None:
    """Null is lost between a program and its components, so a setting that is turned off by it would stay on."""

    class Fruit(cluster.Settings):
        """A model whose setting is on by default and off by null."""

        peel: str | None = "thick"
        """What is around it."""

    with pytest.raises(TypeError, match="FruitPeel: null means something"):
        SettingsTypes(PACKAGE).reference(Fruit)


def test_settings_arrive_as_they_were_given(provider: PackageProvider) -> None:
    """The model sees every key, also one that it does not know, so that mistakes are told as in a stack file."""
    given = {"region": "eu-central-1", "settings": {"clutser": {}, "nodeGroups": {"a": {"maxSize": 3.0}}}}
    arrived = provider.map_inputs(given, provider._component_defs["Cluster"])
    assert arrived == given
    with pytest.raises(pulumi.RunError, match=r"settings\.clutser: there is no such setting"):
        cluster.check("dns", arrived)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("component", "given", "path"),
    [
        ("Cluster", {"region": "eu-central-1", "setings": {}}, "setings"),
        ("NodeLocalDns", {"clusterDnsIp": "172.20.0.10", "kubeconfig": "", "setting": {}}, "setting"),
        ("PodSecurityGroup", {"podSelector": {"matchLabel": {}}}, "podSelector.matchLabel"),
        ("PodSecurityGroup", {"egress": {"web": {"descripton": ""}}}, "egress.web.descripton"),
    ],
)
def test_an_argument_that_no_component_knows_is_refused(
    provider: PackageProvider, component: str, given: dict[str, Any], path: str
) -> None:
    """A misspelt argument is no silence: the SDK alone would leave it out and say nothing."""
    whole = {"vpcId": "v", "coreDnsSecurityGroupId": "g", "namespace": "n", "branchInterfaces": {"instanceTypes": []}}
    if component == "PodSecurityGroup":
        given = {**whole, **given}
    with pytest.raises(InputPropertyError) as refused:
        provider.map_inputs(given, provider._component_defs[component])
    assert refused.value.property_path == path
    assert f"{component} has no argument {path}, and a misspelt one must not be ignored. Did you mean " in str(
        refused.value.reason
    )


def test_numbers_survive_the_way() -> None:
    """The engine sends every number as one with a fraction; a whole one is an integer, another is refused."""
    checked = node_local_dns.check("cache", {"corefile": {"external": {"successTtl": 45.0}}})
    assert repr(checked.corefile.external.success_ttl) == "45"
    days = cluster.check("dns", {"region": "a", "settings": {"cluster": {"logRetentionDays": 90.0}}})
    assert repr(days.cluster.log_retention_days) == "90"
    with pytest.raises(pulumi.RunError, match=r"settings\.corefile\.external\.successTtl: it has to be a whole number"):
        node_local_dns.check("cache", {"corefile": {"external": {"successTtl": 45.5}}})


def test_outputs_where_values_are_checked_are_refused() -> None:
    """What JavaScript lets through, or a secret, is told by its key, before anything is created."""

    async def refused() -> tuple[str, str]:
        later = pulumi.Output.from_input("small")
        groups = {"nodeGroups": {"a": {"instanceTypes": [later]}}}
        with pytest.raises(pulumi.RunError) as whole:
            cluster.check("dns", {"region": later, "settings": groups})  # type: ignore[typeddict-item]
        with pytest.raises(pulumi.RunError) as cache:
            node_local_dns.check("cache", later)  # type: ignore[arg-type]
        return str(whole.value), str(cache.value)

    whole, cache = asyncio.run(refused())
    assert "region is an output or a secret" in whole
    assert "settings.nodeGroups.a.instanceTypes.0 is an output or a secret" in whole
    assert "settings is an output or a secret" in cache
