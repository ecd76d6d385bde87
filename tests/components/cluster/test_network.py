"""What a VPC that is made here is asked to be, all of it; and what one that exists has to be."""

from typing import Any

import pulumi
import pytest
from pydantic import ValidationError

from components.cluster.network import Network, NetworkArgs, NetworkSettings
from tests.mocked_engine import Recorder, record

VPC = "aws:ec2/vpc:Vpc"
SUBNET = "aws:ec2/subnet:Subnet"
ROUTE = "aws:ec2/route:Route"
ROUTES = "aws:ec2/routeTable:RouteTable"
ASSOCIATION = "aws:ec2/routeTableAssociation:RouteTableAssociation"
GATEWAY = "aws:ec2/internetGateway:InternetGateway"
NAT = "aws:ec2/natGateway:NatGateway"
ADDRESS = "aws:ec2/eip:Eip"

OWNED = {"team": "platform", "kubernetes.io/cluster/shop": "shared"}


def network(**settings: Any) -> tuple[Recorder, Network]:
    """Make the VPC of the cluster shop in Frankfurt with these settings."""
    made = Recorder({ADDRESS: {"allocationId": "eipalloc-1"}})
    kept: list[Network] = []
    arguments = NetworkArgs(
        settings=NetworkSettings.model_validate(settings),
        region="eu-central-1",
        cluster_name="shop",
        tags={"team": "platform"},
    )
    assert record(lambda: kept.append(Network("net", arguments)), made) == ""
    return made, kept[0]


def named(**tags: str) -> dict[str, str]:
    """Return the tags that all have, and these."""
    return {"team": "platform", **tags}


def test_each_zone_has_a_private_and_a_public_subnet() -> None:
    """In the zone that was asked for, tagged so that load balancers find them, and with a place of its own."""
    made, _ = network(cidr="10.10.0.0/16", zones=["a", "c"])
    assert made.of_kind(VPC) == {
        "net": {
            "cidrBlock": "10.10.0.0/16",
            "enableDnsHostnames": True,
            "enableDnsSupport": True,
            "tags": named(Name="shop-vpc"),
        }
    }
    assert made.of_kind(SUBNET) == {
        "net-public-a": {
            "availabilityZone": "eu-central-1a",
            "cidrBlock": "10.10.128.0/23",
            "tags": {**OWNED, "Name": "shop-public-a", "kubernetes.io/role/elb": "1"},
            "vpcId": "net-id",
        },
        "net-private-a": {
            "availabilityZone": "eu-central-1a",
            "cidrBlock": "10.10.0.0/19",
            "tags": {**OWNED, "Name": "shop-private-a", "kubernetes.io/role/internal-elb": "1"},
            "vpcId": "net-id",
        },
        "net-public-c": {
            "availabilityZone": "eu-central-1c",
            "cidrBlock": "10.10.130.0/23",
            "tags": {**OWNED, "Name": "shop-public-c", "kubernetes.io/role/elb": "1"},
            "vpcId": "net-id",
        },
        "net-private-c": {
            "availabilityZone": "eu-central-1c",
            "cidrBlock": "10.10.32.0/19",
            "tags": {**OWNED, "Name": "shop-private-c", "kubernetes.io/role/internal-elb": "1"},
            "vpcId": "net-id",
        },
    }


def test_public_subnets_go_out_by_the_gateway_and_private_ones_by_nat() -> None:
    """With one NAT gateway all private subnets go out by that of the first zone."""
    made, _ = network(zones=["a", "b"])
    assert made.of_kind(GATEWAY) == {"net": {"tags": named(Name="shop-internet"), "vpcId": "net-id"}}
    assert made.of_kind(ROUTES) == {
        "net-public": {"tags": named(Name="shop-public"), "vpcId": "net-id"},
        "net-private-a": {"tags": named(Name="shop-private-a"), "vpcId": "net-id"},
        "net-private-b": {"tags": named(Name="shop-private-b"), "vpcId": "net-id"},
    }
    everywhere = {"destinationCidrBlock": "0.0.0.0/0"}
    assert made.of_kind(ROUTE) == {
        "net-public": {**everywhere, "gatewayId": "net-id", "routeTableId": "net-public-id"},
        "net-private-a": {**everywhere, "natGatewayId": "net-a-id", "routeTableId": "net-private-a-id"},
        "net-private-b": {**everywhere, "natGatewayId": "net-a-id", "routeTableId": "net-private-b-id"},
    }
    assert made.of_kind(ASSOCIATION) == {
        f"net-{kind}": {"routeTableId": f"net-{table}-id", "subnetId": f"net-{kind}-id"}
        for kind, table in {
            "public-a": "public", "public-b": "public", "private-a": "private-a", "private-b": "private-b",
        }.items()
    }  # fmt: skip
    assert made.of_kind(ADDRESS) == {"net-a": {"domain": "vpc", "tags": named(Name="shop-nat-a")}}
    assert made.of_kind(NAT) == {
        "net-a": {"allocationId": "eipalloc-1", "subnetId": "net-public-a-id", "tags": named(Name="shop-nat-a")}
    }
    assert "net-public" in made.waits_for(NAT, "net-a")  # the way out, without which it fails to start


def test_a_nat_gateway_in_each_zone_keeps_a_zones_failure_in_the_zone() -> None:
    """Each private subnet goes out by the gateway of its own zone."""
    made, _ = network(zones=["a", "b"], nat="perZone")
    assert {name: each["natGatewayId"] for name, each in made.of_kind(ROUTE).items() if "natGatewayId" in each} == {
        "net-private-a": "net-a-id", "net-private-b": "net-b-id",
    }  # fmt: skip
    assert {name: each["subnetId"] for name, each in made.of_kind(NAT).items()} == {
        "net-a": "net-public-a-id", "net-b": "net-public-b-id",
    }  # fmt: skip
    assert [each["tags"]["Name"] for each in made.of_kind(ADDRESS).values()] == ["shop-nat-a", "shop-nat-b"]


def told(settings: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """Return what the component says of its subnets, and the names of all that the private ones wait for."""
    said: dict[str, Any] = {}
    waits: set[str] = set()
    made = Recorder({ADDRESS: {"allocationId": "eipalloc-1"}})

    def make() -> None:
        arguments = NetworkArgs(
            settings=NetworkSettings.model_validate(settings), region="eu-central-1", cluster_name="shop", tags={}
        )
        net = Network("net", arguments)
        for each in ("vpc_id", "private_subnet_ids", "public_subnet_ids", "control_plane_subnet_ids"):
            getattr(net, each).apply(lambda value, each=each: said.update({each: value}))

        async def waited() -> None:
            for resource in await net.private_subnet_ids.resources():
                waits.add(str(await resource.urn.future()).partition("$")[2])

        pulumi.Output.from_input(waited())

    assert record(make, made) == ""
    assert made.outputs["net"] == {
        "vpcId": said["vpc_id"],
        "privateSubnetIds": said["private_subnet_ids"],
        "publicSubnetIds": said["public_subnet_ids"],
    }
    return said, waits


def test_the_control_plane_stays_in_the_first_two_zones() -> None:
    """EKS refuses any other set of zones once the cluster is there; a node waits for its way out."""
    said, waits = told({"zones": ["a", "b", "c"]})
    assert said == {
        "vpc_id": "net-id",
        "private_subnet_ids": ["net-private-a-id", "net-private-b-id", "net-private-c-id"],
        "public_subnet_ids": ["net-public-a-id", "net-public-b-id", "net-public-c-id"],
        "control_plane_subnet_ids": ["net-private-a-id", "net-private-b-id"],
    }
    assert waits == {f"{kind}::net-private-{zone}" for kind in (SUBNET, ROUTE, ASSOCIATION) for zone in "abc"}


EXISTING = {"vpcId": "vpc-0a", "privateSubnetIds": ["subnet-1", "subnet-2"], "publicSubnetIds": ["subnet-3"]}


def test_a_vpc_that_exists_is_left_as_it_is() -> None:
    """Nothing is made; the control plane is in all of its private subnets."""
    said, _ = told({"cidr": "10.0.0.0/16", "existing": EXISTING})
    assert said == {
        "vpc_id": "vpc-0a",
        "private_subnet_ids": ["subnet-1", "subnet-2"],
        "public_subnet_ids": ["subnet-3"],
        "control_plane_subnet_ids": ["subnet-1", "subnet-2"],
    }
    made, _ = network(cidr="10.0.0.0/16", existing=EXISTING)
    assert [kind for kind, _ in made.requests] == ["pulumi:pulumi:Stack", "eks-node-local-dns:index:Network"]


def test_all_that_is_made_belongs_to_the_component() -> None:
    """A tree without orphans."""
    made, _ = network()
    parents = {request.parent.rpartition("::")[2] for (kind, _), request in made.requests.items() if "aws:" in kind}
    assert parents == {"net"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vpcId": "vpc-xyz"}, "is not the id of a vpc, and AWS .* Write it like vpc-0a1b2c3d4e5f67890."),
        ({"publicSubnetIds": ["vpc-1"]}, "'vpc-1' is not the id of a subnet"),
        ({"vpcId": "vpc-1 "}, "'vpc-1 ' is not the id of a vpc"),
        ({"privateSubnetIds": ["subnet-1"]}, "1 subnet is too few: EKS refuses a cluster with subnets in fewer than"),
        ({"privateSubnetIds": ["subnet-1", "subnet-1"]}, "subnet-1 is named twice"),
        ({"publicSubnetIds": ["subnet-2"]}, "subnet-2 is named twice"),
    ],
)  # fmt: skip
def test_a_vpc_that_aws_would_refuse_is_refused_here(change: dict[str, Any], message: str) -> None:
    """Before anything is made."""
    with pytest.raises(ValidationError, match=message):
        NetworkSettings.model_validate({"cidr": "10.0.0.0/16", "existing": {**EXISTING, **change}})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"zones": ["a"]}, "1 zone is too few"),
        ({"zones": ["a", "a"]}, "a, a names a zone twice"),
        ({"zones": ["a", "eu-central-1b"]}, "'eu-central-1b' is not the letter of a zone; the region comes from"),
        ({"zones": ["a", "B"]}, "'B' is not the letter of a zone"),
        ({"zones": ["a", "b", "c", "d", "e"]}, "5 zones are more than the 4"),
        ({"cidr": "10.0.0.0/22"}, "is too small for 4 zones"),
        ({"existing": EXISTING}, "cidr is missing beside existing.* overlap the hosts of vpc-0a"),
        ({"existing": EXISTING, "cidr": "10.0.0.0/16", "zones": ["a", "b"]}, "zones says how a VPC is made"),
        ({"existing": EXISTING, "cidr": "10.0.0.0/16", "nat": "single"}, "nat says how a VPC is made"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], message: str) -> None:
    """With what to write instead."""
    with pytest.raises(ValidationError, match=message):
        NetworkSettings.model_validate(settings)


def test_an_existing_vpc_may_be_of_any_size() -> None:
    """Nobody divides it here."""
    assert NetworkSettings.model_validate({"existing": EXISTING, "cidr": "10.0.0.0/26"})
