"""The functions (data sources) of pulumi-aws that the program calls: each asks AWS and changes nothing."""

from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from local_cloud.plugins.aws.resource_type import Clients, Properties, is_missing

Function = Callable[[Clients, Properties], Properties]


class AbsentError(LookupError):
    """There is no such thing; said in the words of the real provider."""

    def __init__(self, what: str) -> None:
        super().__init__(f"reading {what}: couldn't find resource")


def _asked(what: str, operation: Callable[..., dict[str, Any]], **arguments: Any) -> dict[str, Any]:  # noqa: ANN401  # boto3's
    try:
        return operation(**arguments)
    except ClientError as error:
        if is_missing(error):
            raise AbsentError(what) from error
        raise


def _partition(_clients: Clients, _arguments: Properties) -> Properties:
    return {
        "id": "aws",
        "partition": "aws",
        "dnsSuffix": "amazonaws.com",
        "reverseDnsPrefix": "com.amazonaws",
    }


def _cluster(clients: Clients, arguments: Properties) -> Properties:
    name = arguments["name"]
    found = _asked(f"EKS Cluster ({name})", clients("eks").describe_cluster, name=name)["cluster"]
    network, vpc = found["kubernetesNetworkConfig"], found["resourcesVpcConfig"]
    return {
        "id": name,
        "name": name,
        "arn": found["arn"],
        "status": found["status"],
        "version": found["version"],
        "endpoint": found.get("endpoint", ""),
        "certificateAuthorities": [{"data": found["certificateAuthority"].get("data", "")}],
        "identities": [{"oidcs": [{"issuer": found["identity"]["oidc"]["issuer"]}]}],
        "kubernetesNetworkConfigs": [
            {
                "ipFamily": network["ipFamily"],
                "serviceIpv4Cidr": network.get("serviceIpv4Cidr", ""),
                "serviceIpv6Cidr": network.get("serviceIpv6Cidr", ""),
                "elasticLoadBalancings": [network["elasticLoadBalancing"]],
            }
        ],
        "computeConfigs": [{"enabled": found["computeConfig"]["enabled"], "nodePools": [], "nodeRoleArn": ""}],
        "remoteNetworkConfigs": [],
        "vpcConfig": {
            "vpcId": vpc["vpcId"],
            "subnetIds": vpc["subnetIds"],
            "securityGroupIds": vpc["securityGroupIds"],
            "clusterSecurityGroupId": vpc["clusterSecurityGroupId"],
            "endpointPrivateAccess": vpc["endpointPrivateAccess"],
            "endpointPublicAccess": vpc["endpointPublicAccess"],
            "publicAccessCidrs": vpc["publicAccessCidrs"],
            "controlPlaneEgressMode": "",
        },
        "tags": found["tags"],
    }


def _clusters(clients: Clients, _arguments: Properties) -> Properties:
    pages = clients("eks").get_paginator("list_clusters").paginate()
    return {"id": "clusters", "names": [name for page in pages for name in page["clusters"]]}


def _add_on(clients: Clients, arguments: Properties) -> Properties:
    names = {"clusterName": arguments["clusterName"], "addonName": arguments["addonName"]}
    identity = ":".join(names.values())
    found = _asked(f"EKS Add-On ({identity})", clients("eks").describe_addon, **names)["addon"]
    return {
        **names,
        "id": identity,
        "arn": found["addonArn"],
        "addonVersion": found["addonVersion"],
        "configurationValues": found.get("configurationValues", ""),
        "serviceAccountRoleArn": found.get("serviceAccountRoleArn", ""),
        "podIdentityAssociations": [],
        "tags": found.get("tags") or {},
    }


def _identity_provider(clients: Clients, arguments: Properties) -> Properties:
    iam, wanted = clients("iam"), arguments["url"].removeprefix("https://")
    for listed in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]:
        found = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=listed["Arn"])
        if found["Url"].removeprefix("https://") == wanted:
            return {"id": listed["Arn"], "arn": listed["Arn"], "url": wanted}
    raise AbsentError(f"IAM OIDC Provider ({wanted})")


def _vpc(clients: Clients, arguments: Properties) -> Properties:
    identity = arguments["id"]
    [found] = _asked(f"EC2 VPC ({identity})", clients("ec2").describe_vpcs, VpcIds=[identity])["Vpcs"]
    blocks = [
        {
            "associationId": each["AssociationId"],
            "cidrBlock": each["CidrBlock"],
            "state": each["CidrBlockState"]["State"],
        }
        for each in found["CidrBlockAssociationSet"]
    ]
    return {"id": identity, "cidrBlock": found["CidrBlock"], "cidrBlockAssociations": blocks}


def _subnets(clients: Clients, arguments: Properties) -> Properties:
    filters = [{"Name": each["name"], "Values": each["values"]} for each in arguments.get("filters") or []]
    found = clients("ec2").describe_subnets(Filters=filters)["Subnets"]
    return {"id": "subnets", "ids": sorted(each["SubnetId"] for each in found)}


FUNCTIONS: dict[str, tuple[Function, frozenset[str]]] = {
    "aws:index/getPartition:getPartition": (_partition, frozenset()),
    "aws:eks/getCluster:getCluster": (_cluster, frozenset({"name"})),
    "aws:eks/getClusters:getClusters": (_clusters, frozenset()),
    "aws:eks/getAddon:getAddon": (_add_on, frozenset({"clusterName", "addonName"})),
    "aws:iam/getOpenIdConnectProvider:getOpenIdConnectProvider": (_identity_provider, frozenset({"url"})),
    "aws:ec2/getVpc:getVpc": (_vpc, frozenset({"id"})),
    "aws:ec2/getSubnets:getSubnets": (_subnets, frozenset({"filters"})),
}
"""Each function with the arguments it knows; any other argument is refused rather than ignored."""
