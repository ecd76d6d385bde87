"""Clusters over the AWS API, and what EKS leaves in a new one."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_cloud.eks.clusters import default_service_cidr
from tests.waiting import WAITER


@pytest.mark.parametrize(
    ("vpc", "service"),
    [
        (["192.168.0.0/16"], "10.100.0.0/16"),
        (["10.0.0.0/16"], "172.20.0.0/16"),
        (["172.20.0.0/16"], "10.100.0.0/16"),
    ],
)
def test_default_service_cidr(vpc: list[str], service: str) -> None:
    """Of its two defaults EKS takes the one that does not meet the VPC."""
    assert default_service_cidr(vpc) == service


def test_description(account: Any, bare: str) -> None:
    """DescribeCluster says all that programs read from it."""
    cluster = account.eks.describe_cluster(name=bare)["cluster"]
    assert cluster["kubernetesNetworkConfig"]["serviceIpv4Cidr"] == "10.100.0.0/16"
    assert cluster["kubernetesNetworkConfig"]["ipFamily"] == "ipv4"
    assert cluster["accessConfig"] == {
        "authenticationMode": "API",
        "bootstrapClusterCreatorAdminPermissions": True,
    }
    assert cluster["identity"]["oidc"]["issuer"].startswith("https://oidc.eks.eu-central-1.amazonaws.com/id/")
    assert cluster["resourcesVpcConfig"]["vpcId"] == account.vpc
    group_id = cluster["resourcesVpcConfig"]["clusterSecurityGroupId"]
    (group,) = account.ec2.describe_security_groups(GroupIds=[group_id])["SecurityGroups"]
    assert {"Key": f"kubernetes.io/cluster/{bare}", "Value": "owned"} in group["Tags"]


def test_kube_dns_has_the_tenth_address(account: Any, bare: str) -> None:
    """The Service kube-dns is on +10 of the service CIDR that was asked for."""
    service = json.loads(account.kubectl(bare, "-n", "kube-system", "get", "service", "kube-dns", "-o", "json"))
    assert service["spec"]["clusterIP"] == "10.100.0.10"
    assert service["spec"]["selector"] == {"k8s-app": "kube-dns"}
    kubernetes = account.kubectl(bare, "get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}")
    assert kubernetes == "10.100.0.1"


def test_self_managed_add_ons(account: Any, bare: str) -> None:
    """A new cluster has the three networking add-ons and the custom resources, and no managed add-on."""
    found = account.kubectl(bare, "get", "ds,deploy,cm,crd", "-n", "kube-system", "-o", "name").split()
    assert {
        "daemonset.apps/aws-node",
        "daemonset.apps/kube-proxy",
        "deployment.apps/coredns",
        "configmap/coredns",
        "configmap/kube-proxy-config",
        "customresourcedefinition.apiextensions.k8s.io/securitygrouppolicies.vpcresources.k8s.aws",
        "customresourcedefinition.apiextensions.k8s.io/cninodes.vpcresources.k8s.aws",
        "customresourcedefinition.apiextensions.k8s.io/eniconfigs.crd.k8s.amazonaws.com",
    } <= set(found)
    configuration = account.kubectl(bare, "-n", "kube-system", "get", "cm", "kube-proxy-config", "-o", "yaml")
    assert "mode: iptables" in configuration
    assert account.eks.list_addons(clusterName=bare)["addons"] == []


def test_pod_security_admission_is_on(account: Any, bare: str) -> None:
    """A namespace that enforces the restricted standard refuses a privileged pod."""
    namespace = {"metadata": {"name": "strict", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    file = account.cloud.layout.directory / "strict.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "Namespace", **namespace}))
    account.kubectl(bare, "apply", "-f", str(file))
    account.kubectl(bare, "-n", "strict", "wait", "--for=create", "serviceaccount/default", "--timeout=10s")
    refused = account.ask(bare, "-n", "strict", "run", "x", "--image=x", "--privileged")
    assert "violates PodSecurity" in refused.stderr


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"name": "bare"}, "ResourceInUseException", "Cluster already exists with name: bare"),
        ({"version": "1.19"}, "InvalidParameterException", "unsupported Kubernetes version 1.19"),
        ({"roleArn": "arn:aws:iam::123456789012:role/nobody"}, "InvalidParameterException", "could not be assumed"),
        ({"resourcesVpcConfig": {"subnetIds": ["subnet-0"]}}, "InvalidParameterException", "does not exist"),
        (
            {"kubernetesNetworkConfig": {"serviceIpv4Cidr": "10.0.128.0/20"}},
            "InvalidParameterException",
            "overlaps with the CIDR 10.0.0.0/16",
        ),
        ({"kubernetesNetworkConfig": {"serviceIpv4Cidr": "10.200.0.0/25"}}, "InvalidParameterException", "/24"),
        ({"accessConfig": {"authenticationMode": "IAM"}}, "InvalidParameterException", "enum value set"),
    ],
)
def test_create_cluster_refuses(account: Any, bare: str, change: dict[str, Any], code: str, message: str) -> None:
    """CreateCluster refuses what the service refuses, with its error."""
    assert bare == "bare"
    request = {"name": "other", "roleArn": account.role, "resourcesVpcConfig": {"subnetIds": account.subnets}}
    with pytest.raises(ClientError, match=message) as refused:
        account.eks.create_cluster(**{**request, **change})
    assert refused.value.response["Error"]["Code"] == code


def test_unknown_operation_is_said(account: Any) -> None:
    """An operation the local cloud does not know is named in its refusal."""
    with pytest.raises(ClientError, match="does not know the EKS operation ListFargateProfiles"):
        account.eks.list_fargate_profiles(clusterName="bare")


def test_life_of_a_cluster(account: Any) -> None:
    """A cluster's logs, version and end are the service's; its network interfaces go with it."""
    account.create_cluster(
        "short", logging={"clusterLogging": [{"types": ["api", "audit"], "enabled": True}]}, version="1.34"
    )
    groups = account.logs.describe_log_groups(logGroupNamePrefix="/aws/eks/short")["logGroups"]
    assert [group["logGroupName"] for group in groups] == ["/aws/eks/short/cluster"]
    with pytest.raises(ClientError, match=r"Unsupported Kubernetes minor version update from 1\.34 to 1\.36"):
        account.eks.update_cluster_version(name="short", version="1.36")
    update = account.eks.update_cluster_version(name="short", version="1.35")["update"]
    account.eks.get_waiter("cluster_active").wait(name="short", WaiterConfig=WAITER)
    assert account.eks.describe_update(name="short", updateId=update["id"])["update"]["status"] == "Successful"
    assert account.eks.describe_cluster(name="short")["cluster"]["version"] == "1.35"
    with pytest.raises(ClientError, match="has dependencies and cannot be deleted"):
        account.ec2.delete_subnet(SubnetId=account.subnets[0])
    account.eks.delete_cluster(name="short")
    account.eks.get_waiter("cluster_deleted").wait(name="short", WaiterConfig=WAITER)
    filters = [{"Name": "description", "Values": ["Amazon EKS short"]}]
    assert account.ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"] == []


def test_one_zone_is_refused(account: Any) -> None:
    """The control plane's interfaces are in two zones at least."""
    with pytest.raises(ClientError, match="at least two different AZs"):
        account.create_cluster("narrow", resourcesVpcConfig={"subnetIds": account.subnets[:1]})
    assert "narrow" not in account.eks.list_clusters()["clusters"]


def test_the_control_plane_keeps_its_zones(account: Any, bare: str) -> None:
    """Its subnets can be changed in place, but never to another set of zones, nor to another VPC."""
    before = account.eks.describe_cluster(name=bare)["cluster"]["resourcesVpcConfig"]["subnetIds"]
    more, other = (
        account.ec2.create_subnet(
            VpcId=account.vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"eu-central-1{zone}"
        )["Subnet"]["SubnetId"]
        for number, zone in ((10, "a"), (11, "c"))
    )

    def move(subnets: list[str]) -> list[str]:
        account.eks.update_cluster_config(name=bare, resourcesVpcConfig={"subnetIds": subnets})
        account.eks.get_waiter("cluster_active").wait(name=bare, WaiterConfig=WAITER)
        return account.eks.describe_cluster(name=bare)["cluster"]["resourcesVpcConfig"]["subnetIds"]

    with pytest.raises(ClientError, match=r"1a,eu-central-1b,eu-central-1c'.*exact set of AZs 'eu-central-1a,eu-cen"):
        move([*before, other])
    assert move([more, *before[1:]]) == [more, *before[1:]]
    assert move(before) == before


@pytest.mark.parametrize(
    ("instance_types", "image", "message"),
    [
        (
            ["t4g.medium"],
            {},
            r"\[t4g.medium\] is not a valid instance type for requested amiType AL2023_x86_64_STANDARD",
        ),
        (["m6i.large", "m7g.large"], {"amiType": "AL2023_ARM_64_STANDARD"}, r"\[m6i.large\] is not a valid instance"),
        (["m9z.large"], {}, r"instance types do not exist: \[m9z.large\]"),
    ],
)
def test_node_groups_of_another_architecture_than_their_image_are_refused(
    account: Any, bare: str, instance_types: list[str], image: dict[str, str], message: str
) -> None:
    """All nodes of a group start from one image."""
    with pytest.raises(ClientError, match=message) as refused:
        account.eks.create_nodegroup(
            clusterName=bare,
            nodegroupName="mixed",
            nodeRole=account.role,
            subnets=account.subnets,
            instanceTypes=instance_types,
            **image,
        )
    assert refused.value.response["Error"]["Code"] == "InvalidParameterException"
    assert account.eks.list_nodegroups(clusterName=bare)["nodegroups"] == []


def test_a_namespace_ends_with_what_is_in_it(account: Any, bare: str) -> None:
    """A deleted namespace goes, and its objects with it, though no controller manager runs."""
    account.kubectl(bare, "create", "namespace", "brief")
    account.kubectl(bare, "-n", "brief", "create", "configmap", "left-behind")
    account.kubectl(bare, "-n", "brief", "create", "service", "clusterip", "left", "--tcp=53")
    account.kubectl(bare, "delete", "namespace", "brief", "--timeout=10s")
    account.kubectl(bare, "create", "namespace", "brief")
    assert account.kubectl(bare, "-n", "brief", "get", "configmap,service", "-o", "name") == ""
