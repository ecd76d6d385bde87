"""EC2: the network, the security groups and the launch templates."""

import base64
from typing import Any

from botocore.exceptions import ClientError

from local_cloud.plugins.aws.resource_type import (
    Clients,
    Properties,
    ResourceType,
    from_pairs,
    inputs,
    is_missing,
    pairs,
    pascal,
    wait_until,
)


def _tagging(kind: str, properties: Properties) -> dict[str, Any]:
    tags = pairs(properties.get("tags"))
    return {"TagSpecifications": [{"ResourceType": kind, "Tags": tags}]} if tags else {}


def retag(clients: Clients, identity: str, old: Properties, new: Properties) -> None:
    """Change the tags of anything EC2 has."""
    before, after = old.get("tags") or {}, new.get("tags") or {}
    gone = [{"Key": key} for key in before if key not in after]
    if gone:
        clients("ec2").delete_tags(Resources=[identity], Tags=gone)
    if after:
        clients("ec2").create_tags(Resources=[identity], Tags=pairs(after))


def _one(clients: Clients, operation: str, key: str, **filters: Any) -> dict[str, Any] | None:  # noqa: ANN401  # EC2's
    try:
        found = getattr(clients("ec2"), operation)(**filters)[key]
    except ClientError as error:
        if is_missing(error):
            return None
        raise
    return found[0] if found else None


def _delete(clients: Clients, operation: str, **names: str | list[str]) -> None:
    try:
        getattr(clients("ec2"), operation)(**names)
    except ClientError as error:
        if not is_missing(error):
            raise


def _arn(kind: str, found: dict[str, Any], identity: str, region: str) -> str:
    return f"arn:aws:ec2:{region}:{found.get('OwnerId', '123456789012')}:{kind}/{identity}"


def _region(clients: Clients) -> str:
    return str(clients("ec2").meta.region_name)


def _tags(found: dict[str, Any]) -> Properties:
    tags = from_pairs(found.get("Tags"))
    return {"tags": tags, "tagsAll": tags} if tags else {"tagsAll": {}}


def _create_vpc(clients: Clients, new: Properties, _seconds: float) -> str:
    vpc = clients("ec2").create_vpc(CidrBlock=new["cidrBlock"], **_tagging("vpc", new))["Vpc"]["VpcId"]
    for key in ("enableDnsSupport", "enableDnsHostnames"):
        if key in new:
            _vpc_attribute(clients, vpc, key, new)
    return str(vpc)


def _vpc_attribute(clients: Clients, identity: str, key: str, new: Properties) -> None:
    clients("ec2").modify_vpc_attribute(VpcId=identity, **{key[0].upper() + key[1:]: {"Value": new[key]}})


def _read_vpc(clients: Clients, identity: str, _known: Properties) -> Properties | None:
    found = _one(clients, "describe_vpcs", "Vpcs", VpcIds=[identity])
    if found is None:
        return None
    ask = clients("ec2").describe_vpc_attribute
    return {
        "arn": _arn("vpc", found, identity, _region(clients)),
        "cidrBlock": found["CidrBlock"],
        "enableDnsSupport": ask(VpcId=identity, Attribute="enableDnsSupport")["EnableDnsSupport"]["Value"],
        "enableDnsHostnames": ask(VpcId=identity, Attribute="enableDnsHostnames")["EnableDnsHostnames"]["Value"],
        "ownerId": found.get("OwnerId", ""),
        **_tags(found),
    }


def _read_subnet(clients: Clients, identity: str, _known: Properties) -> Properties | None:
    found = _one(clients, "describe_subnets", "Subnets", SubnetIds=[identity])
    return found and {
        "arn": _arn("subnet", found, identity, _region(clients)),
        "vpcId": found["VpcId"],
        "cidrBlock": found["CidrBlock"],
        "availabilityZone": found["AvailabilityZone"],
        "availabilityZoneId": found.get("AvailabilityZoneId", ""),
        "mapPublicIpOnLaunch": found.get("MapPublicIpOnLaunch", False),
        **_tags(found),
    }


def _create_gateway(clients: Clients, new: Properties, _seconds: float) -> str:
    made = clients("ec2").create_internet_gateway(**_tagging("internet-gateway", new))
    identity = made["InternetGateway"]["InternetGatewayId"]
    clients("ec2").attach_internet_gateway(InternetGatewayId=identity, VpcId=new["vpcId"])
    return str(identity)


def _delete_gateway(clients: Clients, identity: str, old: Properties, _seconds: float) -> None:
    _delete(clients, "detach_internet_gateway", InternetGatewayId=identity, VpcId=old["vpcId"])
    _delete(clients, "delete_internet_gateway", InternetGatewayId=identity)


def _read_gateway(clients: Clients, identity: str, _known: Properties) -> Properties | None:
    found = _one(clients, "describe_internet_gateways", "InternetGateways", InternetGatewayIds=[identity])
    if found is None:
        return None
    attached = found.get("Attachments") or [{}]
    return {
        "arn": _arn("internet-gateway", found, identity, _region(clients)),
        "vpcId": attached[0].get("VpcId", ""),
        "ownerId": found.get("OwnerId", ""),
        **_tags(found),
    }


def _read_table(clients: Clients, identity: str, _known: Properties) -> Properties | None:
    found = _one(clients, "describe_route_tables", "RouteTables", RouteTableIds=[identity])
    return found and {
        "arn": _arn("route-table", found, identity, _region(clients)),
        "vpcId": found["VpcId"],
        **_tags(found),
    }


def _create_route(clients: Clients, new: Properties, _seconds: float) -> str:
    clients("ec2").create_route(**pascal(new))
    return f"r-{new['routeTableId']}_{new['destinationCidrBlock']}"


def _read_route(clients: Clients, _identity: str, known: Properties) -> Properties | None:
    table = _one(clients, "describe_route_tables", "RouteTables", RouteTableIds=[known["routeTableId"]])
    for route in (table or {}).get("Routes", []):
        if route.get("DestinationCidrBlock") == known["destinationCidrBlock"]:
            return {
                "routeTableId": known["routeTableId"],
                "destinationCidrBlock": known["destinationCidrBlock"],
                "gatewayId": route.get("GatewayId", ""),
                "natGatewayId": route.get("NatGatewayId", ""),
                "state": route.get("State", ""),
            }
    return None


def _delete_route(clients: Clients, _identity: str, old: Properties, _seconds: float) -> None:
    _delete(
        clients,
        "delete_route",
        RouteTableId=old["routeTableId"],
        DestinationCidrBlock=old["destinationCidrBlock"],
    )


def _read_association(clients: Clients, identity: str, known: Properties) -> Properties | None:
    table = _one(clients, "describe_route_tables", "RouteTables", RouteTableIds=[known["routeTableId"]])
    for each in (table or {}).get("Associations", []):
        if each.get("RouteTableAssociationId") == identity:
            return {"routeTableId": known["routeTableId"], "subnetId": each.get("SubnetId", "")}
    return None


def _read_address(clients: Clients, identity: str, _known: Properties) -> Properties | None:
    found = _one(clients, "describe_addresses", "Addresses", AllocationIds=[identity])
    return found and {
        "allocationId": identity,
        "arn": _arn("elastic-ip", found, identity, _region(clients)),
        "domain": found["Domain"],
        "publicIp": found["PublicIp"],
        **_tags(found),
    }


def _find_nat(clients: Clients, identity: str) -> dict[str, Any] | None:
    found = _one(clients, "describe_nat_gateways", "NatGateways", NatGatewayIds=[identity])
    return None if found is None or found["State"] == "deleted" else found


def _create_nat(clients: Clients, new: Properties, seconds: float) -> str:
    made = clients("ec2").create_nat_gateway(
        SubnetId=new["subnetId"], AllocationId=new["allocationId"], **_tagging("natgateway", new)
    )
    identity = str(made["NatGateway"]["NatGatewayId"])
    wait_until(
        lambda: (_find_nat(clients, identity) or {}).get("State") == "available",
        seconds,
        f"NAT gateway {identity} becoming available",
    )
    return identity


def _read_nat(clients: Clients, identity: str, _known: Properties) -> Properties | None:
    found = _find_nat(clients, identity)
    return found and {
        "subnetId": found["SubnetId"],
        "allocationId": found["NatGatewayAddresses"][0].get("AllocationId", ""),
        "connectivityType": found.get("ConnectivityType", "public"),
        **_tags(found),
    }


def _delete_nat(clients: Clients, identity: str, _old: Properties, seconds: float) -> None:
    _delete(clients, "delete_nat_gateway", NatGatewayId=identity)
    wait_until(lambda: _find_nat(clients, identity) is None, seconds, f"NAT gateway {identity} going away")


def _template_data(new: Properties) -> dict[str, Any]:
    data = pascal({key: new[key] for key in ("metadataOptions", "blockDeviceMappings") if key in new})
    for mapping in data.get("BlockDeviceMappings", []):
        volume = mapping.get("Ebs", {})
        for key in ("Encrypted", "DeleteOnTermination"):
            if key in volume:
                volume[key] = str(volume[key]).lower() == "true"
    if "tagSpecifications" in new:
        data["TagSpecifications"] = [
            {"ResourceType": each["resourceType"], "Tags": pairs(each["tags"])} for each in new["tagSpecifications"]
        ]
    if "userData" in new:
        data["UserData"] = base64.b64encode(new["userData"].encode()).decode()
    return data


def _create_template(clients: Clients, new: Properties, _seconds: float) -> str:
    made = clients("ec2").create_launch_template(
        LaunchTemplateName=new["name"],
        LaunchTemplateData=_template_data(new),
        **_tagging("launch-template", new),
    )
    return str(made["LaunchTemplate"]["LaunchTemplateId"])


def _new_template_version(clients: Clients, identity: str, _old: Properties, new: Properties) -> None:
    made = clients("ec2").create_launch_template_version(
        LaunchTemplateId=identity, LaunchTemplateData=_template_data(new)
    )
    if new.get("updateDefaultVersion"):
        version = str(made["LaunchTemplateVersion"]["VersionNumber"])
        clients("ec2").modify_launch_template(LaunchTemplateId=identity, DefaultVersion=version)


def _read_template(clients: Clients, identity: str, _known: Properties) -> Properties | None:
    found = _one(clients, "describe_launch_templates", "LaunchTemplates", LaunchTemplateIds=[identity])
    return found and {
        "arn": _arn("launch-template", found, identity, _region(clients)),
        "name": found["LaunchTemplateName"],
        "latestVersion": found["LatestVersionNumber"],
        "defaultVersion": found["DefaultVersionNumber"],
        **_tags(found),
    }


_EVERYTHING = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
"""The egress rule that every new group has."""


def _create_group(clients: Clients, new: Properties, _seconds: float) -> str:
    ec2 = clients("ec2")
    group = ec2.create_security_group(
        GroupName=new["name"],
        Description=new.get("description", "Managed by Pulumi"),
        VpcId=new["vpcId"],
        **_tagging("security-group", new),
    )["GroupId"]
    # As pulumi-aws does: a group lets out what its rules say and nothing else.
    ec2.revoke_security_group_egress(GroupId=group, IpPermissions=[_EVERYTHING])
    return str(group)


def _read_group(clients: Clients, identity: str, _known: Properties) -> Properties | None:
    found = _one(clients, "describe_security_groups", "SecurityGroups", GroupIds=[identity])
    return found and {
        "arn": _arn("security-group", found, identity, _region(clients)),
        "name": found["GroupName"],
        "description": found["Description"],
        "vpcId": found["VpcId"],
        "ownerId": found.get("OwnerId", ""),
        **_tags(found),
    }


def _permission(new: Properties) -> dict[str, Any]:
    described = {"Description": new["description"]} if "description" in new else {}
    permission: dict[str, Any] = {"IpProtocol": new["ipProtocol"]}
    if "fromPort" in new:
        permission |= {"FromPort": new["fromPort"], "ToPort": new["toPort"]}
    if "cidrIpv4" in new:
        permission["IpRanges"] = [{"CidrIp": new["cidrIpv4"], **described}]
    if "referencedSecurityGroupId" in new:
        permission["UserIdGroupPairs"] = [{"GroupId": new["referencedSecurityGroupId"], **described}]
    if "prefixListId" in new:
        permission["PrefixListIds"] = [{"PrefixListId": new["prefixListId"], **described}]
    return permission


def _rule_type(direction: str) -> ResourceType:
    def create(clients: Clients, new: Properties, _seconds: float) -> str:
        made = getattr(clients("ec2"), f"authorize_security_group_{direction}")(
            GroupId=new["securityGroupId"],
            IpPermissions=[_permission(new)],
            **_tagging("security-group-rule", new),
        )
        return str(made["SecurityGroupRules"][0]["SecurityGroupRuleId"])

    def read(clients: Clients, identity: str, known: Properties) -> Properties | None:
        found = _one(clients, "describe_security_group_rules", "SecurityGroupRules", SecurityGroupRuleIds=[identity])
        if found is None:
            return None
        ports = {} if found["IpProtocol"] == "-1" else {"fromPort": found["FromPort"], "toPort": found["ToPort"]}
        return {
            **ports,
            # moto forgets the description of a rule that names a group.
            "description": found.get("Description") or known.get("description"),
            "arn": _arn("security-group-rule", found, identity, _region(clients)),
            "securityGroupRuleId": identity,
            "securityGroupId": found["GroupId"],
            "ipProtocol": found["IpProtocol"],
            "cidrIpv4": found.get("CidrIpv4"),
            "prefixListId": found.get("PrefixListId"),
            "referencedSecurityGroupId": found.get("ReferencedGroupInfo", {}).get("GroupId"),
            **_tags(found),
        }

    def remove(clients: Clients, identity: str, old: Properties, _seconds: float) -> None:
        _delete(
            clients,
            f"revoke_security_group_{direction}",
            GroupId=old["securityGroupId"],
            SecurityGroupRuleIds=[identity],
        )

    return ResourceType(
        inputs=inputs(
            "securityGroupId ipProtocol fromPort toPort cidrIpv4 referencedSecurityGroupId prefixListId "
            "description tags"
        ),
        required=inputs("securityGroupId ipProtocol"),
        create=create,
        read=read,
        delete=remove,
        # moto's ModifySecurityGroupRules knows neither groups nor prefix lists: every other change is a new rule.
        updates={"tags": retag},
        delete_first=True,
    )


def _nothing(_clients: Clients, _identity: str, _old: Properties, _new: Properties) -> None:
    """Do nothing: the property only steers later updates."""


TYPES: dict[str, ResourceType] = {
    "aws:ec2/vpc:Vpc": ResourceType(
        inputs=inputs("cidrBlock enableDnsHostnames enableDnsSupport tags"),
        required=inputs("cidrBlock"),
        create=_create_vpc,
        read=_read_vpc,
        delete=lambda clients, identity, _old, _seconds: _delete(clients, "delete_vpc", VpcId=identity),
        updates={
            "tags": retag,
            "enableDnsHostnames": lambda c, i, _o, new: _vpc_attribute(c, i, "enableDnsHostnames", new),
            "enableDnsSupport": lambda c, i, _o, new: _vpc_attribute(c, i, "enableDnsSupport", new),
        },
    ),
    "aws:ec2/subnet:Subnet": ResourceType(
        inputs=inputs("vpcId availabilityZone cidrBlock tags"),
        required=inputs("vpcId cidrBlock"),
        create=lambda clients, new, _seconds: clients("ec2").create_subnet(
            **pascal({key: new[key] for key in ("vpcId", "availabilityZone", "cidrBlock") if key in new}),
            **_tagging("subnet", new),
        )["Subnet"]["SubnetId"],
        read=_read_subnet,
        delete=lambda clients, identity, _old, _seconds: _delete(clients, "delete_subnet", SubnetId=identity),
        updates={"tags": retag},
        delete_first=True,
    ),
    "aws:ec2/internetGateway:InternetGateway": ResourceType(
        inputs=inputs("vpcId tags"),
        required=inputs("vpcId"),
        create=_create_gateway,
        read=_read_gateway,
        delete=_delete_gateway,
        updates={"tags": retag},
    ),
    "aws:ec2/routeTable:RouteTable": ResourceType(
        inputs=inputs("vpcId tags"),
        required=inputs("vpcId"),
        create=lambda clients, new, _seconds: clients("ec2").create_route_table(
            VpcId=new["vpcId"], **_tagging("route-table", new)
        )["RouteTable"]["RouteTableId"],
        read=_read_table,
        delete=lambda clients, identity, _old, _seconds: _delete(clients, "delete_route_table", RouteTableId=identity),
        updates={"tags": retag},
    ),
    "aws:ec2/route:Route": ResourceType(
        inputs=inputs("routeTableId destinationCidrBlock gatewayId natGatewayId"),
        required=inputs("routeTableId destinationCidrBlock"),
        create=_create_route,
        read=_read_route,
        delete=_delete_route,
        updates={},
        delete_first=True,
    ),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": ResourceType(
        inputs=inputs("routeTableId subnetId"),
        required=inputs("routeTableId subnetId"),
        create=lambda clients, new, _seconds: clients("ec2").associate_route_table(**pascal(new))["AssociationId"],
        read=_read_association,
        delete=lambda clients, identity, _old, _seconds: _delete(
            clients, "disassociate_route_table", AssociationId=identity
        ),
        updates={},
        delete_first=True,
    ),
    "aws:ec2/eip:Eip": ResourceType(
        inputs=inputs("domain tags"),
        create=lambda clients, new, _seconds: clients("ec2").allocate_address(
            Domain=new.get("domain", "vpc"), **_tagging("elastic-ip", new)
        )["AllocationId"],
        read=_read_address,
        delete=lambda clients, identity, _old, _seconds: _delete(clients, "release_address", AllocationId=identity),
        updates={"tags": retag},
    ),
    "aws:ec2/natGateway:NatGateway": ResourceType(
        inputs=inputs("subnetId allocationId tags"),
        required=inputs("subnetId"),
        create=_create_nat,
        read=_read_nat,
        delete=_delete_nat,
        updates={"tags": retag},
    ),
    "aws:ec2/launchTemplate:LaunchTemplate": ResourceType(
        inputs=inputs("name metadataOptions blockDeviceMappings userData tagSpecifications updateDefaultVersion tags"),
        create=_create_template,
        read=_read_template,
        delete=lambda clients, identity, _old, _seconds: _delete(
            clients, "delete_launch_template", LaunchTemplateId=identity
        ),
        updates={
            "tags": retag,
            "metadataOptions": _new_template_version,
            "blockDeviceMappings": _new_template_version,
            "userData": _new_template_version,
            "tagSpecifications": _new_template_version,
            "updateDefaultVersion": _nothing,
        },
        autoname="name",
    ),
    "aws:ec2/securityGroup:SecurityGroup": ResourceType(
        inputs=inputs("name description vpcId tags"),
        required=inputs("vpcId"),
        create=_create_group,
        read=_read_group,
        delete=lambda clients, identity, _old, _seconds: _delete(clients, "delete_security_group", GroupId=identity),
        updates={"tags": retag},
        autoname="name",
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": _rule_type("ingress"),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": _rule_type("egress"),
}
