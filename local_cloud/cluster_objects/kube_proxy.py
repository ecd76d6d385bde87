"""kube-proxy: its DaemonSet and the configuration that says which mode it is in."""

from collections.abc import Mapping
from typing import Any

import yaml

from local_cloud.cluster_objects import pods
from local_cloud.eks.registry import Cluster
from local_cloud.kubernetes_client import Manifest

_LABELS = {"eks.amazonaws.com/component": "kube-proxy", "k8s-app": "kube-proxy"}


def kube_proxy(cluster: Cluster, version: str, values: Mapping[str, Any]) -> list[Manifest]:
    """Return the objects of the kube-proxy add-on."""
    configuration = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "bindAddress": "0.0.0.0",  # noqa: S104  kube-proxy's own setting
        "clientConnection": {"kubeconfig": "/var/lib/kube-proxy/kubeconfig"},
        "clusterCIDR": "",
        "ipvs": {"scheduler": values.get("ipvs", {}).get("scheduler", "")},
        "metricsBindAddress": "0.0.0.0:10249",
        "mode": values.get("mode", "iptables"),
    }
    spec = {
        "hostNetwork": True,
        "priorityClassName": "system-node-critical",
        "serviceAccountName": "kube-proxy",
        "tolerations": [{"operator": "Exists"}],
        "containers": [
            {
                "name": "kube-proxy",
                "image": pods.image(cluster.region, "kube-proxy", version.replace("-eksbuild", "-minimal-eksbuild")),
                "command": [
                    "kube-proxy",
                    "--v=2",
                    "--config=/var/lib/kube-proxy-config/config",
                    "--hostname-override=$(NODE_NAME)",
                ],
                "env": [{"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
                "resources": {"requests": {"cpu": "100m"}},
                "securityContext": {"privileged": True},
                "volumeMounts": [
                    {"name": "config", "mountPath": "/var/lib/kube-proxy-config/"},
                    {"name": "kubeconfig", "mountPath": "/var/lib/kube-proxy/"},
                ],
            }
        ],
        "volumes": [
            {"name": "config", "configMap": {"name": "kube-proxy-config"}},
            {"name": "kubeconfig", "configMap": {"name": "kube-proxy"}},
        ],
    }
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "default", "cluster": {"server": cluster.document.get("endpoint", "")}}],
        "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default"}}],
        "current-context": "default",
        "users": [{"name": "default", "user": {"tokenFile": "/var/run/secrets/kubernetes.io/serviceaccount/token"}}],
    }
    return [
        pods.service_account("kube-proxy"),
        _config_map("kube-proxy", {"kubeconfig": yaml.safe_dump(kubeconfig)}),
        _config_map("kube-proxy-config", {"config": yaml.safe_dump(configuration)}),
        pods.daemon_set("kube-proxy", _LABELS, "kube-proxy", pods.template(_LABELS, spec, values)),
    ]


def _config_map(name: str, data: Mapping[str, str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": pods.NAMESPACE, "labels": _LABELS},
        "data": dict(data),
    }
