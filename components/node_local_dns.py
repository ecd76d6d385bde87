"""NodeLocal DNSCache: its settings, its Kubernetes objects, and the component that makes them."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pulumi
import pulumi_kubernetes as kubernetes
from pydantic import Field, field_validator

from components.corefile import METRICS_PORT, SETUP_METRICS_PORT, CorefileSettings, refuse_loops, render
from components.interception import (
    NODE_CACHE,
    RULES_IN_PLACE,
    STATE,
    Interception,
    listening_script,
    node_cache_arguments,
    rules_script,
)
from components.setting import Setting

NAMESPACE = "kube-system"
NAME = "node-local-dns"
UPSTREAM_SERVICE = "kube-dns-upstream"
POD_SECURITY_LEVEL = "privileged"
"""What the pods need of Pod Security: the node's network and NET_ADMIN. Kube-system has no lower level on EKS."""

_IMAGE = re.compile(r"[a-z0-9.-]+(:\d+)?/[a-z0-9./_-]+(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?")


class NodeLocalDnsSettings(Setting):
    """The DNS cache on every node."""

    enabled: bool = True
    """Whether the cache is installed; false removes it and leaves every node as it was."""

    local_address: str = "169.254.20.10"
    """The cache's link-local address. It must be no address AWS uses."""

    interception: Interception = "socket"
    """`socket`: rules that fall back to CoreDNS by themselves. `upstream`: node-cache's own rules."""

    image: str = "registry.k8s.io/dns/k8s-dns-node-cache:1.26.8"
    """node-cache's image, with a tag or a digest; `latest` and no tag are refused."""

    corefile: CorefileSettings = CorefileSettings()
    """What the cache answers, from where, and for how long."""

    cpu_request: str = "25m"
    """CPU requested for a pod (Kubernetes quantity). No limit: throttled DNS is slow DNS."""

    memory_request_mebibytes: Annotated[int, Field(ge=5)] = 32
    """Memory requested (MiB). The limit is computed from the cache sizes."""

    @field_validator("image")
    @classmethod
    def _pinned(cls, image: str) -> str:
        match = _IMAGE.fullmatch(image)
        if match is None or not (match[2] or match[3]) or match[2] == ":latest":
            raise ValueError(
                f"{image!r} is not a pinned image; nodes would run different caches. "
                "Give a tag or a digest, like registry.k8s.io/dns/k8s-dns-node-cache:1.26.8."
            )
        return image


def _metadata(name: str, **more: Any) -> Any:  # noqa: ANN401  # plain for manifests, typed for pulumi-kubernetes
    labels = {"k8s-app": NAME, **more.pop("labels", {})}
    return {"name": name, "namespace": NAMESPACE, "labels": labels, **more}


def upstream_service() -> dict[str, Any]:
    """Return the Service at which the cache finds CoreDNS: the pods of kube-dns on an address of its own."""
    ports = [{"name": name, "port": 53, "protocol": protocol, "targetPort": 53}
             for name, protocol in (("dns", "UDP"), ("dns-tcp", "TCP"))]  # fmt: skip
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(
            UPSTREAM_SERVICE, labels={"k8s-app": "kube-dns", "kubernetes.io/name": "KubeDNSUpstream"}
        ),
        "spec": {"type": "ClusterIP", "selector": {"k8s-app": "kube-dns"}, "ports": ports},
    }


def _hardened(*capabilities: str, read_only: bool = True) -> dict[str, Any]:
    return {
        # Root: iptables refuses to run as anybody else, and two caches share a port only with one user id.
        "runAsUser": 0,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": read_only,
        "capabilities": {"drop": ["ALL"], "add": list(capabilities)},
    }


def _pod(settings: NodeLocalDnsSettings, cluster_dns_ip: str) -> dict[str, Any]:
    socket = settings.interception == "socket"
    memory = {
        "requests": {
            "cpu": settings.cpu_request,
            "memory": f"{min(settings.memory_request_mebibytes, settings.corefile.memory_bound_mebibytes())}Mi",
        },
        "limits": {"memory": f"{settings.corefile.memory_bound_mebibytes()}Mi"},
    }
    state = {"name": "state", "mountPath": STATE}
    lock = {"name": "xtables-lock", "mountPath": "/run/xtables.lock"}
    served = {
        "exec": {"command": ["sh", "-c", listening_script(cluster_dns_ip)]},
        "timeoutSeconds": 5,
    }
    cache: dict[str, Any] = {
        "name": "node-cache",
        "image": settings.image,
        "command": [NODE_CACHE],
        "args": node_cache_arguments(settings.interception, settings.local_address, cluster_dns_ip),
        "env": [{"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "resources": memory,
        # NET_ADMIN: the interface and its addresses. NET_BIND_SERVICE: port 53. NET_RAW: iptables-legacy.
        # With upstream's rules the image's iptables rewrites links in its root, which must be writable then.
        "securityContext": _hardened("NET_ADMIN", "NET_BIND_SERVICE")
        if socket
        else _hardened("NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW", read_only=False),
        "startupProbe": {**served, "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {**served, "periodSeconds": 5, "failureThreshold": 2},
        "livenessProbe": {
            "httpGet": {"host": settings.local_address, "path": "/health", "port": 8080},
            "timeoutSeconds": 5,
            "periodSeconds": 10,
            "failureThreshold": 3,
        },
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/coredns", "readOnly": True},
            state,
            *([] if socket else [lock]),
        ],
    }
    interception: dict[str, Any] = {
        "name": "interception",
        "image": settings.image,
        "command": ["sh", "-c", rules_script(settings.local_address, cluster_dns_ip)],
        # Started before the cache and ended after it: the last one out removes the rules and the interface.
        "restartPolicy": "Always",
        "startupProbe": {
            "exec": {"command": ["sh", "-c", f"[ -e {RULES_IN_PLACE} ]"]},
            "periodSeconds": 1,
            "failureThreshold": 60,
        },
        "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}, "limits": {"memory": "128Mi"}},
        # NET_ADMIN: rules, and the interface at the end. NET_RAW: iptables-legacy. NET_BIND_SERVICE: the
        # short-lived node-cache that removes the interface.
        "securityContext": _hardened("NET_ADMIN", "NET_RAW", "NET_BIND_SERVICE"),
        "volumeMounts": [state, lock],
    }
    terms = [
        ("kubernetes.io/os", "In", ["linux"]),
        ("kubernetes.io/arch", "In", ["amd64", "arm64"]),
        # Fargate runs no DaemonSets, Auto Mode has its own cache, hybrid nodes have another CNI.
        ("eks.amazonaws.com/compute-type", "NotIn", ["fargate", "hybrid", "auto"]),
    ]
    expressions = [{"key": key, "operator": operator, "values": values} for key, operator, values in terms]
    return {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "priorityClassName": "system-node-critical",
        "hostNetwork": True,
        "dnsPolicy": "Default",
        "terminationGracePeriodSeconds": 30,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": expressions}]
                }
            }
        },
        "tolerations": [
            {"key": "CriticalAddonsOnly", "operator": "Exists"},
            {"effect": "NoExecute", "operator": "Exists"},
            {"effect": "NoSchedule", "operator": "Exists"},
        ],
        **({"initContainers": [interception]} if socket else {}),
        "containers": [cache],
        "volumes": [
            {"name": "config", "configMap": {"name": NAME, "items": [{"key": "Corefile", "path": "Corefile.base"}]}},
            {"name": "state", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "xtables-lock", "hostPath": {"path": "/run/xtables.lock", "type": "FileOrCreate"}},
        ],
    }


def manifests(settings: NodeLocalDnsSettings, *, cluster_dns_ip: str, upstream_ip: str) -> Mapping[str, dict[str, Any]]:
    """Return every Kubernetes object of the cache, by a short name, in the order they are to be made.

    `cluster_dns_ip` is the ClusterIP of `kube-dns`, `upstream_ip` that of `kube-dns-upstream`. Pure. Raises
    `ValueError` when an upstream is the cache itself.
    """
    refuse_loops(settings.corefile, (settings.local_address, cluster_dns_ip), upstream_ip)
    corefile = render(
        settings.corefile,
        local_address=settings.local_address,
        cluster_dns_ip=cluster_dns_ip,
        upstream_ip=upstream_ip,
        import_glob=f"{STATE}/*.corefile",
    )
    checksum = hashlib.sha256(json.dumps({"Corefile": corefile}).encode()).hexdigest()[:16]
    # Two caches share the node during an update, so there is no moment without one. Upstream's rules do not
    # allow it: the leaving cache would remove the rules and the interface of the arriving one.
    rolling = {"maxSurge": 1, "maxUnavailable": 0} if settings.interception == "socket" else {"maxUnavailable": "10%"}
    scraped = {"prometheus.io/port": str(METRICS_PORT), "prometheus.io/scrape": "true"}
    selector = {"k8s-app": NAME}
    return {
        "serviceAccount": {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": _metadata(NAME),
            "automountServiceAccountToken": False,
        },
        "upstreamService": upstream_service(),
        "configMap": {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": _metadata(NAME),
            "data": {"Corefile": corefile},
        },
        "daemonSet": {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": _metadata(NAME),
            "spec": {
                "selector": {"matchLabels": selector},
                "minReadySeconds": 5,
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
                "template": {
                    "metadata": {
                        "labels": selector,
                        "annotations": {**scraped, "eks-node-local-dns/corefile-checksum": checksum},
                    },
                    "spec": _pod(settings, cluster_dns_ip),
                },
            },
        },
        "service": {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _metadata(NAME, annotations=scraped),
            "spec": {
                "clusterIP": "None",
                "selector": selector,
                "ports": [
                    {"name": "metrics", "port": METRICS_PORT, "protocol": "TCP", "targetPort": METRICS_PORT},
                    {
                        "name": "setup-metrics",
                        "port": SETUP_METRICS_PORT,
                        "protocol": "TCP",
                        "targetPort": SETUP_METRICS_PORT,
                    },
                ],
            },
        },
    }


@dataclass(frozen=True, kw_only=True)
class NodeLocalDnsArgs:
    """What a cluster's node-local DNS is made from."""

    settings: NodeLocalDnsSettings
    """The typed settings; `enabled` is the caller's to look at."""

    cluster_dns_ip: pulumi.Input[str]
    """ClusterIP of the cluster's `kube-dns` Service, read from the cluster."""


class NodeLocalDns(pulumi.ComponentResource):
    """NodeLocal DNSCache on every EC2 node; pass the Kubernetes provider in the options."""

    local_ip: pulumi.Output[str]
    """The cache's link-local address."""

    upstream_ip: pulumi.Output[str]
    """ClusterIP at which the cache finds CoreDNS."""

    def __init__(self, name: str, args: NodeLocalDnsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("eks-node-local-dns:index:NodeLocalDns", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        upstream_object = upstream_service()
        upstream = kubernetes.core.v1.Service(
            f"{name}-upstream", metadata=upstream_object["metadata"], spec=upstream_object["spec"], opts=child
        )
        self.upstream_ip = upstream.spec.cluster_ip
        self.local_ip = pulumi.Output.from_input(args.settings.local_address)
        rendered = pulumi.Output.all(args.cluster_dns_ip, self.upstream_ip).apply(
            lambda addresses: manifests(args.settings, cluster_dns_ip=addresses[0], upstream_ip=addresses[1])
        )
        account = kubernetes.core.v1.ServiceAccount(
            f"{name}-account", metadata=_metadata(NAME), automount_service_account_token=False, opts=child
        )
        config = kubernetes.core.v1.ConfigMap(
            f"{name}-corefile",
            metadata=_metadata(NAME),
            data=rendered.apply(lambda objects: objects["configMap"]["data"]),
            opts=child,
        )
        kubernetes.apps.v1.DaemonSet(
            name,
            metadata=_metadata(NAME),
            spec=rendered.apply(lambda objects: objects["daemonSet"]["spec"]),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[account, config]),
        )
        service = rendered.apply(lambda objects: objects["service"])
        kubernetes.core.v1.Service(
            f"{name}-metrics",
            metadata=service.apply(lambda each: each["metadata"]),
            spec=service.apply(lambda each: each["spec"]),
            opts=child,
        )
        self.register_outputs({"localIp": self.local_ip, "upstreamIp": self.upstream_ip})
