"""The settings of a stack: one typed model over `Pulumi.<stack>.yaml`, and errors a newcomer understands."""

from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Any

import pulumi
from pydantic import AfterValidator, Field, ValidationError, field_validator

from components.addon_configuration import VpcCniSettings
from components.dns_address import check_service_cidr
from components.eks_cluster import ClusterSettings, NodeGroupSettings, check_node_group_name
from components.network import NetworkSettings
from components.node_local_dns import NodeLocalDnsSettings
from components.setting import Setting
from components.source import SourceSettings
from components.suitability import Wanted
from components.tags import Tags
from components.versions import DEFAULT_KUBERNETES_VERSION, PINNED, AddonVersions, addon_version_number
from stacks.configuration import PROJECT, in_file, own
from stacks.mistakes import explained, refusal
from stacks.paths import nested
from stacks.rules import broken_rules


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
                "components/versions.py."
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


def parse(values: Mapping[str, Any], file: str, project: str = PROJECT) -> Settings:
    """Return the settings; `file` and `project` are where they were written, for the message of `SettingsError`."""
    try:
        given = nested({key: value for key, value in values.items() if not _left_out(key, value)})
    except ValueError as error:
        raise refusal([f"{project}:{error}"], file) from None
    settings, mistakes = judged(given)
    if mistakes:
        raise refusal([f"{project}:{each}" for each in mistakes], file)
    return settings


def judged(given: Mapping[str, Any]) -> tuple[Settings, list[str]]:
    """Return the settings, and every mistake in them; with one they are not those that were meant."""
    mistakes: list[str] = []
    broken: set[str] = set()
    try:
        settings = _validated(given)
    except ValidationError as error:
        mistakes = [explained(each, Settings) for each in error.errors()]
        broken = {str(each["loc"][0]) for each in error.errors()}
        settings = _validated({key: value for key, value in given.items() if key not in broken})
    return settings, mistakes + broken_rules(settings, broken)


def _left_out(key: str, value: object) -> bool:
    """Say whether nothing was set: Pulumi.yaml declares every key as empty that a stack file leaves out."""
    known = {field.alias for field in Settings.model_fields.values()}
    return value in ("", {}, None) and key.partition(".")[0] in known


def _validated(given: Mapping[str, Any]) -> Settings:
    # Only the names that are documented: a second spelling would be one too many.
    return Settings.model_validate(given, by_alias=True, by_name=False)


def stack_file(stack: str) -> str:
    """Return the path of a stack's file, from the project's root."""
    return f"stacks/Pulumi.{stack}.yaml"


def load_stack_file(path: Path) -> Settings:
    """Return the settings of a stack file without the engine: what tooling checks before it starts one."""
    return parse(*in_file(path))


def current_settings() -> Settings:
    """Return the settings of the stack that is being planned or deployed."""
    everything = pulumi.runtime.config.CONFIG.get() | pulumi.runtime.config.get_config_env()
    project, file = pulumi.get_project(), stack_file(pulumi.get_stack())
    return parse(own(everything, project, file), file, project)
