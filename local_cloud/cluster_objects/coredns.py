"""CoreDNS: the Deployment, its Corefile, and the Service kube-dns on the tenth address of the service CIDR."""

import ipaddress
from collections.abc import Mapping
from typing import Any

from local_cloud.cluster_objects import pods
from local_cloud.eks.registry import Cluster
from local_cloud.kubernetes_client import Manifest

_LABELS = {"eks.amazonaws.com/component": "coredns", "k8s-app": "kube-dns"}
_SERVICE_LABELS = {
    **_LABELS,
    "eks.amazonaws.com/component": "kube-dns",
    "kubernetes.io/cluster-service": "true",
    "kubernetes.io/name": "CoreDNS",
}
_COREFILE = """\
.:53 {
    errors
    health {
        lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }
    prometheus :9153
    forward . /etc/resolv.conf
    cache 30
    loop
    reload
    loadbalance
}
"""


def coredns(cluster: Cluster, version: str, values: Mapping[str, Any]) -> list[Manifest]:
    """Return the objects of the coredns add-on."""
    network = ipaddress.ip_network(cluster.document["kubernetesNetworkConfig"]["serviceIpv4Cidr"])
    spec = {
        "dnsPolicy": "Default",
        "priorityClassName": "system-cluster-critical",
        "serviceAccountName": "coredns",
        "tolerations": [
            {"effect": "NoSchedule", "key": "node-role.kubernetes.io/control-plane"},
            {"key": "CriticalAddonsOnly", "operator": "Exists"},
        ],
        "containers": [
            {
                "name": "coredns",
                "image": pods.image(cluster.region, "coredns", version),
                "args": ["-conf", "/etc/coredns/Corefile"],
                "ports": [
                    {"containerPort": 53, "name": "dns", "protocol": "UDP"},
                    {"containerPort": 53, "name": "dns-tcp", "protocol": "TCP"},
                    {"containerPort": 9153, "name": "metrics", "protocol": "TCP"},
                ],
                "resources": {"limits": {"memory": "170Mi"}, "requests": {"cpu": "100m", "memory": "70Mi"}},
                "volumeMounts": [{"name": "config-volume", "mountPath": "/etc/coredns", "readOnly": True}],
            }
        ],
        "volumes": [
            {
                "name": "config-volume",
                "configMap": {"name": "coredns", "items": [{"key": "Corefile", "path": "Corefile"}]},
            }
        ],
    }
    budget = {"maxUnavailable": 1, **values.get("podDisruptionBudget", {})}
    if "minAvailable" in budget:
        del budget["maxUnavailable"]
    enabled = budget.pop("enabled", True)
    manifests: list[Manifest] = [
        pods.service_account("coredns"),
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "coredns", "namespace": pods.NAMESPACE, "labels": _LABELS},
            "data": {"Corefile": values.get("corefile", _COREFILE)},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "kube-dns",
                "namespace": pods.NAMESPACE,
                "labels": _SERVICE_LABELS,
                "annotations": {"prometheus.io/port": "9153", "prometheus.io/scrape": "true"},
            },
            "spec": {
                "clusterIP": str(network.network_address + 10),
                "selector": {"k8s-app": "kube-dns"},
                "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
                    {"name": "metrics", "port": 9153, "protocol": "TCP", "targetPort": 9153},
                ],
            },
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "coredns", "namespace": pods.NAMESPACE, "labels": _LABELS},
            "spec": {
                "replicas": values.get("replicaCount", 2),
                "selector": {"matchLabels": {"eks.amazonaws.com/component": "coredns", "k8s-app": "kube-dns"}},
                "template": pods.template(_LABELS, spec, values),
            },
        },
    ]
    if enabled:
        manifests.append(
            {
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": {"name": "coredns", "namespace": pods.NAMESPACE, "labels": _LABELS},
                "spec": {**budget, "selector": {"matchLabels": dict(_LABELS)}},
            }
        )
    return manifests
