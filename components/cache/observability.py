"""How the node's DNS cache is watched: the PodMonitor, the PrometheusRule, the dashboard, and their settings."""

import json
import re
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from components.cache.alerts import METRICS_ENDPOINT, prometheus_rule_spec
from components.cache.corefile import METRICS_PORT, SETUP_METRICS_PORT
from components.cache.dashboard import UID, dashboard
from components.setting import Setting

SETUP_ENDPOINT = "setup-metrics"
"""Value of the label `endpoint` of what is scraped from node-cache's own port."""

SETUP_METRIC = "coredns_nodecache_setup_errors_total"
"""The one metric node-cache adds to CoreDNS' (kubernetes/dns, cmd/node-cache/app/metrics.go)."""


_NAME = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_DOMAIN_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_LABEL_KEY = re.compile(rf"((?=.{{1,253}}/){_DOMAIN_LABEL}(\.{_DOMAIN_LABEL})*/)?{_NAME}")
_LABEL_VALUE = re.compile(rf"({_NAME})?")


class ObservabilitySettings(Setting):
    """How the cache is watched. Everything is off until the cluster has what reads it."""

    pod_monitor: bool = False
    """Make a PodMonitor. The cluster must have the Prometheus operator's CRD; without it `pulumi up` fails here, with
    the cache installed and unwatched."""

    prometheus_rule: bool = False
    """Make a PrometheusRule with the alerts of docs/runbooks/alerts.md. Needs `podMonitor`, whose labels the alerts
    read, and the operator's CRD as well."""

    dashboard: bool = False
    """Make a ConfigMap with the Grafana dashboard, labelled `grafana_dashboard` for Grafana's sidecar."""

    labels: dict[str, str] = {}
    """Further labels of all three, such as the `release` that kube-prometheus-stack selects by."""

    scrape_interval_seconds: Annotated[int, Field(ge=5, le=120)] = 30
    """Seconds between two scrapes. The alerts' shortest window is five minutes: more than two minutes blinds them."""

    setup_endpoint: bool = False
    """Scrape node-cache's own port 9353 too. Whatever it has is on 9253 as well, and after a rolling update with
    `socket` interception nobody answers on it, which kube-prometheus' TargetDown reports."""

    runbooks: Annotated[str, Field(pattern=r"^[^#\s]+$")] = "docs/runbooks/alerts.md"
    """Where docs/runbooks/alerts.md can be read, for the alerts' `runbook_url`: the URL of your copy."""

    @field_validator("labels")
    @classmethod
    def _valid_labels(cls, labels: dict[str, str]) -> dict[str, str]:
        for key, value in labels.items():
            if not (_LABEL_KEY.fullmatch(key) and _LABEL_VALUE.fullmatch(value)):
                raise ValueError(
                    f"{key}: {value!r} is no label; the API server would refuse the objects when the cache is "
                    "installed already. Keys and values are at most 63 letters, digits, '-', '_' and '.', and begin "
                    "and end with a letter or digit; a key may have a domain and '/' before it."
                )
        return labels

    @model_validator(mode="after")
    def _alerts_have_their_metrics(self) -> Self:
        if self.prometheus_rule and not self.pod_monitor:
            raise ValueError(
                "prometheusRule is on and podMonitor is off: the alerts read the labels that the PodMonitor gives, so "
                "NodeLocalDnsAbsent would fire for ever and most others never. Set podMonitor to true, or "
                "prometheusRule to false."
            )
        return self


def pod_monitor_spec(settings: ObservabilitySettings, name: str, namespace: str) -> dict[str, Any]:
    """Return the PodMonitor's `spec`: one target for each node and endpoint, labelled with its node.

    The pods declare no ports (they would be host ports), so a target's port is set by relabelling: Prometheus
    discovers one target without a port for each container, and the cache's own is kept.
    """

    def endpoint(label: str, port: int, **more: Any) -> dict[str, Any]:  # noqa: ANN401  # fields of the CRD
        return {
            "interval": f"{settings.scrape_interval_seconds}s",
            "relabelings": [
                {"action": "keep", "sourceLabels": ["__meta_kubernetes_pod_container_name"], "regex": "node-cache"},
                {
                    "action": "replace",
                    "sourceLabels": ["__meta_kubernetes_pod_ip"],
                    "targetLabel": "__address__",
                    "replacement": f"$1:{port}",
                },
                {
                    "action": "replace",
                    "sourceLabels": ["__meta_kubernetes_pod_node_name"],
                    "targetLabel": "node",
                },
                {"action": "replace", "targetLabel": "job", "replacement": name},
                {"action": "replace", "targetLabel": "endpoint", "replacement": label},
            ],
            **more,
        }

    endpoints = [endpoint(METRICS_ENDPOINT, METRICS_PORT)]
    if settings.setup_endpoint:
        # Both ports serve one registry: without this every metric of CoreDNS would be there twice.
        only = [{"action": "keep", "sourceLabels": ["__name__"], "regex": SETUP_METRIC}]
        endpoints.append(endpoint(SETUP_ENDPOINT, SETUP_METRICS_PORT, metricRelabelings=only))
    return {
        "namespaceSelector": {"matchNames": [namespace]},
        "selector": {"matchLabels": {"k8s-app": name}},
        "podMetricsEndpoints": endpoints,
    }


def manifests(
    settings: ObservabilitySettings, *, name: str, namespace: str, memory_limit_mebibytes: int
) -> dict[str, dict[str, Any]]:
    """Return the objects that are switched on, by a short name.

    `name` and `namespace` are the DaemonSet's, `memory_limit_mebibytes` is the limit of its container (MiB).
    """

    def metadata(object_name: str, **labels: str) -> dict[str, Any]:
        all_labels = {"k8s-app": name, **labels, **settings.labels}
        return {"name": object_name, "namespace": namespace, "labels": all_labels}

    found: dict[str, dict[str, Any]] = {}
    if settings.pod_monitor:
        found["podMonitor"] = {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PodMonitor",
            "metadata": metadata(name),
            "spec": pod_monitor_spec(settings, name, namespace),
        }
    if settings.prometheus_rule:
        found["prometheusRule"] = {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": metadata(name),
            "spec": prometheus_rule_spec(name, namespace, memory_limit_mebibytes, settings.runbooks),
        }
    if settings.dashboard:
        found["dashboard"] = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(f"{name}-dashboard", grafana_dashboard="1"),
            "data": {f"{UID}.json": json.dumps(dashboard(name), indent=1)},
        }
    return found
