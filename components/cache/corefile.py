"""The Corefile of the node's DNS cache as a typed model, and its text.

Only plugins that node-cache 1.26.8 (CoreDNS 1.13.2) has compiled in can appear.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator
from textwrap import indent
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from components.cache.cache_memory import SMALLEST_CAPACITY, memory_bound_mebibytes
from components.setting import Setting

MARKER_ZONE = "node-local-dns.invalid"
"""Zone only the cache answers: a TXT query for it returns the node's name, so the path is provable."""

NO_SOCKET_MATCH_ZONE = f"no-socket-match.{MARKER_ZONE}"
"""Zone that exists only on nodes whose kernel lacks the socket match; its metric is what an alert sees."""

HEALTH_PORT = 8080
METRICS_PORT = 9253
SETUP_METRICS_PORT = 9353

MAX_CONNECT_ATTEMPTS = 10
"""Connections a query may try in vain. CoreDNS 1.13.2 by default tries until the query is 5 s old, thousands of times
where connections are refused at once (coredns#7723). The upstream of the cluster's names is a Service: each connection
may reach another of its pods, and while half of them are gone one query in a thousand finds none."""

EXTRA_PLUGINS = {
    "bufsize 1232": re.compile(r"bufsize (51[2-9]|5[2-9]\d|[6-9]\d\d|[1-3]\d{3}|40[0-8]\d|409[0-6])"),
    "loadbalance round_robin": re.compile(r"loadbalance round_robin"),
    "pprof": re.compile(r"pprof"),
    "template IN AAAA": re.compile(r"template IN AAAA"),
}
"""What may be added to the zone `.`, by an example: each does something in one line, and nothing to other zones.

`bufsize` (512 to 4096) caps UDP answers, `loadbalance` shuffles addresses, `pprof` serves profiles on the node's
localhost:6053, `template IN AAAA` answers that no name outside the cluster has an IPv6 address. What else node-cache
1.26.8 compiles in has a setting of its own, needs a block, or takes other names' answers away.
"""

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")

Ttl = Annotated[int, Field(ge=1, le=3600)]
Capacity = Annotated[int, Field(ge=SMALLEST_CAPACITY, le=1_000_000)]


def zone_name(value: str) -> str:
    """Return a DNS zone in its canonical spelling: lower case, no dot at the end. Raises `ValueError`."""
    name = value.strip().lower().rstrip(".")
    if len(name) not in range(1, 254) or not all(_LABEL.fullmatch(label) for label in name.split(".")):  # RFC 1035
        raise ValueError(
            f"{value!r} is not a DNS zone; the cache would refuse its whole configuration. "
            "Write it like corp.example.com."
        )
    return name


class Prefetch(Setting):
    """Refreshing popular names before they expire, so that nobody waits for them."""

    enabled: bool = True
    """Whether they are refreshed."""

    amount: Annotated[int, Field(ge=1, le=1_000_000)] = 5
    """Queries within `durationSeconds` that make a name popular."""

    duration_seconds: Annotated[int, Field(ge=1, le=3600)] = 60
    """Seconds over which they are counted. A name is not cached for more than an hour, so no more make sense."""

    percentage: Annotated[int, Field(ge=10, le=90)] = 10
    """Remaining share of the TTL, in percent, below which the name is refreshed; CoreDNS takes 10 to 90."""


def _off_if_null(value: object) -> object:
    """Return what null stands for in a stack file. From a program in another language null does not arrive."""
    return {"enabled": False} if value is None else value


class CacheSettings(Setting):
    """One zone's cache."""

    success_capacity: Capacity = 9984
    """Answers kept (entries). CoreDNS takes any smaller number for 1024, so the memory limit, which counts 7 kB for
    each, would be wrong. Default: official manifest."""

    success_ttl: Ttl = 30
    """Seconds an answer is kept at most; one whose own TTL is less than five seconds is kept for five, or for this if
    that is less. CoreDNS does not start with 0; 1 is as good as no cache. Default: official manifest."""

    denial_capacity: Capacity = 9984
    """Denials (NXDOMAIN, NODATA) kept (entries, 1.5 kB each); CoreDNS takes any smaller number for 1024."""

    denial_ttl: Ttl = 5
    """Seconds a denial is kept at most; one whose own TTL is less than five seconds is kept for five, or for this if
    that is less. CoreDNS does not start with 0. Longer breaks what polls DNS for a new name (kubernetes#74092)."""

    prefetch: Annotated[Prefetch, BeforeValidator(_off_if_null)] = Prefetch()
    """Refresh popular names before they expire; null in a stack file: not enabled. Default: measured, see
    docs/benchmark.md."""

    serve_stale_seconds: Annotated[int, Field(ge=0, le=86_400)] = 0
    """Seconds past its TTL for which an answer may be served while the upstream is down; 0: never.

    Denials and failures are then not cached in this zone: CoreDNS 1.13.2 looks stale denials up before
    good answers and would serve them instead. When an upstream falls silent, whoever asks in the first six seconds
    waits for them, longer than most resolver libraries do; once its health check has failed, expired answers come
    at once, and what is not cached fails at once.
    """

    def lines(self) -> Iterator[str]:
        """Yield the `cache` block."""
        yield "cache {"
        yield f"    success {self.success_capacity} {self.success_ttl}"
        # Also of a denial that is not kept: it is the TTL that whoever asks is told at most.
        yield f"    denial {self.denial_capacity} {self.denial_ttl}"
        if self.serve_stale_seconds:
            yield "    disable denial"
            yield "    servfail 0s"
            yield f"    serve_stale {self.serve_stale_seconds}s verify"
        if self.prefetch.enabled:
            each = self.prefetch
            yield f"    prefetch {each.amount} {each.duration_seconds}s {each.percentage}%"
        yield "}"


class ReverseCacheSettings(CacheSettings):
    """A reverse zone's cache: as any other, and smaller, since few ask which name an address has."""

    success_capacity: Capacity = SMALLEST_CAPACITY
    """Answers kept (entries, 7 kB each); CoreDNS takes any smaller number for 1024."""

    denial_capacity: Capacity = SMALLEST_CAPACITY
    """Denials (NXDOMAIN, NODATA) kept (entries, 1.5 kB each); CoreDNS takes any smaller number for 1024."""


class StubDomain(Setting):
    """A domain that servers of your own answer, such as an on-premises Active Directory."""

    servers: Annotated[tuple[str, ...], Field(min_length=1, max_length=15)]
    """IP addresses (with `:port` if it is not 53) of the servers; CoreDNS takes at most 15."""

    force_tcp: bool = False
    """Ask them over TCP only."""

    cache: CacheSettings = CacheSettings()
    """The domain's own cache."""

    @field_validator("servers")
    @classmethod
    def _addresses(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        for server in servers:
            _server_address(server)
        return servers


def _server_address(server: str) -> str:
    host, _, port = server.partition(":")
    try:
        address = ipaddress.IPv4Address(host)
        if ":" in server and not (port.isascii() and port.isdigit() and int(port) in range(1, 2**16)):
            raise ValueError  # noqa: TRY301  # one message for every way it can be wrong
    except ValueError:
        raise ValueError(
            f"{server!r} is not an IPv4 address with an optional port; a name cannot be resolved before DNS "
            "works. Write it like 10.0.0.2 or 10.0.0.2:5353."
        ) from None
    return str(address)


class Rewrite(Setting):
    """A name answered as if another had been asked for."""

    source: str
    """The name that is asked."""

    target: str
    """The name that is looked up; the answer carries `source` again."""

    @field_validator("source", "target")
    @classmethod
    def _name(cls, value: str) -> str:
        return zone_name(value)


class CorefileSettings(Setting):
    """What the node's cache answers, from where, and for how long."""

    cluster_domain: str = "cluster.local"
    """The cluster's DNS domain; EKS has only cluster.local."""

    cluster: CacheSettings = CacheSettings()
    """Cache of the cluster's own names."""

    reverse: ReverseCacheSettings = ReverseCacheSettings()
    """Cache of each reverse zone (in-addr.arpa, ip6.arpa)."""

    external: CacheSettings = CacheSettings()
    """Cache of every other name."""

    upstream_servers: Annotated[tuple[str, ...], Field(max_length=15)] = ()
    """Resolvers for every other name; empty: those of the node's /etc/resolv.conf (the VPC resolver)."""

    cluster_force_tcp: bool = True
    """Ask CoreDNS over TCP, which needs no conntrack entry that can outlive it. Default: official manifest."""

    max_concurrent: Annotated[int, Field(ge=10, le=100_000)] = 1000
    """Queries a zone may have waiting for its upstream; more are refused rather than filling the memory, of which the
    limit has 32 kB for each. Ten at least: the cache asks as well, for loops, when it starts."""

    stub_domains: dict[str, StubDomain] = {}
    """Domains answered by servers of your own."""

    rewrites: tuple[Rewrite, ...] = ()
    """Names answered as if others had been asked for, of any zone."""

    log: bool = False
    """Log every query: for minutes of debugging, not for good."""

    extra_plugins: tuple[str, ...] = ()
    """Further plugins for the zone `.`: `bufsize` with a size from 512 to 4096 bytes, `loadbalance round_robin`,
    `pprof`, `template IN AAAA` (no name outside the cluster has an IPv6 address)."""

    @field_validator("cluster_domain")
    @classmethod
    def _cluster_domain(cls, value: str) -> str:
        return zone_name(value)

    @field_validator("upstream_servers")
    @classmethod
    def _upstreams(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        for server in servers:
            _server_address(server)
        return servers

    @field_validator("extra_plugins")
    @classmethod
    def _plugins(cls, directives: tuple[str, ...]) -> tuple[str, ...]:
        for directive in directives:
            if not any(pattern.fullmatch(directive) for pattern in EXTRA_PLUGINS.values()):
                raise ValueError(
                    f"{directive!r} is no plugin that can be added: node-cache would not start with it, or would "
                    "answer for other names, or it has a setting of its own. Use one of: "
                    f"{', '.join(EXTRA_PLUGINS)}; bufsize takes 512 to 4096."
                )
        names = [directive.partition(" ")[0] for directive in directives]
        if len(set(names)) < len(names):
            raise ValueError(
                "a plugin is given twice; only one of the two would hold, and nobody sees which. Remove one of them."
            )
        return directives

    @model_validator(mode="after")
    def _zones(self) -> Self:
        taken = {
            self.cluster_domain: "the cluster's own domain",
            "in-addr.arpa": "the cache's reverse zone",
            "ip6.arpa": "the cache's reverse zone",
            MARKER_ZONE: "the zone that proves the path through the cache",
            NO_SOCKET_MATCH_ZONE: "the zone that shows the kernel's lack of the socket match",
        }
        if len(taken) < 5:  # noqa: PLR2004  # as many as are written above
            raise ValueError(
                f"clusterDomain {self.cluster_domain} is a zone the cache has already; a zone can be given once, and "
                "node-cache would not start. On EKS it is cluster.local."
            )
        sources = [each.source for each in self.rewrites]
        if len(set(sources)) < len(sources):
            raise ValueError("rewrites: a source is given twice; only the first would ever hold. Remove one of them.")
        for name in (name for each in self.rewrites for name in (each.source, each.target)):
            if f".{name}".endswith(f".{MARKER_ZONE}"):
                raise ValueError(
                    f"rewrites: {name} belongs to the zone that proves the path through the cache, which is answered "
                    "before any rewrite; it would do nothing. Choose another name."
                )
        for written in self.stub_domains:
            zone = zone_name(written)
            if zone in taken:
                raise ValueError(
                    f"the stub domain {written!r} is {taken[zone]}; a zone can be given once, and node-cache would "
                    "not start. Remove it from stubDomains."
                )
            if self.cluster_domain.endswith(f".{zone}") or zone.endswith(f".{self.cluster_domain}"):
                raise ValueError(
                    f"the stub domain {written!r} covers names of the cluster domain {self.cluster_domain}; pods "
                    "would lose Services. Choose a domain outside it."
                )
            taken[zone] = "a stub domain already"
        return self

    def caches(self) -> Iterator[CacheSettings]:
        """Yield the cache of every zone."""
        yield from (self.cluster, self.reverse, self.reverse, self.external)
        yield from (stub.cache for stub in self.stub_domains.values())

    def memory_bound_mebibytes(self) -> int:
        """Return the memory limit, in MiB, that follows from the sizes: see `components.cache.cache_memory`."""
        caches = list(self.caches())
        return memory_bound_mebibytes(
            (cache.success_capacity for cache in caches),
            (0 if cache.serve_stale_seconds else cache.denial_capacity for cache in caches),
            # A rewrite to another zone's name has a forward of its own.
            (len(caches) + len(self.rewrites)) * self.max_concurrent,
        )


def refuse_loops(settings: CorefileSettings, own_addresses: tuple[str, ...], upstream_ip: str | None = None) -> None:
    """Raise `ValueError` when any upstream is the cache itself; `upstream_ip` is absent while it is not known."""
    asked = {"upstreamServers": settings.upstream_servers}
    asked |= {"kube-dns-upstream": (upstream_ip,)} if upstream_ip else {}
    asked |= {f"stubDomains.{zone}": stub.servers for zone, stub in settings.stub_domains.items()}
    for key, servers in asked.items():
        for server in servers:
            if _server_address(server) in own_addresses:
                raise ValueError(
                    f"{key}: {server} is the address of the cache itself; it would ask itself until it stops. "
                    "Name the server that knows the answer."
                )


def _owner(name: str, zones: Iterable[str]) -> str:
    """Return the most specific of the zones that holds a name; `.` holds every name."""
    return max((each for each in zones if each == "." or f".{name}".endswith(f".{each}")), key=len)


def _block(zone: str, lines: list[str]) -> str:
    inside = indent("\n".join(lines), "    ")
    return f"{zone}:53 {{\n{inside}\n}}\n"


def render(
    settings: CorefileSettings, *, local_address: str, cluster_dns_ip: str, upstream_ip: str, import_glob: str = ""
) -> str:
    """Return the Corefile: the node's cache on its two addresses, asking CoreDNS at `upstream_ip`.

    `import_glob` names files to include that may not exist. Raises `ValueError` for an upstream that is the
    cache itself.
    """
    refuse_loops(settings, (local_address, cluster_dns_ip), upstream_ip)
    bind = f"bind {local_address} {cluster_dns_ip}"
    metrics = f"prometheus :{METRICS_PORT}"

    tcp = settings.cluster_force_tcp
    external = " ".join(settings.upstream_servers) or "/etc/resolv.conf"
    upstreams = dict.fromkeys((settings.cluster_domain, "in-addr.arpa", "ip6.arpa"), (upstream_ip, tcp))
    upstreams |= {
        zone_name(zone): (" ".join(stub.servers), stub.force_tcp) for zone, stub in settings.stub_domains.items()
    }
    upstreams["."] = (external, False)

    def forwarding(
        zone: str, cache: CacheSettings, servers: str, *, force_tcp: bool, first: bool = False, more: bool = False
    ) -> str:
        lines = ["errors"]
        if settings.log:
            lines.append("log")
        rewrites = [each for each in settings.rewrites if _owner(each.source, upstreams) == zone]
        lines += [f"rewrite name exact {each.source} {each.target} answer auto" for each in rewrites]
        if more:
            lines += settings.extra_plugins
        lines += [*cache.lines(), "loop", bind]
        # CoreDNS does not hand a rewritten name to another zone's block: it is asked here, of that zone's upstream.
        elsewhere = {each.target: upstreams[_owner(each.target, upstreams)] for each in rewrites}
        asked = {name: of for name, of in elsewhere.items() if of != (servers, force_tcp)}
        for name, (of, tcp_only) in {**asked, ".": (servers, force_tcp)}.items():
            lines += [f"forward {name} {of} {{"]
            lines += ["    force_tcp"] if tcp_only else []
            lines += [f"    max_concurrent {settings.max_concurrent}"]
            lines += [f"    max_connect_attempts {MAX_CONNECT_ATTEMPTS}"]
            # Otherwise each question waits for an upstream known to be dead before it gets the answer kept for this.
            lines += ["    failfast_all_unhealthy_upstreams"] if cache.serve_stale_seconds else []
            lines.append("}")
        lines.append(metrics)
        if first:
            lines.append(f"health {local_address}:{HEALTH_PORT}")
        return _block(zone, lines)

    blocks = [forwarding(settings.cluster_domain, settings.cluster, upstream_ip, force_tcp=tcp, first=True)]
    blocks += [forwarding(zone, settings.reverse, upstream_ip, force_tcp=tcp) for zone in ("in-addr.arpa", "ip6.arpa")]
    blocks += [
        forwarding(zone_name(zone), stub.cache, " ".join(stub.servers), force_tcp=stub.force_tcp)
        for zone, stub in sorted(settings.stub_domains.items())
    ]
    blocks.append(forwarding(".", settings.external, external, force_tcp=False, more=True))
    marker = [
        "errors",
        bind,
        metrics,
        f"template IN TXT {MARKER_ZONE} {{",
        '    answer "{{ .Name }} 0 IN TXT \\"{$NODE_NAME}\\""',
        "}",
    ]
    blocks.append(_block(MARKER_ZONE, marker))
    if import_glob:
        blocks.append(f"import {import_glob}\n")
    return "".join(blocks)


def no_socket_match_zone(local_address: str, cluster_dns_ip: str) -> str:
    """Return what the Corefile has in addition where the kernel lacks the socket match: a zone for its metric."""
    bind = f"bind {local_address} {cluster_dns_ip}"
    return _block(NO_SOCKET_MATCH_ZONE, [bind, f"prometheus :{METRICS_PORT}", "whoami"])
