"""An EKS cluster whose pods can have security groups and still reach the DNS cache of their node."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, collapse_addresses
from typing import Annotated, Literal, Self, get_args

import pulumi
import pulumi_aws as aws
import pulumi_eks as eks
import pulumi_kubernetes as k8s
from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from components.cluster.addon_configuration import VpcCniSettings, vpc_cni_configuration
from components.cluster.cluster_dns import read_cluster_dns
from components.cluster.cluster_name import ClusterName
from components.cluster.instance_types import architecture, can_trunk
from components.cluster.node_labels import NodeLabels
from components.cluster.partition import partition
from components.cluster.principals import check_principal, short_name
from components.cluster.versions import AddonVersions
from components.outputs import StackOutputs
from components.running_cluster.aws_identity import AwsIdentity
from components.running_cluster.kubeconfig import kubeconfig
from components.setting import Setting

LogType = Literal["api", "audit", "authenticator", "controllerManager", "scheduler"]

TAGGED_WITH_NODES = ("instance", "volume", "network-interface")
"""What a launch template makes; EKS hands a node group's own tags on to none of it."""


def _number(value: object) -> object:
    """Return the number that a text is, as which it arrives when it was set as a path; anything else as it is."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


Retention = Literal[
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653
]


_IMAGES = {"x86_64": "AL2023_x86_64_STANDARD", "arm64": "AL2023_ARM_64_STANDARD"}
"""Amazon Linux 2023 by architecture, as EKS names it (amiType)."""


class ClusterSettings(Setting):
    """The control plane."""

    name: ClusterName | None = None
    """The cluster's name in EKS; absent: the project's name and the stack's."""

    public_access_cidrs: tuple[IPv4Network, ...] = ()
    """Networks from which the public API endpoint answers, as a list or as text with commas; empty: the endpoint is
    private only."""

    admins: tuple[Annotated[str, AfterValidator(check_principal)], ...] = ()
    """ARNs of IAM roles or users that administer the cluster, beside whoever creates it."""

    log_types: tuple[LogType, ...] = get_args(LogType)
    """Control-plane logs to keep; default: all."""

    log_retention_days: Annotated[Retention, BeforeValidator(_number)] = 30
    """Days the control-plane logs are kept (CloudWatch takes only certain numbers)."""

    deletion_protection: bool = False
    """Make Pulumi refuse to delete the cluster and the key of its secrets until this is turned off."""

    @field_validator("public_access_cidrs", mode="before")
    @classmethod
    def _listed(cls, cidrs: object) -> object:
        return [each.strip() for each in cidrs.split(",")] if isinstance(cidrs, str) else cidrs

    @field_validator("public_access_cidrs")
    @classmethod
    def _not_the_internet(cls, cidrs: tuple[IPv4Network, ...]) -> tuple[IPv4Network, ...]:
        if any(cidr.prefixlen == 0 for cidr in collapse_addresses(cidrs)):
            are = "is" if len(cidrs) == 1 else "together are"
            raise ValueError(
                f"{', '.join(map(str, cidrs))} {are} the whole internet; anybody could try the cluster's API. "
                "Name the networks of your people and pipelines, or none for a private endpoint."
            )
        return cidrs

    @field_validator("admins")
    @classmethod
    def _each_once(cls, admins: tuple[str, ...]) -> tuple[str, ...]:
        twice = next((each for each in admins if admins.count(each) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} is there twice, and EKS makes one access entry for it. Name each once.")
        return admins


class NodeGroupSettings(Setting):
    """A managed node group."""

    instance_types: Annotated[tuple[str, ...], Field(min_length=1, examples=[["m6i.large"]])]
    """EC2 instance types, in order of preference, all x86_64 or all arm64; the Amazon Linux 2023 image follows."""

    min_size: Annotated[int, Field(ge=0)] = 1
    """Nodes at least."""

    desired_size: Annotated[int, Field(ge=0)] = 2
    """Nodes at the start, and at each update of the three sizes."""

    max_size: Annotated[int, Field(ge=1)] = 4
    """Nodes at most."""

    autoscaled: bool = False
    """Whether something else, such as Cluster Autoscaler, sets the number of nodes from then on: another number is then
    neither drift nor put back by a refresh, and a change of `desiredSize` has no effect."""

    capacity_type: Literal["ON_DEMAND", "SPOT"] = "ON_DEMAND"
    """Whether AWS may take the nodes back."""

    disk_size_gib: Annotated[int, Field(ge=20)] = 50
    """Root volume (gp3, encrypted), in GiB."""

    labels: NodeLabels = {}
    """Kubernetes labels of the nodes."""

    @field_validator("instance_types")
    @classmethod
    def _one_architecture(cls, instance_types: tuple[str, ...]) -> tuple[str, ...]:
        architecture(instance_types)
        return instance_types

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        if not self.min_size <= self.desired_size <= self.max_size:
            raise ValueError(
                f"minSize {self.min_size}, desiredSize {self.desired_size} and maxSize {self.max_size} are not in "
                "this order; EKS refuses that. Make min <= desired <= max."
            )
        return self


def check_node_group_name(name: str) -> str:
    """Return `name` if EKS takes it for a node group, else raise `ValueError`."""
    if re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,39}", name) is None:  # 63, with what Pulumi puts around it
        raise ValueError(
            f"{name!r} is no name for a node group, and EKS would say so only after the cluster was made. Use at most "
            "40 letters, digits, - and _, with a letter or digit first."
        )
    return name


def check_trunk_capable(instance_types: tuple[str, ...]) -> None:
    """Raise `ValueError`, naming them, if no pod can have a security group on any of these instance types."""
    if not any(can_trunk(each) for each in instance_types):
        raise ValueError(
            f"{', '.join(dict.fromkeys(instance_types))} cannot carry branch network interfaces: pods with a security "
            "group would stay Pending for ever. Use a Nitro type such as m6i.large or m7g.large in one node group at "
            "least, or set vpcCni.podEni to false."
        )


@dataclass(frozen=True, kw_only=True)
class EksClusterArgs:
    """Arguments of `EksCluster`."""

    cluster_name: str
    """Name in EKS; known while planning, so that the Kubernetes provider keeps its identity."""

    kubernetes_version: str
    """Minor version, e.g. 1.35."""

    settings: ClusterSettings
    """The control plane."""

    vpc_cni: VpcCniSettings
    """The network of the pods."""

    addon_versions: AddonVersions
    """The pinned add-ons."""

    service_cidr: str
    """Addresses of Services."""

    node_groups: dict[str, NodeGroupSettings]
    """The nodes, by name of their group."""

    vpc_id: pulumi.Input[str]
    """The VPC."""

    control_plane_subnet_ids: pulumi.Input[list[str]]
    """Subnets of the control plane's interfaces. EKS never lets them have other zones than at the start."""

    private_subnet_ids: pulumi.Input[list[str]]
    """Subnets of nodes."""

    public_subnet_ids: pulumi.Input[list[str]]
    """Subnets of public load balancers."""

    region: str
    """AWS region."""

    tags: dict[str, str]
    """Tags of every resource."""

    identity: AwsIdentity
    """Whose tokens reach the inside of the cluster: the same identity that makes the AWS resources."""


class EksCluster(pulumi.ComponentResource):
    """Control plane, then VPC CNI and kube-proxy, then nodes, then CoreDNS: each needs the one before it."""

    name: pulumi.Output[str]
    """Name in EKS."""

    kubernetes: k8s.Provider
    """The provider through which everything inside the cluster is made."""

    kubeconfig: pulumi.Output[str]
    """How its API is reached; holds no secret."""

    dns_ip: pulumi.Output[str]
    """ClusterIP of kube-dns, read from the cluster."""

    inside: pulumi.ResourceOptions
    """How the cache is made: in this cluster, after CoreDNS and with it all it needs; gone with the cluster."""

    outputs: StackOutputs
    """What other stacks are told."""

    def __init__(self, name: str, args: EksClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("eks-node-local-dns:index:EksCluster", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        protected = pulumi.ResourceOptions(parent=self, protect=args.settings.deletion_protection)
        tags = args.tags
        arn = f"arn:{partition(args.region)}"

        key = aws.kms.Key(
            f"{name}-secrets",
            description=f"Secrets of the EKS cluster {args.cluster_name}",
            enable_key_rotation=True,
            deletion_window_in_days=30,
            tags=tags,
            opts=protected,
        )
        # EKS would make the log group itself, without an end of retention.
        logs = aws.cloudwatch.LogGroup(
            f"{name}-logs",
            name=f"/aws/eks/{args.cluster_name}/cluster",
            retention_in_days=args.settings.log_retention_days,
            tags=tags,
            opts=child,
        )
        service_role, service_policies = self._role(
            f"{name}-service",
            "eks.amazonaws.com",
            # The second one lets EKS attach branch interfaces: without it no pod gets a security group.
            [f"{arn}:iam::aws:policy/{each}" for each in ("AmazonEKSClusterPolicy", "AmazonEKSVPCResourceController")],
            tags,
        )
        cluster = eks.Cluster(
            name,
            name=args.cluster_name,
            version=args.kubernetes_version,
            authentication_mode=eks.AuthenticationMode.API,
            service_role=service_role,
            vpc_id=args.vpc_id,
            private_subnet_ids=args.control_plane_subnet_ids,
            kubernetes_service_ip_address_range=args.service_cidr,
            endpoint_private_access=True,
            endpoint_public_access=bool(args.settings.public_access_cidrs),
            public_access_cidrs=[str(each) for each in args.settings.public_access_cidrs] or None,
            enabled_cluster_log_types=list(args.settings.log_types),
            encryption_config_key_arn=key.arn,
            # Managed node groups use the security group EKS makes; the component's own two would stay unused.
            skip_default_node_group=True,
            skip_default_security_groups=True,
            # The plugin would read the issuer's certificate over the network, which IAM no longer needs.
            create_oidc_provider=False,
            vpc_cni_options=eks.VpcCniOptionsArgs(
                addon_version=args.addon_versions.vpc_cni,
                configuration_values=vpc_cni_configuration(args.vpc_cni),
                resolve_conflicts_on_create=eks.ResolveConflictsOnCreate.OVERWRITE,
                resolve_conflicts_on_update=eks.ResolveConflictsOnUpdate.OVERWRITE,
            ),
            kube_proxy_addon_options=eks.KubeProxyAddonOptionsArgs(version=args.addon_versions.kube_proxy),
            tags=tags,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[logs, *service_policies],
                protect=args.settings.deletion_protection,
            ),
        )
        control_plane = cluster.eks_cluster
        self.name = control_plane.name
        self.endpoint = control_plane.endpoint
        self.certificate_authority = control_plane.certificate_authority.apply(lambda ca: str(ca.data))
        self.oidc_issuer = control_plane.identities.apply(lambda each: str(each[0].oidcs[0].issuer))
        self.security_group_id = control_plane.vpc_config.apply(lambda vpc: str(vpc.cluster_security_group_id))
        self.service_cidr = control_plane.kubernetes_network_config.apply(lambda net: str(net.service_ipv4_cidr))
        # Not the component's own, which lacks the region and works only where AWS_REGION happens to be set.
        exported, self.kubeconfig = (
            pulumi.Output.all(self.endpoint, self.certificate_authority).apply(
                lambda known, identity=identity: kubeconfig(
                    cluster_name=args.cluster_name,
                    region=args.region,
                    endpoint=str(known[0]),
                    certificate_authority=str(known[1]),
                    identity=identity,
                )
            )
            # Whoever reads the stack's output has an identity of their own.
            for identity in (AwsIdentity(), args.identity)
        )
        self.oidc_provider = aws.iam.OpenIdConnectProvider(
            name,
            url=self.oidc_issuer,
            client_id_lists=["sts.amazonaws.com"],
            tags=tags,
            opts=child,
        )
        for principal in args.settings.admins:
            entry = aws.eks.AccessEntry(
                f"{name}-admin-{short_name(principal)}",
                cluster_name=self.name,
                principal_arn=principal,
                tags=tags,
                opts=child,
            )
            aws.eks.AccessPolicyAssociation(
                f"{name}-admin-{short_name(principal)}",
                cluster_name=self.name,
                principal_arn=entry.principal_arn,
                policy_arn=f"{arn}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
                access_scope={"type": "cluster"},
                opts=child,
            )

        node_role, node_policies = self._role(
            f"{name}-node",
            "ec2.amazonaws.com",
            [
                f"{arn}:iam::aws:policy/{each}"
                for each in ("AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly", "AmazonEKS_CNI_Policy")
            ],
            tags,
        )
        groups = [
            self._node_group(name, group, settings, cluster, node_role, node_policies, args)
            for group, settings in args.node_groups.items()
        ]
        # Not inside eks.Cluster: there it would wait for nodes that wait for it (pulumi/pulumi-eks#1819).
        core_dns = aws.eks.Addon(
            f"{name}-coredns",
            cluster_name=self.name,
            addon_name="coredns",
            addon_version=args.addon_versions.core_dns,
            resolve_conflicts_on_create="OVERWRITE",
            resolve_conflicts_on_update="OVERWRITE",
            tags=tags,
            opts=pulumi.ResourceOptions(parent=self, depends_on=groups),
        )
        self.kubernetes = k8s.Provider(
            name,
            kubeconfig=self.kubeconfig,
            # Known while planning: a cluster change must not look like the replacement of all that is in it.
            cluster_identifier=args.cluster_name,
            enable_server_side_apply=True,
            enable_config_map_mutable=True,
            opts=child,
        )
        self.dns_ip = read_cluster_dns(
            f"{name}-kube-dns",
            cluster_name=args.cluster_name,
            service_cidr=args.service_cidr,
            opts=pulumi.ResourceOptions(parent=self, provider=self.kubernetes, depends_on=[core_dns]),
        )
        self.inside = pulumi.ResourceOptions(
            providers={"kubernetes": self.kubernetes}, depends_on=[core_dns], deleted_with=cluster
        )
        self.outputs = StackOutputs(
            cluster_name=self.name,
            cluster_endpoint=self.endpoint,
            cluster_certificate_authority=self.certificate_authority,
            kubernetes_version=args.kubernetes_version,
            region=args.region,
            oidc_issuer=self.oidc_issuer,
            oidc_provider_arn=self.oidc_provider.arn,
            vpc_id=args.vpc_id,
            private_subnet_ids=args.private_subnet_ids,
            public_subnet_ids=args.public_subnet_ids,
            cluster_security_group_id=self.security_group_id,
            service_ipv4_cidr=self.service_cidr,
            cluster_dns_ip=self.dns_ip,
            node_local_dns_ip="",
            pod_security_group_enforcing_mode=args.vpc_cni.pod_security_group_enforcing_mode,
            vpc_cni_version=args.addon_versions.vpc_cni,
            kube_proxy_version=args.addon_versions.kube_proxy,
            core_dns_version=args.addon_versions.core_dns,
            kubeconfig=exported,
        )
        self.register_outputs(
            {
                "name": self.name,
                "endpoint": self.endpoint,
                "serviceIpv4Cidr": self.service_cidr,
                "clusterDnsIp": self.dns_ip,
            }
        )

    def _role(
        self, name: str, service: str, policies: list[str], tags: dict[str, str]
    ) -> tuple[aws.iam.Role, list[aws.iam.RolePolicyAttachment]]:
        role = aws.iam.Role(
            name,
            assume_role_policy=pulumi.Output.json_dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": service}}],
                },
                sort_keys=True,
            ),
            tags=tags,
            opts=pulumi.ResourceOptions(parent=self),
        )
        attachments = [
            aws.iam.RolePolicyAttachment(
                f"{name}-{policy.rpartition('/')[2]}",
                role=role.name,
                policy_arn=policy,
                opts=pulumi.ResourceOptions(parent=self),
            )
            for policy in policies
        ]
        return role, attachments

    def _node_group(
        self,
        parent: str,
        group: str,
        settings: NodeGroupSettings,
        cluster: eks.Cluster,
        role: aws.iam.Role,
        policies: list[aws.iam.RolePolicyAttachment],
        args: EksClusterArgs,
    ) -> eks.ManagedNodeGroup:
        name = f"{parent}-{group}"
        template = aws.ec2.LaunchTemplate(
            name,
            # One hop: a pod cannot reach the node's credentials (host-network pods can).
            metadata_options={
                "http_endpoint": "enabled",
                "http_tokens": "required",
                "http_put_response_hop_limit": 1,
            },
            block_device_mappings=[
                {
                    "device_name": "/dev/xvda",
                    "ebs": {
                        "encrypted": "true",
                        "volume_type": "gp3",
                        "volume_size": settings.disk_size_gib,
                        "delete_on_termination": "true",
                    },
                }
            ],
            tag_specifications=[
                {"resource_type": each, "tags": {**args.tags, "Name": f"{args.cluster_name}-{group}"}}
                for each in TAGGED_WITH_NODES
            ],
            update_default_version=True,
            tags=args.tags,
            opts=pulumi.ResourceOptions(parent=self),
        )
        return eks.ManagedNodeGroup(
            name,
            # Waits for the whole component: with it for the CNI's mode, which a node reads when it boots.
            cluster=cluster,
            cluster_name=self.name,
            node_role=role,
            subnet_ids=args.private_subnet_ids,
            instance_types=list(settings.instance_types),
            ami_type=_IMAGES[architecture(settings.instance_types)],
            capacity_type=settings.capacity_type,
            scaling_config=aws.eks.NodeGroupScalingConfigArgs(
                min_size=settings.min_size, desired_size=settings.desired_size, max_size=settings.max_size
            ),
            ignore_scaling_changes=settings.autoscaled,
            launch_template=aws.eks.NodeGroupLaunchTemplateArgs(
                id=template.id, version=template.latest_version.apply(str)
            ),
            labels=settings.labels,
            version=args.kubernetes_version,
            tags=args.tags,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[cluster, *policies]),
        )
