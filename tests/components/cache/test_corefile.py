"""The Corefile model: what it renders and what it refuses."""

import re
from pathlib import Path
from typing import Any

import pytest

from components.cache.corefile import CorefileSettings, render, zone_name

ADDRESSES = {"local_address": "127.0.0.53", "cluster_dns_ip": "127.0.0.54", "upstream_ip": "127.0.0.55"}


TAKEN = {
    "cluster.local": "the cluster's own domain",
    "in-addr.arpa": "the cache's reverse zone",
    "ip6.arpa": "the cache's reverse zone",
    "node-local-dns.invalid": "the zone that proves the path through the cache",
    "no-socket-match.node-local-dns.invalid": "the zone that shows the kernel's lack of the socket match",
}
"""Zones that are in every Corefile."""


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
        *(({"stubDomains": {zone: {"servers": ["10.0.0.2"]}}}, f"is {what}; a zone can be given once")
          for zone, what in TAKEN.items()),
        *(({"clusterDomain": zone}, f"clusterDomain {zone} is a zone the cache has already")
          for zone in TAKEN if zone != "cluster.local"),
        ({"stubDomains": {"corp.test": {"servers": []}}}, "at least 1 item"),
        ({"stubDomains": {"corp.test": {"servers": ["10.0.0.2"] * 16}}}, "at most 15 items"),
        ({"upstreamServers": ["10.0.0.2"] * 16}, "at most 15 items"),
        ({"upstreamServers": ["10.0.0.2:0"]}, "'10.0.0.2:0' is not an IPv4 address with an optional port"),
        ({"upstreamServers": ["10.0.0.2:65536"]}, "not an IPv4 address"),
        ({"upstreamServers": ["10.0.0.2:٣"]}, "not an IPv4 address"),
        ({"upstreamServers": ["10.0.0.2:-1"]}, "not an IPv4 address"),
        ({"upstreamServers": ["10.0.0.256"]}, "not an IPv4 address"),
        ({"upstreamServers": ["::1"]}, "not an IPv4 address"),
        ({"upstreamServers": ["10.0.0.2", "resolver"]}, "'resolver' is not an IPv4 address"),
        ({"rewrites": [{"source": "a..test", "target": "b.test"}]}, "'a..test' is not a DNS zone"),
        ({"rewrites": [{"source": "a.test", "target": ""}]}, "'' is not a DNS zone"),
        ({"rewrites": [{"source": "A.test", "target": "b.test"}, {"source": "a.test.", "target": "c.test"}]},
         "a source is given twice"),
        ({"rewrites": [{"source": "a.node-local-dns.invalid", "target": "b.test"}]}, "answered before any rewrite"),
        ({"rewrites": [{"source": "b.test", "target": "node-local-dns.invalid"}]}, "answered before any rewrite"),
    ],
)  # fmt: skip
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


EVERY_SETTING = {
    "clusterDomain": "k8s.example.org",
    "clusterForceTcp": False,
    "upstreamServers": ["10.0.0.2", "10.0.0.3:5353"],
    "log": True,
    "maxConcurrent": 10,
    "extraPlugins": ["bufsize 1232", "pprof"],
    "cluster": {
        "successCapacity": 1024, "successTtl": 1, "denialCapacity": 1025, "denialTtl": 2, "prefetch": None,
    },
    "reverse": {
        "successCapacity": 2000, "successTtl": 3600, "denialCapacity": 2001, "denialTtl": 3599,
        "prefetch": {"amount": 1, "durationSeconds": 2, "percentage": 90},
    },
    "external": {"serveStaleSeconds": 60},
    "stubDomains": {
        "corp.test": {"servers": ["10.0.1.2", "10.0.1.3"], "forceTcp": True, "cache": {"successTtl": 7}},
        "EU.corp.test.": {"servers": ["10.0.1.4"]},
    },
    "rewrites": [
        {"source": "db.example.com", "target": "db.prod.svc.k8s.example.org"},
        {"source": "also-db.example.com", "target": "db.prod.svc.k8s.example.org"},
        {"source": "Old.example.com.", "target": "new.example.com"},
        {"source": "x.eu.corp.test", "target": "y.corp.test"},
    ],
}  # fmt: skip


@pytest.mark.parametrize(("settings", "name"), [({}, "default"), (EVERY_SETTING, "every-setting")])
def test_the_whole_corefile(settings: dict[str, Any], name: str) -> None:
    """What node-cache reads, in full: with the settings as they are, and with each of them away from its default."""
    model = CorefileSettings.model_validate(settings)
    text = render(
        model, local_address="169.254.20.10", cluster_dns_ip="172.20.0.10", upstream_ip="172.20.9.9",
        import_glob="" if settings else "/run/node-local-dns/*.corefile",
    )  # fmt: skip
    assert text == Path(__file__).with_name(f"{name}.corefile").read_text()


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


LABEL = "a" * 63
LONGEST = ".".join([LABEL, LABEL, LABEL, "a" * 61])
"""253 characters, which is what a name can have (RFC 1035)."""


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("corp.example.com", "corp.example.com"), ("Corp.Example.COM.", "corp.example.com"),
        (" corp.test ", "corp.test"), ("a", "a"), ("_msdcs.corp.test", "_msdcs.corp.test"), ("a-b_c.9", "a-b_c.9"),
        (LABEL, LABEL), (LONGEST, LONGEST),
    ],
)  # fmt: skip
def test_zones_are_spelt_in_one_way(written: str, meant: str) -> None:
    """Lower case, no dot at the end."""
    assert zone_name(written) == meant


@pytest.mark.parametrize(
    "written",
    ["", ".", " ", "a..b", ".a", "-a", "a-", "a.-b", "a b", "a/b", "a*", "{", "a\nb", "ä.test", f"{LABEL}a",
     f"{LONGEST}a"],
)  # fmt: skip
def test_what_is_no_zone_is_refused(written: str) -> None:
    """What CoreDNS would refuse, with all of its configuration, or read as something else."""
    with pytest.raises(ValueError, match=f"^{re.escape(repr(written))} is not a DNS zone"):
        zone_name(written)


@pytest.mark.parametrize(
    "settings",
    [
        *({"external": {key: number}}
          for key in ("successTtl", "denialTtl") for number in (1, 3600)),
        *({"external": {key: number}}
          for key in ("successCapacity", "denialCapacity") for number in (1024, 1_000_000)),
        *({"external": {"serveStaleSeconds": number}} for number in (0, 1, 86_400)),
        *({"external": {"prefetch": {key: number}}}
          for key, numbers in (("amount", (1, 1_000_000)), ("durationSeconds", (1, 3600)), ("percentage", (10, 90)))
          for number in numbers),
        *({"maxConcurrent": number} for number in (10, 100_000)),
        {"upstreamServers": ["10.0.0.2"] * 15},
        {"upstreamServers": ["10.0.0.2:1", "10.0.0.2:65535"]},
        {"stubDomains": {"corp.test": {"servers": ["10.0.0.2"] * 15}}},
        # Names that only look like part of another zone.
        {"stubDomains": {"xcluster.local": {"servers": ["10.0.0.2"]}}},
        {"stubDomains": {"r.local": {"servers": ["10.0.0.2"]}}},
        {"stubDomains": {"10.in-addr.arpa": {"servers": ["10.0.0.2"]}}},
        {"rewrites": [{"source": "xnode-local-dns.invalid", "target": "ynode-local-dns.invalid"}]},
        {"rewrites": [{"source": "a.test", "target": "c.test"}, {"source": "b.test", "target": "c.test"}]},
    ],
    ids=str,
)  # fmt: skip
def test_the_last_value_that_is_taken(settings: dict[str, Any]) -> None:
    """What is just inside a bound is accepted."""
    CorefileSettings.model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "bound"),
    [
        *(({"external": {key: number}}, bound)
          for key in ("successTtl", "denialTtl") for number, bound in ((0, "equal to 1"), (3601, "equal to 3600"))),
        *(({"external": {key: number}}, bound)
          for key in ("successCapacity", "denialCapacity")
          for number, bound in ((1023, "equal to 1024"), (1_000_001, "equal to 1000000"))),
        *(({"external": {"serveStaleSeconds": number}}, bound)
          for number, bound in ((-1, "equal to 0"), (86_401, "equal to 86400"))),
        *(({"external": {"prefetch": {key: number}}}, bound)
          for key, number, bound in (
              ("amount", 0, "equal to 1"), ("amount", 1_000_001, "equal to 1000000"),
              ("durationSeconds", 0, "equal to 1"), ("durationSeconds", 3601, "equal to 3600"),
              ("percentage", 9, "equal to 10"), ("percentage", 91, "equal to 90"),
          )),
        *(({"maxConcurrent": number}, bound) for number, bound in ((9, "equal to 10"), (100_001, "equal to 100000"))),
    ],
    ids=str,
)  # fmt: skip
def test_the_first_value_that_is_refused(settings: dict[str, Any], bound: str) -> None:
    """What is just outside a bound is not accepted."""
    with pytest.raises(ValueError, match=bound):
        CorefileSettings.model_validate(settings)


@pytest.mark.parametrize(
    ("zone", "changed"),
    [(0, "cluster"), (1, "reverse"), (2, "reverse"), (3, "external"), (4, "corp.test")],
)
def test_every_zone_has_its_own_cache(zone: int, changed: str) -> None:
    """The caches in the order of the zones, the reverse zones' settings being one."""
    cache = {"successTtl": 17}
    stub = {"corp.test": {"servers": ["10.0.0.2"], **({"cache": cache} if changed == "corp.test" else {})}}
    values = {"stubDomains": stub, **({} if changed == "corp.test" else {changed: cache})}
    ttls = [each.success_ttl for each in CorefileSettings.model_validate(values).caches()]
    assert len(ttls) == 5
    assert ttls[zone] == 17
    assert ttls.count(17) == (2 if changed == "reverse" else 1)
