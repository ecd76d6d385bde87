"""The VPC a cluster lives in."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Annotated, Literal, Self

import pulumi
import pulumi_aws as aws
from pydantic import AfterValidator, field_validator, model_validator

from components.cluster.subnets import plan_subnets
from components.setting import Setting

SMALLEST_ZONE_COUNT = 2
"""EKS puts its control plane's interfaces into at least two zones."""


def _an_id_of(kind: str) -> AfterValidator:
    def check(value: str) -> str:
        if re.fullmatch(rf"{kind}-[0-9a-f]+", value) is None:
            raise ValueError(
                f"{value!r} is not the id of a {kind}, and AWS would say so only half-way through. "
                f"Write it like {kind}-0a1b2c3d4e5f67890."
            )
        return value

    return AfterValidator(check)


def _zone(letter: str) -> str:
    if re.fullmatch("[a-z]", letter) is None:
        raise ValueError(
            f"{letter!r} is not the letter of a zone; the region comes from aws:region. "
            "Write the last letter of the zone's name alone, like a for eu-central-1a."
        )
    return letter


SubnetId = Annotated[str, _an_id_of("subnet")]


class ExistingVpc(Setting):
    """A VPC that somebody else keeps."""

    vpc_id: Annotated[str, _an_id_of("vpc")]
    """The VPC's id."""

    private_subnet_ids: tuple[SubnetId, ...]
    """Subnets for nodes and pods, in at least two zones, with a route out. The control plane's interfaces are in them
    too, and EKS never lets those have other zones than at the start."""

    public_subnet_ids: tuple[SubnetId, ...] = ()
    """Subnets for public load balancers."""

    @field_validator("private_subnet_ids")
    @classmethod
    def _enough(cls, ids: tuple[str, ...]) -> tuple[str, ...]:
        if len(ids) < SMALLEST_ZONE_COUNT:
            raise ValueError(
                f"{len(ids)} subnet is too few: EKS refuses a cluster with subnets in fewer than two zones. "
                "Name at least two, of different zones."
            )
        return ids

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        ids = [*self.private_subnet_ids, *self.public_subnet_ids]
        twice = next((each for each in ids if ids.count(each) > 1), None)
        if twice is not None:
            raise ValueError(
                f"{twice} is named twice; nodes would be in fewer zones than it seems. Name each subnet once, as "
                "private or as public."
            )
        return self


class NetworkSettings(Setting):
    """The cluster's VPC: made here, or one that exists."""

    cidr: IPv4Network = IPv4Network("10.0.0.0/16")
    """Addresses of the VPC. With `existing` it is required: that VPC's CIDR, which Services must not overlap."""

    zones: tuple[Annotated[str, AfterValidator(_zone)], ...] = ("a", "b")
    """Letters of the region's availability zones to use, two to four. Fixed here rather than looked up, so that
    a preview does not depend on the day. Add one at the end and the others keep their subnets; node groups are
    replaced. The first two stay: EKS never moves a control plane."""

    nat: Literal["single", "perZone"] = "single"
    """One NAT gateway for all zones (cheaper), or one in each zone (a zone's failure stays in the zone)."""

    existing: ExistingVpc | None = None
    """Use this VPC instead of making one; `zones` and `nat` are then its own affair."""

    @field_validator("zones")
    @classmethod
    def _enough_zones(cls, zones: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(zones)) != len(zones):
            raise ValueError(f"{', '.join(zones)} names a zone twice; each gets one pair of subnets. Name each once.")
        if len(zones) < SMALLEST_ZONE_COUNT:
            raise ValueError(
                f"{len(zones)} zone is too few: EKS refuses a cluster with subnets in fewer than two. "
                "Name at least two, e.g. [a, b]."
            )
        return zones

    @model_validator(mode="after")
    def _large_enough(self) -> Self:
        if self.existing is None:
            plan_subnets(self.cidr, len(self.zones))
        return self

    @model_validator(mode="after")
    def _what_counts_of_an_existing_vpc(self) -> Self:
        if self.existing is None:
            return self
        for each in ("zones", "nat"):
            if each in self.model_fields_set:
                raise ValueError(
                    f"{each} says how a VPC is made, but existing names one that exists, so it would have no effect. "
                    f"Remove {each}, or remove existing to make a VPC here."
                )
        if "cidr" not in self.model_fields_set:
            raise ValueError(
                "cidr is missing beside existing: without it nobody can tell whether Services and the cache's address "
                f"overlap the hosts of {self.existing.vpc_id}. Add the VPC's CIDR, e.g. cidr: 10.0.0.0/16."
            )
        return self


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """Arguments of `Network`."""

    settings: NetworkSettings
    """What the VPC is like."""

    region: str
    """The region whose zones are used."""

    cluster_name: str
    """The cluster the subnets are tagged for, so that its load balancers find them."""

    tags: dict[str, str]
    """Tags of every resource."""


class Network(pulumi.ComponentResource):
    """A VPC with a private and a public subnet in each zone, or the one that exists."""

    vpc_id: pulumi.Output[str]
    """The VPC."""

    private_subnet_ids: pulumi.Output[list[str]]
    """Subnets of nodes and pods; usable once their route out exists."""

    public_subnet_ids: pulumi.Output[list[str]]
    """Subnets of public load balancers."""

    control_plane_subnet_ids: pulumi.Output[list[str]]
    """Subnets of the control plane's interfaces: of the first two zones, since EKS refuses any other set of zones
    once the cluster exists; of a VPC that exists, all private ones."""

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("eks-node-local-dns:index:Network", name, None, opts)
        existing = args.settings.existing
        if existing is None:
            self._create(name, args)
        else:
            self.vpc_id = pulumi.Output.from_input(existing.vpc_id)
            self.private_subnet_ids = pulumi.Output.from_input(list(existing.private_subnet_ids))
            self.public_subnet_ids = pulumi.Output.from_input(list(existing.public_subnet_ids))
            self.control_plane_subnet_ids = self.private_subnet_ids
        self.register_outputs(
            {
                "vpcId": self.vpc_id,
                "privateSubnetIds": self.private_subnet_ids,
                "publicSubnetIds": self.public_subnet_ids,
            }
        )

    def _create(self, name: str, args: NetworkArgs) -> None:
        child = pulumi.ResourceOptions(parent=self)
        settings = args.settings

        def tags(suffix: str, **more: str) -> dict[str, str]:
            return {**args.tags, "Name": f"{args.cluster_name}-{suffix}", **more}

        vpc = aws.ec2.Vpc(
            name,
            cidr_block=str(settings.cidr),
            enable_dns_hostnames=True,  # nodes register by name
            enable_dns_support=True,  # what the node's cache asks for names outside the cluster
            tags=tags("vpc"),
            opts=child,
        )
        gateway = aws.ec2.InternetGateway(name, vpc_id=vpc.id, tags=tags("internet"), opts=child)
        public_routes = aws.ec2.RouteTable(f"{name}-public", vpc_id=vpc.id, tags=tags("public"), opts=child)
        out = aws.ec2.Route(
            f"{name}-public",
            route_table_id=public_routes.id,
            destination_cidr_block="0.0.0.0/0",
            gateway_id=gateway.id,
            opts=child,
        )
        nats: list[aws.ec2.NatGateway] = []
        private: list[pulumi.Output[str]] = []
        public: list[pulumi.Output[str]] = []
        for letter, plan in zip(settings.zones, plan_subnets(settings.cidr, len(settings.zones)), strict=True):
            zone = f"{args.region}{letter}"
            owned = {f"kubernetes.io/cluster/{args.cluster_name}": "shared"}
            public_subnet = aws.ec2.Subnet(
                f"{name}-public-{letter}",
                vpc_id=vpc.id,
                availability_zone=zone,
                cidr_block=str(plan.public),
                tags=tags(f"public-{letter}", **owned, **{"kubernetes.io/role/elb": "1"}),
                opts=child,
            )
            aws.ec2.RouteTableAssociation(
                f"{name}-public-{letter}",
                subnet_id=public_subnet.id,
                route_table_id=public_routes.id,
                opts=child,
            )
            if settings.nat == "perZone" or not nats:
                address = aws.ec2.Eip(f"{name}-{letter}", domain="vpc", tags=tags(f"nat-{letter}"), opts=child)
                nats.append(
                    aws.ec2.NatGateway(
                        f"{name}-{letter}",
                        subnet_id=public_subnet.id,
                        allocation_id=address.allocation_id,
                        tags=tags(f"nat-{letter}"),
                        # A NAT gateway without a route to the internet fails to start.
                        opts=pulumi.ResourceOptions(parent=self, depends_on=[out]),
                    )
                )
            private_subnet = aws.ec2.Subnet(
                f"{name}-private-{letter}",
                vpc_id=vpc.id,
                availability_zone=zone,
                cidr_block=str(plan.private),
                tags=tags(f"private-{letter}", **owned, **{"kubernetes.io/role/internal-elb": "1"}),
                opts=child,
            )
            routes = aws.ec2.RouteTable(
                f"{name}-private-{letter}", vpc_id=vpc.id, tags=tags(f"private-{letter}"), opts=child
            )
            route = aws.ec2.Route(
                f"{name}-private-{letter}",
                route_table_id=routes.id,
                destination_cidr_block="0.0.0.0/0",
                nat_gateway_id=nats[-1].id,
                opts=child,
            )
            association = aws.ec2.RouteTableAssociation(
                f"{name}-private-{letter}", subnet_id=private_subnet.id, route_table_id=routes.id, opts=child
            )
            # A node that boots before its subnet has a way out never joins: the id waits for the route.
            private.append(
                pulumi.Output.all(private_subnet.id, route.id, association.id).apply(lambda ids: str(ids[0]))
            )
            public.append(public_subnet.id)
        self.vpc_id = vpc.id
        self.private_subnet_ids = pulumi.Output.all(*private).apply(lambda ids: [str(each) for each in ids])
        self.control_plane_subnet_ids = pulumi.Output.all(*private[:SMALLEST_ZONE_COUNT]).apply(
            lambda ids: [str(each) for each in ids]
        )
        self.public_subnet_ids = pulumi.Output.all(*public).apply(lambda ids: [str(each) for each in ids])
