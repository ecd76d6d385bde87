"""The three sources of the cluster on the real engine: made here, another stack's, and one that exists."""

import dataclasses
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from pulumi.automation import EngineEvent, OpType

from components.outputs import StackOutputs
from delivery.preview import differences
from local_cloud.stacks import Run, Stack, Watcher

if TYPE_CHECKING:
    from conftest import BroughtUp

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

ADDON = "aws:eks/addon:Addon"
REGION = "eu-central-1"
VERSION = "v1.23.1-eksbuild.1"
FOREIGN = {
    "enableNetworkPolicy": "true",
    "env": {"ENABLE_PREFIX_DELEGATION": "true", "WARM_PREFIX_TARGET": "2"},
    "nodeAgent": {"enablePolicyEventLogs": "true"},
}
OURS = {"ENABLE_POD_ENI": "true", "POD_SECURITY_GROUP_ENFORCING_MODE": "standard"}


@dataclasses.dataclass
class Shop:
    """A cluster that the program did not make, in the account of the stack that it made."""

    brought_up: "BroughtUp"
    eks: Any
    ec2: Any
    name: str = "shop"

    def stack(self, name: str, **settings: object) -> Stack:
        """Return a stack of the program with these settings and no other."""
        config = {f"eks-node-local-dns:{key}": value for key, value in settings.items()}
        common = {"aws:region": REGION, "pulumi:disable-default-providers": ["kubernetes"]}
        return dataclasses.replace(self.brought_up.stack, name=name, overrides={**common, **config})

    def add_on(self) -> dict[str, Any]:
        """Return the vpc-cni add-on."""
        return dict(self.eks.describe_addon(clusterName=self.name, addonName="vpc-cni")["addon"])

    def settle(self, add_on: str) -> None:
        """Wait until an add-on is ACTIVE or gone."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if add_on not in self.eks.list_addons(clusterName=self.name)["addons"]:
                return
            if self.eks.describe_addon(clusterName=self.name, addonName=add_on)["addon"]["status"] == "ACTIVE":
                return
            time.sleep(0.1)
        raise TimeoutError(add_on)

    def make_add_on(self, name: str, version: str, values: dict[str, Any], **more: Any) -> None:
        """Make an add-on as somebody else would."""
        self.remove_add_on(name)
        self.eks.create_addon(
            clusterName=self.name,
            addonName=name,
            addonVersion=version,
            configurationValues=json.dumps(values, indent=2),  # people write it so
            resolveConflicts="OVERWRITE",
            **more,
        )
        self.settle(name)

    def remove_add_on(self, name: str) -> None:
        """Give an add-on's objects to whoever wants them."""
        if name in self.eks.list_addons(clusterName=self.name)["addons"]:
            self.eks.delete_addon(clusterName=self.name, addonName=name, preserve=True)
            self.settle(name)

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl on this cluster."""
        return kubectl(self.brought_up, self.name, *arguments)


def kubectl(brought_up: "BroughtUp", cluster: str, *arguments: str) -> str:
    """Run kubectl on a cluster of the local cloud."""
    done = subprocess.run(
        ["kubectl", "--context", cluster, "-n", "kube-system", *arguments],
        check=False, capture_output=True, text=True, timeout=60, env=dict(brought_up.cloud.environment),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def shop(brought_up: "BroughtUp") -> Iterator[Shop]:
    """Make a cluster past the program, beside the one that it made; it goes with the cloud."""
    environment, outputs = brought_up.cloud.environment, brought_up.stack.outputs()
    session = boto3.Session(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"], region_name=REGION)
    endpoint = environment["AWS_ENDPOINT_URL"]
    made = Shop(brought_up, session.client("eks", endpoint_url=endpoint), session.client("ec2", endpoint_url=endpoint))
    made.eks.create_cluster(
        name=made.name,
        version="1.35",
        roleArn=made.eks.describe_cluster(name=outputs["clusterName"])["cluster"]["roleArn"],
        resourcesVpcConfig={"subnetIds": [*outputs["privateSubnetIds"], *outputs["publicSubnetIds"]]},
        kubernetesNetworkConfig={"serviceIpv4Cidr": "10.100.0.0/16"},
        accessConfig={"authenticationMode": "API"},
    )
    made.eks.get_waiter("cluster_active").wait(name=made.name, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    yield made
    made.eks.delete_cluster(name=made.name)
    made.eks.get_waiter("cluster_deleted").wait(name=made.name, WaiterConfig={"Delay": 1, "MaxAttempts": 120})


def _refusal(stack: Stack) -> str:
    """Return the program's own words of a preview that it ended."""
    with pytest.raises(Exception, match="code: ") as refused:
        stack.preview()
    text = str(refused.value)
    said = text[text.index("Diagnostics:") :]
    begin = said.index("error: stacks/") + len("error: ")
    return said[begin : said.index("error: an unhandled error occurred", begin)].strip()


def _updates(command: Callable[[Watcher], Run]) -> tuple[Run, list[tuple[str, Any, Any]]]:
    """Run a command; return it with every input of an add-on that an update changes: path, before, after."""
    found: list[tuple[str, Any, Any]] = []

    def watch(event: EngineEvent) -> None:
        meta = event.resource_pre_event.metadata if event.resource_pre_event else None
        if meta is not None and meta.type == ADDON and meta.op == OpType.UPDATE:
            old, new = ((state.inputs if state else {}) or {} for state in (meta.old, meta.new))
            found.extend(differences(old, new))

    return command(watch), found


def _cache_in(brought_up: "BroughtUp", cluster: str) -> dict[str, Any]:
    """Return the cache's objects of a cluster without what the API server adds and no one chose."""
    found: dict[str, Any] = {}
    kinds = ("daemonset/node-local-dns", "configmap/node-local-dns", "service/node-local-dns", "sa/node-local-dns")
    address = ""
    for kind in (*kinds, "service/kube-dns-upstream"):
        served = json.loads(kubectl(brought_up, cluster, "get", kind, "-ojson"))
        kept = {key: served["metadata"].get(key) for key in ("name", "namespace", "labels")}
        found[kind] = {**served, "metadata": kept, "status": None}
        if kind == "service/kube-dns-upstream":
            address = served["spec"]["clusterIP"]
    pod = found["daemonset/node-local-dns"]["spec"]["template"]["metadata"]
    pod["annotations"].pop("eks-node-local-dns/corefile-checksum")  # of a Corefile that has the address in it
    return dict(json.loads(json.dumps(found).replace(address, "<upstream>")))


def test_another_stacks_outputs_give_the_same_cache_as_the_cluster_that_it_made(
    brought_up: "BroughtUp", shop: Shop
) -> None:
    """Installed by the stack that made the cluster, or by one that read its outputs: not a byte differs."""
    outputs = brought_up.stack.outputs()
    before = _cache_in(brought_up, outputs["clusterName"])
    without = dataclasses.replace(brought_up.stack, overrides={"eks-node-local-dns:nodeLocalDns": {"enabled": False}})
    attached = shop.stack("attached", source={"stack": "organization/eks-node-local-dns/dev"})
    without.up()
    try:
        run = attached.up()
        made = {each.type for each in run.changes() if not each.type.startswith("pulumi:")}
        assert not [each for each in made if each.startswith(("aws:", "eks:"))]
        assert _cache_in(brought_up, outputs["clusterName"]) == before
        assert attached.outputs() == outputs
        assert attached.outputs().keys() == StackOutputs.names()
        assert attached.preview().changes() == []
    finally:
        attached.destroy()
        brought_up.stack.up()
    assert brought_up.stack.outputs() == outputs


def test_taking_an_add_on_over_changes_our_two_values_and_gives_it_back_at_the_end(shop: Shop) -> None:
    """Preview and update show the import and two keys; nothing else of the add-on moves, and destroy leaves it."""
    shop.make_add_on("vpc-cni", VERSION, FOREIGN, tags={"team": "platform"})
    attached = shop.stack("named", source={"clusterName": shop.name}, vpcCni={"manage": True})
    expected = [
        *((f"configurationValues.env.{key}", None, value) for key, value in sorted(OURS.items())),
        ("resolveConflictsOnUpdate", None, "OVERWRITE"),  # how Pulumi asks EKS, not what for
    ]
    planned, changes = _updates(attached.preview)
    assert changes == expected
    assert [each.operation for each in planned.changes() if each.type == ADDON] == ["import", "update"]
    run, changes = _updates(attached.up)
    assert changes == expected
    [before_cache] = [position for urn, (_begun, position) in run.order("update").items() if urn.endswith("vpc-cni")]
    [cache] = [
        begun for urn, (begun, _ended) in run.order("create").items() if urn.endswith("DaemonSet::node-local-dns")
    ]
    assert before_cache < cache
    add_on = shop.add_on()
    assert json.loads(add_on["configurationValues"]) == {**FOREIGN, "env": {**FOREIGN["env"], **OURS}}
    assert (add_on["addonVersion"], add_on["tags"]) == (VERSION, {"team": "platform"})
    args = json.loads(shop.kubectl("get", "daemonset/node-local-dns", "-ojson"))["spec"]["template"]["spec"]
    assert "169.254.20.10,10.100.0.10" in args["containers"][0]["args"]
    outputs = attached.outputs()
    assert outputs.keys() == StackOutputs.names()
    assert (outputs["clusterDnsIp"], outputs["podSecurityGroupEnforcingMode"]) == ("10.100.0.10", "standard")
    assert attached.preview().changes() == []
    attached.destroy()
    assert shop.add_on()["configurationValues"] == add_on["configurationValues"]
    assert "node-local-dns" not in shop.kubectl("get", "daemonsets", "-oname")


def test_an_aws_node_that_is_no_add_on_becomes_one_with_what_it_was_set_to(shop: Shop) -> None:
    """What somebody set on the DaemonSet is in the add-on's configuration, and stays there the next time."""
    shop.make_add_on("vpc-cni", VERSION, {"env": {"WARM_IP_TARGET": "3"}})
    shop.remove_add_on("vpc-cni")
    shop.kubectl("set", "env", "daemonset/aws-node", "-c", "aws-node", "AWS_VPC_K8S_CNI_EXTERNALSNAT=true")
    attached = shop.stack(
        "self-managed",
        source={"clusterName": shop.name},
        vpcCni={"manage": True},
        nodeLocalDns={"enabled": False},
    )
    attached.up()
    kept = {"WARM_IP_TARGET": "3", "AWS_VPC_K8S_CNI_EXTERNALSNAT": "true"}
    assert json.loads(shop.add_on()["configurationValues"]) == {"env": {**kept, **OURS}}
    live = json.loads(shop.kubectl("get", "daemonset/aws-node", "-ojson"))["spec"]["template"]["spec"]
    env = {each["name"]: each.get("value") for each in live["containers"][0]["env"]}
    assert {**kept, **OURS}.items() <= env.items()
    assert attached.preview().changes() == []
    attached.destroy()
    assert shop.add_on()["status"] == "ACTIVE"


def test_a_cluster_that_cannot_have_it_is_refused_with_every_reason_before_anything_is_made(shop: Shop) -> None:
    """IPVS, an add-on that is too old and a clash of addresses are told in one message."""
    shop.make_add_on("vpc-cni", "v1.12.0-eksbuild.1", {"env": {"ENABLE_POD_ENI": "true"}})
    shop.make_add_on("kube-proxy", "v1.35.3-eksbuild.29", {"mode": "ipvs"})
    vpc = shop.brought_up.stack.outputs()["vpcId"]
    block = shop.ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="169.254.16.0/20")["CidrBlockAssociation"]
    refused = shop.stack("refused", source={"clusterName": shop.name}, vpcCni={"manage": True})
    try:
        message = _refusal(refused)
    finally:
        shop.ec2.disassociate_vpc_cidr_block(AssociationId=block["AssociationId"])
        shop.make_add_on("kube-proxy", "v1.35.3-eksbuild.29", {})
    assert message.startswith(
        "stacks/Pulumi.refused.yaml: the cluster shop cannot be used so, for 3 reasons; nothing was created or changed."
    )
    for reason in ("is in block 2 of the VPC", "kube-proxy is in ipvs mode", "v1.12.0-eksbuild.1, which does not know"):
        assert reason in message
    assert not refused.outputs()


def test_strict_mode_that_is_somebody_elses_is_refused(shop: Shop) -> None:
    """Without being asked to change it, the program does not install a cache beside a strict CNI."""
    shop.make_add_on("vpc-cni", VERSION, {"env": {"ENABLE_POD_ENI": "true"}})
    message = _refusal(shop.stack("strict", source={"clusterName": shop.name}))
    assert "for 1 reason;" in message  # a block that was taken off the VPC by now is none
    assert "The VPC CNI is in strict mode (POD_SECURITY_GROUP_ENFORCING_MODE)" in message
    assert "Set vpcCni.manage to true" in message


def test_names_that_nobody_knows_are_refused(shop: Shop) -> None:
    """A misspelt cluster or stack ends the preview with where it was written and what there is."""
    message = _refusal(shop.stack("unknown", source={"clusterName": "shopp"}))
    assert message.startswith("stacks/Pulumi.unknown.yaml, eks-node-local-dns:source.clusterName: there is no EKS")
    assert "Did you mean shop?" in message
    message = _refusal(shop.stack("unknown", source={"stack": "organization/eks-node-local-dns/prd"}))
    assert message.startswith("stacks/Pulumi.unknown.yaml, eks-node-local-dns:source.stack: the stack ")
    assert 'unknown stack "organization/eks-node-local-dns/prd"' in message


def test_a_cluster_with_another_cni_ends_the_run_with_what_that_means(shop: Shop) -> None:
    """The engine says that there is no aws-node; the program has said before what follows from it."""
    shop.make_add_on("vpc-cni", VERSION, {})
    shop.remove_add_on("vpc-cni")
    shop.kubectl("delete", "daemonset/aws-node")
    with pytest.raises(Exception, match="code: ") as refused:
        shop.stack("other-cni", source={"clusterName": shop.name}).preview()
    said = str(refused.value)
    assert "aws-node' does not exist" in said
    assert "another CNI gives the pods their network" in said
    assert "install the vpc-cni add-on, or do not attach this cluster" in said
