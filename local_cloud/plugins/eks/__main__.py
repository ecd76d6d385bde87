"""The stand-in's plugin process: `python -m local_cloud.plugins.eks <engine address>`."""

import json
import sys
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s
from pulumi.provider import ConstructResult, Provider
from pulumi.provider.server import main

from local_cloud.plugins.eks.vpc_cni import merged_configuration
from local_cloud.plugins.lifetime import end_with_parent

VERSION = "4.4.0"
"""Version of pulumi-eks whose property names it has."""

CLUSTER_INPUTS = frozenset(
    {
        "authenticationMode",
        "createOidcProvider",
        "enabledClusterLogTypes",
        "encryptionConfigKeyArn",
        "endpointPrivateAccess",
        "endpointPublicAccess",
        "kubeProxyAddonOptions",
        "kubernetesServiceIpAddressRange",
        "name",
        "privateSubnetIds",
        "publicAccessCidrs",
        "publicSubnetIds",
        "serviceRole",
        "skipDefaultNodeGroup",
        "skipDefaultSecurityGroups",
        "tags",
        "version",
        "vpcCniOptions",
        "vpcId",
    }
)
NODE_GROUP_INPUTS = frozenset(
    {
        "amiType",
        "capacityType",
        "cluster",
        "clusterName",
        "ignoreScalingChanges",
        "instanceTypes",
        "labels",
        "launchTemplate",
        "nodeRole",
        "scalingConfig",
        "subnetIds",
        "tags",
        "version",
    }
)


class RefusedError(NotImplementedError):
    """The program asks pulumi-eks for something the stand-in does not do."""


def refuse_unknown(token: str, given: Any, known: frozenset[str]) -> None:  # noqa: ANN401  # a mapping of inputs
    """Raise `RefusedError` naming the arguments that would otherwise be ignored."""
    unknown = sorted(set(given) - known)
    if unknown:
        raise RefusedError(
            f"The local cloud's stand-in for pulumi-eks does not know {', '.join(unknown)} of {token}. It serves "
            "what this project uses; put the real pulumi-resource-eks earlier on PATH to use more."
        )


def kubeconfig(name: str, endpoint: str, authority: str) -> str:
    """Return a kubeconfig that asks `aws eks get-token` for its token, as pulumi-eks writes it."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "clusters": [
                {"cluster": {"server": endpoint, "certificate-authority-data": authority}, "name": "kubernetes"}
            ],
            "contexts": [{"context": {"cluster": "kubernetes", "user": "aws"}, "name": "aws"}],
            "current-context": "aws",
            "kind": "Config",
            "users": [
                {
                    "name": "aws",
                    "user": {
                        "exec": {
                            "apiVersion": "client.authentication.k8s.io/v1beta1",
                            "command": "aws",
                            "args": ["eks", "get-token", "--cluster-name", name],
                            "env": [{"name": "KUBERNETES_EXEC_INFO", "value": _EXEC_INFO}],
                        }
                    },
                }
            ],
        }
    )


_EXEC_INFO = json.dumps({"apiVersion": "client.authentication.k8s.io/v1beta1"})


class Cluster(pulumi.ComponentResource):
    """`eks.Cluster`: control plane, Kubernetes provider, kube-proxy and VPC CNI, in pulumi-eks' order."""

    def __init__(self, name: str, inputs: dict[str, Any], opts: pulumi.ResourceOptions | None) -> None:
        super().__init__("eks:index:Cluster", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        role = inputs["serviceRole"]
        subnets = pulumi.Output.all(inputs.get("publicSubnetIds") or [], inputs.get("privateSubnetIds") or []).apply(
            lambda both: [str(each) for group in both for each in group]
        )
        key = inputs.get("encryptionConfigKeyArn")
        self.cluster = aws.eks.Cluster(
            f"{name}-eksCluster",
            name=inputs.get("name"),
            version=inputs.get("version"),
            role_arn=pulumi.Output.from_input(role).apply(lambda each: each.arn),
            vpc_config={
                "subnet_ids": subnets,
                "endpoint_private_access": inputs.get("endpointPrivateAccess"),
                "endpoint_public_access": inputs.get("endpointPublicAccess"),
                "public_access_cidrs": inputs.get("publicAccessCidrs"),
            },
            kubernetes_network_config={"service_ipv4_cidr": inputs.get("kubernetesServiceIpAddressRange")},
            enabled_cluster_log_types=inputs.get("enabledClusterLogTypes"),
            encryption_config={"resources": ["secrets"], "provider": {"key_arn": key}} if key is not None else None,
            access_config={
                "authentication_mode": inputs.get("authenticationMode"),
                "bootstrap_cluster_creator_admin_permissions": True,
            },
            bootstrap_self_managed_addons=True,
            tags=inputs.get("tags"),
            opts=child,
        )
        self.kubeconfig = pulumi.Output.all(
            self.cluster.name, self.cluster.endpoint, self.cluster.certificate_authority
        ).apply(lambda parts: kubeconfig(parts[0], parts[1], parts[2]["data"]))
        k8s.Provider(f"{name}-eks-k8s", kubeconfig=self.kubeconfig, opts=child)
        proxy = inputs.get("kubeProxyAddonOptions") or {}
        overwrite: Any = {"resolve_conflicts_on_create": "OVERWRITE", "resolve_conflicts_on_update": "OVERWRITE"}
        aws.eks.Addon(
            f"{name}-kube-proxy",
            cluster_name=self.cluster.name,
            addon_name="kube-proxy",
            addon_version=proxy.get("version"),
            preserve=True,
            tags=inputs.get("tags"),
            opts=child,
            **overwrite,
        )
        cni = inputs.get("vpcCniOptions") or {}
        wrapper = pulumi.ComponentResource("eks:index:VpcCniAddon", f"{name}-vpc-cni", None, child)
        aws.eks.Addon(
            f"{name}-vpc-cni",
            cluster_name=self.cluster.name,
            addon_name="vpc-cni",
            addon_version=cni.get("addonVersion"),
            configuration_values=merged_configuration(cni.get("configurationValues")),
            preserve=True,
            tags=inputs.get("tags"),
            opts=pulumi.ResourceOptions(parent=wrapper),
            **overwrite,
        )
        wrapper.register_outputs({})
        self.state = {
            "eksCluster": self.cluster,
            "kubeconfigJson": self.kubeconfig,
            "kubeconfig": self.kubeconfig.apply(json.loads),
            "core": {
                "cluster": self.cluster,
                "endpoint": self.cluster.endpoint,
                "subnetIds": subnets,
                "vpcId": inputs.get("vpcId"),
            },
        }
        self.register_outputs(self.state)


class ManagedNodeGroup(pulumi.ComponentResource):
    """`eks.ManagedNodeGroup`: one node group, named as its component."""

    def __init__(self, name: str, inputs: dict[str, Any], opts: pulumi.ResourceOptions | None) -> None:
        super().__init__("eks:index:ManagedNodeGroup", name, None, opts)

        def of(key: str, *names: str) -> Any:  # noqa: ANN401  # nested arguments, typed by the engine
            given = inputs.get(key)
            return {snake: given.get(camel) for camel, snake in (each.split("=") for each in names)} if given else None

        self.group = aws.eks.NodeGroup(
            name,
            cluster_name=inputs["clusterName"],
            node_role_arn=pulumi.Output.from_input(inputs["nodeRole"]).apply(lambda each: each.arn),
            subnet_ids=inputs.get("subnetIds"),
            instance_types=inputs.get("instanceTypes"),
            ami_type=inputs.get("amiType"),
            capacity_type=inputs.get("capacityType"),
            scaling_config=of("scalingConfig", "minSize=min_size", "maxSize=max_size", "desiredSize=desired_size"),
            launch_template=of("launchTemplate", "id=id", "version=version"),
            labels=inputs.get("labels"),
            version=inputs.get("version"),
            tags=inputs.get("tags"),
            opts=pulumi.ResourceOptions(
                parent=self,
                ignore_changes=["scalingConfig.desiredSize"] if inputs.get("ignoreScalingChanges") else None,
            ),
        )
        self.state = {"nodeGroup": self.group}
        self.register_outputs(self.state)


class EksProvider(Provider):
    """Constructs the two components this project uses."""

    def construct(
        self, name: str, resource_type: str, inputs: pulumi.Inputs, options: pulumi.ResourceOptions | None = None
    ) -> ConstructResult:
        """Construct a component and its children in the engine that asked."""
        known = {
            "eks:index:Cluster": (Cluster, CLUSTER_INPUTS),
            "eks:index:ManagedNodeGroup": (ManagedNodeGroup, NODE_GROUP_INPUTS),
        }
        if resource_type not in known:
            raise RefusedError(
                f"The local cloud's stand-in for pulumi-eks does not know {resource_type}; "
                f"it knows {', '.join(known)}. Put the real pulumi-resource-eks earlier on PATH to use more."
            )
        kind, accepted = known[resource_type]
        refuse_unknown(resource_type, inputs, accepted)
        if resource_type == "eks:index:Cluster":
            if not inputs.get("skipDefaultNodeGroup") or not inputs.get("skipDefaultSecurityGroups"):
                raise RefusedError(
                    "The local cloud's stand-in for pulumi-eks makes no default node group and no default security "
                    "groups: set skipDefaultNodeGroup and skipDefaultSecurityGroups."
                )
            if inputs.get("createOidcProvider"):
                raise RefusedError("The local cloud's stand-in for pulumi-eks makes no OIDC provider.")
        component = kind(name, dict(inputs), options)
        return ConstructResult(component.urn, component.state)


if __name__ == "__main__":
    end_with_parent()
    main(EksProvider(VERSION), sys.argv[1:])
