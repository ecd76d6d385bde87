"""An EKS cluster whose pods can have security groups and still reach the DNS cache of their node."""

from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Annotated, Literal, Self, get_args

import pulumi
import pulumi_aws as aws
import pulumi_eks as eks
import pulumi_kubernetes as k8s
from pydantic import Field, field_validator, model_validator

from components.addon_configuration import VpcCniSettings, vpc_cni_configuration
from components.dns_address import cluster_dns_address
from components.instance_types import can_trunk
from components.setting import Setting
from components.versions import AddonVersions

LogType = Literal["api", "audit", "authenticator", "controllerManager", "scheduler"]
ADMIN_POLICY = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"

Retention = Literal[
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653
]


class ClusterSettings(Setting):
    """The control plane."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_-]{0,99}$")] | None = None
    """The cluster's name in EKS; absent: the project's name and the stack's."""

    public_access_cidrs: tuple[IPv4Network, ...] = ()
    """Networks from which the public API endpoint answers; empty: the endpoint is private only."""

    admins: tuple[str, ...] = ()
    """ARNs of IAM roles or users that administer the cluster, beside whoever creates it."""

    log_types: tuple[LogType, ...] = get_args(LogType)
    """Control-plane logs to keep; default: all."""

    log_retention_days: Retention = 30
    """Days the control-plane logs are kept (CloudWatch takes only certain numbers)."""

    deletion_protection: bool = False
    """Make Pulumi refuse to delete the cluster and the key of its secrets until this is turned off."""

    @field_validator("public_access_cidrs")
    @classmethod
    def _not_the_internet(cls, cidrs: tuple[IPv4Network, ...]) -> tuple[IPv4Network, ...]:
        for cidr in cidrs:
            if cidr.prefixlen == 0:
                raise ValueError(
                    f"{cidr} is the whole internet; anybody could try the cluster's API. "
                    "Name the networks of your people and pipelines, or none for a private endpoint."
                )
        return cidrs


class NodeGroupSettings(Setting):
    """A managed node group."""

    instance_types: Annotated[tuple[str, ...], Field(min_length=1)]
    """EC2 instance types, in order of preference."""

    min_size: Annotated[int, Field(ge=0)] = 1
    """Nodes at least."""

    desired_size: Annotated[int, Field(ge=0)] = 2
    """Nodes at the start."""

    max_size: Annotated[int, Field(ge=1)] = 4
    """Nodes at most."""

    capacity_type: Literal["ON_DEMAND", "SPOT"] = "ON_DEMAND"
    """Whether AWS may take the nodes back."""

    architecture: Literal["x86_64", "arm64"] = "x86_64"
    """Processor of the instance types; chooses the Amazon Linux 2023 image."""

    disk_size_gib: Annotated[int, Field(ge=20)] = 50
    """Root volume (gp3, encrypted), in GiB."""

    labels: dict[str, str] = {}
    """Kubernetes labels of the nodes."""

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        if not self.min_size <= self.desired_size <= self.max_size:
            raise ValueError(
                f"minSize {self.min_size}, desiredSize {self.desired_size} and maxSize {self.max_size} are not in "
                "this order; EKS refuses that. Make min <= desired <= max."
            )
        return self


def check_trunk_capable(instance_types: tuple[str, ...]) -> None:
    """Raise `ValueError` naming the instance types on which no pod can have a security group."""
    unable = [each for each in instance_types if not can_trunk(each)]
    if unable:
        raise ValueError(
            f"{', '.join(unable)} cannot carry branch network interfaces: pods with a security group would stay "
            "Pending there for ever. Use a Nitro type such as m6i.large or m7g.large, or set vpcCni.podEni to false."
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

    private_subnet_ids: pulumi.Input[list[str]]
    """Subnets of nodes and of the control plane's interfaces."""

    public_subnet_ids: pulumi.Input[list[str]]
    """Subnets of public load balancers."""

    tags: dict[str, str]
    """Tags of every resource."""


class EksCluster(pulumi.ComponentResource):
    """Control plane, then VPC CNI and kube-proxy, then nodes, then CoreDNS: each needs the one before it."""

    name: pulumi.Output[str]
    """Name in EKS."""

    kubernetes: k8s.Provider
    """The provider through which everything inside the cluster is made."""

    core_dns: aws.eks.Addon
    """CoreDNS; what depends on it starts when cluster DNS works."""

    dns_ip: pulumi.Output[str]
    """ClusterIP of kube-dns, read from the cluster."""

    def __init__(self, name: str, args: EksClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("eks-node-local-dns:index:EksCluster", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        protected = pulumi.ResourceOptions(parent=self, protect=args.settings.deletion_protection)
        tags = args.tags

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
            ["AmazonEKSClusterPolicy", "AmazonEKSVPCResourceController"],
            tags,
        )
        cluster = eks.Cluster(
            name,
            name=args.cluster_name,
            version=args.kubernetes_version,
            authentication_mode=eks.AuthenticationMode.API,
            service_role=service_role,
            vpc_id=args.vpc_id,
            private_subnet_ids=args.private_subnet_ids,
            public_subnet_ids=args.public_subnet_ids,
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
        self.kubeconfig = cluster.kubeconfig_json
        self.oidc_provider = aws.iam.OpenIdConnectProvider(
            name,
            url=self.oidc_issuer,
            client_id_lists=["sts.amazonaws.com"],
            tags=tags,
            opts=child,
        )
        for position, principal in enumerate(args.settings.admins):
            entry = aws.eks.AccessEntry(
                f"{name}-admin-{position}",
                cluster_name=self.name,
                principal_arn=principal,
                tags=tags,
                opts=child,
            )
            aws.eks.AccessPolicyAssociation(
                f"{name}-admin-{position}",
                cluster_name=self.name,
                principal_arn=entry.principal_arn,
                policy_arn=ADMIN_POLICY,
                access_scope={"type": "cluster"},
                opts=child,
            )

        node_role, node_policies = self._role(
            f"{name}-node",
            "ec2.amazonaws.com",
            ["AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly", "AmazonEKS_CNI_Policy"],
            tags,
        )
        groups = [
            self._node_group(f"{name}-{group}", settings, cluster, node_role, node_policies, args)
            for group, settings in args.node_groups.items()
        ]
        # Not inside eks.Cluster: there it would wait for nodes that wait for it (pulumi/pulumi-eks#1819).
        self.core_dns = aws.eks.Addon(
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
        service = k8s.core.v1.Service.get(
            f"{name}-kube-dns",
            "kube-system/kube-dns",
            opts=pulumi.ResourceOptions(parent=self, provider=self.kubernetes, depends_on=[self.core_dns]),
        )
        self.dns_ip = _dns_ip(service, cluster_dns_address(args.service_cidr), args.cluster_name)
        self.control_plane = cluster
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
                f"{name}-{policy}",
                role=role.name,
                policy_arn=f"arn:aws:iam::aws:policy/{policy}",
                opts=pulumi.ResourceOptions(parent=self),
            )
            for policy in policies
        ]
        return role, attachments

    def _node_group(
        self,
        name: str,
        settings: NodeGroupSettings,
        cluster: eks.Cluster,
        role: aws.iam.Role,
        policies: list[aws.iam.RolePolicyAttachment],
        args: EksClusterArgs,
    ) -> eks.ManagedNodeGroup:
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
            ami_type=f"AL2023_{'ARM_64' if settings.architecture == 'arm64' else 'x86_64'}_STANDARD",
            capacity_type=settings.capacity_type,
            scaling_config=aws.eks.NodeGroupScalingConfigArgs(
                min_size=settings.min_size, desired_size=settings.desired_size, max_size=settings.max_size
            ),
            launch_template=aws.eks.NodeGroupLaunchTemplateArgs(
                id=template.id, version=template.latest_version.apply(str)
            ),
            labels=settings.labels,
            version=args.kubernetes_version,
            tags=args.tags,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[cluster, *policies]),
        )


def _dns_ip(service: k8s.core.v1.Service, expected: str, cluster_name: str) -> pulumi.Output[str]:
    def checked(address: str) -> str:
        if address != expected:
            raise pulumi.RunError(
                f"The Service kube-dns of {cluster_name} has the address {address}, not the {expected} that EKS gives "
                "it in this service CIDR. The cache would answer on an address that no pod asks. Somebody has made "
                "the Service anew: delete it and let the CoreDNS add-on recreate it with `spec.clusterIP` set to "
                f"{expected}, then run again."
            )
        return address

    read = service.spec.apply(lambda spec: str(spec.cluster_ip)).apply(checked)
    if not pulumi.runtime.is_dry_run():
        return read

    async def shown() -> str:
        """Before the cluster exists a preview shows the address that it will have."""
        return await read.future() or expected if await read.is_known() else expected

    return pulumi.Output.from_input(shown())
