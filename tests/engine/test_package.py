"""The component package, run by the real engine: its schema, its SDKs, and a program that uses one of them."""

import dataclasses
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from components.outputs import StackOutputs
from components.pod_security_groups.pod_security_group import PACKAGE
from local_cloud.cloud import environment, locate_programs
from local_cloud.layout import Layout
from local_cloud.stacks import ROOT
from tests.engine.commands import run, succeeded
from tests.engine.copies import copy_repository, install_sdk, link_packages
from tools.catalogue import PROGRAMS, GoProgram

if TYPE_CHECKING:
    from conftest import BroughtUp

pytestmark = [pytest.mark.engine, pytest.mark.needs("package-sdk"), pytest.mark.timeout(500)]

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
CLUSTER = f"{PACKAGE}:index:Cluster"
POD_SECURITY_GROUP = f"{PACKAGE}:index:PodSecurityGroup"
NODE_LOCAL_DNS = f"{PACKAGE}:index:NodeLocalDns"
PROGRAM = """
import sys
from pathlib import Path

import pulumi
import pulumi_kubernetes as kubernetes

sys.path.insert(0, str(Path(__file__).parent / "sdks" / "eks-node-local-dns"))
from pulumi_eks_node_local_dns import PodSecurityGroup

config = pulumi.Config()
cluster = kubernetes.Provider("cluster", kubeconfig=config.require("kubeconfig"))
pods = PodSecurityGroup(
    "shop",
    vpc_id=config.require("vpcId"),
    core_dns_security_group_id=config.require("clusterSecurityGroupId"),
    namespace="default",
    pod_selector={"match_labels": {"app": config.require("app")}},
    branch_interfaces={"instance_types": ["m6i.large"], "pods": 2, "nodes": 1},
    egress={"web": {"description": "The web", "protocol": "tcp", "port": 443, "cidr": "0.0.0.0/0"}},
    opts=pulumi.ResourceOptions(providers=[cluster]),
)
pulumi.export("securityGroupId", pods.security_group_id)
pulumi.export("policyName", pods.policy_name)
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the package in a copy of the repository, with its requirements installed."""
    copied = tmp_path_factory.mktemp("package") / "repository"
    copy_repository(copied)
    link_packages(copied / "package")
    return copied / "package"


@pytest.fixture(scope="module")
def without_cloud(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment in which the engine runs and no cloud does."""
    layout = Layout(tmp_path_factory.mktemp("local"))
    layout.state.mkdir(parents=True)
    return environment(layout, locate_programs(("pulumi",)))


@pytest.fixture(scope="module")
def schema(package: Path, without_cloud: dict[str, str]) -> dict[str, Any]:
    """Return what the package tells the engine about itself."""
    return json.loads(succeeded(without_cloud, package, "pulumi", "package", "get-schema", str(package)))  # type: ignore[no-any-return]


def test_the_schema_has_the_components_arguments_and_outputs(schema: dict[str, Any]) -> None:
    """Other languages see what Python sees: the version, what is required, and every description."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (schema["name"], schema["version"]) == (PACKAGE, project["version"])
    cluster, group, cache = (schema["resources"].pop(each) for each in (CLUSTER, POD_SECURITY_GROUP, NODE_LOCAL_DNS))
    assert schema["resources"] == {}
    assert cluster["requiredInputs"] == ["region"]
    assert cluster["inputProperties"].keys() == {"region", "settings"}
    contract = schema["types"][cluster["properties"]["outputs"]["$ref"].removeprefix("#/types/")]
    assert contract["properties"].keys() == StackOutputs.names() == set(contract["required"])
    assert all(each["description"] for each in contract["properties"].values())
    assert set(group["requiredInputs"]) == {"vpcId", "coreDnsSecurityGroupId", "namespace", "branchInterfaces"}
    assert group["properties"].keys() == {"securityGroupId", "policyName"}
    assert set(cache["requiredInputs"]) == {"clusterDnsIp", "kubeconfig"}
    assert cache["inputProperties"].keys() == {"clusterDnsIp", "kubeconfig", "settings"}
    assert cache["properties"].keys() == {"localIp", "upstreamIp"}
    for component in (cluster, group, cache):
        assert component["isComponent"]
        assert component["description"]
        assert all(each["description"] for each in component["inputProperties"].values())
        assert all(each["description"] for each in component["properties"].values())


@pytest.mark.parametrize("language", ["go", "nodejs", "python"])
def test_an_sdk_is_written_for_every_language(
    package: Path, without_cloud: dict[str, str], tmp_path: Path, language: str
) -> None:
    """Pulumi's generators understand the schema, and the Go compiler accepts what they make of it."""
    succeeded(
        without_cloud, tmp_path, "pulumi", "package", "gen-sdk", str(package), "--language", language, "--out", "."
    )  # fmt: skip
    written = tmp_path / language
    texts = "".join(each.read_text() for each in written.rglob("*") if each.suffix in {".go", ".ts", ".py"})
    assert all(each in texts for each in ("Cluster", "NodeLocalDns", "PodSecurityGroup"))
    if language == "go":
        pins = PROGRAMS["package-sdk"]
        assert isinstance(pins, GoProgram)
        [module] = {each for each in texts.split('"') if each.endswith(f"sdk/go/{PACKAGE}/internal")}
        _first, *rest = (pins.source / "go.mod").read_text().splitlines(keepends=True)
        directory = written / PACKAGE.replace("-", "")
        (directory / "go.mod").write_text("".join([f"module {module.removesuffix('/internal')}\n", *rest]))
        (directory / "go.sum").write_text((pins.source / "go.sum").read_text())
        offline = {**os.environ, "GOFLAGS": "-mod=mod", "GOPROXY": "off"}
        succeeded(offline, directory, "go", "build", "-trimpath", "-buildvcs=false", "./...")


def add_package(package: Path, variables: Mapping[str, str], program: Path) -> None:
    """Add the package to a program, by the real command."""
    succeeded(variables, program, "pulumi", "package", "add", str(package))
    assert yaml.safe_load((program / "Pulumi.yaml").read_text())["packages"][PACKAGE] == str(package)
    assert (program / "requirements.txt").read_text() == f"sdks/{PACKAGE}\n"
    install_sdk(program / "sdks" / PACKAGE, f"pulumi_{PACKAGE.replace('-', '_')}", VERSION)


def test_a_program_gets_the_component_by_package_add(package: Path, brought_up: "BroughtUp", tmp_path: Path) -> None:
    """The real command adds it, and an update gives the pods a group with DNS, and the cluster its policy."""
    variables, outputs = brought_up.cloud.environment, brought_up.stack.outputs()
    (tmp_path / "Pulumi.yaml").write_text("name: shop\nruntime: python\n")
    (tmp_path / "__main__.py").write_text(PROGRAM)
    config = {key: outputs[key] for key in ("vpcId", "clusterSecurityGroupId", "kubeconfig")} | {"app": "shop"}
    written = {"aws:region": outputs["region"], **{f"shop:{key}": value for key, value in config.items()}}
    (tmp_path / "Pulumi.dev.yaml").write_text(yaml.safe_dump({"config": written}))

    add_package(package, variables, tmp_path)
    succeeded(variables, tmp_path, "pulumi", "stack", "init", "dev")
    try:
        succeeded(variables, tmp_path, "pulumi", "up", "--yes", "--non-interactive", "--skip-preview")
        made = json.loads(succeeded(variables, tmp_path, "pulumi", "stack", "output", "--json"))
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(outputs["kubeconfig"])
        policy = json.loads(
            succeeded(
                variables, tmp_path, "kubectl", f"--kubeconfig={kubeconfig}", "get", "--output=json",
                f"securitygrouppolicy/{made['policyName']}",
            )
        )  # fmt: skip
        assert policy["spec"]["securityGroups"]["groupIds"] == [made["securityGroupId"]]
        rules = json.loads(
            succeeded(
                variables, tmp_path, "aws", "ec2", "describe-security-group-rules", "--output=json",
                f"--region={outputs['region']}", f"--filters=Name=group-id,Values={made['securityGroupId']}",
            )
        )["SecurityGroupRules"]  # fmt: skip
        out = {(each["IpProtocol"], each["FromPort"]) for each in rules if each["IsEgress"]}
        assert {("udp", 53), ("tcp", 53), ("tcp", 443)} <= out

        (tmp_path / "__main__.py").write_text(PROGRAM.replace('"m6i.large"', '"t3.large"'))
        refused = run(variables, tmp_path, "pulumi", "preview", "--non-interactive")
        assert refused.returncode != 0
        assert "PodSecurityGroup 'shop' has 1 mistake" in refused.stdout + refused.stderr
    finally:
        succeeded(variables, tmp_path, "pulumi", "destroy", "--yes", "--non-interactive", "--skip-preview", "--remove")


CACHE_PROGRAM = """
import sys
from pathlib import Path

import pulumi
import pulumi_kubernetes as kubernetes

sys.path.insert(0, str(Path(__file__).parent / "sdks" / "eks-node-local-dns"))
from pulumi_eks_node_local_dns import NodeLocalDns

config = pulumi.Config()
cluster = kubernetes.Provider("cluster", kubeconfig=config.require("kubeconfig"))
cache = NodeLocalDns(
    "cache",
    cluster_dns_ip=config.require("clusterDnsIp"),
    kubeconfig=config.require("kubeconfig"),
    settings={"corefile": {"external": {"successTtl": 45}}},
    opts=pulumi.ResourceOptions(providers=[cluster]),
)
pulumi.export("localIp", cache.local_ip)
pulumi.export("upstreamIp", cache.upstream_ip)
"""


def test_a_program_gets_the_cache_by_package_add(package: Path, brought_up: "BroughtUp", tmp_path: Path) -> None:
    """The cache comes from another program, with that program's settings, after the cluster was asked for pods."""
    variables, outputs = brought_up.cloud.environment, brought_up.stack.outputs()
    (tmp_path / "Pulumi.yaml").write_text("name: cache\nruntime: python\n")
    (tmp_path / "__main__.py").write_text(CACHE_PROGRAM)
    config = {f"cache:{key}": outputs[key] for key in ("clusterDnsIp", "kubeconfig")}
    (tmp_path / "Pulumi.dev.yaml").write_text(yaml.safe_dump({"config": config}))
    add_package(package, variables, tmp_path)
    succeeded(variables, tmp_path, "pulumi", "stack", "init", "dev")
    (tmp_path / "kubeconfig").write_text(outputs["kubeconfig"])
    kubectl = ("kubectl", f"--kubeconfig={tmp_path / 'kubeconfig'}", "-n", "kube-system")
    without = {f"{PACKAGE}:nodeLocalDns": {"enabled": False}}
    try:
        dataclasses.replace(brought_up.stack, overrides=without).up()
        succeeded(variables, tmp_path, "pulumi", "up", "--yes", "--non-interactive", "--skip-preview")
        made = json.loads(succeeded(variables, tmp_path, "pulumi", "stack", "output", "--json"))
        corefile = succeeded(variables, tmp_path, *kubectl, "get", "configmap/node-local-dns", "--output=yaml")
        assert "success 9984 45" in corefile
        assert made["localIp"] in corefile
        assert made["upstreamIp"] in corefile

        # The guard runs in the package's process: in strict mode it refuses what may take DNS from pods.
        succeeded(
            variables, tmp_path, *kubectl, "set", "env", "daemonset/aws-node", "--containers=aws-node",
            "POD_SECURITY_GROUP_ENFORCING_MODE=strict",
        )  # fmt: skip
        changed = CACHE_PROGRAM.replace("settings={", 'settings={"localAddress": "169.254.20.11", ')
        (tmp_path / "__main__.py").write_text(changed)
        refused = run(variables, tmp_path, "pulumi", "up", "--yes", "--non-interactive", "--skip-preview")
        assert refused.returncode != 0
        assert "DaemonSet aws-node is in strict mode" in refused.stdout + refused.stderr

        (tmp_path / "__main__.py").write_text(CACHE_PROGRAM.replace('"successTtl": 45', '"successTtl": -1'))
        refused = run(variables, tmp_path, "pulumi", "preview", "--non-interactive")
        assert refused.returncode != 0
        assert "NodeLocalDns 'cache' has 1 mistake" in refused.stdout + refused.stderr
        assert "settings.corefile.external.successTtl" in refused.stdout + refused.stderr
    finally:
        succeeded(
            variables, tmp_path, *kubectl, "set", "env", "daemonset/aws-node", "--containers=aws-node",
            "POD_SECURITY_GROUP_ENFORCING_MODE=standard",
        )  # fmt: skip
        succeeded(variables, tmp_path, "pulumi", "destroy", "--yes", "--non-interactive", "--skip-preview", "--remove")
        brought_up.stack.up()


CLUSTER_PROGRAM = """
import sys
from pathlib import Path

import pulumi

sys.path.insert(0, str(Path(__file__).parent / "sdks" / "eks-node-local-dns"))
from pulumi_eks_node_local_dns import Cluster

cluster = Cluster(
    "other",
    region=pulumi.Config("aws").require("region"),
    settings={
        "cluster": {"publicAccessCidrs": ["198.51.100.0/24"], "logRetentionDays": 90},
        "serviceCidr": "10.100.0.0/16",
        "nodeGroups": {"small": {"instanceTypes": ["m7g.large"], "maxSize": 2}},
    },
)
pulumi.export("clusterName", cluster.outputs.cluster_name)
pulumi.export("clusterDnsIp", cluster.outputs.cluster_dns_ip)
pulumi.export("nodeLocalDnsIp", cluster.outputs.node_local_dns_ip)
pulumi.export("kubeconfig", cluster.outputs.kubeconfig)
pulumi.export("outputs", cluster.outputs.apply(sorted))
"""


def test_a_program_gets_the_whole_cluster_by_package_add(
    package: Path, brought_up: "BroughtUp", tmp_path: Path
) -> None:
    """Network, cluster and cache come from another program, in their order, judged before anything is created."""
    variables = brought_up.cloud.environment
    (tmp_path / "Pulumi.yaml").write_text("name: acme\nruntime: python\n")
    region = brought_up.stack.outputs()["region"]
    (tmp_path / "Pulumi.dev.yaml").write_text(yaml.safe_dump({"config": {"aws:region": region}}))
    add_package(package, variables, tmp_path)
    succeeded(variables, tmp_path, "pulumi", "stack", "init", "dev")
    wrong = CLUSTER_PROGRAM.replace('"serviceCidr": "10.100.0.0/16"', '"serviceCidr": "10.0.0.0/16", "clutser": {}')
    (tmp_path / "__main__.py").write_text(wrong)
    refused = run(variables, tmp_path, "pulumi", "preview", "--non-interactive")
    assert refused.returncode != 0
    said = refused.stdout + refused.stderr
    assert "Cluster 'other' has 2 mistakes; nothing of it was created or changed." in said
    assert "settings.clutser: there is no such setting" in said
    assert "settings.serviceCidr 10.0.0.0/16 overlaps network.cidr 10.0.0.0/16" in said

    (tmp_path / "__main__.py").write_text(CLUSTER_PROGRAM)
    try:
        succeeded(variables, tmp_path, "pulumi", "up", "--yes", "--non-interactive", "--skip-preview")
        made = json.loads(succeeded(variables, tmp_path, "pulumi", "stack", "output", "--json"))
        assert made["outputs"] == sorted(each.name for each in dataclasses.fields(StackOutputs))
        assert (made["clusterName"], made["clusterDnsIp"]) == ("acme-dev", "10.100.0.10")
        (tmp_path / "kubeconfig").write_text(made["kubeconfig"])
        corefile = succeeded(
            variables, tmp_path, "kubectl", f"--kubeconfig={tmp_path / 'kubeconfig'}", "-n", "kube-system", "get",
            "configmap/node-local-dns", "--output=yaml",
        )  # fmt: skip
        assert made["nodeLocalDnsIp"] in corefile
        add_on = json.loads(
            succeeded(
                variables, tmp_path, "aws", "eks", "describe-addon", "--cluster-name=acme-dev", "--addon-name=vpc-cni",
                f"--region={region}", "--output=json",
            )
        )["addon"]  # fmt: skip
        environment = json.loads(add_on["configurationValues"])["env"]
        assert environment["POD_SECURITY_GROUP_ENFORCING_MODE"] == "standard"
        again = succeeded(variables, tmp_path, "pulumi", "preview", "--non-interactive", "--expect-no-changes")
        assert "unchanged" in again
    finally:
        succeeded(variables, tmp_path, "pulumi", "destroy", "--yes", "--non-interactive", "--skip-preview", "--remove")
