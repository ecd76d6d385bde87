"""The settings of a stack: one typed model over `Pulumi.<stack>.yaml`."""

from ipaddress import IPv4Network
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from components.attached.source import SourceSettings
from components.attached.suitability import Wanted
from components.cache.node_local_dns import NodeLocalDnsSettings
from components.cluster.addon_configuration import VpcCniSettings
from components.cluster.dns_address import check_service_cidr
from components.cluster.eks_cluster import ClusterSettings, NodeGroupSettings, check_node_group_name
from components.cluster.network import NetworkSettings
from components.cluster.tags import Tags
from components.cluster.versions import DEFAULT_KUBERNETES_VERSION, PINNED, AddonVersions, addon_version_number
from components.setting import Setting


class AddonVersionOverrides(Setting):
    """Add-on versions to use in place of those pinned for the Kubernetes version."""

    vpc_cni: str | None = None
    """Version of vpc-cni, e.g. v1.23.1-eksbuild.1; absent: the pinned one."""

    kube_proxy: str | None = None
    """Version of kube-proxy; absent: the pinned one."""

    core_dns: str | None = None
    """Version of coredns; absent: the pinned one."""

    @field_validator("vpc_cni", "kube_proxy", "core_dns")
    @classmethod
    def _version(cls, value: str | None) -> str | None:
        if value is not None:
            addon_version_number(value)
        return value


class Settings(Setting):
    """All settings of a stack; what has to hold between them is in `stacks.rules`."""

    source: SourceSettings = SourceSettings()
    """The cluster: made here, another stack's, or one that exists."""

    kubernetes_version: str = DEFAULT_KUBERNETES_VERSION
    """Kubernetes minor version; decides the pinned add-on versions."""

    service_cidr: IPv4Network = IPv4Network("172.20.0.0/16")
    """Addresses of Services. kube-dns gets the tenth of them, and everything follows from it. Cannot be changed
    once the cluster exists: EKS would have to replace it."""

    network: NetworkSettings = NetworkSettings()
    """The VPC."""

    cluster: ClusterSettings = ClusterSettings()
    """The control plane."""

    vpc_cni: VpcCniSettings = VpcCniSettings()
    """The network of the pods."""

    node_groups: Annotated[
        dict[Annotated[str, AfterValidator(check_node_group_name)], NodeGroupSettings], Field(min_length=1)
    ] = {"default": NodeGroupSettings(instance_types=("m6i.large",))}
    """Managed node groups by name."""

    node_local_dns: NodeLocalDnsSettings = NodeLocalDnsSettings()
    """The node's DNS cache."""

    addon_versions: AddonVersionOverrides = AddonVersionOverrides()
    """Add-on versions other than the pinned ones."""

    tags: Tags = {}
    """Tags of every AWS resource, and of the instances, volumes and network interfaces of nodes."""

    @field_validator("kubernetes_version")
    @classmethod
    def _pinned(cls, value: str) -> str:
        if value not in PINNED:
            raise ValueError(
                f"Kubernetes {value} has no pinned add-on versions here; unpinned ones change by themselves. "
                f"Use one of {', '.join(PINNED)} (in quotes: YAML reads 1.40 as 1.4), or add a row to "
                "components/cluster/versions.py."
            )
        return value

    @field_validator("service_cidr")
    @classmethod
    def _service_cidr(cls, value: IPv4Network) -> IPv4Network:
        return check_service_cidr(value)

    def pinned_versions(self) -> AddonVersions:
        """Return the add-on versions in force: the pinned ones with the overrides on top."""
        return PINNED[self.kubernetes_version].model_copy(update=self.addon_versions.model_dump(exclude_none=True))

    def wanted(self) -> Wanted:
        """Return what is to be done with a cluster that `source` names."""
        return Wanted(
            cache=self.node_local_dns.enabled,
            local_address=self.node_local_dns.local_address,
            corefile=self.node_local_dns.corefile,
            vpc_cni=self.vpc_cni,
            vpc_cni_version=self.addon_versions.vpc_cni or "",
        )
