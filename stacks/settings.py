"""The settings of a stack: one typed model over `Pulumi.<stack>.yaml`, and errors a newcomer understands."""

import difflib
import inspect
import json
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Any, Self, get_args

import pulumi
import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from components.addon_configuration import VpcCniSettings
from components.dns_address import check_local_address, check_service_cidr
from components.eks_cluster import ClusterSettings, NodeGroupSettings, check_trunk_capable
from components.network import NetworkSettings
from components.node_local_dns import NodeLocalDnsSettings
from components.setting import Setting
from components.subnets import overlapping
from components.versions import (
    DEFAULT_KUBERNETES_VERSION,
    ENFORCING_MODE_SINCE,
    PINNED,
    AddonVersions,
    addon_version_number,
)

PROJECT = "eks-node-local-dns"
"""The project's name, which is the namespace of its settings."""


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
    """All settings of a stack."""

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

    node_groups: Annotated[dict[str, NodeGroupSettings], Field(min_length=1)] = {
        "default": NodeGroupSettings(instance_types=("m6i.large",))
    }
    """Managed node groups by name."""

    node_local_dns: NodeLocalDnsSettings = NodeLocalDnsSettings()
    """The node's DNS cache."""

    addon_versions: AddonVersionOverrides = AddonVersionOverrides()
    """Add-on versions other than the pinned ones."""

    tags: dict[str, str] = {}
    """Tags of every AWS resource."""

    @field_validator("kubernetes_version")
    @classmethod
    def _pinned(cls, value: str) -> str:
        if value not in PINNED:
            raise ValueError(
                f"Kubernetes {value} has no pinned add-on versions here; unpinned ones change by themselves. "
                f"Use one of {', '.join(PINNED)}, or add a row to components/versions.py."
            )
        return value

    @field_validator("service_cidr")
    @classmethod
    def _service_cidr(cls, value: IPv4Network) -> IPv4Network:
        return check_service_cidr(value)

    @model_validator(mode="after")
    def _local_address_is_free(self) -> Self:
        try:
            check_local_address(self.node_local_dns.local_address)
        except ValueError as error:
            raise ValueError(f"nodeLocalDns.localAddress: {error}") from None
        return self

    @model_validator(mode="after")
    def _no_overlap(self) -> Self:
        if overlapping(self.network.cidr, self.service_cidr):
            raise ValueError(
                f"serviceCidr {self.service_cidr} overlaps network.cidr {self.network.cidr}; pods could not tell "
                "Services from hosts of the VPC. Move one of them, e.g. serviceCidr to 172.20.0.0/16."
            )
        return self

    @model_validator(mode="after")
    def _nodes_can_trunk(self) -> Self:
        if self.vpc_cni.pod_eni:
            for name, group in self.node_groups.items():
                try:
                    check_trunk_capable(group.instance_types)
                except ValueError as error:
                    raise ValueError(f"nodeGroups.{name}.instanceTypes: {error}") from None
        return self

    @model_validator(mode="after")
    def _mode_lets_dns_through(self) -> Self:
        mode = self.vpc_cni.pod_security_group_enforcing_mode
        if self.vpc_cni.pod_eni and self.node_local_dns.enabled and mode == "strict":
            raise ValueError(
                "vpcCni.podSecurityGroupEnforcingMode is strict while vpcCni.podEni and nodeLocalDns.enabled are on: "
                "a pod with a security group could not reach the cache on its own node, and the cache's rules take "
                "away the way to CoreDNS it had before, so every name it asks would time out. "
                "Set the mode to standard (and recreate the pods made in strict mode), or nodeLocalDns.enabled to "
                "false."
            )
        return self

    @model_validator(mode="after")
    def _cni_knows_the_mode(self) -> Self:
        version = self.pinned_versions().vpc_cni
        if addon_version_number(version) < ENFORCING_MODE_SINCE:
            raise ValueError(
                f"addonVersions.vpcCni {version} does not know POD_SECURITY_GROUP_ENFORCING_MODE; EKS would refuse the "
                "add-on after the cluster was made. Use v1.12.1 or newer, or remove the key to get the pinned one."
            )
        return self

    def pinned_versions(self) -> AddonVersions:
        """Return the add-on versions in force: the pinned ones with the overrides on top."""
        return PINNED[self.kubernetes_version].model_copy(update=self.addon_versions.model_dump(exclude_none=True))

    def warnings(self) -> Iterator[str]:
        """Yield what is legal and still surprises people."""
        if self.vpc_cni.pod_eni and not self.vpc_cni.external_snat:
            yield (
                "vpcCni.externalSnat is off: traffic of pods with a security group that leaves the VPC (internet, "
                "peered VPCs, on-premises) goes out by the node's interface under the node's security group. Turn it "
                "on if the private subnets have a NAT gateway and the pod's own group should decide."
            )


class SettingsError(pulumi.RunError):
    """A stack file with mistakes; the message lists every one with its key, reason and remedy."""


def parse(values: Mapping[str, Any], file: str) -> Settings:
    """Return the settings; `file` is where they were written, for the message of `SettingsError`."""
    try:
        return Settings.model_validate(dict(values))
    except ValidationError as error:
        found = [f"  {PROJECT}:{line}" for line in map(_explained, error.errors())]
        noun = "mistake" if len(found) == 1 else "mistakes"
        raise SettingsError(
            f"{file} has {len(found)} {noun}; nothing was created or changed.\n" + "\n".join(found)
        ) from None


def _model_at(path: tuple[int | str, ...]) -> type[BaseModel] | None:
    """Return the model that holds the last key of `path`."""
    model: type[BaseModel] | None = Settings
    for key in path[:-1]:
        field = next((each for each in (model.model_fields.values() if model else ()) if each.alias == key), None)
        if field is not None:  # else a name inside a mapping, such as a node group's
            model = next(models_in(field.annotation), None)
    return model


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """Yield the models inside a field's annotation: of `dict[str, NodeGroupSettings]`, the latter."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)


def _explained(error: ErrorDetails) -> str:
    path = error["loc"]
    key = ".".join(str(part) for part in path)
    model = _model_at(path)
    if error["type"] == "value_error":
        said = str(error["ctx"]["error"]) if "ctx" in error else error["msg"]
        return f"{key}: {said}" if key else said
    if error["type"] == "extra_forbidden":
        known = [each.alias or name for name, each in model.model_fields.items()] if model else []
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        guess = f"Did you mean {near[0]}? " if near else ""
        return (
            f"{key}: there is no such setting, and a misspelt one must not be ignored. "
            f"{guess}Known here: {', '.join(known)}."
        )
    field = next((each for each in (model.model_fields.values() if model else ()) if each.alias == path[-1]), None)
    meaning = f" It means: {' '.join(field.description.split())}" if field and field.description else ""
    return (
        f"{key}: {error['msg'][0].lower()}{error['msg'][1:]}, but it is {json.dumps(error['input'], default=str)}, "
        f"which the program cannot use.{meaning} Correct the value."
    )


def stack_file(stack: str) -> str:
    """Return the path of a stack's file, from the project's root."""
    return f"stacks/Pulumi.{stack}.yaml"


def load_stack_file(path: Path) -> Settings:
    """Return the settings of a stack file without the engine: what tooling checks before it starts one."""
    loaded: Any = yaml.safe_load(path.read_text()) or {}
    config: dict[str, Any] = loaded.get("config") or {}
    prefix = f"{PROJECT}:"
    own = {key.removeprefix(prefix): value for key, value in config.items() if key.startswith(prefix)}
    return parse(own, f"{path.parent.name}/{path.name}")


def current_settings() -> Settings:
    """Return the settings of the stack that is being planned or deployed."""
    prefix = f"{pulumi.get_project()}:"
    everything = pulumi.runtime.config.CONFIG.get() | pulumi.runtime.config.get_config_env()
    own = {key.removeprefix(prefix): _decoded(value) for key, value in everything.items() if key.startswith(prefix)}
    return parse(own, stack_file(pulumi.get_stack()))


def _decoded(value: str) -> Any:  # noqa: ANN401  # a stack file may hold anything; the model decides
    """Return what a stack file held: the engine hands objects over as JSON and scalars as text."""
    if value.startswith(("{", "[")):
        return json.loads(value)
    return value
