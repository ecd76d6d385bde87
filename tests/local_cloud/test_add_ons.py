"""Managed add-ons: their states, their conflicts, and the DaemonSet they configure."""

import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from components.cluster.versions import AddonVersions
from local_cloud.eks import catalogue
from tests.waiting import WAITER

_CNI = "v1.23.1-eksbuild.1"
_STANDARD = '{"env":{"ENABLE_POD_ENI":"true","POD_SECURITY_GROUP_ENFORCING_MODE":"standard"}}'


def test_what_the_program_pins_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pin that is raised needs no second edit here; the newest comes first, for its Kubernetes version only."""
    raised = {
        "1.34": AddonVersions(
            vpc_cni="v1.99.0-eksbuild.1", kube_proxy="v1.34.9-eksbuild.1", core_dns="v1.13.2-eksbuild.24"
        ),
        "1.35": AddonVersions(
            vpc_cni="v1.99.0-eksbuild.1", kube_proxy="v1.35.9-eksbuild.1", core_dns="v1.20.0-eksbuild.1"
        ),
    }
    monkeypatch.setattr(catalogue, "PINNED", raised)
    seen = (catalogue.Offer("v1.13.2-eksbuild.24", ("1.34",)),)
    offered = {name: catalogue._with_pinned(name, seen) for name in ("vpc-cni", "kube-proxy", "coredns")}
    assert offered["vpc-cni"] == (catalogue.Offer("v1.99.0-eksbuild.1", ("1.34", "1.35")), *seen)
    assert [each.version for each in offered["kube-proxy"][:2]] == ["v1.35.9-eksbuild.1", "v1.34.9-eksbuild.1"]
    assert offered["coredns"] == (catalogue.Offer("v1.20.0-eksbuild.1", ("1.35",)), *seen)


@pytest.fixture(scope="module")
def cluster(account: Any) -> str:
    """Return a cluster whose self-managed add-ons nobody has taken over yet."""
    account.create_cluster("addons")
    return "addons"


def _status(account: Any, cluster: str, add_on: str) -> dict[str, Any]:
    return account.eks.describe_addon(clusterName=cluster, addonName=add_on)["addon"]


def _settle(account: Any, cluster: str, add_on: str) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while (found := _status(account, cluster, add_on))["status"] in {"CREATING", "UPDATING"}:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def _aws_node_env(account: Any, cluster: str) -> dict[str, str]:
    found = json.loads(account.kubectl(cluster, "-n", "kube-system", "get", "ds", "aws-node", "-o", "json"))
    container = found["spec"]["template"]["spec"]["containers"][0]
    return {entry["name"]: entry["value"] for entry in container["env"]}


def test_vpc_cni_from_create_to_delete(account: Any, cluster: str) -> None:
    """The add-on's configuration is kept verbatim, reaches aws-node, and a second update replaces it."""
    assert "POD_SECURITY_GROUP_ENFORCING_MODE" not in _aws_node_env(account, cluster)
    created = account.eks.create_addon(
        clusterName=cluster,
        addonName="vpc-cni",
        addonVersion=_CNI,
        configurationValues=_STANDARD,
        resolveConflicts="OVERWRITE",
    )["addon"]
    assert created["status"] == "CREATING"
    found = _settle(account, cluster, "vpc-cni")
    assert (found["status"], found["configurationValues"]) == ("ACTIVE", _STANDARD)
    env = _aws_node_env(account, cluster)
    assert (env["POD_SECURITY_GROUP_ENFORCING_MODE"], env["ENABLE_POD_ENI"]) == ("standard", "true")
    with pytest.raises(ClientError, match="Addon already exists"):
        account.eks.create_addon(clusterName=cluster, addonName="vpc-cni")

    update = account.eks.update_addon(
        clusterName=cluster,
        addonName="vpc-cni",
        configurationValues='{"env":{"WARM_IP_TARGET":"3"}}',
        resolveConflicts="OVERWRITE",
    )["update"]
    assert _settle(account, cluster, "vpc-cni")["status"] == "ACTIVE"
    described = account.eks.describe_update(name=cluster, updateId=update["id"], addonName="vpc-cni")["update"]
    assert (described["status"], described["type"]) == ("Successful", "AddonUpdate")
    env = _aws_node_env(account, cluster)
    assert env["WARM_IP_TARGET"] == "3"
    assert "POD_SECURITY_GROUP_ENFORCING_MODE" not in env
    assert env["ENABLE_POD_ENI"] == "false"


def test_edits_by_kubectl(account: Any, cluster: str) -> None:
    """PRESERVE keeps what kubectl changed, NONE fails and names it, OVERWRITE takes it back."""
    edit = ["set", "env", "ds/aws-node", "-c", "aws-node", "WARM_ENI_TARGET=7", "--field-manager=kubectl-edit"]
    account.kubectl(cluster, "-n", "kube-system", *edit)

    def update(resolve: str) -> dict[str, Any]:
        account.eks.update_addon(
            clusterName=cluster, addonName="vpc-cni", configurationValues=_STANDARD, resolveConflicts=resolve
        )
        return _settle(account, cluster, "vpc-cni")

    kept = update("PRESERVE")
    assert kept["status"] == "ACTIVE", kept["health"]
    env = _aws_node_env(account, cluster)
    assert (env["WARM_ENI_TARGET"], env["ENABLE_POD_ENI"]) == ("7", "true")

    failed = update("NONE")
    (issue,) = failed["health"]["issues"]
    assert (failed["status"], issue["code"]) == ("UPDATE_FAILED", "ConfigurationConflict")
    assert "Will not continue due to resolve conflicts mode" in issue["message"]
    assert 'DaemonSet.apps aws-node - .spec.template.spec.containers[name="aws-node"]' in issue["message"]

    assert update("OVERWRITE")["status"] == "ACTIVE"
    assert _aws_node_env(account, cluster)["WARM_ENI_TARGET"] == "1"


def test_create_over_self_managed_without_overwriting(account: Any, cluster: str) -> None:
    """Creating over a changed self-managed add-on with NONE fails with the conflicts; PRESERVE is refused."""
    with pytest.raises(ClientError, match="preserve is not supported for operation CreateAddon"):
        account.eks.create_addon(clusterName=cluster, addonName="kube-proxy", resolveConflicts="PRESERVE")
    account.eks.create_addon(
        clusterName=cluster, addonName="kube-proxy", configurationValues='{"mode":"ipvs"}', resolveConflicts="NONE"
    )
    found = _settle(account, cluster, "kube-proxy")
    assert found["status"] == "CREATE_FAILED"
    assert "ConfigMap kube-proxy-config - .data.config" in found["health"]["issues"][0]["message"]
    account.eks.delete_addon(clusterName=cluster, addonName="kube-proxy", preserve=True)
    account.eks.get_waiter("addon_deleted").wait(clusterName=cluster, addonName="kube-proxy", WaiterConfig=WAITER)
    assert "kube-proxy" in account.kubectl(cluster, "-n", "kube-system", "get", "ds", "-o", "name")


def test_coredns_needs_nodes(account: Any, cluster: str) -> None:
    """CoreDNS is DEGRADED without nodes, ACTIVE with a node group, and DEGRADED again after it."""
    account.eks.create_addon(clusterName=cluster, addonName="coredns", resolveConflicts="OVERWRITE")
    found = _settle(account, cluster, "coredns")
    assert found["status"] == "DEGRADED"
    assert found["health"]["issues"][0]["code"] == "InsufficientNumberOfReplicas"

    scaling = {"minSize": 1, "desiredSize": 2, "maxSize": 3}
    group = account.eks.create_nodegroup(
        clusterName=cluster,
        nodegroupName="main",
        nodeRole=account.role,
        subnets=account.subnets,
        scalingConfig=scaling,
        instanceTypes=["m7i.large"],
        labels={"pool": "main"},
    )["nodegroup"]
    assert group["status"] == "CREATING"
    account.eks.get_waiter("nodegroup_active").wait(clusterName=cluster, nodegroupName="main", WaiterConfig=WAITER)
    assert _status(account, cluster, "coredns")["status"] == "ACTIVE"

    nodes = json.loads(account.kubectl(cluster, "get", "nodes", "-l", "pool=main", "-o", "json"))["items"]
    assert len(nodes) == scaling["desiredSize"]
    for node in nodes:
        (ready,) = node["status"]["conditions"]
        assert (ready["status"], ready["reason"]) == ("Unknown", "StandIn")
        assert "no kubelet" in ready["message"]
    entry = account.eks.describe_access_entry(clusterName=cluster, principalArn=account.role)["accessEntry"]
    assert entry["type"] == "EC2_LINUX"

    with pytest.raises(ClientError, match="Cluster has nodegroups attached") as refused:
        account.eks.delete_cluster(name=cluster)
    assert refused.value.response["Error"]["Code"] == "ResourceInUseException"

    account.eks.delete_nodegroup(clusterName=cluster, nodegroupName="main")
    account.eks.get_waiter("nodegroup_deleted").wait(clusterName=cluster, nodegroupName="main", WaiterConfig=WAITER)
    assert _status(account, cluster, "coredns")["status"] == "DEGRADED"
    assert account.kubectl(cluster, "get", "nodes", "-o", "name") == ""


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"addonName": "vpc-cnI"}, "Addon specified is not supported"),
        ({"addonName": "coredns", "addonVersion": "v0.0.1"}, "Addon version specified is not supported"),
        (
            {"addonName": "kube-proxy", "addonVersion": "v1.36.0-eksbuild.25"},
            "Addon version specified is not supported",
        ),
        ({"addonName": "vpc-cni", "configurationValues": '{"env":{"X":"1"}}'}, r"\$\.env\.X: is not defined"),
    ],
)
def test_create_refuses(account: Any, bare: str, request_: dict[str, Any], message: str) -> None:
    """An unknown add-on, version or configuration key is an InvalidParameterException and leaves nothing."""
    with pytest.raises(ClientError, match=message) as refused:
        account.eks.create_addon(clusterName=bare, **request_)
    assert refused.value.response["Error"]["Code"] == "InvalidParameterException"
    assert account.eks.list_addons(clusterName=bare)["addons"] == []


def test_catalogue(account: Any) -> None:
    """The catalogue tells versions by Kubernetes version, and each version's schema."""
    (vpc_cni,) = account.eks.describe_addon_versions(addonName="vpc-cni", kubernetesVersion="1.35")["addons"]
    assert _CNI in [version["addonVersion"] for version in vpc_cni["addonVersions"]]
    schema = json.loads(
        account.eks.describe_addon_configuration(addonName="vpc-cni", addonVersion=_CNI)["configurationSchema"]
    )
    env = schema["definitions"]["VpcCni"]["properties"]["env"]
    assert env["additionalProperties"] is False
    assert env["properties"]["POD_SECURITY_GROUP_ENFORCING_MODE"]["type"] == "string"
