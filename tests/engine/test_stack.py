import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from pydantic.alias_generators import to_camel

from components.outputs import StackOutputs
from delivery.preview import read
from local_cloud.cloud import LocalCloud
from local_cloud.plugins.shims import PACKAGES
from local_cloud.stacks import ROOT, Run, Stack

if TYPE_CHECKING:
    from conftest import BroughtUp

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]

ORDER = ["cluster-vpc-cni", "cluster-default", "cluster-coredns", "node-local-dns"]
"""Names of the add-on, node group, add-on and DaemonSet in the order that DNS needs."""

TYPES = {
    "cluster-vpc-cni": "aws:eks/addon:Addon",
    "cluster-default": "aws:eks/nodeGroup:NodeGroup",
    "cluster-coredns": "aws:eks/addon:Addon",
    "node-local-dns": "kubernetes:apps/v1:DaemonSet",
}


def _spans(run: Run, operation: str) -> list[tuple[int, int]]:
    spans = run.order(operation)
    found = []
    for name in ORDER:
        [urn] = [each for each in spans if each.endswith(f"{TYPES[name]}::{name}")]
        found.append(spans[urn])
    return found


def _run(brought_up: "BroughtUp", *command: str, **environment: str) -> str:
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env={**brought_up.cloud.environment, **environment},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _json(brought_up: "BroughtUp", *command: str, **environment: str) -> Any:
    return json.loads(_run(brought_up, *command, **environment))


@pytest.fixture(scope="session")
def kubeconfig(brought_up: "BroughtUp", tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write the kubeconfig that the stack exports, as it is."""
    path = tmp_path_factory.mktemp("kubeconfig") / "exported"
    path.write_text(brought_up.stack.outputs()["kubeconfig"])
    return str(path)


def test_cni_comes_before_nodes_nodes_before_coredns_and_the_cache_last(brought_up: "BroughtUp") -> None:
    """Each step of what DNS needs has ended before the next one begins."""
    spans = _spans(brought_up.up, "create")
    assert all(before[1] < after[0] for before, after in itertools.pairwise(spans)), spans


def test_preview_and_up_do_the_same(brought_up: "BroughtUp") -> None:
    """The preview that a reviewer approved names exactly the resources that are then created."""
    planned = sorted((each.operation, each.urn) for each in brought_up.preview.changes())
    done = sorted((each.operation, each.urn) for each in brought_up.up.changes())
    assert planned == done


def test_a_second_preview_finds_nothing_to_change(brought_up: "BroughtUp") -> None:
    """What was applied is what is planned again."""
    assert brought_up.stack.preview().changes() == []


def test_outputs_are_the_contract(brought_up: "BroughtUp") -> None:
    """The stack exports every output of the contract, no other, and none that is empty."""
    outputs = brought_up.stack.outputs()
    assert outputs.keys() == {to_camel(field.name) for field in dataclasses.fields(StackOutputs)}
    assert all(outputs.values())
    assert outputs["clusterDnsIp"] == "172.20.0.10"
    assert outputs["podSecurityGroupEnforcingMode"] == "standard"


def test_the_consumer_read_the_outputs(brought_up: "BroughtUp", kubeconfig: str) -> None:
    """Another stack gets the cluster's address from this one and deploys with it."""
    assert brought_up.consumer.outputs()["clusterDnsIp"] == "172.20.0.10"
    job = _json(
        brought_up, "kubectl", f"--kubeconfig={kubeconfig}", "-n", "dns-check", "get", "cronjob/dns-check", "-ojson"
    )
    [container] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert "172.20.0.10" in container["args"][0]


def test_any_aws_client_sees_the_addons(brought_up: "BroughtUp") -> None:
    """The AWS CLI shows three active add-ons at their pinned versions, and the CNI in standard mode."""
    outputs = brought_up.stack.outputs()
    wanted = {"vpc-cni": "vpcCniVersion", "kube-proxy": "kubeProxyVersion", "coredns": "coreDnsVersion"}
    for addon, output in wanted.items():
        shown = _json(
            brought_up, "aws", "eks", "describe-addon", "--cluster-name", outputs["clusterName"], "--addon-name", addon
        )["addon"]
        assert (shown["status"], shown["addonVersion"]) == ("ACTIVE", outputs[output])
        if addon == "vpc-cni":
            env = json.loads(shown["configurationValues"])["env"]
            assert (env["POD_SECURITY_GROUP_ENFORCING_MODE"], env["ENABLE_POD_ENI"]) == ("standard", "true")


def test_the_cluster_role_may_attach_branch_interfaces(brought_up: "BroughtUp") -> None:
    """Without this policy no pod ever gets a security group."""
    name = brought_up.stack.outputs()["clusterName"]
    role = _json(brought_up, "aws", "eks", "describe-cluster", "--name", name)["cluster"]["roleArn"].split("/")[-1]
    attached = _json(brought_up, "aws", "iam", "list-attached-role-policies", "--role-name", role)
    names = {each["PolicyName"] for each in attached["AttachedPolicies"]}
    assert names == {"AmazonEKSClusterPolicy", "AmazonEKSVPCResourceController"}


def test_the_cache_is_wired_to_the_addresses_of_the_cluster(brought_up: "BroughtUp", kubeconfig: str) -> None:
    """With the exported kubeconfig as it is, kubectl shows both addresses and the upstream's real ClusterIP."""
    kubectl = ("kubectl", f"--kubeconfig={kubeconfig}", "-n", "kube-system", "get", "-ojson")
    [cache] = _json(brought_up, *kubectl, "daemonset/node-local-dns")["spec"]["template"]["spec"]["containers"]
    assert cache["args"][:2] == ["-localip", "169.254.20.10,172.20.0.10"]
    upstream = _json(brought_up, *kubectl, "service/kube-dns-upstream")["spec"]["clusterIP"]
    corefile = _json(brought_up, *kubectl, "configmap/node-local-dns")["data"]["Corefile"]
    assert f"forward . {upstream} " in corefile
    assert "bind 169.254.20.10 172.20.0.10" in corefile
    aws_node = _json(brought_up, *kubectl, "daemonset/aws-node")["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "POD_SECURITY_GROUP_ENFORCING_MODE", "value": "standard"} in aws_node["env"]


def test_a_principal_without_an_access_entry_is_refused(brought_up: "BroughtUp", kubeconfig: str) -> None:
    """The same kubeconfig lets nobody in whom the cluster does not know."""
    _run(brought_up, "aws", "iam", "create-user", "--user-name", "stranger")
    key = _json(brought_up, "aws", "iam", "create-access-key", "--user-name", "stranger")["AccessKey"]
    asked = subprocess.run(
        ["kubectl", f"--kubeconfig={kubeconfig}", "get", "namespaces"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={
            **brought_up.cloud.environment,
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        },
    )
    assert asked.returncode != 0
    assert "Unauthorized" in asked.stderr


@pytest.mark.parametrize(
    ("key", "value", "changed"),
    [
        ("vpcCni", {"externalSnat": True}, {("update", "aws:eks/addon:Addon", "cluster-vpc-cni")}),
        (
            "nodeLocalDns",
            {"corefile": {"external": {"successTtl": 60}}},
            {
                ("update", "kubernetes:core/v1:ConfigMap", "node-local-dns-corefile"),
                ("update", "kubernetes:apps/v1:DaemonSet", "node-local-dns"),
            },
        ),
    ],
)
def test_one_setting_previews_as_what_it_touches_and_nothing_else(
    brought_up: "BroughtUp", key: str, value: object, changed: set[tuple[str, str, str]]
) -> None:
    """A CNI setting is one update of the add-on; a TTL is the Corefile and the pods that must roll."""
    stack = dataclasses.replace(brought_up.stack, overrides={f"eks-node-local-dns:{key}": value})
    assert {(each.operation, each.type, each.name) for each in stack.preview().changes()} == changed


def test_a_zone_more_moves_neither_subnets_nor_the_control_plane(brought_up: "BroughtUp") -> None:
    """Subnets of a third zone are made beside the others; node groups, which cannot move, are replaced."""
    network = {"cidr": "10.10.0.0/16", "zones": ["a", "b", "c"], "nat": "single"}
    stack = dataclasses.replace(brought_up.stack, overrides={"eks-node-local-dns:network": network})
    changes = stack.preview().changes()
    made = {each.name for each in changes if each.operation == "create"}
    assert made == {"network-public-c", "network-private-c"}
    others = {each.type for each in changes if each.operation != "create"}
    assert others == {"aws:eks/nodeGroup:NodeGroup"}


def test_what_nodes_are_made_of_carries_the_tags_of_the_stack(brought_up: "BroughtUp") -> None:
    """EKS hands a node group's tags on to nothing; the launch template does."""
    asked = ("aws", "ec2", "describe-instances", "--filters", "Name=tag:environment,Values=dev")
    instances = [each for reservation in _json(brought_up, *asked)["Reservations"] for each in reservation["Instances"]]
    assert len(instances) == 2
    names = {tag["Value"] for each in instances for tag in each["Tags"] if tag["Key"] == "Name"}
    assert names == {"eks-node-local-dns-dev-default"}


def test_the_number_of_nodes_is_an_autoscalers_where_the_settings_say_so(brought_up: "BroughtUp") -> None:
    """Another number than was written is drift, unless something else is there to set it."""
    stack, directory = brought_up.stack, brought_up.stack.directory / brought_up.stack.project.name / "dev"
    look = ("pulumi", f"--cwd={directory}", "refresh", "--preview-only", "--non-interactive", "--stack=dev", "--json")
    named = ("--cluster-name=eks-node-local-dns-dev", "--region=eu-central-1")
    [group] = _json(brought_up, "aws", "eks", "list-nodegroups", *named)["nodegroups"]

    def scale(nodes: int) -> None:
        sizes = f"--scaling-config=desiredSize={nodes}"
        _run(brought_up, "aws", "eks", "update-nodegroup-config", f"--nodegroup-name={group}", sizes, *named)

    def drifted() -> set[str]:
        looked = read(_run(brought_up, *look, PULUMI_ENABLE_STREAMING_JSON_PREVIEW="true"))
        assert looked.errors == ()
        return {each.name for each in looked.changes}

    assert drifted() == set()
    scale(3)
    try:
        assert drifted() == {"cluster-default"}
        nodes = {"instanceTypes": ["m6i.large", "m5.large"], "capacityType": "SPOT", "maxSize": 3, "autoscaled": True}
        autoscaled = dataclasses.replace(stack, overrides={"eks-node-local-dns:nodeGroups": {"default": nodes}})
        assert autoscaled.up().changes() == []
        assert drifted() == set()
    finally:
        stack.up()
        scale(2)
    assert drifted() == set()


def test_turning_the_cache_off_deletes_it_and_nothing_else(brought_up: "BroughtUp") -> None:
    """Without the cache its own objects go, and neither cluster nor nodes nor add-ons are touched."""
    stack = dataclasses.replace(brought_up.stack, overrides={"eks-node-local-dns:nodeLocalDns": {"enabled": False}})
    changes = stack.preview().changes()
    assert {each.operation for each in changes} == {"delete"}
    assert all("index:NodeLocalDns" in each.urn for each in changes)
    assert "kubernetes:apps/v1:DaemonSet" in {each.type for each in changes}


def test_strict_mode_is_refused_before_anything_changes(brought_up: "BroughtUp") -> None:
    """The dangerous setting ends the preview with the key, the reason and the remedy."""
    overrides = {"eks-node-local-dns:vpcCni": {"podSecurityGroupEnforcingMode": "strict"}}
    stack = dataclasses.replace(brought_up.stack, overrides=overrides)
    with pytest.raises(Exception, match="podSecurityGroupEnforcingMode is strict") as refused:
        stack.preview()
    assert "stacks/Pulumi.dev.yaml" in str(refused.value)
    assert "Set the mode to standard" in str(refused.value)


def test_real_plugins_earlier_on_path_win(brought_up: "BroughtUp", tmp_path: Path) -> None:
    """A plugin found before the stand-ins is the one the engine starts, and the program does not notice."""
    for package in PACKAGES:
        planted = tmp_path / f"pulumi-resource-{package}"
        planted.write_text(
            f"#!/bin/sh\ntouch {tmp_path}/used-{package}\nexec {brought_up.cloud.layout.directory}/plugins/"
            f'pulumi-resource-{package} "$@"\n'
        )
        planted.chmod(0o755)
    environment = {**brought_up.cloud.environment, "PATH": f"{tmp_path}:{brought_up.cloud.environment['PATH']}"}
    assert dataclasses.replace(brought_up.stack, environment=environment).preview().changes() == []
    assert {each.name for each in tmp_path.glob("used-*")} == {f"used-{package}" for package in PACKAGES}


def test_every_address_follows_from_the_service_cidr_and_destroy_goes_the_other_way(brought_up: "BroughtUp") -> None:
    """One changed line moves every address; and what needs DNS is deleted before DNS."""
    overrides = {"eks-node-local-dns:serviceCidr": "10.100.0.0/16"}
    stack = dataclasses.replace(brought_up.stack, name="stg", overrides=overrides)
    stack.up()
    outputs = stack.outputs()
    assert (outputs["serviceIpv4Cidr"], outputs["clusterDnsIp"]) == ("10.100.0.0/16", "10.100.0.10")
    state = stack._automation().export_stack().deployment or {}
    [cache] = [each for each in state["resources"] if each["type"] == "kubernetes:apps/v1:DaemonSet"]
    assert "169.254.20.10,10.100.0.10" in json.dumps(cache["outputs"])
    assert "172.20." not in json.dumps([each["outputs"] for each in state["resources"] if "outputs" in each])
    spans = _spans(stack.destroy(), "delete")
    assert all(before[0] > after[1] for before, after in itertools.pairwise(spans)), spans
    clusters = _json(brought_up, "aws", "eks", "list-clusters")["clusters"]
    assert clusters == [brought_up.stack.outputs()["clusterName"]]


def test_a_killed_up_is_finished_by_the_next_one(tmp_path: Path) -> None:
    """Engine and program die while the cluster is being made; the next run ends with everything there."""
    with LocalCloud.start(tmp_path) as cloud:
        stack = Stack(cloud.environment, tmp_path / "projects")
        program = (
            "import sys, json; from pathlib import Path; from local_cloud.stacks import Stack;"
            "Stack(json.load(sys.stdin), Path(sys.argv[1]) / 'projects').up("
            "lambda e: e.resource_pre_event and print(e.resource_pre_event.metadata.urn, flush=True))"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(cloud.environment))
            process.stdin.close()
            assert any("aws:eks/cluster:Cluster" in line for line in process.stdout)
            time.sleep(0.2)
            family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
            for each in family:
                if each.name() == "pulumi" or each.pid == process.pid:
                    os.kill(each.pid, signal.SIGKILL)
        _gone, alive = psutil.wait_procs(family, timeout=20)
        assert alive == [], "a killed engine left its plugins behind"
        stack.unlock()
        stack.up()
        assert stack.preview().changes() == []
        assert stack.outputs()["clusterDnsIp"] == "172.20.0.10"
