"""The alerts, judged by Prometheus itself, and the queries of the dashboard."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.cache.alerts import Alert, alerts, prometheus_rule_spec
from components.cache.dashboard import dashboard
from tools import locate

RUNBOOK = Path(__file__).parents[3] / "docs" / "runbooks" / "alerts.md"
ARGUMENTS: tuple[str, str, int] = ("node-local-dns", "kube-system", 300)
ALERTS = {each.name: each for each in alerts(*ARGUMENTS)}

MINUTES = 120
"""How long each series of a case lasts, one sample a minute."""

JOB = 'job="node-local-dns",endpoint="metrics",node="n1"'
POD = 'namespace="kube-system",pod="node-local-dns-x"'
DAEMON_SET = 'namespace="kube-system",daemonset="node-local-dns"'


def still(value: float) -> str:
    """Return a series that keeps a value."""
    return f"{value}x{MINUTES}"


def rising(per_minute: float) -> str:
    """Return a counter that rises."""
    return f"0+{per_minute}x{MINUTES}"


@dataclass(frozen=True)
class Case:
    """What an alert fires on, what a near miss looks like, and the labels it fires with."""

    fires: dict[str, str]
    silent: dict[str, str]
    labels: dict[str, str]


NODE = {"node": "n1"}
UP = f"up{{{JOB}}}"


def _counter(metric: str, more: str = "", **labels: str) -> Case:
    series = f"{metric}{{{JOB}{more}}}"
    return Case({series: rising(6)}, {series: still(7)}, {**NODE, **labels})


def _restarts(kind: str, container: str) -> Case:
    series = f'kube_pod_{kind}_status_restarts_total{{{POD},container="{container}"}}'
    labels = {"namespace": "kube-system", "pod": "node-local-dns-x", "container": container}
    # A slow crash loop: five minutes' pause, and four until the next crash.
    loop = " ".join(str(minute // 9) for minute in range(MINUTES + 1))
    return Case({series: loop}, {series: rising(0.05)}, labels)


def _slow(metric: str, more: str = "", **labels: str) -> Case:
    buckets = [f'{metric}_bucket{{{JOB}{more},le="{bound}"}}' for bound in ("0.25", "2.5", "+Inf")]
    slow = dict(zip(buckets, (rising(90), rising(100), rising(100)), strict=True))
    fast = dict(zip(buckets, (rising(100), rising(100), rising(100)), strict=True))
    return Case(slow, fast, labels)


OUT_OF_MEMORY = f'kube_pod_container_status_last_terminated_reason{{{POD},container="node-cache",reason="OOMKilled"}}'
RESTARTS = f'kube_pod_container_status_restarts_total{{{POD},container="node-cache"}}'
DESIRED = f"kube_daemonset_status_desired_number_scheduled{{{DAEMON_SET}}}"
UPDATED = f"kube_daemonset_status_updated_number_scheduled{{{DAEMON_SET}}}"
RESPONSES = "coredns_dns_responses_total{" + JOB + ',zone=".",rcode="%s"}'
REQUESTS = f"coredns_dns_requests_total{{{JOB}}}"
CACHE = "coredns_cache_%s_total{" + JOB + ',zones="."}'
SERVED = '{job="node-local-dns",node="n1",endpoint="metrics"'

# Critical: queries fail now, or nobody can tell. Warning: they will, or protection is gone.
LOUDNESS = {
    "NodeLocalDnsAbsent": ("critical", "10m"),
    "NodeLocalDnsDown": ("critical", "5m"),
    "NodeLocalDnsUpstreamDown": ("critical", "5m"),
    "NodeLocalDnsQueriesRejected": ("critical", "5m"),
    "NodeLocalDnsHung": ("critical", "5m"),
    "NodeLocalDnsServfail": ("critical", "10m"),
    "NodeLocalDnsUnavailable": ("warning", "15m"),
    "NodeLocalDnsMissingOnNode": ("warning", "15m"),
    "NodeLocalDnsRolloutStuck": ("warning", "15m"),
    "NodeLocalDnsRestarting": ("warning", "0m"),
    "NodeLocalDnsOutOfMemory": ("warning", "0m"),
    "NodeLocalDnsMemoryNearLimit": ("warning", "10m"),
    "NodeLocalDnsSidecarRestarting": ("warning", "0m"),
    "NodeLocalDnsNoSocketMatch": ("warning", "10m"),
    "NodeLocalDnsSetupErrors": ("warning", "10m"),
    "NodeLocalDnsNoQueries": ("warning", "15m"),
    "NodeLocalDnsUpstreamUnhealthy": ("warning", "10m"),
    "NodeLocalDnsUpstreamSlow": ("warning", "10m"),
    "NodeLocalDnsSlow": ("warning", "10m"),
    "NodeLocalDnsOverloaded": ("warning", "10m"),
    "NodeLocalDnsPanics": ("warning", "0m"),
    "NodeLocalDnsServesStale": ("warning", "5m"),
    "NodeLocalDnsVpcResolverThrottled": ("warning", "5m"),
    "NodeLocalDnsVersionsMixed": ("info", "1h"),
    "NodeLocalDnsLowHitRatio": ("info", "1h"),
    "NodeLocalDnsCacheFull": ("info", "1h"),
}

CASES: dict[str, Case] = {
    "NodeLocalDnsAbsent": Case(
        {'up{job="other",endpoint="metrics"}': still(1)},
        {'up{job="other",endpoint="metrics"}': still(1), UP: still(0)},
        {"job": "node-local-dns", "endpoint": "metrics"},
    ),
    "NodeLocalDnsDown": Case(
        {UP: still(0)},
        # The other port is not the cache, and four minutes without an answer are an update.
        {UP: "1x30 0x4 1x90", UP.replace('"metrics"', '"setup-metrics"'): still(0)},
        {"job": "node-local-dns", "endpoint": "metrics", **NODE},
    ),
    "NodeLocalDnsUpstreamDown": _counter("coredns_forward_healthcheck_broken_total"),
    "NodeLocalDnsQueriesRejected": _counter("coredns_forward_max_concurrent_rejects_total"),
    "NodeLocalDnsHung": _counter("coredns_health_request_failures_total"),
    "NodeLocalDnsServfail": Case(
        {RESPONSES % "SERVFAIL": rising(10), RESPONSES % "NOERROR": rising(90)},
        {RESPONSES % "SERVFAIL": rising(4), RESPONSES % "NOERROR": rising(96)},
        {**NODE, "zone": "."},
    ),
    "NodeLocalDnsUnavailable": Case(
        {f"kube_daemonset_status_number_unavailable{{{DAEMON_SET}}}": still(1)},
        {
            f"kube_daemonset_status_number_unavailable{{{DAEMON_SET}}}": "0x30 1x14 0x80",
            'kube_daemonset_status_number_unavailable{namespace="kube-system",daemonset="other"}': still(1),
        },
        {"namespace": "kube-system", "daemonset": "node-local-dns"},
    ),
    "NodeLocalDnsMissingOnNode": Case(
        {UP: still(1), 'kube_node_info{node="n2",os_image="Amazon Linux 2023"}': still(1)},
        {
            UP: still(1),
            'kube_node_info{node="n1",os_image="Amazon Linux 2023"}': still(1),
            'kube_node_info{node="fargate-ip-10-0-0-1",os_image="Amazon Linux 2"}': still(1),
            'kube_node_info{node="n3",os_image="Windows Server 2022"}': still(1),
        },
        {"node": "n2", "os_image": "Amazon Linux 2023"},
    ),
    "NodeLocalDnsRolloutStuck": Case(
        {DESIRED: still(100), UPDATED: "0+1x30 30x90"},
        {DESIRED: still(100), UPDATED: "0+0.5x120"},
        {"namespace": "kube-system", "daemonset": "node-local-dns"},
    ),
    "NodeLocalDnsRestarting": _restarts("container", "node-cache"),
    "NodeLocalDnsOutOfMemory": Case(
        {OUT_OF_MEMORY: still(1), RESTARTS: rising(0.1)},
        {OUT_OF_MEMORY: still(1), RESTARTS: still(3)},
        {"namespace": "kube-system", "pod": "node-local-dns-x", "container": "node-cache", "reason": "OOMKilled"},
    ),
    "NodeLocalDnsMemoryNearLimit": Case(
        {f"process_resident_memory_bytes{{{JOB}}}": still(290 * 2**20)},
        {f"process_resident_memory_bytes{{{JOB}}}": still(260 * 2**20)},
        {"job": "node-local-dns", "endpoint": "metrics", **NODE},
    ),
    "NodeLocalDnsSidecarRestarting": _restarts("init_container", "cleanup"),
    "NodeLocalDnsNoSocketMatch": Case(
        {f'coredns_plugin_enabled{{{JOB},name="whoami",zone="no-socket-match.node-local-dns.invalid."}}': still(1)},
        {f'coredns_plugin_enabled{{{JOB},name="template",zone="node-local-dns.invalid."}}': still(1)},
        NODE,
    ),
    "NodeLocalDnsSetupErrors": _counter(
        "coredns_nodecache_setup_errors_total", ',errortype="interface_add"', errortype="interface_add"
    ),
    "NodeLocalDnsNoQueries": Case(
        {UP: still(1), REQUESTS: "0+60x30 1800x90"},
        {UP: still(1), REQUESTS: rising(1)},
        {"job": "node-local-dns", "endpoint": "metrics", **NODE},
    ),
    "NodeLocalDnsUpstreamUnhealthy": _counter(
        "coredns_proxy_healthcheck_failures_total", ',proxy_name="forward",to="10.0.0.2:53"', to="10.0.0.2:53"
    ),
    "NodeLocalDnsUpstreamSlow": _slow(
        "coredns_proxy_request_duration_seconds", ',proxy_name="forward",to="10.0.0.2:53"', to="10.0.0.2:53"
    ),
    "NodeLocalDnsSlow": _slow("coredns_dns_request_duration_seconds", **NODE),
    "NodeLocalDnsOverloaded": _slow("coredns_health_request_duration_seconds", **NODE),
    "NodeLocalDnsPanics": _counter("coredns_panics_total"),
    "NodeLocalDnsServesStale": _counter("coredns_cache_served_stale_total"),
    "NodeLocalDnsVpcResolverThrottled": Case(
        {'node_ethtool_linklocal_allowance_exceeded{device="eth0",instance="n1:9100"}': rising(6)},
        {'node_ethtool_linklocal_allowance_exceeded{device="eth0",instance="n1:9100"}': still(4000)},
        {"device": "eth0", "instance": "n1:9100"},
    ),
    "NodeLocalDnsVersionsMixed": Case(
        {f'coredns_build_info{{{JOB.replace("n1", node)},version="{version}"}}': still(1)
         for node, version in (("n1", "1.13.2"), ("n2", "1.14.4"))},
        {f'coredns_build_info{{{JOB.replace("n1", node)},version="1.13.2"}}': still(1) for node in ("n1", "n2")},
        {},
    ),
    "NodeLocalDnsLowHitRatio": Case(
        {CACHE % "misses": rising(480), CACHE % "requests": rising(600)},
        {CACHE % "misses": rising(300), CACHE % "requests": rising(600)},
        NODE,
    ),
    "NodeLocalDnsCacheFull": Case(
        {CACHE % "evictions": rising(120)}, {CACHE % "evictions": rising(6)}, {**NODE, "zones": "."}
    ),
}  # fmt: skip


def metrics_of(expression: str) -> set[str]:
    """Return the names of the metrics in a PromQL expression."""
    plain = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(by|on|unless on|without) \([^)]*\)', " ", expression)
    words = re.findall(r"[a-zA-Z_:][\w:]*(?!\w|\s*\()", plain)
    return {word for word in words if word not in {"and", "or", "unless", "on", "by"}}


def dashboard_queries() -> list[str]:
    """Return every query of the dashboard, with Grafana's variables filled in."""
    found = [target["expr"] for panel in dashboard("node-local-dns")["panels"] for target in panel["targets"]]
    return [each.replace("$__rate_interval", "2m").replace("$node", ".*") for each in found]


def _promtool(*arguments: str) -> None:
    done = subprocess.run([locate("promtool"), *arguments], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def _written(path: Path, content: Any) -> str:
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_every_alert_is_as_loud_and_as_patient_as_it_should_be() -> None:
    """The loudest stand first, and each waits as long as is listed here, no longer."""
    assert {name: (each.severity, each.after) for name, each in ALERTS.items()} == LOUDNESS
    assert list(ALERTS) == list(LOUDNESS)
    [group] = prometheus_rule_spec(*ARGUMENTS, "https://example.com/alerts.md")["groups"]
    assert group["name"] == "node-local-dns"
    written = {each["alert"]: (each["labels"], each["for"]) for each in group["rules"]}
    assert written == {name: ({"severity": severity}, after) for name, (severity, after) in LOUDNESS.items()}


def test_every_alert_has_a_firing_and_a_silent_case() -> None:
    """No alert is without its pair, and no pair is left of an alert that is gone."""
    assert CASES.keys() == ALERTS.keys()


@pytest.mark.parametrize("name", ALERTS)
def test_the_cases_are_about_the_alerts_metrics(name: str) -> None:
    """A silent case is silent because of its values: it has every metric that the alert looks at."""
    for series in (CASES[name].fires, CASES[name].silent):
        assert metrics_of(ALERTS[name].expression) == {each.partition("{")[0] for each in series}


@pytest.mark.needs("promtool")
def test_prometheus_accepts_the_rules_and_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    """`promtool check rules` finds nothing wrong in any of them."""
    records = [{"record": f"query:{index}", "expr": each} for index, each in enumerate(dashboard_queries())]
    rules = _written(tmp_path / "rules.yaml", prometheus_rule_spec(*ARGUMENTS, "https://example.com/alerts.md"))
    queries = _written(tmp_path / "queries.yaml", {"groups": [{"name": "dashboard", "rules": records}]})
    _promtool("check", "rules", "--lint-fatal", rules, queries)


@pytest.mark.needs("promtool")
def test_every_alert_fires_and_stays_silent_as_its_cases_say(tmp_path: Path) -> None:
    """`promtool test rules`: two hours of each case. What fires does not flap in the last quarter of an hour."""
    [group] = prometheus_rule_spec(*ARGUMENTS, "https://example.com/alerts.md")["groups"]
    # A file for each alert: promtool evaluates every rule of a file in every minute of each of its cases.
    for rule in group["rules"]:
        _written(tmp_path / f"{rule['alert']}.rules.yaml", {"groups": [{**group, "rules": [rule]}]})

    def test(name: str, series: dict[str, str], expected: list[dict[str, Any]], times: list[int]) -> dict[str, Any]:
        query = f'ALERTS{{alertname="{name}",alertstate="firing"}}'
        return {
            "name": f"{name} {'fires' if expected else 'is silent'}",
            "interval": "1m",
            "input_series": [{"series": each, "values": values} for each, values in series.items()],
            "promql_expr_test": [
                {"expr": query, "eval_time": f"{minute}m", "exp_samples": expected} for minute in times
            ],
        }

    files = []
    for name, case in CASES.items():
        labels = {"alertname": name, "alertstate": "firing", "severity": LOUDNESS[name][0], **case.labels}
        shown = ",".join(f'{key}="{value}"' for key, value in labels.items())
        fired = [{"labels": f"ALERTS{{{shown}}}", "value": 1}]
        tests = [
            test(name, case.fires, fired, [*range(MINUTES - 15, MINUTES + 1)]),
            test(name, case.silent, [], [*range(15, MINUTES + 1, 15)]),
        ]
        content = {"rule_files": [f"{name}.rules.yaml"], "evaluation_interval": "1m", "tests": tests}
        files.append(_written(tmp_path / f"{name}.tests.yaml", content))
    _promtool("test", "rules", *files)


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
def test_texts_name_only_labels_that_the_alert_has(alert: Alert) -> None:
    """A notification never says "on <no value>"."""
    used = set(re.findall(r"\$labels\.(\w+)", alert.summary + alert.description))
    assert used <= CASES[alert.name].labels.keys()


def test_every_alert_has_its_section_in_the_runbook() -> None:
    """Each alert's link leads to a heading with its name, and no section is left of an alert that is gone."""
    sections = dict(
        re.findall(r"^## (NodeLocalDns\w+)\n(.+?)(?=^## |\Z)", RUNBOOK.read_text(), re.MULTILINE | re.DOTALL)
    )
    assert list(sections) == list(ALERTS)
    for name, text in sections.items():
        link = ALERTS[name].rule("https://example.com/alerts.md")["annotations"]["runbook_url"]
        assert link == f"https://example.com/alerts.md#{name.lower()}"
        assert [each for each in ("Meaning", "Impact", "Check", "Remedy") if f"**{each}.**" not in text] == [], name
