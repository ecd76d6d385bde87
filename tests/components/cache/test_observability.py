"""What watches the cache: which settings of it are refused."""

from typing import Any

import pytest

from components.cache.observability import ObservabilitySettings, manifests


@pytest.mark.parametrize(
    "labels",
    [
        {"a b": "c"}, {"a": "b c"}, {"": "a"}, {"a": "-b"}, {"-a": "b"}, {"a": "b" * 64}, {"a" * 64: "b"}, {"/a": "b"},
        {"a/b/c": "d"}, {"Example.com/a": "b"}, {"example..com/a": "b"}, {f"{'a.' * 127}a/b": "c"}, {"a": "b\n"},
    ],
)  # fmt: skip
def test_what_is_no_label_is_refused(labels: dict[str, str]) -> None:
    """A label that the API server would refuse, after the cache is installed, is refused before."""
    with pytest.raises(ValueError, match="the API server would refuse"):
        ObservabilitySettings(labels=labels)


@pytest.mark.parametrize(
    "labels", [{}, {"release": "kube-prometheus-stack"}, {"a": ""}, {"example.com/A_b.c-d": "1"}, {"a" * 63: "b" * 63}]
)
def test_labels_are_on_every_object(labels: dict[str, str]) -> None:
    """Labels are taken as they are."""
    settings = ObservabilitySettings(pod_monitor=True, prometheus_rule=True, dashboard=True, labels=labels)
    objects = manifests(settings, name="n", namespace="s", memory_limit_mebibytes=300)
    assert len(objects) == 3
    for each in objects.values():
        assert labels.items() <= each["metadata"]["labels"].items()


@pytest.mark.parametrize(
    ("settings", "made"),
    [({}, []), ({"podMonitor": True}, ["podMonitor"]), ({"dashboard": True}, ["dashboard"]),
     ({"podMonitor": True, "prometheusRule": True}, ["podMonitor", "prometheusRule"])],
)  # fmt: skip
def test_each_is_made_only_when_it_is_wanted(settings: dict[str, Any], made: list[str]) -> None:
    """Nothing that needs the Prometheus operator is there unless somebody says that the operator is."""
    wanted = ObservabilitySettings.model_validate(settings)
    assert list(manifests(wanted, name="n", namespace="s", memory_limit_mebibytes=300)) == made


def test_alerts_without_their_metrics_are_refused() -> None:
    """Alerts read labels that only the PodMonitor gives."""
    with pytest.raises(ValueError, match=r"podMonitor is off.*Set podMonitor to true"):
        ObservabilitySettings(prometheus_rule=True)


def _endpoint(label: str, port: int) -> dict[str, Any]:
    return {
        "interval": "30s",
        "relabelings": [
            {"action": "keep", "sourceLabels": ["__meta_kubernetes_pod_container_name"], "regex": "node-cache"},
            {
                "action": "replace",
                "sourceLabels": ["__meta_kubernetes_pod_ip"],
                "targetLabel": "__address__",
                "replacement": f"$1:{port}",
            },
            {"action": "replace", "sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "node"},
            {"action": "replace", "targetLabel": "job", "replacement": "node-local-dns"},
            {"action": "replace", "targetLabel": "endpoint", "replacement": label},
        ],
    }


SETUP = {
    **_endpoint("setup-metrics", 9353),
    "metricRelabelings": [
        {"action": "keep", "sourceLabels": ["__name__"], "regex": "coredns_nodecache_setup_errors_total"}
    ],
}


@pytest.mark.parametrize(
    ("settings", "endpoints"),
    [
        ({}, [_endpoint("metrics", 9253)]),
        ({"scrapeIntervalSeconds": 5}, [{**_endpoint("metrics", 9253), "interval": "5s"}]),
        ({"scrapeIntervalSeconds": 120}, [{**_endpoint("metrics", 9253), "interval": "120s"}]),
        ({"setupEndpoint": True}, [_endpoint("metrics", 9253), SETUP]),
    ],
)
def test_every_cache_is_scraped_and_named_after_its_node(
    settings: dict[str, Any], endpoints: list[dict[str, Any]]
) -> None:
    """One target a node on the cache's own port, with the labels that the alerts read: node, job, endpoint."""
    wanted = ObservabilitySettings.model_validate({"podMonitor": True, **settings})
    [monitor] = manifests(wanted, name="node-local-dns", namespace="kube-system", memory_limit_mebibytes=300).values()
    assert monitor == {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {"name": "node-local-dns", "namespace": "kube-system", "labels": {"k8s-app": "node-local-dns"}},
        "spec": {
            "namespaceSelector": {"matchNames": ["kube-system"]},
            "selector": {"matchLabels": {"k8s-app": "node-local-dns"}},
            "podMetricsEndpoints": endpoints,
        },
    }


@pytest.mark.parametrize(("seconds", "said"), [(4, "greater than or equal to 5"), (121, "less than or equal to 120")])
def test_interval_that_blinds_the_alerts_is_refused(seconds: int, said: str) -> None:
    """Two samples at least are within the alerts' shortest window."""
    with pytest.raises(ValueError, match=said):
        ObservabilitySettings(scrape_interval_seconds=seconds)
