"""The other services of the account: moto, corrected where it lies, and what EKS does in them for a customer."""

import contextlib
from collections.abc import Iterable
from typing import Any

from moto.ec2.exceptions import DependencyViolationError, EC2ClientError
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.launch_templates import LaunchTemplateVersion
from moto.ec2.utils import convert_tag_spec
from moto.iam.models import IAMBackend, iam_backends
from moto.logs.models import logs_backends
from moto.sts.models import STSBackend, sts_backends

from local_cloud.eks.errors import InvalidParameterError
from local_cloud.eks.registry import ACCOUNT, Document, NodeInstance

_PARTITION = "aws"


def _live_nat_gateways(ec2: EC2Backend) -> list[Any]:
    return [gateway for gateway in list(ec2.nat_gateways.values()) if gateway.state != "deleted"]


def _interfaces(ec2: EC2Backend) -> list[Any]:
    return [interface for interface in list(ec2.enis.values()) if interface.subnet is not None]


class FaithfulEc2:
    """EC2's refusals to delete what is in use, which moto answers with success."""

    @staticmethod
    def delete_vpc(ec2: EC2Backend, vpc_id: str) -> None:
        """Refuse while anything but the VPC's own defaults is in it."""
        in_use = (
            any(gateway.vpc and gateway.vpc.id == vpc_id for gateway in ec2.internet_gateways.values())
            or any(group.name != "default" for group in ec2.groups.get(vpc_id, {}).values())
            or any(interface.subnet.vpc_id == vpc_id for interface in _interfaces(ec2))
        )
        if in_use:
            raise DependencyViolationError(f"The vpc '{vpc_id}' has dependencies and cannot be deleted.")

    @staticmethod
    def delete_subnet(ec2: EC2Backend, subnet_id: str) -> None:
        """Refuse while a network interface or a NAT gateway is in the subnet."""
        if any(interface.subnet.id == subnet_id for interface in _interfaces(ec2)):
            raise DependencyViolationError(f"The subnet '{subnet_id}' has dependencies and cannot be deleted.")

    @staticmethod
    def delete_security_group(ec2: EC2Backend, name: str | None = None, group_id: str | None = None) -> None:
        """Refuse while a network interface has the group or a rule of another group names it."""
        del name
        if group_id is None:
            return
        used = any(group_id in {group.id for group in interface.group_set} for interface in _interfaces(ec2))
        named = any(
            rule.source_group.get("GroupId") == group_id
            for groups in list(ec2.groups.values())
            for other in list(groups.values())
            if other.id != group_id
            for rule in [*other.ingress_rules, *other.egress_rules]
        )
        if used or named:
            raise DependencyViolationError(f"resource {group_id} has a dependent object")

    @staticmethod
    def detach_internet_gateway(ec2: EC2Backend, internet_gateway_id: str, vpc_id: str) -> None:
        """Refuse while a NAT gateway of the VPC has a public address."""
        del internet_gateway_id
        for gateway in _live_nat_gateways(ec2):
            if ec2.get_subnet(gateway.subnet_id).vpc_id == vpc_id and gateway.connectivity_type != "private":
                raise DependencyViolationError(
                    f"Network {vpc_id} has some mapped public address(es). Please unmap those public address(es) "
                    "before detaching the gateway."
                )

    @staticmethod
    def release_address(ec2: EC2Backend, address: str | None = None, allocation_id: str | None = None) -> None:
        """Refuse while a NAT gateway has the address."""
        for gateway in _live_nat_gateways(ec2):
            for entry in gateway.address_set:
                if allocation_id == entry.get("allocationId") or (address and address == entry.get("publicIp")):
                    raise EC2ClientError("InvalidIPAddress.InUse", f"Address {entry.get('publicIp')} is in use.")


_CHECKED = ("delete_vpc", "delete_subnet", "delete_security_group", "detach_internet_gateway", "release_address")


def correct_moto() -> None:
    """Put the refusals before moto's own methods, for this process."""
    for name in _CHECKED:
        _check_first(name)
    original = EC2Backend.delete_nat_gateway

    def delete_nat_gateway(self: EC2Backend, nat_gateway_id: str) -> object:
        """Also free the gateway's network interface, which moto keeps."""
        gateway = original(self, nat_gateway_id)
        self.enis.pop(gateway._eni.id, None)  # noqa: SLF001  moto has no name for it
        return gateway

    setattr(EC2Backend, "delete_nat_gateway", delete_nat_gateway)  # noqa: B010  another return type than moto's


def _check_first(name: str) -> None:
    check, original = getattr(FaithfulEc2, name), getattr(EC2Backend, name)

    def checked(self: EC2Backend, *args: object, **kwargs: object) -> object:
        check(self, *args, **kwargs)
        return original(self, *args, **kwargs)

    setattr(EC2Backend, name, checked)


def _ec2(region: str) -> EC2Backend:
    return ec2_backends[ACCOUNT][region]


def _iam() -> IAMBackend:
    return iam_backends[ACCOUNT][_PARTITION]


def _sts() -> STSBackend:
    return sts_backends[ACCOUNT][_PARTITION]


def _interface_description(cluster: str) -> str:
    return f"Amazon EKS {cluster}"


def _private_name(region: str, address: str) -> str:
    domain = "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"
    return f"ip-{address.replace('.', '-')}.{domain}"


class MotoNeighbours:
    """What EKS does in EC2, IAM and CloudWatch Logs, done in moto."""

    def _subnets(self, region: str, subnet_ids: Iterable[str]) -> list[Any]:
        known = {subnet.id: subnet for zone in _ec2(region).subnets.values() for subnet in zone.values()}
        missing = [subnet_id for subnet_id in subnet_ids if subnet_id not in known]
        if missing:
            raise InvalidParameterError(
                f"The subnet ID '{missing[0]}' does not exist (Service: AmazonEC2; Status Code: 400; "
                "Error Code: InvalidSubnetID.NotFound)"
            )
        return [known[subnet_id] for subnet_id in subnet_ids]

    def vpc_of(self, region: str, subnet_ids: Iterable[str]) -> str:
        """Return the VPC of the subnets, or refuse them."""
        vpcs = {subnet.vpc_id for subnet in self._subnets(region, subnet_ids)}
        if len(vpcs) != 1:
            raise InvalidParameterError("Subnets specified must be in the same VPC")
        return vpcs.pop()

    def vpc_cidrs(self, region: str, vpc_id: str) -> list[str]:
        """Return the IPv4 CIDRs of a VPC."""
        return [association["cidr_block"] for association in _ec2(region).vpcs[vpc_id].cidr_block_association_set]

    def zones_of(self, region: str, subnet_ids: Iterable[str]) -> list[str]:
        """Return the availability zones of subnets."""
        return [subnet.availability_zone for subnet in self._subnets(region, subnet_ids)]

    def attach_control_plane(self, region: str, cluster: str, vpc_id: str, subnet_ids: list[str]) -> str:
        """Make the cluster security group and the control plane's network interfaces; return the group."""
        ec2 = _ec2(region)
        group = ec2.create_security_group(
            name=f"eks-cluster-sg-{cluster}",
            description="EKS created security group applied to ENI that is attached to EKS Control Plane master "
            "nodes, as well as any managed workloads.",
            vpc_id=vpc_id,
            tags={
                "Name": f"eks-cluster-sg-{cluster}",
                "aws:eks:cluster-name": cluster,
                f"kubernetes.io/cluster/{cluster}": "owned",
            },
        )
        ec2.authorize_security_group_ingress(
            group.id, "-1", "-1", "-1", ip_ranges=[], source_groups=[{"GroupId": group.id}], vpc_id=vpc_id
        )
        for subnet in self._subnets(region, subnet_ids[:2]):  # two to four, in different zones
            ec2.create_network_interface(
                subnet,
                subnet.get_available_subnet_ip(None),
                group_ids=[group.id],
                description=_interface_description(cluster),
            )
        return group.id

    def detach_control_plane(self, region: str, cluster: str, group_id: str) -> None:
        """Remove what `attach_control_plane` made; a group that others use stays, as with EKS."""
        ec2 = _ec2(region)
        for interface in list(ec2.enis.values()):
            if interface.description == _interface_description(cluster):
                del ec2.enis[interface.id]
        with contextlib.suppress(EC2ClientError):
            ec2.delete_security_group(group_id=group_id)

    def open_log_group(self, region: str, cluster: str) -> None:
        """Make the log group of a cluster's control plane unless the customer did."""
        logs, name = logs_backends[ACCOUNT][region], f"/aws/eks/{cluster}/cluster"
        if name not in logs.groups:
            logs.create_log_group(name, {})

    def role_exists(self, arn: str) -> bool:
        """Say whether an IAM role exists."""
        return any(role.arn == arn for role in _iam().roles.values())

    def principal_exists(self, arn: str) -> bool:
        """Say whether an IAM user or role exists."""
        return self.role_exists(arn) or any(user.arn == arn for user in _iam().users.values())

    def launch_nodes(
        self, region: str, cluster: str, node_group: Document, count: int, group_id: str
    ) -> list[NodeInstance]:
        """Launch a node group's instances, spread over its subnets."""
        ec2 = _ec2(region)
        subnets = self._subnets(region, node_group["subnets"])
        template = self._template(region, node_group.get("launchTemplate"))
        of_template = template.instance_type if template else ""
        instance_type = (node_group.get("instanceTypes") or [of_template or "t3.medium"])[0]
        tags = convert_tag_spec(template.data.get("TagSpecifications") or []) if template else {}
        launched: list[NodeInstance] = []
        for index in range(count):
            subnet = subnets[index % len(subnets)]
            reservation = ec2.run_instances(
                "ami-12c6146b",  # one that moto has; a real node group's AMI follows from its AMI type
                1,
                None,
                [],
                instance_type=instance_type,
                is_instance_type_default=False,
                subnet_id=subnet.id,
                security_group_ids=[group_id],
                tags={
                    **tags,
                    "instance": {
                        **tags.get("instance", {}),
                        "eks:cluster-name": cluster,
                        "eks:nodegroup-name": node_group["nodegroupName"],
                        f"kubernetes.io/cluster/{cluster}": "owned",
                    },
                },
            )
            instance = reservation.instances[0]
            address = str(instance.private_ip)
            launched.append(
                NodeInstance(
                    instance_id=instance.id,
                    private_dns_name=_private_name(region, address),
                    private_ip=address,
                    zone=subnet.availability_zone,
                    instance_type=instance_type,
                )
            )
        return launched

    def _template(self, region: str, reference: Document | None) -> LaunchTemplateVersion | None:
        """Return the version of a launch template that a node group names."""
        if reference is None:
            return None
        for template in _ec2(region).launch_templates.values():
            if template.id == reference.get("id") or template.name == reference.get("name"):
                return template.get_version(reference.get("version", "$Default"))
        raise InvalidParameterError(f"Launch template {reference} does not exist.")

    def architectures(self, instance_type: str) -> list[str]:
        """Return the architectures of an instance type; of none there is, none."""
        known = INSTANCE_TYPES.get(instance_type, {})
        return list(known.get("ProcessorInfo", {}).get("SupportedArchitectures", []))

    def terminate_nodes(self, region: str, instance_ids: Iterable[str]) -> None:
        """Terminate instances and free their network interfaces."""
        ids = list(instance_ids)
        if not ids:
            return
        ec2 = _ec2(region)
        ec2.terminate_instances(ids)
        for interface in list(ec2.enis.values()):
            if interface.instance is not None and interface.instance.id in ids:
                ec2.enis.pop(interface.id, None)


def caller_of(access_key: str) -> str:
    """Return the ARN of the principal behind an access key, as STS GetCallerIdentity does."""
    return _sts().get_caller_identity(access_key, "us-east-1")[1]


def secret_of(access_key: str) -> str | None:
    """Return the secret of an access key that was issued here, None for any other."""
    assumed = _sts().get_assumed_role_from_access_key(access_key)
    if assumed is not None:
        return assumed.secret_access_key
    for user in _iam().users.values():
        for key in user.access_keys:
            if key.access_key_id == access_key and key.status == "Active":
                return key.secret_access_key
    return None


def create_operator(name: str) -> tuple[str, str]:
    """Create the administrator whose credentials the environment holds; return the access key and its secret."""
    iam = _iam()
    iam.create_user("us-east-1", name)
    iam.attach_user_policy("arn:aws:iam::aws:policy/AdministratorAccess", name)
    key = iam.create_access_key(name)
    return key.access_key_id, key.secret_access_key
