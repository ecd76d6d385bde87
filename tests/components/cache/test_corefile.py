"""The Corefile model: what it renders and what it refuses."""

import re
from typing import Any

import pytest

from components.cache.corefile import CorefileSettings, render

ADDRESSES = {"local_address": "127.0.0.53", "cluster_dns_ip": "127.0.0.54", "upstream_ip": "127.0.0.55"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"stubDomains": {"local": {"servers": ["10.0.0.2"]}}}, "covers names of the cluster domain"),
        ({"stubDomains": {"a.cluster.local": {"servers": ["10.0.0.2"]}}}, "covers names of the cluster domain"),
        ({"stubDomains": {"Corp.test.": {"servers": ["10.0.0.2"]}, "corp.test": {"servers": ["10.0.0.2"]}}}, "once"),
        ({"stubDomains": {"in-addr.arpa": {"servers": ["10.0.0.2"]}}}, "given once"),
        ({"stubDomains": {"corp.test": {"servers": ["dns.corp.test"]}}}, "not an IPv4 address"),
        ({"stubDomains": {"corp.test": {"servers": ["10.0.0.2:"]}}}, "not an IPv4 address"),
        ({"upstreamServers": ["10.0.0.2:5_3"]}, "not an IPv4 address"),
        ({"clusterDomain": "in-addr.arpa"}, "given once"),
        ({"rewrites": [{"source": "a.test", "target": "b.test"}] * 2}, "given twice"),
        ({"rewrites": [{"source": "node-local-dns.invalid", "target": "b.test"}]}, "answered before any rewrite"),
        ({"rewrites": [{"source": "b.test", "target": "a.node-local-dns.invalid"}]}, "answered before any rewrite"),
        ({"cluster": {"successTtl": 0}}, "greater than or equal to 1"),
        ({"external": {"denialCapacity": -1}}, "greater than or equal to 1024"),
        ({"external": {"prefetch": {"durationSeconds": 10**12}}}, "less than or equal to 3600"),
        ({"external": {"prefetch": {"amount": 10**19}}}, "less than or equal to 1000000"),
        ({"external": {"prefetch": {"percentage": 9}}}, "greater than or equal to 10"),
        ({"extraPlugins": ["pprof", "pprof"]}, "given twice"),
        ({"extraPlugins": ["bufsize 1232", "bufsize 512"]}, "given twice"),
        ({"cluster": {"sucessTtl": 3}}, "Extra inputs"),
    ],
)
def test_bad_option_is_refused(settings: dict[str, Any], said: str) -> None:
    """Each option that would break DNS is refused with its reason."""
    with pytest.raises(ValueError, match=re.escape(said)):
        CorefileSettings.model_validate(settings)


@pytest.mark.parametrize(
    "directive",
    [
        "", " ", "kubernetes cluster.local", "cache 30", "bufsize", "bufsize lots", "bufsize 100", "bufsize 511",
        "bufsize 4097", "bufsize 1232 }", "bufsize 1232\n", "bufsize 1232\r", "bufsize {$SIZE}", "timeouts", "template",
        "template IN A", "rewrite stop", 'loadbalance "round_robin', "loadbalance weighted /file", "hosts", "reload",
        "dns64", "debug", "pprof 0.0.0.0:6053", "trace", "whoami", "import /etc/*",
    ],
)  # fmt: skip
def test_plugin_that_is_not_on_the_list_is_refused(directive: str) -> None:
    """A plugin that would not start, would take names away or reach into other zones is refused, with the list."""
    with pytest.raises(ValueError, match="Use one of: bufsize 1232, loadbalance round_robin, pprof, template IN AAAA"):
        CorefileSettings.model_validate({"extraPlugins": [directive]})


@pytest.mark.parametrize("size", [512, 519, 520, 599, 600, 999, 1000, 3999, 4000, 4089, 4090, 4096])
def test_every_size_that_coredns_takes_is_accepted(size: int) -> None:
    """The pattern for `bufsize` is the range from 512 to 4096."""
    CorefileSettings(extra_plugins=(f"bufsize {size}",))


@pytest.mark.parametrize("server", ["127.0.0.53", "127.0.0.54", "127.0.0.54:53"])
def test_cache_is_never_its_own_upstream(server: str) -> None:
    """An upstream that is one of the cache's own addresses is refused, whichever setting names it."""
    stub = {"corp.test": {"servers": ["10.0.0.2", server]}}
    for key, settings in (
        ("upstreamServers", {"upstreamServers": ["10.0.0.2", server]}),
        ("stubDomains.corp.test", {"stubDomains": stub}),
    ):
        with pytest.raises(ValueError, match=f"^{key}: {re.escape(server)} is the address of the cache itself"):
            render(CorefileSettings.model_validate(settings), **ADDRESSES)


@pytest.mark.parametrize("own", ["127.0.0.53", "127.0.0.54"])
def test_cache_never_takes_itself_for_coredns(own: str) -> None:
    """An address of kube-dns-upstream that is one of the cache's own is refused; each other is taken."""
    with pytest.raises(ValueError, match=f"^kube-dns-upstream: {re.escape(own)} is the address of the cache itself"):
        render(CorefileSettings(), **{**ADDRESSES, "upstream_ip": own})
    assert "forward . 127.0.0.52 {" in render(CorefileSettings(), **{**ADDRESSES, "upstream_ip": "127.0.0.52"})


def test_stale_answers_only_in_their_safe_form() -> None:
    """Serving stale answers turns off what CoreDNS 1.13.2 would serve instead of them, and does not wait each time."""
    text = render(CorefileSettings.model_validate({"external": {"serveStaleSeconds": 60}}), **ADDRESSES)
    lines = [line.strip() for line in text.splitlines()]
    begin = lines.index("disable denial")
    assert lines[begin : begin + 3] == ["disable denial", "servfail 0s", "serve_stale 60s verify"]
    assert lines.count("failfast_all_unhealthy_upstreams") == 1


ANSWER, DENIAL, WAITING = 7_200, 1_500, 32_768
"""Bytes: what docs/benchmark.md measured (up to 6,067 an answer, 1,296 a denial, in caches of the default size or more;
25 kB a query that waits), and room beyond."""


@pytest.mark.parametrize(
    ("changed", "more"),
    [
        ({"external": {"successCapacity": 109_984}}, 100_000 * ANSWER),
        ({"external": {"denialCapacity": 109_984}}, 100_000 * DENIAL),
        ({"reverse": {"successCapacity": 11_024}}, 2 * 10_000 * ANSWER),
        ({"maxConcurrent": 2000}, 4 * 1000 * WAITING),
        ({"rewrites": [{"source": "a.test", "target": "b.test"}]}, 1000 * WAITING),
        ({"external": {"serveStaleSeconds": 60}}, (1024 - 9984) * DENIAL),
        (
            {"stubDomains": {"corp.test": {"servers": ["10.0.0.2"]}}},
            9984 * (ANSWER + DENIAL) + 1000 * WAITING,
        ),
    ],
)
def test_memory_bound_follows_the_sizes(changed: dict[str, Any], more: int) -> None:
    """Every answer, denial and waiting query that a setting allows is in the memory limit, at its measured size."""
    limit = CorefileSettings.model_validate(changed).memory_bound_mebibytes()
    assert abs(limit - CorefileSettings().memory_bound_mebibytes() - more / 2**20) <= 1
