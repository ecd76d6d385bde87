"""The component package, run by the real engine: its schema, its SDKs, and programs that use them."""

import dataclasses
import json
import os
import re
import shutil
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
from package.schema import FILE
from tests.engine.commands import run, succeeded
from tests.engine.copies import copy_repository, install_sdk, link_packages
from tools import locate
from tools.catalogue import PROGRAMS, GoProgram

if TYPE_CHECKING:
    from conftest import BroughtUp

pytestmark = [pytest.mark.engine, pytest.mark.needs("package-sdk", "tsc"), pytest.mark.timeout(500)]

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
CLUSTER = f"{PACKAGE}:index:Cluster"
POD_SECURITY_GROUP = f"{PACKAGE}:index:PodSecurityGroup"
NODE_LOCAL_DNS = f"{PACKAGE}:index:NodeLocalDns"
EXAMPLES = ROOT / "examples"


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
def added(package: Path, without_cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python program without a line, to which the package was added by the real command."""
    directory = tmp_path_factory.mktemp("program")
    (directory / "Pulumi.yaml").write_text("name: shop\nruntime: python\n")
    succeeded(without_cloud, directory, "pulumi", "package", "add", str(package))
    assert yaml.safe_load((directory / "Pulumi.yaml").read_text())["packages"][PACKAGE] == str(package)
    assert (directory / "requirements.txt").read_text() == f"sdks/{PACKAGE}\n"
    install_sdk(directory / "sdks" / PACKAGE, f"pulumi_{PACKAGE.replace('-', '_')}", VERSION)
    return directory


def sdk(variables: Mapping[str, str], directory: Path, language: str) -> Path:
    """Write the SDK of a language, from the schema that the repository keeps, and return where it is."""
    succeeded(variables, directory, "pulumi", "package", "gen-sdk", str(FILE), "--language", language, "--out", ".")
    return directory / language


def test_the_package_tells_the_engine_the_schema_in_the_repository(
    package: Path, without_cloud: dict[str, str]
) -> None:
    """Other languages see what Python sees: what is required, what there is and what it means."""
    told, kept = (
        json.loads(succeeded(without_cloud, package, "pulumi", "package", "get-schema", str(source)))
        for source in (package, FILE)
    )
    assert told == kept
    schema = json.loads(FILE.read_text())
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


def test_the_python_sdk_has_the_components(added: Path) -> None:
    """Pulumi's generator understands the schema, and `package add` leaves what it writes beside the program."""
    texts = "".join(each.read_text() for each in (added / "sdks" / PACKAGE).rglob("*.py"))
    assert all(f"class {each}(pulumi.ComponentResource)" in texts for each in ("Cluster", "NodeLocalDns"))
    assert "class PodSecurityGroup(pulumi.ComponentResource)" in texts


def test_go_compiles_the_sdk_and_the_example(without_cloud: dict[str, str], tmp_path: Path) -> None:
    """The Go compiler accepts what Pulumi's generator makes of the schema, and a program that sets typed settings."""
    directory = sdk(without_cloud, tmp_path, "go") / PACKAGE.replace("-", "")
    texts = "".join(each.read_text() for each in directory.rglob("*.go"))
    [module] = {each for each in texts.split('"') if each.endswith(f"sdk/go/{PACKAGE}/internal")}
    pins = PROGRAMS["package-sdk"]
    assert isinstance(pins, GoProgram)
    _first, *rest = (pins.source / "go.mod").read_text().splitlines(keepends=True)
    (directory / "go.mod").write_text("".join([f"module {module.removesuffix('/internal')}\n", *rest]))
    (directory / "go.sum").write_text((pins.source / "go.sum").read_text())
    shutil.copytree(EXAMPLES / "new-cluster", directory / "example", ignore=shutil.ignore_patterns("*.ts", "*.py"))
    offline = {**os.environ, "GOFLAGS": "-mod=mod", "GOPROXY": "off"}
    # As the tools are built, so that what they have compiled of Pulumi's SDK is not compiled again.
    succeeded(offline, directory, "go", "vet", "-trimpath", "-buildvcs=false", "./...")


MISTAKES = """import * as dns from "@pulumi/eks-node-local-dns";
import * as pulumi from "@pulumi/pulumi";

const cache = { clusterDnsIp: pulumi.output("172.20.0.10"), kubeconfig: "" };
new dns.NodeLocalDns("right", { ...cache, settings: { corefile: { cluster: { successTtl: 30 } } } });
new dns.NodeLocalDns("misspelt", { ...cache, settings: { corefile: { cluster: { succesTtl: 30 } } } });
new dns.NodeLocalDns("text", { ...cache, settings: { corefile: { cluster: { successTtl: "30" } } } });
new dns.NodeLocalDns("value", { ...cache, settings: { interception: "sockets" } });
new dns.NodeLocalDns("output", { ...cache, settings: { localAddress: pulumi.output("169.254.20.10") } });
new dns.Cluster("required", { region: "eu-central-1", settings: { nodeGroups: { small: { maxSize: 2 } } } });
new dns.Cluster("exists", { region: "eu-central-1", settings: { source: { clusterName: "shop" } } });
"""


def test_typescript_compiles_the_examples_and_refuses_mistakes(without_cloud: dict[str, str], tmp_path: Path) -> None:
    """An editor knows `settings.corefile.cluster.successTtl`; a misspelt key, a wrong value or an output is wrong."""
    sdk(without_cloud, tmp_path, "nodejs")
    compiler = locate("tsc")
    (tmp_path / "node_modules").symlink_to(compiler.parents[1])
    for each in ("new-cluster", "existing-cluster"):
        shutil.copy(EXAMPLES / each / "index.ts", tmp_path / f"{each}.ts")
    (tmp_path / "mistakes.ts").write_text(MISTAKES)
    options = {
        "strict": True, "noEmit": True, "skipLibCheck": True, "target": "es2022", "module": "nodenext",
        "types": ["node"], "paths": {"@pulumi/eks-node-local-dns": ["./nodejs/index.ts"]},
    }  # fmt: skip
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "include": ["*.ts"]}))
    done = run(without_cloud, tmp_path, str(compiler), "--pretty", "false")
    errors = re.findall(r"^(\S+)\((\d+),\d+\): error TS\d+: (.*)$", done.stdout, re.MULTILINE)
    said = {MISTAKES.splitlines()[int(line) - 1].split('"')[1]: message for _, line, message in errors}
    assert {file for file, _, _ in errors} == {"mistakes.ts"}, done.stdout
    assert said.keys() == {"misspelt", "text", "value", "output", "required", "exists"}
    assert "Did you mean to write 'successTtl'?" in said["misspelt"]
    assert said["text"] == "Type 'string' is not assignable to type 'number'."
    assert '"sockets"' in said["value"]
    assert said["output"].startswith("Type 'Output<string>' is not assignable to type 'string")
    assert "Property 'instanceTypes' is missing" in said["required"]
    assert "'source' does not exist in type 'SettingsArgs'" in said["exists"]


@dataclasses.dataclass
class Program:
    """A stack of a project to which the package was added."""

    directory: Path
    variables: Mapping[str, str]

    def write(self, text: str) -> None:
        """Write the program; the folder of its SDK is where the package manager would have linked it."""
        found = f"import sys\nsys.path.insert(0, {str(self.directory / 'sdks' / PACKAGE)!r})\n"
        (self.directory / "__main__.py").write_text(found + text)

    def pulumi(self, *command: str) -> str:
        """Run a command that has to succeed, and return what it printed."""
        return succeeded(self.variables, self.directory, "pulumi", *command, "--non-interactive")

    def up(self) -> dict[str, Any]:
        """Update, and return the outputs."""
        self.pulumi("up", "--yes", "--skip-preview")
        return json.loads(self.pulumi("stack", "output", "--json"))  # type: ignore[no-any-return]

    def refused(self, *command: str) -> str:
        """Run a command that has to fail, and return what it said."""
        done = run(self.variables, self.directory, "pulumi", *command, "--non-interactive")
        assert done.returncode != 0
        return done.stdout + done.stderr

    def destroy(self) -> None:
        """Leave nothing."""
        self.pulumi("destroy", "--yes", "--skip-preview", "--remove")


def program_of(added: Path, directory: Path, variables: Mapping[str, str], config: Mapping[str, str]) -> Program:
    """Return a program of its own with the package that was added, and an empty stack."""
    shutil.copytree(added, directory, dirs_exist_ok=True)
    name = yaml.safe_load((directory / "Pulumi.yaml").read_text())["name"]
    written = {key if ":" in key else f"{name}:{key}": value for key, value in config.items()}
    (directory / "Pulumi.dev.yaml").write_text(yaml.safe_dump({"config": written}))
    made = Program(directory, variables)
    made.pulumi("stack", "init", "dev")
    return made


def test_a_program_gives_a_cluster_its_cache_and_pods_their_group(
    added: Path, brought_up: "BroughtUp", tmp_path: Path
) -> None:
    """The example for a cluster one has: a cache with its settings, and pods with a group, a policy and DNS."""
    variables, outputs = brought_up.cloud.environment, brought_up.stack.outputs()
    text = (EXAMPLES / "existing-cluster" / "__main__.py").read_text()
    config = {key: outputs[key] for key in ("vpcId", "clusterSecurityGroupId", "clusterDnsIp", "kubeconfig")}
    program = program_of(added, tmp_path, variables, {"aws:region": outputs["region"], **config})
    (tmp_path / "kubeconfig").write_text(outputs["kubeconfig"])
    kubectl = ("kubectl", f"--kubeconfig={tmp_path / 'kubeconfig'}")
    mode = (*kubectl, "-n", "kube-system", "set", "env", "daemonset/aws-node", "--containers=aws-node")
    without = {f"{PACKAGE}:nodeLocalDns": {"enabled": False}}
    try:
        dataclasses.replace(brought_up.stack, overrides=without).up()
        program.write(text)
        made = program.up()
        corefile = succeeded(
            variables, tmp_path, *kubectl, "-n", "kube-system", "get", "configmap/node-local-dns", "--output=yaml"
        )
        assert "success 9984 45" in corefile
        assert made["localIp"] in corefile
        assert made["upstreamIp"] in corefile
        asked = (*kubectl, "get", "--output=json", f"securitygrouppolicy/{made['policyName']}")
        policy = json.loads(succeeded(variables, tmp_path, *asked))
        assert policy["spec"]["securityGroups"]["groupIds"] == [made["securityGroupId"]]
        rules = json.loads(
            succeeded(
                variables, tmp_path, "aws", "ec2", "describe-security-group-rules", "--output=json",
                f"--region={outputs['region']}", f"--filters=Name=group-id,Values={made['securityGroupId']}",
            )
        )["SecurityGroupRules"]  # fmt: skip
        out = {(each["IpProtocol"], each["FromPort"]) for each in rules if each["IsEgress"]}
        assert {("udp", 53), ("tcp", 53), ("tcp", 443)} <= out

        # The guard runs in the package's process: in strict mode it refuses what may take DNS from pods.
        succeeded(variables, tmp_path, *mode, "POD_SECURITY_GROUP_ENFORCING_MODE=strict")
        program.write(text.replace("settings={", 'settings={"local_address": "169.254.20.11", '))
        assert "DaemonSet aws-node is in strict mode" in program.refused("up", "--yes", "--skip-preview")

        program.write(text.replace('"success_ttl": 45', '"successTtl": -1, "sucessTtl": 3'))
        said = program.refused("preview")
        assert "NodeLocalDns 'cache' has 2 mistakes" in said
        assert "settings.corefile.external.successTtl: it has to be at least 1" in said
        assert "settings.corefile.external.sucessTtl: there is no such setting" in said

        program.write(text.replace('"m6i.large"', '"t3.large"'))
        assert "PodSecurityGroup 'shop' has 1 mistake" in program.refused("preview")
    finally:
        succeeded(variables, tmp_path, *mode, "POD_SECURITY_GROUP_ENFORCING_MODE=standard")
        program.destroy()
        brought_up.stack.up()


def test_a_program_makes_the_whole_cluster(added: Path, brought_up: "BroughtUp", tmp_path: Path) -> None:
    """The example for a new cluster: network, cluster and cache in their order, judged before anything is created."""
    variables, region = brought_up.cloud.environment, "eu-central-1"
    text = (EXAMPLES / "new-cluster" / "__main__.py").read_text()
    program = program_of(added, tmp_path, variables, {"aws:region": region})
    program.write(text.replace("settings={", 'settings={"service_cidr": "10.0.0.0/16", "clutser": {}, '))
    said = program.refused("preview")
    assert "Cluster 'dns' has 2 mistakes; nothing of it was created or changed." in said
    assert "settings.clutser: there is no such setting" in said
    assert "settings.serviceCidr 10.0.0.0/16 overlaps network.cidr 10.0.0.0/16" in said

    # Keys in the spelling of a stack file are taken too: programs from before there were types go on.
    camel = text.replace("settings={", 'settings={"serviceCidr": "10.100.0.0/16", ')
    program.write(f'{camel}\npulumi.export("outputs", cluster.outputs.apply(sorted))\n')
    try:
        made = program.up()
        assert made["outputs"] == sorted(each.name for each in dataclasses.fields(StackOutputs))
        assert (made["clusterName"], made["clusterDnsIp"]) == ("shop-dev", "10.100.0.10")
        (tmp_path / "kubeconfig").write_text(made["kubeconfig"])
        corefile = succeeded(
            variables, tmp_path, "kubectl", f"--kubeconfig={tmp_path / 'kubeconfig'}", "-n", "kube-system", "get",
            "configmap/node-local-dns", "--output=yaml",
        )  # fmt: skip
        assert made["nodeLocalDnsIp"] in corefile
        assert "success 9984 45" in corefile
        add_on = json.loads(
            succeeded(
                variables, tmp_path, "aws", "eks", "describe-addon", "--cluster-name=shop-dev", "--addon-name=vpc-cni",
                f"--region={region}", "--output=json",
            )
        )["addon"]  # fmt: skip
        environment = json.loads(add_on["configurationValues"])["env"]
        assert environment["POD_SECURITY_GROUP_ENFORCING_MODE"] == "standard"
        assert "unchanged" in program.pulumi("preview", "--expect-no-changes")
    finally:
        program.destroy()
