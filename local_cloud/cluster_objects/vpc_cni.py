"""The VPC CNI: the DaemonSet aws-node, whose environment is the add-on's configuration over the defaults."""

from collections.abc import Mapping
from typing import Any

from local_cloud.cluster_objects import pods
from local_cloud.eks.registry import Cluster
from local_cloud.kubernetes_client import Manifest

# Defaults of the chart at 1.23 (charts/aws-vpc-cni/values.yaml). POD_SECURITY_GROUP_ENFORCING_MODE is not among
# them: absent means strict.
_DEFAULT_ENV = {
    "ADDITIONAL_ENI_TAGS": "{}",
    "AWS_VPC_CNI_NODE_PORT_SUPPORT": "true",
    "AWS_VPC_ENI_MTU": "9001",
    "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG": "false",
    "AWS_VPC_K8S_CNI_EXTERNALSNAT": "false",
    "AWS_VPC_K8S_CNI_LOGLEVEL": "DEBUG",
    "AWS_VPC_K8S_CNI_LOG_FILE": "/host/var/log/aws-routed-eni/ipamd.log",
    "AWS_VPC_K8S_CNI_RANDOMIZESNAT": "prng",
    "AWS_VPC_K8S_CNI_VETHPREFIX": "eni",
    "AWS_VPC_K8S_PLUGIN_LOG_FILE": "/var/log/aws-routed-eni/plugin.log",
    "AWS_VPC_K8S_PLUGIN_LOG_LEVEL": "DEBUG",
    "DISABLE_INTROSPECTION": "false",
    "DISABLE_METRICS": "false",
    "DISABLE_NETWORK_RESOURCE_PROVISIONING": "false",
    "ENABLE_IPv4": "true",
    "ENABLE_IPv6": "false",
    "ENABLE_POD_ENI": "false",
    "ENABLE_PREFIX_DELEGATION": "false",
    "ENABLE_SUBNET_DISCOVERY": "true",
    "NETWORK_POLICY_ENFORCING_MODE": "standard",
    "WARM_ENI_TARGET": "1",
    "WARM_PREFIX_TARGET": "1",
}
_DEFAULT_INIT_ENV = {"DISABLE_TCP_EARLY_DEMUX": "false", "ENABLE_IPv6": "false"}

_LABELS = {"app.kubernetes.io/name": "aws-node", "app.kubernetes.io/instance": "aws-vpc-cni", "k8s-app": "aws-node"}


def vpc_cni(cluster: Cluster, version: str, values: Mapping[str, Any]) -> list[Manifest]:
    """Return the objects of the vpc-cni add-on."""
    tag = version.partition("-eksbuild")[0]
    vpc_id = cluster.document["resourcesVpcConfig"]["vpcId"]
    env = {**_DEFAULT_ENV, "CLUSTER_NAME": cluster.name, "VPC_ID": vpc_id, **values.get("env", {})}
    init_env = {**_DEFAULT_INIT_ENV, **values.get("init", {}).get("env", {})}
    agent = values.get("nodeAgent", {})
    spec = {
        "hostNetwork": True,
        "priorityClassName": "system-node-critical",
        "serviceAccountName": "aws-node",
        "tolerations": [{"operator": "Exists"}],
        "initContainers": [
            {
                "name": "aws-vpc-cni-init",
                "image": pods.image(cluster.region, "amazon-k8s-cni-init", tag),
                "env": pods.environment(init_env),
                "securityContext": {"privileged": True},
            }
        ],
        "containers": [
            {
                "name": "aws-node",
                "image": pods.image(cluster.region, "amazon-k8s-cni", tag),
                "env": pods.environment(env),
                "resources": {"requests": {"cpu": "25m"}},
                "securityContext": {"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}},
            },
            {
                "name": "aws-eks-nodeagent",
                # The agent has a version of its own that an add-on version implies and no list of them is public.
                "image": pods.image(cluster.region, "aws-network-policy-agent", f"of-{tag}"),
                "args": [
                    f"--enable-network-policy={values.get('enableNetworkPolicy', 'false')}",
                    f"--enable-policy-event-logs={agent.get('enablePolicyEventLogs', 'false')}",
                    f"--enable-cloudwatch-logs={agent.get('enableCloudWatchLogs', 'false')}",
                    f"--health-probe-bind-addr={agent.get('healthProbeBindAddr', '8163')}",
                    f"--metrics-bind-addr={agent.get('metricsBindAddr', '8162')}",
                    f"--conntrack-cache-cleanup-period={agent.get('conntrackCacheCleanupPeriod', '300')}",
                ],
                "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}, "privileged": True},
            },
        ],
    }
    role_arn = cluster.add_ons.get("vpc-cni", {}).get("serviceAccountRoleArn")
    return [
        pods.service_account("aws-node", role_arn),
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "amazon-vpc-cni", "namespace": pods.NAMESPACE, "labels": _LABELS},
            # Seconds a branch ENI rests before it is deleted; the resource controller reads it.
            "data": {"branch-eni-cooldown": "60", "enable-windows-ipam": "false"},
        },
        pods.daemon_set("aws-node", _LABELS, "aws-node", pods.template(_LABELS, spec, values)),
    ]
