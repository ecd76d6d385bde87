"""What AWS says of a cluster that something else made: asked by data sources while planning; nothing is changed."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

PUBLIC_SUBNET_TAG = "kubernetes.io/role/elb"
"""Tag by which load balancers find public subnets (EKS user guide, network-load-balancing)."""


@dataclass(frozen=True, kw_only=True)
class ExistingAddOn:
    """An EKS add-on as it is."""

    version: str
    """Its version."""

    configuration_values: str = ""
    """Its configuration, as the text EKS keeps; empty for none."""

    service_account_role_arn: str = ""
    """IAM role of its service account; empty for none."""

    pod_identities: tuple[tuple[str, str], ...] = ()
    """(service account, IAM role) of its pod identity associations."""

    tags: Mapping[str, str]
    """Its tags."""


@dataclass(frozen=True, kw_only=True)
class ExistingCluster:
    """An EKS cluster as it is."""

    name: str
    """Name."""

    arn: str
    """ARN."""

    status: str
    """State, e.g. ACTIVE."""

    kubernetes_version: str
    """Minor version."""

    endpoint: str
    """URL of the Kubernetes API."""

    certificate_authority: str
    """Certificate of the API's authority, PEM in base64."""

    oidc_issuer: str
    """Issuer of service account tokens."""

    oidc_provider_arn: str
    """IAM identity provider of that issuer; empty if there is none."""

    vpc_id: str
    """The VPC."""

    private_subnet_ids: tuple[str, ...]
    """The cluster's subnets without the tag of public ones."""

    public_subnet_ids: tuple[str, ...]
    """The cluster's subnets with the tag of public ones."""

    security_group_id: str
    """The security group that EKS made for control plane and nodes."""

    ip_family: str
    """`ipv4` or `ipv6`."""

    service_ipv4_cidr: str
    """Addresses of Services; empty in an IPv6 cluster."""

    auto_mode: bool
    """Whether EKS Auto Mode runs its nodes."""

    networks: Mapping[str, str]
    """Every CIDR that addresses of the cluster come from, by what it is."""

    vpc_cni: ExistingAddOn | None
    """The vpc-cni add-on; None: aws-node, if there is one, is nobody's add-on."""

    kube_proxy: ExistingAddOn | None
    """The kube-proxy add-on, or None."""

    core_dns: ExistingAddOn | None
    """The coredns add-on, or None."""


def _is_absent(error: Exception) -> bool:
    """Say whether a data source failed because there is no such thing."""
    text = str(error).lower()
    return any(said in text for said in ("notfound", "not found", "couldn't find"))


def _add_on(cluster: str, name: str) -> ExistingAddOn | None:
    try:
        found = aws.eks.get_addon(cluster_name=cluster, addon_name=name)
    except Exception as error:  # the SDK raises no narrower one
        if _is_absent(error):
            return None
        raise
    return ExistingAddOn(
        version=found.addon_version,
        configuration_values=found.configuration_values or "",
        service_account_role_arn=found.service_account_role_arn or "",
        pod_identities=tuple((each.service_account, each.role_arn) for each in found.pod_identity_associations or ()),
        tags=dict(found.tags or {}),
    )


def _identity_provider(issuer: str) -> str:
    try:
        return aws.iam.get_open_id_connect_provider(url=issuer).arn
    except Exception as error:  # the SDK raises no narrower one
        if _is_absent(error):
            return ""
        raise


def _cluster(name: str, region: str, named_in: str) -> aws.eks.GetClusterResult:
    try:
        return aws.eks.get_cluster(name=name)
    except Exception as error:  # the SDK raises no narrower one
        if not _is_absent(error):
            raise
    known = aws.eks.get_clusters().names
    near = difflib.get_close_matches(name, known, n=1)
    guess = f"Did you mean {near[0]}? " if near else ""
    raise pulumi.RunError(
        f"{named_in}: there is no EKS cluster {name} in {region} that these credentials may see; nothing was created "
        f"or changed. {guess}The clusters there: {', '.join(sorted(known)) or 'none'}. Correct the name, aws:region or "
        "the credentials' account."
    )


def look_up(name: str, *, region: str, named_in: str) -> ExistingCluster:
    """Return a cluster of the configured `region`; `named_in` says where its name was written.

    Raises `pulumi.RunError`, with the names that exist, if there is none of that name.
    """
    found = _cluster(name, region, named_in)
    vpc = found.vpc_config
    network = found.kubernetes_network_configs[0]
    public = aws.ec2.get_subnets(
        filters=[{"name": "vpc-id", "values": [vpc.vpc_id]}, {"name": "tag-key", "values": [PUBLIC_SUBNET_TAG]}]
    ).ids
    networks = {"the cluster's service CIDR": network.service_ipv4_cidr or network.service_ipv6_cidr}
    # A block that was taken off the VPC stays in the list for a while.
    blocks = [
        each.cidr_block
        for each in aws.ec2.get_vpc(id=vpc.vpc_id).cidr_block_associations
        if each.state not in {"disassociated", "failed"}
    ]
    networks |= {f"block {number} of the VPC {vpc.vpc_id}": block for number, block in enumerate(blocks, 1)}
    issuer = found.identities[0].oidcs[0].issuer
    return ExistingCluster(
        name=found.name,
        arn=found.arn,
        status=found.status,
        kubernetes_version=found.version,
        endpoint=found.endpoint,
        certificate_authority=found.certificate_authorities[0].data,
        oidc_issuer=issuer,
        oidc_provider_arn=_identity_provider(issuer),
        vpc_id=vpc.vpc_id,
        private_subnet_ids=tuple(sorted(set(vpc.subnet_ids) - set(public))),
        public_subnet_ids=tuple(sorted(set(vpc.subnet_ids) & set(public))),
        security_group_id=vpc.cluster_security_group_id,
        ip_family=network.ip_family,
        service_ipv4_cidr=network.service_ipv4_cidr or "",
        auto_mode=any(each.enabled for each in found.compute_configs or ()),
        networks=networks,
        vpc_cni=_add_on(name, "vpc-cni"),
        kube_proxy=_add_on(name, "kube-proxy"),
        core_dns=_add_on(name, "coredns"),
    )
