"""The Corefile model: what it renders and what it refuses."""

import re
from typing import Any

import pytest

from components.cache.cache_memory import (
    BYTES_PER_ANSWER,
    BYTES_PER_DENIAL,
    BYTES_PER_QUERY_IN_FLIGHT,
    MEBIBYTE,
    SMALLEST_CAPACITY,
)
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
    """An upstream that is one of the cache's own addresses is refused when both are known."""
    settings = CorefileSettings(upstream_servers=(server,))
    with pytest.raises(ValueError, match="the cache itself"):
        render(settings, **ADDRESSES)


def test_prefetching_is_turned_off_by_a_value() -> None:
    """Null, which a stack file can say and a program in another language cannot, is short for `enabled: false`."""
    default = render(CorefileSettings(), **ADDRESSES)
    off, short = (
        render(CorefileSettings.model_validate({"external": {"prefetch": said}}), **ADDRESSES)
        for said in ({"enabled": False}, None)
    )
    assert off == short
    assert off.count("prefetch ") == default.count("prefetch ") - 1


def test_stale_answers_only_in_their_safe_form() -> None:
    """Serving stale answers turns off what CoreDNS 1.13.2 would serve instead of them, and does not wait each time."""
    text = render(CorefileSettings.model_validate({"external": {"serveStaleSeconds": 60}}), **ADDRESSES)
    lines = [line.strip() for line in text.splitlines()]
    begin = lines.index("disable denial")
    assert lines[begin : begin + 3] == ["disable denial", "servfail 0s", "serve_stale 60s verify"]
    assert lines.count("failfast_all_unhealthy_upstreams") == 1


@pytest.mark.parametrize(
    ("changed", "more"),
    [
        ({"external": {"successCapacity": 109_984}}, 100_000 * BYTES_PER_ANSWER),
        ({"external": {"denialCapacity": 109_984}}, 100_000 * BYTES_PER_DENIAL),
        ({"reverse": {"successCapacity": 11_024}}, 2 * 10_000 * BYTES_PER_ANSWER),
        ({"maxConcurrent": 2000}, 4 * 1000 * BYTES_PER_QUERY_IN_FLIGHT),
        ({"rewrites": [{"source": "a.test", "target": "b.test"}]}, 1000 * BYTES_PER_QUERY_IN_FLIGHT),
        ({"external": {"serveStaleSeconds": 60}}, (SMALLEST_CAPACITY - 9984) * BYTES_PER_DENIAL),
        (
            {"stubDomains": {"corp.test": {"servers": ["10.0.0.2"]}}},
            9984 * (BYTES_PER_ANSWER + BYTES_PER_DENIAL) + 1000 * BYTES_PER_QUERY_IN_FLIGHT,
        ),
    ],
)
def test_memory_bound_follows_the_sizes(changed: dict[str, Any], more: int) -> None:
    """Every answer, denial and waiting query that a setting allows is in the memory limit, at its measured size."""
    limit = CorefileSettings.model_validate(changed).memory_bound_mebibytes()
    assert abs(limit - CorefileSettings().memory_bound_mebibytes() - more / MEBIBYTE) <= 1
