"""A cluster that something else made: looked up, judged, and given its node-local DNS and nothing else."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s
import yaml

from components.attached.existing_cluster import ExistingCluster, look_up
from components.attached.source import SourceSettings
from components.attached.suitability import Running, Wanted, can_be_asked, refusals, version_to_be, warnings
from components.attached.vpc_cni_takeover import environment, with_our_values
from components.cluster.cluster_dns import read_cluster_dns
from components.outputs import StackOutputs
from components.running_cluster.aws_identity import AwsIdentity
from components.running_cluster.kubeconfig import as_identity, kubeconfig
from components.running_cluster.strict_pods import Manifest

_READ = {
    "vpc_cni": (
        "the DaemonSet kube-system/aws-node is looked at as its own. If the run ends because there is none, another "
        "CNI gives the pods their network, and security groups for pods and this cache were made for the VPC CNI: "
        "install the vpc-cni add-on, or do not attach this cluster."
    ),
    "kube_proxy": (
        "the ConfigMap kube-system/kube-proxy-config is looked at as its own. If the run ends because there is none, "
        "something else stands in for kube-proxy, and queries that the cache cannot take would have no way to "
        "CoreDNS: install the kube-proxy add-on, or do not attach this cluster."
    ),
}
"""What is read in a cluster without an add-on, and what it means if it is missing."""


@dataclass(frozen=True, kw_only=True)
class AttachedClusterArgs:
    """Arguments of `AttachedCluster`."""

    existing: ExistingCluster
    """The cluster, as AWS describes it."""

    kubeconfig: str
    """How its API is reached, by whoever has an identity of their own."""

    identity: AwsIdentity
    """Whose tokens reach the inside of the cluster: the same identity that asks AWS."""

    wanted: Wanted
    """What is to be done with it."""


class AttachedCluster(pulumi.ComponentResource):
    """A way into a cluster that something else made and keeps; made by `attach`, which judges the cluster first."""

    kubernetes: k8s.Provider
    """The provider through which everything inside the cluster is made."""

    kubeconfig: str
    """How its API is reached; holds no secret."""

    dns_ip: pulumi.Output[str]
    """ClusterIP of kube-dns, read from the cluster."""

    inside: pulumi.ResourceOptions
    """How the cache is made: in this cluster, after the vpc-cni if that is managed here."""

    outputs: StackOutputs
    """What other stacks are told."""

    def __init__(self, name: str, args: AttachedClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("eks-node-local-dns:index:AttachedCluster", name, None, opts)
        self._name, self._args = name, args
        self.kubeconfig = as_identity(args.kubeconfig, args.identity)
        self.kubernetes = k8s.Provider(
            name,
            kubeconfig=self.kubeconfig,
            cluster_identifier=args.existing.name,
            enable_server_side_apply=True,
            enable_config_map_mutable=True,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _inside(self) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, provider=self.kubernetes)

    async def running(self) -> Running:
        """Return what runs on the nodes."""
        for add_on, said in _READ.items():
            if getattr(self._args.existing, add_on) is None:
                # The engine ends the run at an object that is not there, and leaves the program no last word.
                pulumi.log.info(f"{self._args.existing.name} has no {add_on.replace('_', '-')} add-on, so {said}")
        aws_node = k8s.apps.v1.DaemonSet.get(f"{self._name}-aws-node", "kube-system/aws-node", opts=self._inside())
        account = k8s.core.v1.ServiceAccount.get(f"{self._name}-aws-node", "kube-system/aws-node", opts=self._inside())
        proxy = k8s.core.v1.ConfigMap.get(
            f"{self._name}-kube-proxy-config", "kube-system/kube-proxy-config", opts=self._inside()
        )
        spec, metadata, data = await aws_node.spec.future(), await account.metadata.future(), await proxy.data.future()
        configuration: Any = yaml.safe_load((data or {}).get("config", "")) or {}
        return Running(
            aws_node=_manifest(spec),
            role_arn=str(dict((metadata and metadata.annotations) or {}).get("eks.amazonaws.com/role-arn", "")),
            kube_proxy_mode=str(configuration.get("mode") or ""),
        )

    def complete(self, running: Running, known: StackOutputs | None) -> None:
        """Take the CNI over if that is wanted, and give the cluster its outputs; `known` are another stack's."""
        existing, wanted = self._args.existing, self._args.wanted
        env = environment(running.aws_node)
        mode, version = env.get("POD_SECURITY_GROUP_ENFORCING_MODE", "strict"), ""
        taken_over: list[pulumi.Resource] = []
        if existing.vpc_cni:
            version = existing.vpc_cni.version
        if wanted.vpc_cni.manage:
            taken_over.append(self._take_over(running))
            mode, version = wanted.vpc_cni.pod_security_group_enforcing_mode, version_to_be(existing, wanted)
        self.inside = pulumi.ResourceOptions(providers={"kubernetes": self.kubernetes}, depends_on=taken_over)
        self.dns_ip = read_cluster_dns(
            f"{self._name}-kube-dns",
            cluster_name=existing.name,
            service_cidr=existing.service_ipv4_cidr,
            opts=self._inside(),
        )
        self.outputs = dataclasses.replace(
            known or _outputs(existing, self._args.kubeconfig),
            kubernetes_version=existing.kubernetes_version,
            cluster_dns_ip=self.dns_ip,
            pod_security_group_enforcing_mode=mode,
            vpc_cni_version=version,
            kube_proxy_version=existing.kube_proxy.version if existing.kube_proxy else "",
            core_dns_version=existing.core_dns.version if existing.core_dns else "",
        )
        self.register_outputs({"name": existing.name, "clusterDnsIp": self.dns_ip})

    def _take_over(self, running: Running) -> aws.eks.Addon:
        existing, wanted = self._args.existing, self._args.wanted
        found = existing.vpc_cni
        values = found.configuration_values if found else ""
        role = found.service_account_role_arn if found else running.role_arn
        identities = found.pod_identities if found else ()
        return aws.eks.Addon(
            f"{self._name}-vpc-cni",
            cluster_name=existing.name,
            addon_name="vpc-cni",
            addon_version=version_to_be(existing, wanted),
            configuration_values=with_our_values(values, running.aws_node, wanted.vpc_cni),
            service_account_role_arn=role or None,
            pod_identity_associations=[
                aws.eks.AddonPodIdentityAssociationArgs(service_account=account, role_arn=arn)
                for account, arn in identities
            ]
            or None,
            # Otherwise EKS leaves our values as they are where anybody else has ever applied them, and says nothing.
            # What else somebody has set on the DaemonSet is part of the configuration by now.
            resolve_conflicts_on_create="OVERWRITE",
            resolve_conflicts_on_update="OVERWRITE",
            tags=dict(found.tags) or None if found else None,
            opts=pulumi.ResourceOptions(
                parent=self,
                # One that exists is imported, and updated in the same run. To create it again would fail.
                import_=f"{existing.name}:vpc-cni" if found else None,
                # Counts only at creation, so it must not look like a change of one that was imported.
                ignore_changes=["resolveConflictsOnCreate"],
                # How updates are made is no change of the cluster's.
                hide_diffs=["resolveConflictsOnUpdate"],
                # Without the CNI no pod of the cluster starts: it is given back, never deleted.
                retain_on_delete=True,
            ),
        )


async def attach(
    name: str, source: SourceSettings, wanted: Wanted, *, region: str, identity: AwsIdentity, file: str
) -> AttachedCluster:
    """Return the cluster that `source` names, if it can have what is wanted; nothing is changed before that is sure.

    `file` is where the settings were written, for the message. Raises `pulumi.RunError` with every reason against
    it.
    """
    known = await _read_stack(source.stack, file) if source.stack else None
    key = "stack" if known else "clusterName"
    existing = look_up(
        str(known.cluster_name) if known else str(source.cluster_name),
        region=region,
        named_in=f"{file}, {pulumi.get_project()}:source.{key}",
    )
    if not can_be_asked(existing):
        _refuse(existing, refusals(existing, None, wanted), file)
    cluster = AttachedCluster(
        name,
        AttachedClusterArgs(
            existing=existing,
            kubeconfig=str(known.kubeconfig)
            if known
            else kubeconfig(
                cluster_name=existing.name,
                region=region,
                endpoint=existing.endpoint,
                certificate_authority=existing.certificate_authority,
            ),
            identity=identity,
            wanted=wanted,
        ),
    )
    running = await cluster.running()
    _refuse(existing, refusals(existing, running, wanted), file)
    for warning in warnings(existing, running, wanted):
        pulumi.log.warn(warning)
    cluster.complete(running, known)
    return cluster


def _refuse(cluster: ExistingCluster, reasons: list[str], file: str) -> None:
    if reasons:
        listed = "\n".join(f"  {each}" for each in reasons)
        noun = "reason" if len(reasons) == 1 else "reasons"
        raise pulumi.RunError(
            f"{file}: the cluster {cluster.name} cannot be used so, for {len(reasons)} {noun}; nothing was created or "
            f"changed.\n{listed}"
        )


async def _read_stack(stack: str, file: str) -> StackOutputs:
    """Return another stack's outputs as plain values."""
    own = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    where = f"{file}, {pulumi.get_project()}:source.stack"
    if stack == own:
        raise pulumi.RunError(
            f"{where}: {stack} is this stack, which cannot get its cluster from itself. Name another, or remove source."
        )
    try:
        # What a StackReference asks as well; but a stack that is not there it lets end the run without a word of ours.
        found = await pulumi.runtime.invoke_async("pulumi:pulumi:readStackOutputs", {"name": stack})
    except Exception as error:  # the SDK raises no narrower one
        raise pulumi.RunError(
            f"{where}: the stack {stack} cannot be read ({_last_words(error)}); nothing was created or changed. "
            "Correct the name (`pulumi stack ls --all` lists those there are), or log in where its state is kept."
        ) from error
    missing = sorted(StackOutputs.names() - found["outputs"].keys())
    if missing:
        raise pulumi.RunError(
            f"{where}: {stack} has no output {', '.join(missing)}, so it is none of these stacks, was not brought up "
            "yet, or is older than this program. Nothing was created or changed. Bring it up, or name another."
        )
    outputs = StackOutputs.read(pulumi.StackReference(stack))
    plain: dict[str, Any] = {
        field.name: await pulumi.Output.from_input(getattr(outputs, field.name)).future()
        for field in dataclasses.fields(StackOutputs)
    }
    return StackOutputs(**plain)


def _last_words(error: Exception) -> str:
    return str(error).rpartition(": ")[2].strip()


def _manifest(spec: k8s.apps.v1.outputs.DaemonSetSpec | None) -> Manifest:
    """Return what matters of a DaemonSet, as its API serves it."""

    def containers(typed: Iterable[k8s.core.v1.outputs.Container] | None) -> list[dict[str, Any]]:
        return [
            {
                "name": each.name,
                "image": each.image,
                "args": list(each.args or ()),
                "resources": _resources(each.resources),
                "env": [{"name": one.name, "value": one.value} for one in each.env or ()],
            }
            for each in typed or ()
        ]

    pod = spec.template.spec if spec else None
    if pod is None:
        raise ValueError("a DaemonSet without a pod")  # the API server takes none
    return {
        "spec": {
            "template": {
                "spec": {
                    "containers": containers(pod.containers),
                    "initContainers": containers(pod.init_containers),
                    "tolerations": [_toleration(each) for each in pod.tolerations or ()],
                    "nodeSelector": dict(pod.node_selector or {}),
                }
            }
        }
    }


def _resources(typed: k8s.core.v1.outputs.ResourceRequirements | None) -> dict[str, Any]:
    both = {"limits": typed.limits, "requests": typed.requests} if typed else {}
    return {kind: dict(amounts) for kind, amounts in both.items() if amounts}


def _toleration(typed: k8s.core.v1.outputs.Toleration) -> dict[str, Any]:
    every = {
        "effect": typed.effect,
        "key": typed.key,
        "operator": typed.operator,
        "tolerationSeconds": typed.toleration_seconds,
        "value": typed.value,
    }
    return {key: value for key, value in every.items() if value is not None}


def _outputs(cluster: ExistingCluster, config: str) -> StackOutputs:
    return StackOutputs(
        cluster_name=cluster.name,
        cluster_endpoint=cluster.endpoint,
        cluster_certificate_authority=cluster.certificate_authority,
        kubernetes_version=cluster.kubernetes_version,
        region=cluster.arn.split(":")[3],
        oidc_issuer=cluster.oidc_issuer,
        oidc_provider_arn=cluster.oidc_provider_arn,
        vpc_id=cluster.vpc_id,
        private_subnet_ids=list(cluster.private_subnet_ids),
        public_subnet_ids=list(cluster.public_subnet_ids),
        cluster_security_group_id=cluster.security_group_id,
        service_ipv4_cidr=cluster.service_ipv4_cidr,
        cluster_dns_ip="",
        node_local_dns_ip="",
        pod_security_group_enforcing_mode="",
        vpc_cni_version="",
        kube_proxy_version="",
        core_dns_version="",
        kubeconfig=config,
    )
