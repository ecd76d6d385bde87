"""An application in a cluster that another stack made: all it knows of the cluster are that stack's outputs."""

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from components import PodSecurityGroup, PodSecurityGroupArgs, StackOutputs

config = pulumi.Config()
cluster_stack = config.get("clusterStack") or f"organization/eks-node-local-dns/{pulumi.get_stack()}"
cluster = StackOutputs.read(pulumi.StackReference(cluster_stack))
kubernetes = k8s.Provider("cluster", kubeconfig=cluster.kubeconfig, cluster_identifier=cluster_stack)
region = aws.Provider("region", region=cluster.region)
labels = {"app": "dns-check"}

namespace = k8s.core.v1.Namespace(
    "dns-check",
    metadata={"name": "dns-check", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    opts=pulumi.ResourceOptions(provider=kubernetes),
)
groups = PodSecurityGroup(
    "dns-check",
    PodSecurityGroupArgs(
        vpc_id=cluster.vpc_id,
        core_dns_security_group_id=cluster.cluster_security_group_id,
        namespace="dns-check",
        pod_selector={"match_labels": labels},
        branch_interfaces={
            "instance_types": config.require_object("instanceTypes"),
            "pods": 1,  # one job at a time
            "nodes": 1,
        },
    ),
    opts=pulumi.ResourceOptions(providers={"aws": region, "kubernetes": kubernetes}, depends_on=[namespace]),
)
job = k8s.batch.v1.CronJob(
    "dns-check",
    metadata={"name": "dns-check", "namespace": namespace.metadata.name},
    spec={
        "schedule": "*/5 * * * *",
        "concurrency_policy": "Forbid",
        "job_template": {
            "spec": {
                "backoff_limit": 0,
                "active_deadline_seconds": 60,
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "restart_policy": "Never",
                        "automount_service_account_token": False,
                        "security_context": {
                            "run_as_non_root": True,
                            "run_as_user": 65534,
                            "seccomp_profile": {"type": "RuntimeDefault"},
                        },
                        "containers": [
                            {
                                "name": "resolve",
                                "image": "registry.k8s.io/e2e-test-images/agnhost:2.53",
                                "command": ["/bin/sh", "-ec"],
                                "args": [
                                    pulumi.Output.concat(
                                        "nslookup kubernetes.default.svc.cluster.local ",
                                        cluster.cluster_dns_ip,
                                        " && nslookup aws.amazon.com ",
                                        cluster.cluster_dns_ip,
                                    )
                                ],
                                "security_context": {
                                    "allow_privilege_escalation": False,
                                    "read_only_root_filesystem": True,
                                    "capabilities": {"drop": ["ALL"]},
                                },
                            }
                        ],
                    },
                },
            }
        },
    },
    # A pod gets its security groups when it is created: after them, or never.
    opts=pulumi.ResourceOptions(provider=kubernetes, depends_on=[groups]),
)
pulumi.export("clusterName", cluster.cluster_name)
pulumi.export("clusterDnsIp", cluster.cluster_dns_ip)
pulumi.export("cronJob", job.metadata.apply(lambda meta: f"{meta.namespace}/{meta.name}"))
pulumi.export("securityGroupId", groups.security_group_id)
