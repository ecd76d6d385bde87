"""What the program asks of the engine: resources, options and outputs, on mocks.

Children of pulumi-eks' components are not seen here (the real plugin makes them); the engine tests see them.
"""

import dataclasses
import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from pydantic.alias_generators import to_camel

from components.cluster.principals import short_name
from components.outputs import StackOutputs

if TYPE_CHECKING:
    from tests.program.recorder import Recording, Registered

    Recordings = dict[str, Recording]

CLUSTER, NODES = "eks:index:Cluster", "eks:index:ManagedNodeGroup"
CACHE = "eks-node-local-dns:index:NodeLocalDns"
SERVICE, DAEMON_SET, CONFIG_MAP = (
    f"kubernetes:{each}" for each in ("core/v1:Service", "apps/v1:DaemonSet", "core/v1:ConfigMap")
)
STACKS = ("dev", "stg", "prod")

NETWORK_OF_TWO_ZONES = {
    "eks-node-local-dns:index:Network": 1,
    "aws:ec2/vpc:Vpc": 1,
    "aws:ec2/internetGateway:InternetGateway": 1,
    "aws:ec2/subnet:Subnet": 4,
    "aws:ec2/routeTable:RouteTable": 3,
    "aws:ec2/route:Route": 3,
    "aws:ec2/routeTableAssociation:RouteTableAssociation": 4,
    "aws:ec2/eip:Eip": 1,
    "aws:ec2/natGateway:NatGateway": 1,
}
CLUSTER_WITH_ONE_GROUP = {
    "pulumi:pulumi:Stack": 1,
    "eks-node-local-dns:index:EksCluster": 1,
    "aws:kms/key:Key": 1,
    "aws:cloudwatch/logGroup:LogGroup": 1,
    "aws:iam/role:Role": 2,
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": 5,
    CLUSTER: 1,
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider": 1,
    "aws:ec2/launchTemplate:LaunchTemplate": 1,
    NODES: 1,
    "aws:eks/addon:Addon": 1,
    "pulumi:providers:kubernetes": 1,
    SERVICE: 1,  # kube-dns, only read
}
THE_CACHE = {CACHE: 1, SERVICE: 2, "kubernetes:core/v1:ServiceAccount": 1, CONFIG_MAP: 1, DAEMON_SET: 1}


def _counted(recording: "Recording") -> Counter[str]:
    return Counter(each.type for each in recording.resources)


def _of_component(recording: "Recording", each: "Registered") -> str:
    return recording.by_urn[each.parent].type


def _depends_on(recording: "Recording", each: "Registered") -> set[tuple[str, str]]:
    found = [recording.by_urn[urn] for urn in each.dependencies if urn in recording.by_urn]
    return {(one.type, one.name) for one in found}


def _policies(recording: "Recording", role: str) -> set[str]:
    attached = recording.of("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
    return {each.inputs["policyArn"].rsplit("/")[-1] for each in attached if each.inputs["role"] == f"{role}-1"}


def test_a_stack_is_these_resources_and_no_others(recordings: "Recordings") -> None:
    """Every resource somebody pays for or has to understand is counted."""
    expected = Counter(NETWORK_OF_TWO_ZONES) + Counter(CLUSTER_WITH_ONE_GROUP) + Counter(THE_CACHE)
    assert _counted(recordings["dev"]) == expected


def test_a_zone_costs_what_its_setting_says(recordings: "Recordings") -> None:
    """Three zones are six subnets; a NAT gateway in each zone is three, and each zone leaves by its own."""
    assert [len(recordings[name].of("aws:ec2/subnet:Subnet")) for name in STACKS] == [4, 6, 6]
    assert [len(recordings[name].of("aws:ec2/natGateway:NatGateway")) for name in STACKS] == [1, 1, 3]
    ways = {each.name: each.inputs.get("natGatewayId") for each in recordings["prod"].of("aws:ec2/route:Route")}
    assert {f"network-private-{zone}": f"network-{zone}-id" for zone in "abc"}.items() <= ways.items()


def test_a_nat_gateway_waits_for_the_way_out(recordings: "Recordings") -> None:
    """Made before the route to the internet it would fail to start."""
    for each in recordings["prod"].of("aws:ec2/natGateway:NatGateway"):
        assert ("aws:ec2/route:Route", "network-public") in _depends_on(recordings["prod"], each)


def test_subnets_are_where_load_balancers_look(recordings: "Recordings") -> None:
    """Each subnet carries the role by which its load balancers find it."""
    for each in recordings["dev"].of("aws:ec2/subnet:Subnet"):
        role = "kubernetes.io/role/elb" if "public" in each.name else "kubernetes.io/role/internal-elb"
        assert each.inputs["tags"][role] == "1"
        assert each.inputs["tags"]["kubernetes.io/cluster/eks-node-local-dns-dev"] == "shared"


def test_nodes_wait_until_their_subnets_have_a_way_out(recordings: "Recordings") -> None:
    """A node that boots before its route exists never joins."""
    waits = _depends_on(recordings["dev"], recordings["dev"].one(NODES))
    for kind in ("route:Route", "routeTableAssociation:RouteTableAssociation"):
        assert {(f"aws:ec2/{kind}", f"network-private-{zone}") for zone in "ab"} <= waits


@pytest.mark.parametrize("stack", STACKS)
def test_the_vpc_cni_is_configured_with_text_for_pods_with_security_groups(
    recordings: "Recordings", stack: str
) -> None:
    """Branch interfaces are on and enforced so that a pod reaches its node; every value is a string."""
    options = recordings[stack].one(CLUSTER).inputs["vpcCniOptions"]
    env = options["configurationValues"]["env"]
    assert env["ENABLE_POD_ENI"] == "true"
    assert env["POD_SECURITY_GROUP_ENFORCING_MODE"] == "standard"
    assert all(isinstance(each, str) for each in env.values())
    assert options["addonVersion"] == recordings[stack].outputs["vpcCniVersion"]
    assert options["resolveConflictsOnCreate"] == options["resolveConflictsOnUpdate"] == "OVERWRITE"


def test_coredns_is_left_out_of_the_component(recordings: "Recordings") -> None:
    """Inside the component it would wait for nodes that wait for the component."""
    asked = recordings["dev"].one(CLUSTER).inputs
    assert "corednsAddonOptions" not in asked
    assert asked["skipDefaultNodeGroup"] is asked["skipDefaultSecurityGroups"] is True


def test_the_cluster_may_attach_branch_interfaces_before_it_exists(recordings: "Recordings") -> None:
    """The control plane's role has both policies, and the cluster waits for them and for its log group."""
    dev = recordings["dev"]
    assert _policies(dev, "cluster-service") == {"AmazonEKSClusterPolicy", "AmazonEKSVPCResourceController"}
    names = {name for _type, name in _depends_on(dev, dev.one(CLUSTER))}
    attached = {f"cluster-service-{each}" for each in _policies(dev, "cluster-service")}
    assert attached | {"cluster-logs"} <= names


def test_nodes_come_after_the_cni_and_coredns_after_nodes(recordings: "Recordings") -> None:
    """A node reads the CNI's mode when it boots; CoreDNS needs somewhere to run; the cache needs CoreDNS."""
    dev = recordings["dev"]
    nodes = _depends_on(dev, dev.one(NODES))
    assert (CLUSTER, "cluster") in nodes
    policies = {f"cluster-node-{each}" for each in _policies(dev, "cluster-node")}
    assert policies <= {name for _type, name in nodes}
    assert len(policies) == 3
    assert (NODES, "cluster-default") in _depends_on(dev, dev.one("aws:eks/addon:Addon"))
    assert ("aws:eks/addon:Addon", "cluster-coredns") in _depends_on(dev, dev.one(CACHE))


@pytest.mark.parametrize("stack", STACKS)
def test_nodes_give_no_credentials_to_pods_and_write_encrypted_disks(recordings: "Recordings", stack: str) -> None:
    """IMDSv2 at one hop, encrypted volumes that go with their node, on every group's template."""
    templates = recordings[stack].of("aws:ec2/launchTemplate:LaunchTemplate")
    assert len(templates) == len(recordings[stack].of(NODES)) > 0
    for each in templates:
        metadata = each.inputs["metadataOptions"]
        assert (metadata["httpTokens"], metadata["httpPutResponseHopLimit"]) == ("required", 1)
        [disk] = each.inputs["blockDeviceMappings"]
        assert (disk["ebs"]["encrypted"], disk["ebs"]["deleteOnTermination"]) == ("true", "true")
    for group in recordings[stack].of(NODES):
        assert group.inputs["launchTemplate"] == {"id": f"{group.name}-id", "version": "7"}
        assert group.inputs["amiType"] == "AL2023_x86_64_STANDARD"


def test_the_endpoint_is_private_unless_networks_are_named(recordings: "Recordings") -> None:
    """The API answers only inside the VPC, or also to the networks that are named."""
    named, *private = (recordings[name].one(CLUSTER).inputs for name in ("in an existing VPC", *STACKS))
    assert (named["endpointPublicAccess"], named["publicAccessCidrs"]) == (True, ["203.0.113.0/24"])
    for each in private:
        assert each["endpointPublicAccess"] is False
        assert "publicAccessCidrs" not in each
    assert all(each["endpointPrivateAccess"] is True for each in (named, *private))


@pytest.mark.parametrize("stack", STACKS)
def test_the_control_plane_is_logged_encrypted_and_lets_in_only_access_entries(
    recordings: "Recordings", stack: str
) -> None:
    """Secrets have a key of their own that rotates, all logs are kept for a time, access goes by the API alone."""
    recording = recordings[stack]
    asked = recording.one(CLUSTER).inputs
    assert asked["authenticationMode"] == "API"
    assert asked["encryptionConfigKeyArn"] == "arn:aws:kms:eu:1:key/cluster-secrets"
    assert recording.one("aws:kms/key:Key").inputs["enableKeyRotation"] is True
    assert len(asked["enabledClusterLogTypes"]) == 5
    logs = recording.one("aws:cloudwatch/logGroup:LogGroup").inputs
    assert logs["name"] == f"/aws/eks/{asked['name']}/cluster"
    assert logs["retentionInDays"] > 0


def test_production_is_not_deleted_by_mistake(recordings: "Recordings") -> None:
    """The cluster and the key of its secrets are protected in production, and nothing is elsewhere."""
    protected = {
        name: {each.type for each in recordings[name].resources if each.options.get("protect")} for name in STACKS
    }
    assert protected == {"dev": set(), "stg": set(), "prod": {CLUSTER, "aws:kms/key:Key"}}


@pytest.mark.parametrize("stack", STACKS)
def test_nothing_in_the_cluster_uses_an_ambient_kubeconfig(recordings: "Recordings", stack: str) -> None:
    """Everything of Kubernetes goes through the stack's own provider, whose identity is known while planning."""
    recording = recordings[stack]
    provider = recording.one("pulumi:providers:kubernetes")
    inside = [each for each in recording.resources if each.type.startswith("kubernetes:")]
    assert {each.provider for each in inside} == {f"{provider.urn}::{provider.name}-id"}
    assert provider.inputs["clusterIdentifier"] == recording.one(CLUSTER).inputs["name"]
    assert provider.inputs["kubeconfig"] == recording.outputs["kubeconfig"]


@pytest.mark.parametrize("run", [*STACKS, "a cluster that exists"])
def test_the_kubeconfig_names_the_region(recordings: "Recordings", run: str) -> None:
    """It works in a shell that has no AWS_REGION, wherever the cluster came from."""
    outputs = recordings[run].outputs
    [user] = json.loads(outputs["kubeconfig"])["users"]
    asked = ["--region", "eu-central-1", "eks", "get-token", "--cluster-name", outputs["clusterName"]]
    assert user["user"]["exec"]["args"] == [*asked, "--output", "json"]
    [cluster] = json.loads(outputs["kubeconfig"])["clusters"]
    assert cluster["cluster"]["server"] == outputs["clusterEndpoint"]
    assert cluster["cluster"]["certificate-authority-data"] == outputs["clusterCertificateAuthority"]


def test_what_dies_with_the_cluster_is_not_deleted_one_by_one(recordings: "Recordings") -> None:
    """A cluster that is gone, or out of reach, keeps nobody from destroying the stack."""
    dev = recordings["dev"]
    inside = [each for each in dev.resources if each.type.startswith("kubernetes:") and not each.read]
    assert len(inside) == sum(THE_CACHE.values()) - 1
    assert {dev.dies_with(each) for each in [dev.one(CACHE), *inside]} == {dev.one(CLUSTER).urn}


def test_the_dns_address_is_read_from_the_cluster_it_waited_for(recordings: "Recordings") -> None:
    """kube-dns is looked up, not made, once CoreDNS is there."""
    [read] = [each for each in recordings["dev"].resources if each.read]
    assert (read.type, read.id) == (SERVICE, "kube-system/kube-dns")
    assert ("aws:eks/addon:Addon", "cluster-coredns") in _depends_on(recordings["dev"], read)


def test_the_cache_is_wired_to_the_addresses_the_cluster_gave(recordings: "Recordings") -> None:
    """An unusual ClusterIP reaches arguments, Corefile and outputs, as does the upstream Service's."""
    recording = recordings["in an existing VPC"]
    [container] = recording.one(DAEMON_SET).inputs["spec"]["template"]["spec"]["containers"]
    assert "169.254.20.10,10.77.64.10" in container["args"]
    corefile = recording.one(CONFIG_MAP).inputs["data"]["Corefile"]
    assert "bind 169.254.20.10 10.77.64.10" in corefile
    assert "forward . 10.77.99.3 {" in corefile
    assert "172.20." not in json.dumps([each.inputs for each in recording.resources])
    assert recording.outputs["clusterDnsIp"] == "10.77.64.10"
    assert recording.outputs["serviceIpv4Cidr"] == "10.77.64.0/18"
    waits = _depends_on(recording, recording.one(CONFIG_MAP))
    assert {(SERVICE, "cluster-kube-dns"), (SERVICE, "node-local-dns-upstream")} <= waits


def test_the_pods_roll_only_after_their_corefile(recordings: "Recordings") -> None:
    """The DaemonSet waits for what its pods mount and run as."""
    waits = _depends_on(recordings["dev"], recordings["dev"].one(DAEMON_SET))
    assert {
        (CONFIG_MAP, "node-local-dns-corefile"),
        ("kubernetes:core/v1:ServiceAccount", "node-local-dns-account"),
    } <= waits


def test_a_kube_dns_at_another_address_ends_the_run(recordings: "Recordings") -> None:
    """The cache is never given an address that EKS' own pods do not ask."""
    refused = recordings["with a kube-dns made anew"]
    assert "has the address 172.20.3.3, not the 172.20.0.10" in refused.error
    assert not refused.of(DAEMON_SET)
    assert not refused.of(CONFIG_MAP)


def test_without_the_cache_nothing_of_it_is_asked_for(recordings: "Recordings") -> None:
    """Turned off, the stack is the cluster alone, and says so in its outputs."""
    off, on = recordings["without the cache"], recordings["dev"]
    assert _counted(on) - _counted(off) == Counter(THE_CACHE)
    assert not _counted(off) - _counted(on)
    assert off.outputs["nodeLocalDnsIp"] == ""
    assert {**off.outputs, "nodeLocalDnsIp": on.outputs["nodeLocalDnsIp"]} == on.outputs


def test_an_existing_vpc_is_used_and_left_alone(recordings: "Recordings") -> None:
    """No network is made, and the cluster gets the subnets that were named."""
    recording = recordings["in an existing VPC"]
    assert not [each for each in recording.resources if each.type.startswith("aws:ec2/") and "launch" not in each.type]
    asked = recording.one(CLUSTER).inputs
    assert (asked["vpcId"], asked["privateSubnetIds"]) == ("vpc-0abc", ["subnet-1", "subnet-2"])
    assert recording.outputs["publicSubnetIds"] == ["subnet-3"]
    assert recording.one(NODES).inputs["subnetIds"] == ["subnet-1", "subnet-2"]
    assert recording.outputs["vpcId"] == "vpc-0abc"


def test_each_administrator_gets_an_entry_and_the_right(recordings: "Recordings") -> None:
    """An entry without a policy lets nobody do anything."""
    recording = recordings["in an existing VPC"]
    entries = {each.inputs["principalArn"] for each in recording.of("aws:eks/accessEntry:AccessEntry")}
    rights = recording.of("aws:eks/accessPolicyAssociation:AccessPolicyAssociation")
    assert entries == {f"arn:aws:iam::111122223333:role/{each}" for each in ("platform", "on-call")}
    assert {each.inputs["principalArn"] for each in rights} == entries
    assert all(each.inputs["policyArn"].endswith("AmazonEKSClusterAdminPolicy") for each in rights)


def test_entries_are_named_after_whom_they_admit(recordings: "Recordings") -> None:
    """With one administrator less, the others' entries are the same wherever in the list they stand now."""
    for kind in ("accessEntry:AccessEntry", "accessPolicyAssociation:AccessPolicyAssociation"):
        for each in recordings["in an existing VPC"].of(f"aws:eks/{kind}"):
            assert each.name == f"cluster-admin-{short_name(each.inputs['principalArn'])}"


def test_policies_are_those_of_the_regions_partition(recordings: "Recordings") -> None:
    """An ARN of another partition names nothing."""
    recording = recordings["on Graviton, in China"]
    attached = recording.of("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
    associated = recording.of("aws:eks/accessPolicyAssociation:AccessPolicyAssociation")
    assert {each.inputs["policyArn"].split(":")[1] for each in [*attached, *associated]} == {"aws-cn"}
    assert len(attached) == 5
    assert len(associated) == 1


def test_the_control_plane_keeps_its_zones(recordings: "Recordings") -> None:
    """It gets the first two zones only, so that a third one added later is none it would have to move to."""
    subnets = {stack: recordings[stack].one(CLUSTER).inputs["privateSubnetIds"] for stack in STACKS}
    assert set(map(tuple, subnets.values())) == {("network-private-a-id", "network-private-b-id")}
    nodes = recordings["prod"].one(NODES).inputs["subnetIds"]
    assert nodes == [f"network-private-{zone}-id" for zone in "abc"]


def test_the_image_is_that_of_the_instance_types(recordings: "Recordings") -> None:
    """Nobody has to say it, so nobody can say it wrong."""
    assert recordings["on Graviton, in China"].one(NODES).inputs["amiType"] == "AL2023_ARM_64_STANDARD"


@pytest.mark.parametrize("stack", STACKS)
def test_the_outputs_are_the_contract(recordings: "Recordings", stack: str) -> None:
    """Each stack exports every output of the contract and no other, and none is empty."""
    outputs = recordings[stack].outputs
    assert outputs.keys() == {to_camel(field.name) for field in dataclasses.fields(StackOutputs)}
    assert all(outputs.values())


@pytest.mark.parametrize("stack", STACKS)
def test_every_aws_resource_carries_the_tags_of_the_stack(recordings: "Recordings", stack: str) -> None:
    """What is paid for can be told by its environment."""
    recording = recordings[stack]
    untaggable = {"route", "routeTableAssociation", "rolePolicyAttachment", "accessPolicyAssociation"}
    taggable = [
        each
        for each in recording.resources
        if each.type.startswith(("aws:", "eks:")) and each.type.split("/")[-1].split(":")[0] not in untaggable
    ]
    assert {each.inputs["tags"]["environment"] for each in taggable} == {stack}
    for template in recording.of("aws:ec2/launchTemplate:LaunchTemplate"):
        handed_on = {each["resourceType"]: each["tags"] for each in template.inputs["tagSpecifications"]}
        assert handed_on.keys() == {"instance", "volume", "network-interface"}
        assert {each["environment"] for each in handed_on.values()} == {stack}


def test_components_own_what_they_make(recordings: "Recordings") -> None:
    """Network, cluster and cache are three trees under the stack; nothing lies beside them."""
    dev = recordings["dev"]
    roots = {each.type for each in dev.resources if each.parent == dev.one("pulumi:pulumi:Stack").urn}
    assert roots == {f"eks-node-local-dns:index:{each}" for each in ("Network", "EksCluster", "NodeLocalDns")}
    made = {each.type for each in dev.resources if each.parent and _of_component(dev, each) == CACHE}
    assert made == THE_CACHE.keys() - {CACHE}


ATTACHED = "eks-node-local-dns:index:AttachedCluster"
LOOKED_AT = {"kubernetes:apps/v1:DaemonSet", "kubernetes:core/v1:ServiceAccount", CONFIG_MAP}
ELSEWHERE = ("a cluster that exists", "another stack's")


@pytest.mark.parametrize("run", ELSEWHERE)
def test_of_a_cluster_made_elsewhere_only_the_cache_is_made(recordings: "Recordings", run: str) -> None:
    """No AWS resource is asked for; what there is, is read."""
    recording = recordings[run]
    made = Counter(each.type for each in recording.resources if not each.read)
    assert made == Counter({"pulumi:pulumi:Stack": 1, ATTACHED: 1, "pulumi:providers:kubernetes": 1}) + Counter(
        THE_CACHE
    )
    read = {(each.type, each.id) for each in recording.resources if each.read}
    assert read >= {(SERVICE, "kube-system/kube-dns"), (DAEMON_SET, "kube-system/aws-node")}
    assert not recording.error


@pytest.mark.parametrize("run", ELSEWHERE)
def test_a_cluster_made_elsewhere_tells_the_same_outputs(recordings: "Recordings", run: str) -> None:
    """Whoever reads a stack need not know where its cluster came from."""
    outputs = recordings[run].outputs
    assert outputs.keys() == StackOutputs.names()
    assert (outputs["clusterName"], outputs["clusterDnsIp"]) == ("shop", "10.100.0.10")
    assert (outputs["kubernetesVersion"], outputs["podSecurityGroupEnforcingMode"]) == ("1.34", "standard")
    assert (outputs["vpcCniVersion"], outputs["coreDnsVersion"]) == ("v1.22.3-eksbuild.1", "")
    assert outputs["nodeLocalDnsIp"] == "169.254.20.10"


def test_a_cluster_by_name_is_told_as_aws_describes_it(recordings: "Recordings") -> None:
    """Subnets are told apart by the tag of public ones, and the kubeconfig holds a command and no secret."""
    outputs = recordings["a cluster that exists"].outputs
    assert (outputs["privateSubnetIds"], outputs["publicSubnetIds"]) == (["subnet-a", "subnet-b"], ["subnet-p"])
    assert (outputs["vpcId"], outputs["clusterSecurityGroupId"]) == ("vpc-5", "sg-5")
    assert outputs["oidcProviderArn"] == "arn:aws:iam::1:oidc-provider/oidc.shop"
    [user] = json.loads(outputs["kubeconfig"])["users"]
    assert user["user"]["exec"]["command"] == "aws"
    asked = ["--region", "eu-central-1", "eks", "get-token", "--cluster-name", "shop", "--output", "json"]
    assert user["user"]["exec"]["args"] == asked
    assert user["user"].keys() == {"exec"}
    provider = recordings["a cluster that exists"].one("pulumi:providers:kubernetes").inputs
    assert (provider["kubeconfig"], provider["clusterIdentifier"]) == (outputs["kubeconfig"], "shop")


def test_another_stacks_kubeconfig_is_the_way_in(recordings: "Recordings") -> None:
    """What the contract says is used as it is."""
    recording = recordings["another stack's"]
    assert recording.one("pulumi:providers:kubernetes").inputs["kubeconfig"] == "prod's kubeconfig"
    assert recording.outputs["clusterEndpoint"] == "prod's clusterEndpoint"


def test_nothing_of_the_cache_goes_with_a_cluster_that_is_somebody_elses(recordings: "Recordings") -> None:
    """Destroying the stack takes the cache out; it does not wait for the cluster to go."""
    recording = recordings["a cluster that exists"]
    assert {recording.dies_with(each) for each in recording.resources} == {""}


def test_an_add_on_is_taken_over_as_it_is_but_for_our_values(recordings: "Recordings") -> None:
    """Imported, kept at its version, role, identities and tags, never deleted, and there before the cache."""
    recording = recordings["a cluster that exists, and its CNI"]
    add_on = recording.one("aws:eks/addon:Addon")
    assert (add_on.options["importId"], add_on.options["retainOnDelete"]) == ("shop:vpc-cni", True)
    asked = dict(add_on.inputs)
    values = json.loads(asked.pop("configurationValues"))
    ours = {"ENABLE_POD_ENI": "true", "POD_SECURITY_GROUP_ENFORCING_MODE": "standard"}
    tolerations = [{"operator": "Exists"}, {"effect": "NoExecute", "key": "gpu", "tolerationSeconds": 60}]
    past = {"nodeAgent": {"healthProbeBindAddr": "9163"}, "tolerations": tolerations}
    assert values == {"env": {"WARM_IP_TARGET": "3", **ours}, **past}
    assert asked == {
        "addonName": "vpc-cni",
        "addonVersion": "v1.22.3-eksbuild.1",
        "clusterName": "shop",
        "podIdentityAssociations": [{"serviceAccount": "aws-node", "roleArn": "arn:aws:iam::1:role/pod"}],
        "resolveConflictsOnCreate": "OVERWRITE",
        "resolveConflictsOnUpdate": "OVERWRITE",
        "serviceAccountRoleArn": "arn:aws:iam::1:role/cni",
        "tags": {"team": "platform"},
    }
    # Its children are registered after the component, which waits for what it depends on.
    assert (add_on.type, add_on.name) in _depends_on(recording, recording.one(CACHE))
    assert recording.outputs["podSecurityGroupEnforcingMode"] == "standard"


def test_an_aws_node_that_is_no_add_on_is_made_one(recordings: "Recordings") -> None:
    """Created, at the pinned version, with what its environment says."""
    recording = recordings["a cluster that exists, and its CNI that is no add-on"]
    add_on = recording.one("aws:eks/addon:Addon")
    assert "importId" not in add_on.options
    assert add_on.options["retainOnDelete"]
    assert json.loads(add_on.inputs["configurationValues"])["env"]["WARM_IP_TARGET"] == "7"
    assert add_on.inputs["addonVersion"] == recording.outputs["vpcCniVersion"] == "v1.23.1-eksbuild.1"
