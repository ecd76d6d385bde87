"""Prometheus alerts about the node's DNS cache: what is watched, and how loudly each failure speaks."""

from dataclasses import dataclass
from textwrap import dedent
from typing import Any, Literal

from components.cache.corefile import NO_SOCKET_MATCH_ZONE

METRICS_ENDPOINT = "metrics"
"""Value of the label `endpoint` of everything scraped from CoreDNS' own port."""

Severity = Literal["critical", "warning", "info"]
"""`critical`: queries fail now. `warning`: they will, or protection is gone. `info`: worth a look in the day."""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One alerting rule."""

    name: str
    """The alert's name, and the heading of its section in docs/runbooks/alerts.md."""

    severity: Severity
    """How loudly it speaks."""

    after: str
    """For how long the expression must hold (Prometheus duration)."""

    expression: str
    """PromQL; every result is one alert."""

    summary: str
    """One sentence for the notification's title; may use the result's labels."""

    description: str
    """What it means for pods, for the notification's text; may use the result's labels and value."""

    def rule(self, runbooks: str) -> dict[str, Any]:
        """Return the rule as Prometheus spells it; `runbooks` is where the runbook can be read."""
        return {
            "alert": self.name,
            "expr": dedent(self.expression).strip(),
            "for": self.after,
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{runbooks}#{self.name.lower()}",
            },
        }


def alerts(name: str, namespace: str, memory_limit_mebibytes: int) -> tuple[Alert, ...]:
    """Return every alert, the loudest first.

    `name` is that of the DaemonSet and of the scrape job, `namespace` the DaemonSet's, `memory_limit_mebibytes`
    the limit of the cache's container (MiB).
    """
    job = f'job="{name}",endpoint="{METRICS_ENDPOINT}"'
    pods = f'namespace="{namespace}",pod=~"{name}-.+"'
    cache = f'{pods},container="node-cache"'
    sidecars = f'{pods},container=~"interception|cleanup"'
    daemon_set = f'namespace="{namespace}",daemonset="{name}"'
    return (
        Alert(
            name="NodeLocalDnsAbsent",
            severity="critical",
            after="10m",
            expression=f"absent(up{{{job}}})",
            summary="No node-local DNS cache is scraped.",
            description="Prometheus finds no cache on any node, so none of the other alerts can fire.",
        ),
        Alert(
            name="NodeLocalDnsDown",
            severity="critical",
            after="5m",
            expression=f"up{{{job}}} == 0",
            summary="The DNS cache of {{ $labels.node }} does not answer.",
            description=(
                "The cache on {{ $labels.node }} cannot be scraped for five minutes: it is dead or hung. With socket "
                "rules its pods ask CoreDNS if it is dead; with upstream's rules, or if it hangs, they have no DNS."
            ),
        ),
        Alert(
            name="NodeLocalDnsUpstreamDown",
            severity="critical",
            after="5m",
            expression=f"sum by (node) (rate(coredns_forward_healthcheck_broken_total{{{job}}}[5m])) > 0",
            summary="A zone's upstreams are all unhealthy on {{ $labels.node }}.",
            description=(
                "The cache on {{ $labels.node }} finds every upstream of a zone unhealthy and asks one at random. "
                "Names that are not cached fail."
            ),
        ),
        Alert(
            name="NodeLocalDnsQueriesRejected",
            severity="critical",
            after="5m",
            expression=f"sum by (node) (rate(coredns_forward_max_concurrent_rejects_total{{{job}}}[5m])) > 0",
            summary="The DNS cache of {{ $labels.node }} refuses queries.",
            description=(
                "{{ $value | humanize }} queries/s are refused on {{ $labels.node }}: more wait for an upstream than "
                "corefile.maxConcurrent allows."
            ),
        ),
        Alert(
            name="NodeLocalDnsHung",
            severity="critical",
            after="5m",
            expression=f"sum by (node) (rate(coredns_health_request_failures_total{{{job}}}[5m])) > 0",
            summary="The DNS cache of {{ $labels.node }} does not answer itself.",
            description=(
                "The cache on {{ $labels.node }} asks its own health endpoint each second and gets no answer: it hangs "
                "or starves. A hung cache keeps its sockets, so the rules still send queries to it."
            ),
        ),
        Alert(
            name="NodeLocalDnsServfail",
            severity="critical",
            after="10m",
            expression=f"""\
                sum by (node, zone) (rate(coredns_dns_responses_total{{{job},rcode="SERVFAIL"}}[5m]))
                  / sum by (node, zone) (rate(coredns_dns_responses_total{{{job}}}[5m])) > 0.05
                and sum by (node, zone) (rate(coredns_dns_responses_total{{{job}}}[5m])) > 0.1
                """,
            summary="Queries for {{ $labels.zone }} fail on {{ $labels.node }}.",
            description=(
                "{{ $value | humanizePercentage }} of the answers for zone {{ $labels.zone }} on {{ $labels.node }} "
                "are SERVFAIL."
            ),
        ),
        Alert(
            name="NodeLocalDnsUnavailable",
            severity="warning",
            after="15m",
            expression=f"kube_daemonset_status_number_unavailable{{{daemon_set}}} > 0",
            summary="{{ $value }} nodes have no ready DNS cache.",
            description="The pods of these nodes ask CoreDNS directly: conntrack entries and load on CoreDNS are back.",
        ),
        Alert(
            name="NodeLocalDnsMissingOnNode",
            severity="warning",
            after="15m",
            # Nodes that run no DaemonSet of ours by design: Fargate, hybrid, Auto Mode, Windows.
            expression=f"""\
                kube_node_info{{node!~"(fargate|mi|i)-.+",os_image!~"Windows.+"}}
                  unless on (node) up{{{job}}}
                """,
            summary="{{ $labels.node }} has no DNS cache that Prometheus knows.",
            description="No cache is scraped on {{ $labels.node }}: none runs there, or it is not discovered.",
        ),
        Alert(
            name="NodeLocalDnsRolloutStuck",
            severity="warning",
            after="15m",
            expression=f"""\
                kube_daemonset_status_desired_number_scheduled{{{daemon_set}}}
                  - kube_daemonset_status_updated_number_scheduled{{{daemon_set}}} > 0
                and changes(kube_daemonset_status_updated_number_scheduled{{{daemon_set}}}[20m]) == 0
                """,
            summary="{{ $value }} nodes still run the DNS cache's former configuration.",
            description=(
                "The update has not moved for 20 minutes. It stops at the first pod that does not become ready, as a "
                "Corefile that CoreDNS refuses makes it."
            ),
        ),
        Alert(
            name="NodeLocalDnsRestarting",
            severity="warning",
            after="0m",
            # The kubelet's pause grows to five minutes: a shorter window would see one restart, two, and one again.
            expression=f"""\
                increase(kube_pod_container_status_restarts_total{{{cache}}}[30m]) > 2
                """,
            summary="{{ $labels.pod }} restarts again and again.",
            description=(
                "The cache has restarted {{ $value | humanize }} times in 30 minutes. Each restart loses the queries "
                "in flight; with upstream's rules, all queries until it is back."
            ),
        ),
        Alert(
            name="NodeLocalDnsOutOfMemory",
            severity="warning",
            after="0m",
            expression=f"""\
                kube_pod_container_status_last_terminated_reason{{{cache},reason="OOMKilled"}} == 1
                and on (namespace, pod, container)
                  increase(kube_pod_container_status_restarts_total{{{cache}}}[30m]) > 0
                """,
            summary="{{ $labels.pod }} was killed for its memory.",
            description=(
                "The limit is above what caches full of usual answers and a full queue of queries need: answers of "
                "very many records fill it, or something else grows."
            ),
        ),
        Alert(
            name="NodeLocalDnsMemoryNearLimit",
            severity="warning",
            after="10m",
            expression=f"process_resident_memory_bytes{{{job}}} > 0.9 * {memory_limit_mebibytes * 1024 * 1024}",
            summary="The DNS cache of {{ $labels.node }} is near its memory limit.",
            description=(
                f"It uses {{{{ $value | humanize1024 }}}}B of {memory_limit_mebibytes} MiB. The limit is above what "
                "caches full of usual answers need: a flood of queries, answers of very many records, or a leak."
            ),
        ),
        Alert(
            name="NodeLocalDnsSidecarRestarting",
            severity="warning",
            after="0m",
            expression=f"""\
                increase(kube_pod_init_container_status_restarts_total{{{sidecars}}}[30m]) > 2
                """,
            summary="The container {{ $labels.container }} of {{ $labels.pod }} restarts again and again.",
            description=(
                "{{ $labels.container }} has restarted {{ $value | humanize }} times in 30 minutes. Without "
                "`interception`, rules that somebody flushes stay away, and pods ask CoreDNS; without `cleanup`, an "
                "uninstall depends on `interception` alone to leave nothing behind."
            ),
        ),
        Alert(
            name="NodeLocalDnsNoSocketMatch",
            severity="warning",
            after="10m",
            expression=f"""\
                max by (node) (coredns_plugin_enabled{{{job},name="whoami",zone="{NO_SOCKET_MATCH_ZONE}."}}) == 1
                """,
            summary="The kernel of {{ $labels.node }} has no socket match.",
            description=(
                "Rules on {{ $labels.node }} follow the cache by watching it, not by packet: a killed cache costs its "
                "pods up to a second of DNS."
            ),
        ),
        Alert(
            name="NodeLocalDnsSetupErrors",
            severity="warning",
            after="10m",
            expression=f"""\
                max by (node, errortype) (rate(coredns_nodecache_setup_errors_total{{job="{name}"}}[5m])) > 0
                """,
            summary="The DNS cache of {{ $labels.node }} cannot set the node up.",
            description=(
                "node-cache reports errors of type {{ $labels.errortype }} on {{ $labels.node }}: its interface, or "
                "with upstream's rules its packet rules, may be missing."
            ),
        ),
        Alert(
            name="NodeLocalDnsNoQueries",
            severity="warning",
            after="15m",
            expression=f"""\
                up{{{job}}} == 1
                unless on (node) sum by (node) (rate(coredns_dns_requests_total{{{job}}}[15m])) > 0
                """,
            summary="Nobody asks the DNS cache of {{ $labels.node }}.",
            description=(
                "The cache on {{ $labels.node }} runs and has had no query for 15 minutes: the rules are missing, "
                "something translates Services before them, or no pod there uses DNS."
            ),
        ),
        Alert(
            name="NodeLocalDnsUpstreamUnhealthy",
            severity="warning",
            after="10m",
            expression=f"""\
                sum by (node, to) (rate(coredns_proxy_healthcheck_failures_total{{{job},proxy_name="forward"}}[5m])) > 0
                """,
            summary="{{ $labels.to }} does not answer the DNS cache of {{ $labels.node }}.",
            description="Health checks of {{ $labels.to }} fail from {{ $labels.node }}; others take its queries.",
        ),
        Alert(
            name="NodeLocalDnsUpstreamSlow",
            severity="warning",
            after="10m",
            expression=f"""\
                histogram_quantile(0.99,
                  sum by (to, le) (
                    rate(coredns_proxy_request_duration_seconds_bucket{{{job},proxy_name="forward"}}[5m])
                  )
                ) > 1
                """,
            summary="Upstream {{ $labels.to }} is slow.",
            description="One query in a hundred to {{ $labels.to }} takes {{ $value | humanizeDuration }} or longer.",
        ),
        Alert(
            name="NodeLocalDnsSlow",
            severity="warning",
            after="10m",
            expression=f"""\
                histogram_quantile(0.99,
                  sum by (node, le) (rate(coredns_dns_request_duration_seconds_bucket{{{job}}}[5m]))
                ) > 1
                """,
            summary="DNS is slow on {{ $labels.node }}.",
            description="One query in a hundred on {{ $labels.node }} takes {{ $value | humanizeDuration }} or longer.",
        ),
        Alert(
            name="NodeLocalDnsOverloaded",
            severity="warning",
            after="10m",
            expression=f"""\
                histogram_quantile(0.99,
                  sum by (node, le) (rate(coredns_health_request_duration_seconds_bucket{{{job}}}[5m]))
                ) > 1
                """,
            summary="The DNS cache of {{ $labels.node }} is starved.",
            description="The cache on {{ $labels.node }} needs more than a second to answer its own health request.",
        ),
        Alert(
            name="NodeLocalDnsPanics",
            severity="warning",
            after="0m",
            expression=f"sum by (node) (increase(coredns_panics_total{{{job}}}[15m])) > 0",
            summary="The DNS cache of {{ $labels.node }} panics.",
            description="CoreDNS on {{ $labels.node }} recovered from a programming error; that query got no answer.",
        ),
        Alert(
            name="NodeLocalDnsServesStale",
            severity="warning",
            after="5m",
            expression=f"sum by (node) (rate(coredns_cache_served_stale_total{{{job}}}[5m])) > 0",
            summary="The DNS cache of {{ $labels.node }} serves expired answers.",
            description="An upstream does not answer {{ $labels.node }}, so expired answers are served in its place.",
        ),
        Alert(
            name="NodeLocalDnsVpcResolverThrottled",
            severity="warning",
            after="5m",
            expression="rate(node_ethtool_linklocal_allowance_exceeded[5m]) > 0",
            summary="{{ $labels.instance }} loses packets to the VPC resolver.",
            description=(
                "The interface {{ $labels.device }} of {{ $labels.instance }} exceeds the 1024 packets/s that AWS "
                "allows to link-local services; queries for names outside the cluster time out."
            ),
        ),
        Alert(
            name="NodeLocalDnsVersionsMixed",
            severity="info",
            after="1h",
            expression=f"count(count by (version) (coredns_build_info{{{job}}})) > 1",
            summary="Nodes run {{ $value }} versions of the DNS cache.",
            description="An update of the image has not reached every node for an hour.",
        ),
        Alert(
            name="NodeLocalDnsLowHitRatio",
            severity="info",
            after="1h",
            expression=f"""\
                sum by (node) (rate(coredns_cache_misses_total{{{job}}}[30m]))
                  / sum by (node) (rate(coredns_cache_requests_total{{{job}}}[30m])) > 0.7
                and sum by (node) (rate(coredns_cache_requests_total{{{job}}}[30m])) > 5
                """,
            summary="The DNS cache of {{ $labels.node }} seldom knows the answer.",
            description="{{ $value | humanizePercentage }} of the queries on {{ $labels.node }} go to an upstream.",
        ),
        Alert(
            name="NodeLocalDnsCacheFull",
            severity="info",
            after="1h",
            expression=f"sum by (node, zones) (rate(coredns_cache_evictions_total{{{job}}}[15m])) > 1",
            summary="The cache of {{ $labels.zones }} is full on {{ $labels.node }}.",
            description="{{ $value | humanize }} answers/s are dropped before they expire to make room for others.",
        ),
    )


def prometheus_rule_spec(name: str, namespace: str, memory_limit_mebibytes: int, runbooks: str) -> dict[str, Any]:
    """Return the `spec` of the PrometheusRule, which is also a rule file of Prometheus; arguments as for `alerts`."""
    rules = [each.rule(runbooks) for each in alerts(name, namespace, memory_limit_mebibytes)]
    return {"groups": [{"name": name, "rules": rules}]}
