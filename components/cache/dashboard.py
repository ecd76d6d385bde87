"""The Grafana dashboard of the node's DNS cache."""

from typing import Any

from components.cache.alerts import METRICS_ENDPOINT
from components.cache.corefile import NO_SOCKET_MATCH_ZONE

UID = "eks-node-local-dns"
"""Identifies the dashboard in Grafana, so that links to it stay valid."""

_WIDTH, _HEIGHT, _COLUMNS = 8, 8, 3  # Grafana's grid has 24 columns


def _panels(job: str) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Return (title, unit, [(PromQL, legend)]) of every panel, in reading order."""
    metrics = f'job="{job}",endpoint="{METRICS_ENDPOINT}",node=~"$node"'
    rate = "[$__rate_interval]"

    def quantiles(metric: str, by: str) -> list[tuple[str, str]]:
        return [
            (f"histogram_quantile({each}, sum by (le{by}) (rate({metric}_bucket{{{metrics}}}{rate})))", label)
            for each, label in ((0.5, "p50"), (0.99, "p99"))
        ]

    def total(metric: str, by: str = "", more: str = "") -> str:
        return f"sum by ({by}) (rate({metric}{{{metrics}{more}}}{rate}))"

    misses, asked = (total(f"coredns_cache_{each}_total", "zones") for each in ("misses", "requests"))
    return [
        (
            "Caches that answer",
            "short",
            [(f"sum(up{{{metrics}}})", "up"), (f"count(up{{{metrics}}}) - sum(up{{{metrics}}})", "down")],
        ),
        ("Queries by zone", "reqps", [(total("coredns_dns_requests_total", "zone"), "{{zone}}")]),
        ("Answers by code", "reqps", [(total("coredns_dns_responses_total", "rcode"), "{{rcode}}")]),
        ("Time to answer", "s", quantiles("coredns_dns_request_duration_seconds", "")),
        ("Answered from the cache, by zone", "percentunit", [(f"1 - {misses} / {asked}", "{{zones}}")]),
        (
            "SERVFAIL by node",
            "reqps",
            [(total("coredns_dns_responses_total", "node", ',rcode="SERVFAIL"'), "{{node}}")],
        ),
        (
            "Time of the upstreams",
            "s",
            [
                (expression, f"{{{{to}}}} {legend}")
                for expression, legend in quantiles("coredns_proxy_request_duration_seconds", ", to")
            ],
        ),
        (
            "Upstreams' failed health checks",
            "ops",
            [
                (total("coredns_proxy_healthcheck_failures_total", "to"), "{{to}}"),
                (total("coredns_forward_healthcheck_broken_total"), "all of a zone down"),
            ],
        ),
        (
            "Queries refused for too many waiting",
            "reqps",
            [(total("coredns_forward_max_concurrent_rejects_total", "node"), "{{node}}")],
        ),
        (
            "Cached answers on the fullest node",
            "short",
            [
                (
                    f"max by (zones, type) (sum by (node, zones, type) (coredns_cache_entries{{{metrics}}}))",
                    "{{zones}} {{type}}",
                )
            ],
        ),
        (
            "Dropped for room, refreshed early, served stale",
            "ops",
            [
                (total("coredns_cache_evictions_total"), "dropped for room"),
                (total("coredns_cache_prefetch_total"), "refreshed early"),
                (total("coredns_cache_served_stale_total"), "served stale"),
            ],
        ),
        ("Memory by node", "bytes", [(f"process_resident_memory_bytes{{{metrics}}}", "{{node}}")]),
        ("CPU by node", "short", [(total("process_cpu_seconds_total", "node"), "{{node}}")]),
        ("Versions", "short", [(f"count by (version) (coredns_build_info{{{metrics}}})", "{{version}}")]),
        (
            "Panics, set-up errors, nodes without socket match",
            "short",
            [
                (f"sum(increase(coredns_panics_total{{{metrics}}}{rate}))", "panics"),
                (
                    (
                        "max by (node, errortype) (increase("
                        f'coredns_nodecache_setup_errors_total{{job="{job}",node=~"$node"}}{rate}))'
                    ),
                    "set-up {{errortype}} {{node}}",
                ),
                (
                    (
                        "count(max by (node) "
                        f'(coredns_plugin_enabled{{{metrics},name="whoami",zone="{NO_SOCKET_MATCH_ZONE}."}}))'
                    ),
                    "no socket match",
                ),
            ],
        ),
    ]


def dashboard(job: str) -> dict[str, Any]:
    """Return the dashboard's JSON model; `job` is the scrape job of the caches."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    panels: list[dict[str, Any]] = [
        {
            "id": index + 1,
            "type": "timeseries",
            "title": title,
            "datasource": source,
            "gridPos": {
                "x": index % _COLUMNS * _WIDTH,
                "y": index // _COLUMNS * _HEIGHT,
                "w": _WIDTH,
                "h": _HEIGHT,
            },
            "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
            "options": {"legend": {"showLegend": True, "displayMode": "list", "placement": "bottom"}},
            "targets": [
                {"refId": chr(ord("A") + number), "expr": expression, "legendFormat": legend, "datasource": source}
                for number, (expression, legend) in enumerate(queries)
            ],
        }
        for index, (title, unit, queries) in enumerate(_panels(job))
    ]
    variables = [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        {
            "name": "node",
            "label": "Node",
            "type": "query",
            "datasource": source,
            "query": f'label_values(up{{job="{job}"}}, node)',
            "refresh": 2,
            "includeAll": True,
            "allValue": ".*",
            "multi": True,
            "current": {"text": "All", "value": "$__all"},
        },
    ]
    return {
        "uid": UID,
        "title": "Node-local DNS",
        "tags": ["dns", "eks"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": variables},
        "panels": panels,
    }
