"""What a stack tells other stacks: one typed contract for the program that exports it and those that read it."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

import pulumi
from pydantic.alias_generators import to_camel


@dataclass(frozen=True, kw_only=True)
class StackOutputs:
    """The outputs of a stack; a field `cluster_name` is the output `clusterName`.

    In another program:

        cluster = StackOutputs.read(pulumi.StackReference("organization/eks-node-local-dns/dev"))
        provider = k8s.Provider("cluster", kubeconfig=cluster.kubeconfig)
    """

    cluster_name: pulumi.Input[str]
    """Name of the EKS cluster."""

    cluster_endpoint: pulumi.Input[str]
    """URL of the Kubernetes API."""

    cluster_certificate_authority: pulumi.Input[str]
    """Certificate of the API's authority, PEM in base64."""

    kubernetes_version: pulumi.Input[str]
    """Minor version of Kubernetes."""

    region: pulumi.Input[str]
    """AWS region."""

    oidc_issuer: pulumi.Input[str]
    """Issuer of the cluster's service account tokens."""

    oidc_provider_arn: pulumi.Input[str]
    """IAM identity provider of that issuer, for roles of service accounts; empty when there is none."""

    vpc_id: pulumi.Input[str]
    """The VPC."""

    private_subnet_ids: pulumi.Input[list[str]]
    """Subnets of nodes and pods."""

    public_subnet_ids: pulumi.Input[list[str]]
    """Subnets of public load balancers."""

    cluster_security_group_id: pulumi.Input[str]
    """Security group of control plane and nodes; CoreDNS answers from it."""

    service_ipv4_cidr: pulumi.Input[str]
    """Addresses of Services."""

    cluster_dns_ip: pulumi.Input[str]
    """The DNS address of every pod: kube-dns' ClusterIP, answered by the node's cache."""

    node_local_dns_ip: pulumi.Input[str]
    """Link-local address of the node's cache; empty when it is not installed."""

    pod_security_group_enforcing_mode: pulumi.Input[str]
    """The VPC CNI's mode: `standard` or `strict`."""

    vpc_cni_version: pulumi.Input[str]
    """Version of the vpc-cni add-on; empty when it is no EKS add-on."""

    kube_proxy_version: pulumi.Input[str]
    """Version of the kube-proxy add-on; empty when it is no EKS add-on."""

    core_dns_version: pulumi.Input[str]
    """Version of the coredns add-on; empty when it is no EKS add-on."""

    kubeconfig: pulumi.Input[str]
    """Kubeconfig that gets its token from `aws eks get-token`; holds no secret."""

    def export(self, **known_later: pulumi.Input[str]) -> None:
        """Make these the stack's outputs, with what was not known when they were put together."""
        outputs = dataclasses.replace(self, **known_later)
        for field in dataclasses.fields(outputs):
            pulumi.export(to_camel(field.name), getattr(outputs, field.name))

    @classmethod
    def names(cls) -> frozenset[str]:
        """Return the outputs' names, as other stacks see them."""
        return frozenset(to_camel(field.name) for field in dataclasses.fields(cls))

    @classmethod
    def read(cls, reference: pulumi.StackReference) -> Self:
        """Return another stack's outputs; one that is missing fails, rather than being nothing."""
        values: dict[str, Any] = {
            field.name: reference.require_output(to_camel(field.name)) for field in dataclasses.fields(cls)
        }
        return cls(**values)
