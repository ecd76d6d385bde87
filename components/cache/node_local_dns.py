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

from components.cache import programs
from components.cache.cache_memory import go_memory_limit_mebibytes
from components.cache.corefile import METRICS_PORT, SETUP_METRICS_PORT, CorefileSettings, render
from components.cache.interception import (
    DRAIN_COMMAND,
    DRAIN_SECONDS,
    HEARTBEAT,
    NODE_CACHE,
    RULES_IN_PLACE,
    STATE,
    Interception,
    node_cache_arguments,
)
from components.cache.observability import ObservabilitySettings
from components.cache.observability import manifests as observing_manifests
from components.running_cluster.cni_state import CACHE, IGNORED, MARK, NAMESPACE, REFUSED
from components.running_cluster.strict_pods_guard import INTERCEPTION, interception, strict_pods_guard
from components.setting import Setting

NAME = CACHE
UPSTREAM_SERVICE = "kube-dns-upstream"
POD_SECURITY_LEVEL = "privileged"
"""What the pods need of Pod Security: the node's network and NET_ADMIN. Kube-system has no lower level on EKS."""

SCRAPED = {"prometheus.io/port": str(METRICS_PORT), "prometheus.io/scrape": "true"}
"""Annotations by which a Prometheus without the operator finds what to scrape."""

_IMAGE = re.compile(r"[a-z0-9.-]+(:\d+)?/[a-z0-9./_-]+(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?")
_VERSION = re.compile(r":v?(\d+)\.(\d+)\.(\d+)")
SURGE = "10%"
"""Nodes that get the next cache at a time, at least one: beside the one that serves, which leaves when the next is
ready. So an update takes as long on 500 nodes as on ten, and the Kubernetes provider, which waits ten minutes for it,
sees its end."""

OLDEST = (1, 26, 8)
"""First node-cache whose CoreDNS knows all of the Corefile, such as `max_connect_attempts`."""


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

    observability: ObservabilitySettings = ObservabilitySettings()
    """How the cache is watched."""

    cpu_request: str = "25m"
    """CPU requested for a pod (Kubernetes quantity). No limit: throttled DNS is slow DNS."""

    memory_request_mebibytes: Annotated[int, Field(ge=5)] = 32
    """Memory requested (MiB). The limit is computed from the cache sizes."""

    ignore_strict_pods: bool = False
    """Install the cache although running pods with a security group may have strict rules and would lose DNS by it.
    Meant for one update: what would have stopped it is then a warning."""

    @field_validator("cpu_request")
    @classmethod
    def _quantity(cls, value: str) -> str:
        match = re.fullmatch(r"(\d+)m|\d+(?:\.\d{1,3})?", value)
        if match is None or float(match[1] or value) == 0:
            raise ValueError(
                f"{value!r} is no amount of CPU, and Kubernetes would say so only once everything else is there. "
                "Write thousandths or cores in quotes, like 25m or 0.1."
            )
        return value

    @field_validator("image")
    @classmethod
    def _pinned(cls, image: str) -> str:
        match = _IMAGE.fullmatch(image)
        if match is None or not (match[2] or match[3]) or match[2] == ":latest":
            raise ValueError(
                f"{image!r} is not a pinned image; nodes would run different caches. "
                "Give a tag or a digest, like registry.k8s.io/dns/k8s-dns-node-cache:1.26.8."
            )
        version = _VERSION.match(match[2] or "")
        if version and tuple(map(int, version.groups())) < OLDEST:
            raise ValueError(
                f"{image!r} is older than {'.'.join(map(str, OLDEST))}; its CoreDNS does not know every line of the "
                "Corefile made here, and would not start. Use that version or a newer one."
            )
        return image


def _metadata(name: str, **more: Any) -> Any:  # noqa: ANN401  # plain for manifests, typed for pulumi-kubernetes
    labels = {"k8s-app": NAME, **more.pop("labels", {})}
    return {"name": name, "namespace": NAMESPACE, "labels": labels, **more}


def _mark(settings: NodeLocalDnsSettings) -> dict[str, str]:
    """Return the annotation that says whether the cache would have been made next to pods with strict rules."""
    return {MARK: IGNORED if settings.ignore_strict_pods else REFUSED}


def upstream_service(settings: NodeLocalDnsSettings, runs: pulumi.Input[str]) -> dict[str, Any]:
    """Return the Service at which the cache finds CoreDNS: the pods of kube-dns on an address of its own.

    It is made and changed before all others, so it tells the guard what the cache `runs`, by `interception`'s name.
    """
    ports = [{"name": name, "port": 53, "protocol": protocol, "targetPort": 53}
             for name, protocol in (("dns", "UDP"), ("dns-tcp", "TCP"))]  # fmt: skip
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(
            UPSTREAM_SERVICE,
            labels={"k8s-app": "kube-dns", "kubernetes.io/name": "KubeDNSUpstream"},
            annotations={**_mark(settings), INTERCEPTION: runs},
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
    limit = settings.corefile.memory_bound_mebibytes()
    memory = {
        "requests": {
            "cpu": settings.cpu_request,
            "memory": f"{min(settings.memory_request_mebibytes, limit)}Mi",
        },
        "limits": {"memory": f"{limit}Mi"},
    }
    state = {"name": "state", "mountPath": STATE}
    lock = {"name": "xtables-lock", "mountPath": "/run/xtables.lock"}
    served = {
        "exec": {"command": programs.listening(cluster_dns_ip)},
        "timeoutSeconds": 5,
    }
    cache: dict[str, Any] = {
        "name": "node-cache",
        "image": settings.image,
        "command": [NODE_CACHE],
        "args": node_cache_arguments(settings.interception, settings.local_address, cluster_dns_ip),
        "env": [
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "GOMEMLIMIT", "value": f"{go_memory_limit_mebibytes(limit)}MiB"},
        ],
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
            # A hung cache keeps its socket, and with it every question: it has to go within seconds, and without
            # the pod's grace, which it would only sit out.
            "timeoutSeconds": 2,
            "periodSeconds": 5,
            "failureThreshold": 3,
            "terminationGracePeriodSeconds": 1,
        },
        **({"lifecycle": {"preStop": {"exec": {"command": ["sleep", str(DRAIN_SECONDS)]}}}} if socket else {}),
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/coredns", "readOnly": True},
            state,
            *([] if socket else [lock]),
        ],
    }
    # NET_ADMIN: rules, and the interface at the end. NET_RAW: iptables-legacy. NET_BIND_SERVICE: the
    # short-lived node-cache that removes the interface.
    sidecar: dict[str, Any] = {
        "image": settings.image,
        "restartPolicy": "Always",
        "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": _hardened("NET_ADMIN", "NET_RAW", "NET_BIND_SERVICE"),
        "volumeMounts": [state, lock],
    }
    # Sidecars start before the cache, in this order, and end after it, in the other: the last one out cleans up.
    # Two can, so that the node is clean even if one of them is dead at that moment.
    sidecars = [
        {
            **sidecar,
            "name": "cleanup",
            **programs.cleanup(settings.local_address, cluster_dns_ip),
        }
    ]
    if socket:
        sidecars.append(
            {
                **sidecar,
                "name": "interception",
                **programs.interception(settings.local_address, cluster_dns_ip),
                "startupProbe": {
                    "exec": {"command": ["cat", RULES_IN_PLACE]},
                    "periodSeconds": 1,
                    "failureThreshold": 60,
                },
                # Dead or hung, it can neither repair rules nor, without a socket match, take them from a dead cache.
                "livenessProbe": {
                    "exec": {"command": ["rm", HEARTBEAT]},
                    "timeoutSeconds": 5,
                    "periodSeconds": 10,
                    "failureThreshold": 3,
                    "terminationGracePeriodSeconds": 1,
                },
                # Runs when the pod's end begins, beside the cache's own: it is the sidecar's TERM that comes last.
                "lifecycle": {"preStop": {"exec": {"command": list(DRAIN_COMMAND)}}},
            }
        )
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
        "initContainers": sidecars,
        "containers": [cache],
        "volumes": [
            {"name": "config", "configMap": {"name": NAME, "items": [{"key": "Corefile", "path": "Corefile.base"}]}},
            {"name": "state", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "xtables-lock", "hostPath": {"path": "/run/xtables.lock", "type": "FileOrCreate"}},
        ],
    }


def _runs(settings: NodeLocalDnsSettings, cluster_dns_ip: str) -> str:
    return interception({"spec": {"template": {"spec": _pod(settings, cluster_dns_ip)}}})


def metrics_service() -> dict[str, Any]:
    """Return the Service by which the cache's metrics are found; no address is part of it."""
    ports = (("metrics", METRICS_PORT), ("setup-metrics", SETUP_METRICS_PORT))
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(NAME, annotations=SCRAPED),
        "spec": {
            "clusterIP": "None",
            "selector": {"k8s-app": NAME},
            "ports": [{"name": name, "port": port, "protocol": "TCP", "targetPort": port} for name, port in ports],
        },
    }


def manifests(settings: NodeLocalDnsSettings, *, cluster_dns_ip: str, upstream_ip: str) -> Mapping[str, dict[str, Any]]:
    """Return every Kubernetes object of the cache, by a short name, in the order they are to be made.

    `cluster_dns_ip` is the ClusterIP of `kube-dns`, `upstream_ip` that of `kube-dns-upstream`. Pure. Raises
    `ValueError` when an upstream is the cache itself.
    """
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
    socket = settings.interception == "socket"
    rolling = {"maxSurge": SURGE, "maxUnavailable": 0} if socket else {"maxUnavailable": SURGE}
    selector = {"k8s-app": NAME}
    return {
        "serviceAccount": {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": _metadata(NAME),
            "automountServiceAccountToken": False,
        },
        "upstreamService": upstream_service(settings, _runs(settings, cluster_dns_ip)),
        "configMap": {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": _metadata(NAME),
            "data": {"Corefile": corefile},
        },
        "daemonSet": {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": _metadata(NAME, annotations=_mark(settings)),
            "spec": {
                "selector": {"matchLabels": selector},
                "minReadySeconds": 5,
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
                "template": {
                    "metadata": {
                        "labels": selector,
                        "annotations": {**SCRAPED, "eks-node-local-dns/corefile-checksum": checksum},
                    },
                    "spec": _pod(settings, cluster_dns_ip),
                },
            },
        },
        "service": metrics_service(),
    }


def observability_manifests(settings: NodeLocalDnsSettings) -> Mapping[str, dict[str, Any]]:
    """Return the objects by which the cache is watched, by a short name; none unless they are switched on."""
    limit = settings.corefile.memory_bound_mebibytes()
    return observing_manifests(settings.observability, name=NAME, namespace=NAMESPACE, memory_limit_mebibytes=limit)


@dataclass(frozen=True, kw_only=True)
class NodeLocalDnsArgs:
    """What a cluster's node-local DNS is made from."""

    settings: NodeLocalDnsSettings
    """The typed settings; `enabled` is the caller's to look at."""

    cluster_dns_ip: pulumi.Input[str]
    """ClusterIP of the cluster's `kube-dns` Service, read from the cluster."""

    kubeconfig: pulumi.Input[str]
    """Kubeconfig (text) with which an update asks the cluster for pods that would lose DNS, before it goes on."""


class NodeLocalDns(pulumi.ComponentResource):
    """NodeLocal DNSCache on every EC2 node; pass the Kubernetes provider in the options."""

    local_ip: pulumi.Output[str]
    """The cache's link-local address, once the cache is there."""

    upstream_ip: pulumi.Output[str]
    """ClusterIP at which the cache finds CoreDNS."""

    def __init__(self, name: str, args: NodeLocalDnsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("eks-node-local-dns:index:NodeLocalDns", name, {}, opts)
        guard = strict_pods_guard(
            name, pulumi.Output.from_input(args.kubeconfig), ignore=args.settings.ignore_strict_pods
        )
        guarded = pulumi.ResourceOptions(
            parent=self, hooks=pulumi.ResourceHookBinding(before_create=[guard], before_update=[guard])
        )
        runs = pulumi.Output.from_input(args.cluster_dns_ip).apply(lambda address: _runs(args.settings, address))
        asked = upstream_service(args.settings, runs)
        upstream = kubernetes.core.v1.Service(
            f"{name}-upstream", metadata=asked["metadata"], spec=asked["spec"], opts=guarded
        )
        # This object waits for the guard and all others for it: a refused update has touched none of them.
        child = pulumi.ResourceOptions(parent=self, depends_on=[upstream])
        self.upstream_ip = upstream.spec.cluster_ip
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
        cache = kubernetes.apps.v1.DaemonSet(
            name,
            metadata=_metadata(NAME, annotations=_mark(args.settings)),
            spec=rendered.apply(lambda objects: objects["daemonSet"]["spec"]),
            opts=pulumi.ResourceOptions.merge(guarded, pulumi.ResourceOptions(depends_on=[account, config])),
        )
        # Of a cache that was not made nobody is told an address.
        self.local_ip = cache.id.apply(lambda _made: args.settings.local_address)
        service = metrics_service()
        kubernetes.core.v1.Service(f"{name}-metrics", metadata=service["metadata"], spec=service["spec"], opts=child)
        for key, watching in observability_manifests(args.settings).items():
            if key == "dashboard":
                kubernetes.core.v1.ConfigMap(
                    f"{name}-dashboard", metadata=watching["metadata"], data=watching["data"], opts=child
                )
            else:
                kubernetes.apiextensions.CustomResource(
                    f"{name}-{'pod-monitor' if key == 'podMonitor' else 'prometheus-rule'}",
                    api_version=watching["apiVersion"],
                    kind=watching["kind"],
                    metadata=watching["metadata"],
                    spec=watching["spec"],
                    opts=child,
                )
        self.register_outputs({"localIp": self.local_ip, "upstreamIp": self.upstream_ip})
