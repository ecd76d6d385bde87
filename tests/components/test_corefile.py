"""The Corefile model: what it renders and what it refuses."""

import re
from typing import Any

import pytest

from components.corefile import CorefileSettings, render

ADDRESSES = {"local_address": "127.0.0.53", "cluster_dns_ip": "127.0.0.54", "upstream_ip": "127.0.0.55"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"stubDomains": {"local": {"servers": ["10.0.0.2"]}}}, "covers names of the cluster domain"),
        ({"stubDomains": {"a.cluster.local": {"servers": ["10.0.0.2"]}}}, "covers names of the cluster domain"),
        ({"stubDomains": {"Corp.test.": {"servers": ["10.0.0.2"]}, "corp.test": {"servers": ["10.0.0.2"]}}}, "once"),
        ({"stubDomains": {"in-addr.arpa": {"servers": ["10.0.0.2"]}}}, "given once"),
        ({"stubDomains": {"corp.test": {"servers": ["dns.corp.test"]}}}, "not an IPv4 address"),
        ({"cluster": {"successTtl": 0}}, "greater than or equal to 1"),
        ({"external": {"denialCapacity": -1}}, "greater than or equal to 1024"),
        ({"extraPlugins": ["kubernetes cluster.local"]}, "not compiled into node-cache"),
        ({"extraPlugins": ["cache 30"]}, "already set"),
        ({"extraPlugins": ["bufsize 1232 }"]}, "more than one line"),
        ({"cluster": {"sucessTtl": 3}}, "Extra inputs"),
    ],
)
def test_bad_option_is_refused(settings: dict[str, Any], said: str) -> None:
    """Each option that would break DNS is refused with its reason."""
    with pytest.raises(ValueError, match=re.escape(said)):
        CorefileSettings.model_validate(settings)


@pytest.mark.parametrize("server", ["127.0.0.53", "127.0.0.54", "127.0.0.54:53"])
def test_cache_is_never_its_own_upstream(server: str) -> None:
    """An upstream that is one of the cache's own addresses is refused when both are known."""
    settings = CorefileSettings(upstream_servers=(server,))
    with pytest.raises(ValueError, match="the cache itself"):
        render(settings, **ADDRESSES)


def test_stale_answers_only_in_their_safe_form() -> None:
    """Serving stale answers turns off what CoreDNS 1.13.2 would serve instead of them."""
    text = render(CorefileSettings.model_validate({"external": {"serveStaleSeconds": 60}}), **ADDRESSES)
    assert "disable denial\n            servfail 0s\n            serve_stale 60s verify".replace(
        " ", ""
    ) in text.replace(" ", "").replace("servestale", "serve_stale")


def test_memory_bound_follows_the_sizes() -> None:
    """A larger cache has a larger bound, by at least three kilobytes an entry."""
    small = CorefileSettings()
    large = CorefileSettings.model_validate({"external": {"successCapacity": 109_984}})
    assert large.memory_bound_mebibytes() - small.memory_bound_mebibytes() >= 100_000 * 3000 // 2**20
