"""What a cluster that is made here is asked to be, all of it; and the settings that EKS would refuse."""

import json
import re
from typing import Any

import pulumi
import pytest
from pydantic import ValidationError

from components.cluster.addon_configuration import VpcCniSettings
from components.cluster.eks_cluster import (
    ClusterSettings,
    EksCluster,
    EksClusterArgs,
    NodeGroupSettings,
    check_node_group_name,
    check_trunk_capable,
)
from components.cluster.versions import AddonVersions
from components.running_cluster.aws_identity import AwsIdentity
from tests.mocked_engine import Recorder, record

KEY = "aws:kms/key:Key"
LOGS = "aws:cloudwatch/logGroup:LogGroup"
ROLE = "aws:iam/role:Role"
ATTACHED = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
CLUSTER = "eks:index:Cluster"
NODES = "eks:index:ManagedNodeGroup"
OIDC = "aws:iam/openIdConnectProvider:OpenIdConnectProvider"
ENTRY = "aws:eks/accessEntry:AccessEntry"
ASSOCIATION = "aws:eks/accessPolicyAssociation:AccessPolicyAssociation"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
ADD_ON = "aws:eks/addon:Addon"
PROVIDER = "pulumi:providers:kubernetes"

TAGS = {"team": "platform"}
PLATFORM, ON_CALL = (f"arn:aws:iam::111122223333:role/{name}" for name in ("platform", "on-call"))
STATES: dict[str, Any] = {
    KEY: {"arn": "arn:aws:kms:eu:1:key/1"},
    ROLE: {"name": "role-1", "arn": "arn:aws:iam::1:role/1"},
    OIDC: {"arn": "arn:aws:iam::1:oidc-provider/1"},
    TEMPLATE: {"latestVersion": 7},
    CLUSTER: {
        "<child>": {
            "eksCluster": (
                "aws:eks/cluster:Cluster",
                {
                    "name": "shop",
                    "endpoint": "https://shop.eks",
                    "certificateAuthority": {"data": "c2hvcA=="},
                    "identities": [{"oidcs": [{"issuer": "https://oidc.shop"}]}],
                    "vpcConfig": {"clusterSecurityGroupId": "sg-1", "subnetIds": []},
                    "kubernetesNetworkConfig": {"serviceIpv4Cidr": "172.20.0.0/16"},
                },
            )
        }
    },
    "kubernetes:core/v1:Service": {"spec": {"clusterIP": "172.20.0.10"}},
}


def arguments(**change: Any) -> EksClusterArgs:
    """Return the cluster shop in Frankfurt, with a change."""
    given: dict[str, Any] = {
        "cluster_name": "shop",
        "kubernetes_version": "1.35",
        "settings": ClusterSettings.model_validate(
            {"admins": [PLATFORM, ON_CALL], "publicAccessCidrs": "203.0.113.0/24, 198.51.100.7/32", "logTypes": ["api"]}
        ),
        "vpc_cni": VpcCniSettings(pod_security_group_enforcing_mode="strict"),
        "addon_versions": AddonVersions(vpc_cni="v1.1.1-x", kube_proxy="v2.2.2-x", core_dns="v3.3.3-x"),
        "service_cidr": "172.20.0.0/16",
        "node_groups": {
            "blue": NodeGroupSettings(instance_types=("m6i.large", "m5.large")),
            "green": NodeGroupSettings.model_validate(
                {"instanceTypes": ["m7g.large"], "minSize": 3, "desiredSize": 4, "maxSize": 9, "autoscaled": True,
                 "capacityType": "SPOT", "diskSizeGib": 80, "labels": {"example.com/team": "x"}}
            ),
        },
        "vpc_id": "vpc-1",
        "control_plane_subnet_ids": ["subnet-1", "subnet-2"],
        "private_subnet_ids": ["subnet-1", "subnet-2", "subnet-3"],
        "public_subnet_ids": ["subnet-9"],
        "region": "eu-central-1",
        "tags": TAGS,
        "identity": AwsIdentity(),
    }  # fmt: skip
    return EksClusterArgs(**{**given, **change})


def cluster(**change: Any) -> tuple[Recorder, dict[str, Any]]:
    """Make the cluster, and return it with what it tells."""
    made, told = Recorder(STATES), {}

    def make() -> None:
        eks_cluster = EksCluster("eks", arguments(**change))
        for key, value in [*vars(eks_cluster.outputs).items(), ("dns_ip", eks_cluster.dns_ip)]:
            pulumi.Output.from_input(value).apply(lambda found, key=key: told.update({key: found}))
        told["inside"] = eks_cluster.inside

    assert record(make, made) == ""
    return made, told


@pytest.fixture(scope="module")
def made_and_told() -> tuple[Recorder, dict[str, Any]]:
    """Return the cluster as it is asked for, and what it tells."""
    return cluster()


@pytest.fixture
def shop(made_and_told: tuple[Recorder, dict[str, Any]]) -> Recorder:
    """Return the cluster as it is asked for."""
    return made_and_told[0]


def test_the_control_plane(shop: Recorder) -> None:
    """All that EKS is told of it."""
    assert shop.inputs(CLUSTER, "eks") == {
        "authenticationMode": "API",
        "createOidcProvider": False,
        "enabledClusterLogTypes": ["api"],
        "encryptionConfigKeyArn": "arn:aws:kms:eu:1:key/1",
        "endpointPrivateAccess": True,
        "endpointPublicAccess": True,
        "kubeProxyAddonOptions": {
            "resolveConflictsOnCreate": "OVERWRITE",
            "resolveConflictsOnUpdate": "OVERWRITE",
            "version": "v2.2.2-x",
        },
        "kubernetesServiceIpAddressRange": "172.20.0.0/16",
        "name": "shop",
        "privateSubnetIds": ["subnet-1", "subnet-2"],
        "publicAccessCidrs": ["203.0.113.0/24", "198.51.100.7/32"],
        "serviceRole": shop.inputs(CLUSTER, "eks")["serviceRole"],
        "skipDefaultNodeGroup": True,
        "skipDefaultSecurityGroups": True,
        "tags": TAGS,
        "version": "1.35",
        "vpcCniOptions": {
            "addonVersion": "v1.1.1-x",
            "configurationValues": {
                "enableNetworkPolicy": "false",
                "env": {
                    "AWS_VPC_K8S_CNI_EXTERNALSNAT": "false",
                    "AWS_VPC_K8S_CNI_LOGLEVEL": "INFO",
                    "AWS_VPC_K8S_PLUGIN_LOG_LEVEL": "INFO",
                    "ENABLE_POD_ENI": "true",
                    "ENABLE_PREFIX_DELEGATION": "false",
                    "POD_SECURITY_GROUP_ENFORCING_MODE": "strict",
                },
                "init": {"env": {"DISABLE_TCP_EARLY_DEMUX": "false"}},
            },
            "resolveConflictsOnCreate": "OVERWRITE",
            "resolveConflictsOnUpdate": "OVERWRITE",
        },
        "vpcId": "vpc-1",
    }
    assert shop.inputs(CLUSTER, "eks")["serviceRole"]["urn"].endswith("::eks-service")


def test_the_control_plane_waits_for_its_rights_and_its_logs(shop: Recorder) -> None:
    """Without the group EKS makes one that is kept for ever; without the rights no pod gets a security group."""
    assert shop.waits_for(CLUSTER, "eks") == {
        "eks-logs",
        "eks-secrets",
        "eks-service-AmazonEKSClusterPolicy",
        "eks-service-AmazonEKSVPCResourceController",
    }


def test_a_private_endpoint_names_no_networks() -> None:
    """Without any the public endpoint is off, and AWS gets no empty list."""
    made, _ = cluster(settings=ClusterSettings())
    asked = made.inputs(CLUSTER, "eks")
    assert (asked["endpointPublicAccess"], asked["endpointPrivateAccess"]) == (False, True)
    assert "publicAccessCidrs" not in asked
    assert asked["enabledClusterLogTypes"] == ["api", "audit", "authenticator", "controllerManager", "scheduler"]
    assert made.of_kind(ENTRY) == {}


def test_secrets_and_logs(shop: Recorder) -> None:
    """A key that turns over and can be had back for a month; logs that end."""
    assert shop.of_kind(KEY) == {
        "eks-secrets": {
            "deletionWindowInDays": 30,
            "description": "Secrets of the EKS cluster shop",
            "enableKeyRotation": True,
            "tags": TAGS,
        }
    }
    assert shop.of_kind(LOGS) == {
        "eks-logs": {"name": "/aws/eks/shop/cluster", "retentionInDays": 30, "tags": TAGS},
    }


@pytest.mark.parametrize("protection", [False, True])
def test_what_cannot_be_had_back_is_protected_if_that_is_asked(protection: bool) -> None:
    """The cluster and the key of its secrets, and nothing else: a node group has to be replaceable."""
    made, _ = cluster(settings=ClusterSettings(deletion_protection=protection))
    protected = {name for (_, name), request in made.requests.items() if request.protect}
    assert protected == ({"eks", "eks-secrets"} if protection else set())
    assert made.requests[CLUSTER, "eks"].protect is protection
    assert not made.requests[OIDC, "eks"].protect


def trust(service: str) -> dict[str, Any]:
    """Return the policy of a role that a service takes."""
    return {
        "Statement": [{"Action": "sts:AssumeRole", "Effect": "Allow", "Principal": {"Service": service}}],
        "Version": "2012-10-17",
    }


def test_roles_have_what_eks_and_nodes_need(shop: Recorder) -> None:
    """Each is for one service, and its text has one order."""
    asked = shop.of_kind(ROLE)
    assert {name: each["tags"] for name, each in asked.items()} == {"eks-service": TAGS, "eks-node": TAGS}
    for name, service in (("eks-service", "eks.amazonaws.com"), ("eks-node", "ec2.amazonaws.com")):
        assert asked[name]["assumeRolePolicy"] == json.dumps(trust(service))
    arn = "arn:aws:iam::aws:policy"
    assert shop.of_kind(ATTACHED) == {
        f"eks-{role}-{policy}": {"policyArn": f"{arn}/{policy}", "role": "role-1"}
        for role, policy in [
            ("service", "AmazonEKSClusterPolicy"),
            ("service", "AmazonEKSVPCResourceController"),
            ("node", "AmazonEKSWorkerNodePolicy"),
            ("node", "AmazonEC2ContainerRegistryPullOnly"),
            ("node", "AmazonEKS_CNI_Policy"),
        ]
    }


def test_arns_are_of_the_regions_partition() -> None:
    """In China every one begins otherwise."""
    admin = "arn:aws-cn:iam::111122223333:role/platform"
    made, _ = cluster(region="cn-north-1", settings=ClusterSettings(admins=(admin,)))
    arns = {each["policyArn"] for kind in (ATTACHED, ASSOCIATION) for each in made.of_kind(kind).values()}
    assert {each.split(":")[1] for each in arns} == {"aws-cn"}


def test_administrators_have_an_entry_and_the_policy(shop: Recorder) -> None:
    """In the whole cluster."""
    entries = shop.of_kind(ENTRY)
    assert [each["principalArn"] for each in entries.values()] == [PLATFORM, ON_CALL]
    assert all(re.fullmatch(r"eks-admin-(platform|on-call)-[0-9a-f]{6}", name) for name in entries)
    assert list(shop.of_kind(ASSOCIATION)) == list(entries)
    for name, entry in entries.items():
        assert entry == {"clusterName": "shop", "principalArn": entry["principalArn"], "tags": TAGS}
        assert shop.inputs(ASSOCIATION, name) == {
            "accessScope": {"type": "cluster"},
            "clusterName": "shop",
            "policyArn": "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
            "principalArn": entry["principalArn"],
        }
        assert name in shop.waits_for(ASSOCIATION, name)


def test_service_accounts_can_take_roles(shop: Recorder) -> None:
    """IAM knows the cluster's issuer."""
    assert shop.of_kind(OIDC) == {
        "eks": {"clientIdLists": ["sts.amazonaws.com"], "tags": TAGS, "url": "https://oidc.shop"},
    }


def test_node_groups(shop: Recorder) -> None:
    """Every setting is where EKS looks for it."""
    asked = shop.of_kind(NODES)
    for each in asked.values():
        assert each.pop("cluster")["urn"].endswith(f"{CLUSTER}::eks")
        assert each.pop("nodeRole")["urn"].endswith("::eks-node")
    same = {
        "clusterName": "shop",
        "subnetIds": ["subnet-1", "subnet-2", "subnet-3"],
        "tags": TAGS,
        "version": "1.35",
    }
    assert asked == {
        "eks-blue": {
            **same,
            "amiType": "AL2023_x86_64_STANDARD",
            "capacityType": "ON_DEMAND",
            "ignoreScalingChanges": False,
            "instanceTypes": ["m6i.large", "m5.large"],
            "labels": {},
            "launchTemplate": {"id": "eks-blue-id", "version": "7"},
            "scalingConfig": {"desiredSize": 2, "maxSize": 4, "minSize": 1},
        },
        "eks-green": {
            **same,
            "amiType": "AL2023_ARM_64_STANDARD",
            "capacityType": "SPOT",
            "ignoreScalingChanges": True,
            "instanceTypes": ["m7g.large"],
            "labels": {"example.com/team": "x"},
            "launchTemplate": {"id": "eks-green-id", "version": "7"},
            "scalingConfig": {"desiredSize": 4, "maxSize": 9, "minSize": 3},
        },
    }


def test_nodes_wait_for_the_cni_and_their_rights(shop: Recorder) -> None:
    """A node reads the CNI's mode when it boots, and joins by what its role may do."""
    for group in ("blue", "green"):
        assert shop.waits_for(NODES, f"eks-{group}") == {
            "eks",
            "eks-child",
            f"eks-{group}",
            "eks-node-AmazonEKSWorkerNodePolicy",
            "eks-node-AmazonEC2ContainerRegistryPullOnly",
            "eks-node-AmazonEKS_CNI_Policy",
        }


def test_launch_templates(shop: Recorder) -> None:
    """Metadata answers no pod; the disk is encrypted; what nodes make has a name."""

    def tagged(group: str) -> list[dict[str, Any]]:
        return [
            {"resourceType": kind, "tags": {"team": "platform", "Name": f"shop-{group}"}}
            for kind in ("instance", "volume", "network-interface")
        ]

    assert shop.of_kind(TEMPLATE) == {
        f"eks-{group}": {
            "blockDeviceMappings": [
                {
                    "deviceName": "/dev/xvda",
                    "ebs": {
                        "deleteOnTermination": "true",
                        "encrypted": "true",
                        "volumeSize": size,
                        "volumeType": "gp3",
                    },
                }
            ],
            "metadataOptions": {"httpEndpoint": "enabled", "httpPutResponseHopLimit": 1, "httpTokens": "required"},
            "tagSpecifications": tagged(group),
            "tags": TAGS,
            "updateDefaultVersion": True,
        }
        for group, size in (("blue", 50), ("green", 80))
    }


def test_core_dns_comes_after_the_nodes(shop: Recorder) -> None:
    """It would wait for them for ever; and what others own in it is overwritten, at updates too."""
    assert shop.of_kind(ADD_ON) == {
        "eks-coredns": {
            "addonName": "coredns",
            "addonVersion": "v3.3.3-x",
            "clusterName": "shop",
            "resolveConflictsOnCreate": "OVERWRITE",
            "resolveConflictsOnUpdate": "OVERWRITE",
            "tags": TAGS,
        }
    }
    assert shop.waits_for(ADD_ON, "eks-coredns") >= {"eks-blue", "eks-green"}


def test_the_provider_of_what_is_inside(shop: Recorder) -> None:
    """It keeps its identity whatever becomes of the cluster, and names the region to the command that gets a token."""
    asked = shop.inputs(PROVIDER, "eks")
    kubeconfig = json.loads(asked.pop("kubeconfig"))
    asked.pop("__internal", None)
    assert asked == {
        "clusterIdentifier": "shop", "enableConfigMapMutable": "true", "enableServerSideApply": "true",
    }  # fmt: skip
    assert kubeconfig["clusters"][0]["cluster"] == {
        "server": "https://shop.eks", "certificate-authority-data": "c2hvcA==",
    }  # fmt: skip
    assert kubeconfig["users"][0]["user"]["exec"]["args"] == [
        "--region", "eu-central-1", "eks", "get-token", "--cluster-name", "shop", "--output", "json",
    ]  # fmt: skip


def test_what_is_inside_is_reached_as_whoever_makes_the_cluster() -> None:
    """With the profile and the role of the AWS resources; what other stacks are told names neither."""
    made, told = cluster(identity=AwsIdentity("shop-admin", "arn:aws:iam::1:role/deploy"))
    own = json.loads(made.inputs(PROVIDER, "eks")["kubeconfig"])["users"][0]["user"]["exec"]["args"]
    assert own == [
        "--region", "eu-central-1", "--profile", "shop-admin", "eks", "get-token", "--cluster-name", "shop",
        "--output", "json", "--role-arn", "arn:aws:iam::1:role/deploy",
    ]  # fmt: skip
    assert "shop-admin" not in told["kubeconfig"]
    assert "role/deploy" not in told["kubeconfig"]


def test_kube_dns_is_read_through_that_provider_once_core_dns_is_there(shop: Recorder) -> None:
    """Before, there may be no Service."""
    [((kind, name), request)] = shop.reads.items()
    assert (kind, name, request.id) == ("kubernetes:core/v1:Service", "eks-kube-dns", "kube-system/kube-dns")
    assert request.provider.split("::")[-2:] == ["eks", "eks-id"]
    assert request.parent.endswith("EksCluster::eks")
    assert {urn.rpartition("::")[2] for urn in request.dependencies} >= {"eks-coredns"}


def test_all_that_other_stacks_are_told(made_and_told: tuple[Recorder, dict[str, Any]]) -> None:
    """The whole contract, as literal values."""
    made, told = made_and_told
    inside = told["inside"]
    assert json.loads(told["kubeconfig"])["current-context"] == "aws"
    assert {key: value for key, value in told.items() if key not in {"inside", "kubeconfig"}} == {
        "dns_ip": "172.20.0.10",
        "cluster_name": "shop",
        "cluster_endpoint": "https://shop.eks",
        "cluster_certificate_authority": "c2hvcA==",
        "kubernetes_version": "1.35",
        "region": "eu-central-1",
        "oidc_issuer": "https://oidc.shop",
        "oidc_provider_arn": "arn:aws:iam::1:oidc-provider/1",
        "vpc_id": "vpc-1",
        "private_subnet_ids": ["subnet-1", "subnet-2", "subnet-3"],
        "public_subnet_ids": ["subnet-9"],
        "cluster_security_group_id": "sg-1",
        "service_ipv4_cidr": "172.20.0.0/16",
        "cluster_dns_ip": "172.20.0.10",
        "node_local_dns_ip": "",
        "pod_security_group_enforcing_mode": "strict",
        "vpc_cni_version": "v1.1.1-x",
        "kube_proxy_version": "v2.2.2-x",
        "core_dns_version": "v3.3.3-x",
    }
    assert made.outputs["eks"] == {
        "name": "shop", "endpoint": "https://shop.eks", "serviceIpv4Cidr": "172.20.0.0/16",
        "clusterDnsIp": "172.20.0.10",
    }  # fmt: skip
    # The cache comes after CoreDNS, through the cluster's own provider, and goes with the cluster.
    assert [each._name for each in inside.depends_on] == ["eks-coredns"]
    assert inside.deleted_with._name == "eks"
    assert inside.deleted_with.__class__.__name__ == "Cluster"
    assert {name: each._name for name, each in inside.providers.items()} == {"kubernetes": "eks"}


def test_all_that_is_made_belongs_to_the_component(shop: Recorder) -> None:
    """A tree without orphans."""
    ours = {key: request for key, request in shop.requests.items() if "index:EksCluster" not in key[0]}
    parents = {request.parent.rpartition(":")[2] for (kind, _), request in ours.items() if "Stack" not in kind}
    assert parents == {"eks"}


@pytest.mark.parametrize(
    ("minimum", "desired", "maximum", "taken"),
    [(1, 1, 1, True), (1, 2, 3, True), (2, 2, 3, True), (1, 3, 3, True), (3, 2, 4, False), (1, 4, 3, False),
     (0, 0, 1, True), (0, 0, 0, False), (-1, 0, 1, False)],
)  # fmt: skip
def test_the_sizes_of_a_group_are_in_order(minimum: int, desired: int, maximum: int, taken: bool) -> None:
    """Equal ones are; of the others EKS would refuse the group once the cluster is there."""
    sizes = {"instanceTypes": ["m6i.large"], "minSize": minimum, "desiredSize": desired, "maxSize": maximum}
    if taken:
        made = NodeGroupSettings.model_validate(sizes)
        assert (made.min_size, made.desired_size, made.max_size) == (minimum, desired, maximum)
        return
    with pytest.raises(ValidationError, match=r"are not in this order; EKS refuses|greater than or equal to"):
        NodeGroupSettings.model_validate(sizes)


def test_a_disk_holds_the_image() -> None:
    """20 GiB is what Amazon Linux's takes."""
    assert NodeGroupSettings.model_validate({"instanceTypes": ["m6i.large"], "diskSizeGib": 20}).disk_size_gib == 20
    with pytest.raises(ValidationError, match="greater than or equal to 20"):
        NodeGroupSettings.model_validate({"instanceTypes": ["m6i.large"], "diskSizeGib": 19})


@pytest.mark.parametrize(
    ("cidrs", "refused"),
    [
        ("10.0.0.0/8", None),
        (["0.0.0.0/1"], None),
        ("", "Expected 4 octets|not a valid IPv4"),
        (["0.0.0.0/0"], "0.0.0.0/0 is the whole internet"),
        ("0.0.0.0/1,128.0.0.0/1", "0.0.0.0/1, 128.0.0.0/1 together are the whole internet"),
        (["10.0.0.0/8", "0.0.0.0/0"], "together are the whole internet"),
    ],
)
def test_the_api_is_never_open_to_everybody(cidrs: Any, refused: str | None) -> None:
    """Nor by two halves."""
    if refused is None:
        assert ClusterSettings.model_validate({"publicAccessCidrs": cidrs}).public_access_cidrs
        return
    with pytest.raises(ValidationError, match=refused):
        ClusterSettings.model_validate({"publicAccessCidrs": cidrs})


def test_an_administrator_is_named_once() -> None:
    """EKS makes one entry for a principal."""
    with pytest.raises(ValidationError, match=f"{PLATFORM} is there twice, and EKS makes one"):
        ClusterSettings(admins=(ON_CALL, PLATFORM, PLATFORM))


@pytest.mark.parametrize(("given", "taken"), [(30, 30), ("30", 30), ("3653", 3653)])
def test_days_may_come_as_text(given: Any, taken: int) -> None:
    """As they do when they were set as a path."""
    assert ClusterSettings.model_validate({"logRetentionDays": given}).log_retention_days == taken


@pytest.mark.parametrize("given", [2, "2", "a month", "-1", 30.5])
def test_days_that_cloudwatch_does_not_take_are_refused(given: Any) -> None:
    """It takes certain numbers only."""
    with pytest.raises(ValidationError, match="Input should be 1, 3, 5"):
        ClusterSettings.model_validate({"logRetentionDays": given})


@pytest.mark.parametrize("name", ["a", "A-b_9", "9", "x" * 40])
def test_a_name_for_a_node_group(name: str) -> None:
    """Whatever EKS takes."""
    assert check_node_group_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "_a", "a.b", "x" * 41, "a "])
def test_no_name_for_a_node_group(name: str) -> None:
    """EKS takes 63 characters, of which Pulumi needs some."""
    with pytest.raises(ValueError, match="is no name for a node group, and EKS would say so"):
        check_node_group_name(name)


def test_types_that_carry_no_branch_interface_are_all_named() -> None:
    """Each once; one that does carry some is enough, wherever it stands."""
    with pytest.raises(ValueError, match=r"^t3\.large, t2\.micro cannot carry branch network interfaces"):
        check_trunk_capable(("t3.large", "t2.micro", "t3.large"))
    for enough in (("m6i.large",), ("t3.large", "m6i.large"), ("m6i.large", "t3.large")):
        check_trunk_capable(enough)
