"""Rendered Corefiles in CoreDNS 1.13.2 itself, on loopback: accepted, and answering from where they should."""

import copy
import os
import re
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.cache.alerts import alerts
from components.cache.corefile import EXTRA_PLUGINS, CorefileSettings, render
from components.cache.dashboard import dashboard
from tools import locate

pytestmark = pytest.mark.needs("node-cache-stand-in")

OWN, CLUSTER_DNS, UPSTREAMS = (f"127.{os.getpid() % 200 + 20}.53.{last}" for last in (1, 2, 3))
FROM_ELSEWHERE = {
    "up": "Prometheus itself",
    "kube_node_info": "kube-state-metrics",
    "kube_daemonset_status_number_unavailable": "kube-state-metrics",
    "kube_daemonset_status_desired_number_scheduled": "kube-state-metrics",
    "kube_daemonset_status_updated_number_scheduled": "kube-state-metrics",
    "kube_pod_container_status_restarts_total": "kube-state-metrics",
    "kube_pod_container_status_last_terminated_reason": "kube-state-metrics",
    "kube_pod_init_container_status_restarts_total": "kube-state-metrics",
    "node_ethtool_linklocal_allowance_exceeded": "node-exporter with its ethtool collector",
    "coredns_nodecache_setup_errors_total": "node-cache (kubernetes/dns, cmd/node-cache/app/metrics.go)",
    # Counters with labels appear with their first event; these names are from CoreDNS 1.13.2's plugin/cache.
    "coredns_cache_evictions_total": "CoreDNS, once a cache is full",
    "coredns_cache_prefetch_total": "CoreDNS, once a name is refreshed early",
    "coredns_cache_served_stale_total": "CoreDNS, once an expired answer is served",
}
"""Metrics that no healthy CoreDNS shows, and where each comes from."""


class Upstream:
    """A DNS server on UDP and TCP that answers with its own mark, and names with `missing` with NXDOMAIN.

    An answer's TTL is thirty seconds, or what the name begins with: `ttl-1.example.com`.
    """

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self.asked: list[tuple[str, str, str]] = []
        """Protocol, type and name of each question that came."""

        self.silent = False
        """Whether it is there and says nothing."""

    def answer(self, protocol: str, wire: bytes) -> bytes | None:
        """Return the answer to a question; none while silent."""
        query = dns.message.from_wire(wire)
        [question] = query.question
        self.asked.append((protocol, dns.rdatatype.to_text(question.rdtype), question.name.to_text()))
        answer = dns.message.make_response(query)
        name = question.name
        own = re.match(r"ttl-(\d+)\.", name.to_text())
        ttl = int(own[1]) if own else 30
        if "missing" in name.to_text():
            answer.set_rcode(dns.rcode.NXDOMAIN)
            answer.authority.append(dns.rrset.from_text(name.parent(), ttl, "IN", "SOA", f". . 1 1 1 1 {ttl}"))
        elif question.rdtype == dns.rdatatype.A:
            answer.answer.append(dns.rrset.from_text(name, ttl, "IN", "A", self.mark))
        elif question.rdtype == dns.rdatatype.PTR:
            answer.answer.append(dns.rrset.from_text(name, ttl, "IN", "PTR", f"by.{self.mark}."))
        return None if self.silent else answer.to_wire()


@contextmanager
def listening(upstream: Upstream, *, tcp: bool = True) -> Iterator[str]:
    """Run an upstream; yield its address with its port. Without `tcp` that port refuses connections."""

    class Udp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            wire, client = self.request
            answer = upstream.answer("udp", wire)
            if answer is not None:
                client.sendto(answer, self.client_address)

    class Tcp(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while length := self.rfile.read(2):  # the cache keeps its connection
                answer = upstream.answer("tcp", self.rfile.read(int.from_bytes(length)))
                if answer is not None:
                    self.wfile.write(len(answer).to_bytes(2) + answer)

    class TcpServer(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with ExitStack() as stack:
        udp = stack.enter_context(socketserver.ThreadingUDPServer((UPSTREAMS, 0), Udp))
        # No connection leaves from this address, so a port that is free for one protocol is free for the other.
        both: list[socketserver.BaseServer] = [udp]
        if tcp:
            both.append(stack.enter_context(TcpServer(udp.server_address, Tcp)))
        for server in both:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
        yield f"{udp.server_address[0]}:{udp.server_address[1]}"


CLUSTER, OUTSIDE, STUB, SECOND = "1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"
"""Marks of the upstreams: CoreDNS, everything else's, and the two servers that a stub domain may have."""


class Cache:
    """A running CoreDNS."""

    def __init__(self, port: int, upstreams: dict[str, Upstream]) -> None:
        self.port = port
        self.upstreams = upstreams

    def ask(self, name: str, kind: str = "A", seconds: float = 8) -> dns.message.Message:
        """Return the answer over UDP."""
        return dns.query.udp(dns.message.make_query(name, kind), CLUSTER_DNS, port=self.port, timeout=seconds)

    def address(self, name: str) -> str:
        """Return the address that is answered, which says who answered."""
        answer = self.ask(name)
        assert answer.rcode() == dns.rcode.NOERROR, answer
        return str(next(iter(answer.answer[0])))

    def metric(self, name: str, labels: str = "") -> float:
        """Return the sum of a metric's samples whose labels contain `labels`."""
        text = httpx.get(f"http://{OWN}:9253/metrics").text
        found = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
        return sum(float(value) for each, value in found if labels in each)


@contextmanager
def running(directory: Path, values: dict[str, Any], *, tcp: bool = True) -> Iterator[Cache]:
    """Start CoreDNS with the Corefile of these settings; servers they name become the upstreams, in their order."""
    with ExitStack() as stack:
        upstreams = {mark: Upstream(mark) for mark in (CLUSTER, OUTSIDE, STUB, SECOND)}
        at = {mark: stack.enter_context(listening(each, tcp=tcp)) for mark, each in upstreams.items()}
        values = copy.deepcopy(values)
        for domain in values.get("stubDomains", {}).values():
            domain["servers"] = [at[STUB], at[SECOND]][: len(domain["servers"])]
        if values.get("upstreamServers"):
            values["upstreamServers"] = [at[OUTSIDE]]
        model = CorefileSettings.model_validate(values)
        text = render(model, local_address=OWN, cluster_dns_ip=CLUSTER_DNS, upstream_ip=at[CLUSTER])
        with socketserver.UDPServer((CLUSTER_DNS, 0), socketserver.BaseRequestHandler) as probe:
            port = probe.server_address[1]
        text = text.replace(":53 {", f":{port} {{").replace("/etc/resolv.conf", at[OUTSIDE])
        text = text.replace("prometheus :9253", f"prometheus {OWN}:9253")
        (directory / "Corefile").write_text(text)
        log = stack.enter_context((directory / "log").open("w"))
        process = subprocess.Popen(
            [locate("node-cache-stand-in"), "-conf", directory / "Corefile"],
            env={**os.environ, "NODE_NAME": "this-node"}, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 30
            while f":{port} on {CLUSTER_DNS}" not in (directory / "log").read_text():
                assert process.poll() is None, (directory / "log").read_text() + text
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield Cache(port, upstreams)
        finally:
            process.kill()
            process.wait()


CORP = {"corp.test": {"servers": ["10.0.0.2"]}}
EACH = [
    {},
    {"clusterDomain": "k8s.example.org"},
    {"clusterForceTcp": False},
    {"cluster": {"serveStaleSeconds": 60}},
    {"external": {"prefetch": {"amount": 1, "durationSeconds": 3600, "percentage": 10}}},
    {"external": {"prefetch": {"amount": 1_000_000, "durationSeconds": 1, "percentage": 90}}},
    {"external": {"prefetch": None}},
    {"external": {"successTtl": 1, "denialTtl": 1, "successCapacity": 1024, "denialCapacity": 1024}},
    {"reverse": {"successTtl": 3600, "denialTtl": 3600, "successCapacity": 20_000, "denialCapacity": 20_000}},
    {"upstreamServers": ["10.0.0.2"]},
    {"maxConcurrent": 10},
    {"log": True},
    *({"extraPlugins": [each]} for each in EXTRA_PLUGINS),
    {"extraPlugins": ["bufsize 512"]},
    {"extraPlugins": ["bufsize 4096"]},
    {"stubDomains": CORP},
    {"stubDomains": {"corp.test": {"servers": ["10.0.0.2"], "forceTcp": True}}},
    {"stubDomains": {"corp.test": {"servers": ["10.0.0.2", "10.0.0.3"]}}},
    {"rewrites": [{"source": "old.example.com", "target": "new.example.com"}]},
]


def _is_tcp_only(cache: Cache, mark: str) -> bool:
    """Say whether an upstream, which was asked, was asked over TCP only, or else over UDP only."""
    protocols = {protocol for protocol, _, name in cache.upstreams[mark].asked if name != "."}
    assert len(protocols) == 1, protocols
    return protocols == {"tcp"}


def _resolves_what_it_should(cache: Cache, values: dict[str, Any]) -> None:
    domain = values.get("clusterDomain", "cluster.local")
    assert cache.address(f"api.default.svc.{domain}") == CLUSTER
    assert cache.ask(f"missing.default.svc.{domain}").rcode() == dns.rcode.NXDOMAIN
    for name in ("1.0.0.172.in-addr.arpa", f"{'0.' * 31}f.ip6.arpa"):
        assert str(cache.ask(name, "PTR").answer[0][0]) == f"by.{CLUSTER}."
    assert _is_tcp_only(cache, CLUSTER) is values.get("clusterForceTcp", True)
    assert cache.address("example.com") == OUTSIDE
    assert cache.ask("missing.example.com").rcode() == dns.rcode.NXDOMAIN
    assert not _is_tcp_only(cache, OUTSIDE)
    ipv6 = cache.ask("example.com", "AAAA")
    assert (ipv6.rcode(), ipv6.answer) == (dns.rcode.NOERROR, [])
    asked = any(kind == "AAAA" for _, kind, _ in cache.upstreams[OUTSIDE].asked)
    assert asked is ("template IN AAAA" not in values.get("extraPlugins", ()))
    assert '"this-node"' in str(cache.ask("node-local-dns.invalid", "TXT").answer[0])
    for each in values.get("rewrites", ()):
        assert cache.address(each["source"]) == _who_knows(each["target"], domain)
    for zone, stub in values.get("stubDomains", {}).items():
        found = {cache.address(f"host-{number}.{zone}") for number in range(12)}
        assert found <= {STUB, SECOND}
        if len(stub["servers"]) == 1:
            assert found == {STUB}
            assert _is_tcp_only(cache, STUB) is stub.get("forceTcp", False)


def _who_knows(name: str, cluster_domain: str) -> str:
    known = {cluster_domain: CLUSTER, "corp.test": STUB}
    return next((mark for zone, mark in known.items() if name.endswith(f".{zone}")), OUTSIDE)


@pytest.mark.parametrize("values", EACH, ids=str)
def test_each_option_is_accepted_and_resolves(tmp_path: Path, values: dict[str, Any]) -> None:
    """With every option alone, each kind of name is answered by whom it should be, over the protocol it should be."""
    with running(tmp_path, values) as cache:
        _resolves_what_it_should(cache, values)


def test_every_server_of_a_stub_domain_is_asked(tmp_path: Path) -> None:
    """Of several servers each gets questions."""
    values = {"stubDomains": {"corp.test": {"servers": ["10.0.0.2", "10.0.0.3"]}}}
    with running(tmp_path, values) as cache:
        # Each question goes to one of them at random: all 40 to the same in one run of 2^39.
        assert {cache.address(f"host-{number}.corp.test") for number in range(40)} == {STUB, SECOND}


CACHES = st.fixed_dictionaries({
    "successTtl": st.integers(1, 3600), "denialTtl": st.integers(1, 3600), "successCapacity": st.integers(1024, 20_000),
    "denialCapacity": st.integers(1024, 20_000), "serveStaleSeconds": st.sampled_from([0, 0, 60]),
    "prefetch": st.sampled_from([None, {"percentage": 90}]),
})  # fmt: skip
EXTRA = st.one_of(st.integers(512, 4096).map(lambda size: f"bufsize {size}"), st.sampled_from(list(EXTRA_PLUGINS)))
COMBINATIONS = st.fixed_dictionaries({
    "clusterDomain": st.sampled_from(["cluster.local", "k8s.example.org"]), "clusterForceTcp": st.booleans(),
    "upstreamServers": st.sampled_from([[], ["10.0.0.2"]]),
    "cluster": CACHES, "reverse": CACHES, "external": CACHES, "log": st.booleans(),
    "maxConcurrent": st.integers(10, 100_000),
    "extraPlugins": st.lists(EXTRA, unique_by=lambda each: each.split()[0]),
    "rewrites": st.lists(st.sampled_from([
        {"source": "a.example.com", "target": "a.default.svc.cluster.local"},
        {"source": "b.default.svc.cluster.local", "target": "b.example.com"},
        {"source": "c.example.com", "target": "d.example.com"},
        {"source": "e.corp.test", "target": "f.example.com"},
    ]), unique_by=lambda each: each["source"]),
    "stubDomains": st.dictionaries(
        st.sampled_from(["corp.test", "eu.corp.test", "10.in-addr.arpa"]),
        st.fixed_dictionaries({"servers": st.just(["10.0.0.2"]), "forceTcp": st.just(value=False), "cache": CACHES})),
})  # fmt: skip


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(COMBINATIONS)
def test_combinations_are_accepted_and_resolve(tmp_path: Path, values: dict[str, Any]) -> None:
    """What holds for each option holds for any combination."""
    with running(tmp_path, values) as cache:
        _resolves_what_it_should(cache, values)


@pytest.mark.parametrize(
    ("source", "target", "answered_by"),
    [
        ("db.example.com", "db.prod.svc.cluster.local", CLUSTER),
        ("old.default.svc.cluster.local", "db.example.com", OUTSIDE),
        ("db.example.com", "db.corp.test", STUB),
        ("old.example.com", "new.example.com", OUTSIDE),
    ],
)
def test_a_rewritten_name_is_asked_where_its_target_is_known(
    tmp_path: Path, source: str, target: str, answered_by: str
) -> None:
    """A rewrite from one zone to a name of another asks the other zone's upstream."""
    values = {
        "rewrites": [{"source": source, "target": target}],
        "stubDomains": CORP,
    }
    with running(tmp_path, values) as cache:
        assert cache.address(source) == answered_by


def test_an_upstream_that_refuses_is_not_asked_without_end(tmp_path: Path) -> None:
    """A query whose upstream refuses every connection fails after ten of them, not after thousands."""
    misses = ("coredns_proxy_conn_cache_misses_total", 'proto="tcp"')
    with running(tmp_path, {}, tcp=False) as cache:
        before = cache.metric(*misses)
        assert cache.ask("api.default.svc.cluster.local").rcode() == dns.rcode.SERVFAIL
        # The loop plugin asks a question of its own in each cluster zone, at any time within its first half minute.
        assert cache.metric(*misses) - before in {10, 20, 30, 40}


def test_an_answer_is_kept_for_as_long_as_the_settings_say(tmp_path: Path) -> None:
    """By its own TTL, and never longer than the setting; a short one for five seconds, if the setting lets it."""
    kept = {
        30: {60: 30, 31: 30, 30: 30, 29: 29, 6: 6, 5: 5, 4: 5, 0: 5},
        5: {6: 5, 4: 5},
        4: {60: 4, 5: 4, 4: 4, 3: 4},
        1: {60: 1, 0: 1},
    }
    kinds = {
        "answers": lambda ttl: {"successTtl": ttl, "denialTtl": 100},
        "missing": lambda ttl: {"successTtl": 100, "denialTtl": ttl},
        # Told, and not kept.
        "stale-missing": lambda ttl: {"successTtl": 100, "denialTtl": ttl, "serveStaleSeconds": 60},
    }
    domains = {f"{kind}-{most}.test": {"servers": ["10.0.0.2"], "cache": cache(most)}
               for kind, cache in kinds.items() for most in kept}  # fmt: skip
    told: dict[str, dict[int, dict[int, int]]] = {}
    with running(tmp_path, {"stubDomains": domains}) as cache:
        for kind in kinds:
            told[kind] = {most: {} for most in kept}
            for most, own in [(most, own) for most, each in kept.items() for own in each]:
                answer = cache.ask(f"ttl-{own}.{kind}-{most}.test")
                # What it says is what it keeps: CoreDNS tells the first who asks as well.
                [record] = answer.answer + answer.authority
                told[kind][most][own] = record.ttl
    assert told == dict.fromkeys(kinds, kept)


EXPIRED = 2.5
"""Seconds after which CoreDNS, which counts in whole ones, takes an answer with a TTL of one for expired."""


def test_expired_answers_are_served_while_the_upstream_is_silent(tmp_path: Path) -> None:
    """The first to ask waits for the upstream; once it is known to be dead nobody does. Nothing is invented."""
    values = {"external": {"successTtl": 1, "serveStaleSeconds": 600, "prefetch": None}}
    with running(tmp_path, values) as cache:
        assert cache.address("example.com") == OUTSIDE
        time.sleep(EXPIRED)
        cache.upstreams[OUTSIDE].silent = True

        def served() -> float:
            begun = time.monotonic()
            assert str(cache.ask("example.com", seconds=20).answer[0][0]) == OUTSIDE
            return time.monotonic() - begun

        first = served()
        while cache.metric("coredns_forward_healthcheck_broken_total") == 0:
            served()
        assert served() < first / 4
        assert cache.metric("coredns_cache_served_stale_total") >= 2
        assert cache.ask("never-asked.example.com", seconds=20).rcode() == dns.rcode.SERVFAIL


def test_nothing_expired_is_served_unless_it_is_wanted(tmp_path: Path) -> None:
    """By default a name whose upstream is silent fails when its TTL is over."""
    with running(tmp_path, {"external": {"successTtl": 1, "prefetch": None}}) as cache:
        assert cache.address("example.com") == OUTSIDE
        time.sleep(EXPIRED)
        cache.upstreams[OUTSIDE].silent = True
        assert cache.ask("example.com", seconds=20).rcode() == dns.rcode.SERVFAIL


def test_every_metric_that_is_used_is_one_that_coredns_has(tmp_path: Path) -> None:
    """No alert or panel looks at a metric that does not exist, and what comes from elsewhere is listed."""
    used = " ".join(each.expression for each in alerts("node-local-dns", "kube-system", 300))
    used += " ".join(target["expr"] for panel in dashboard("j")["panels"] for target in panel["targets"])
    names = {re.sub("_bucket$", "", each) for each in re.findall(r"\b((?:\w+_)?\w+)\{", used)}
    names |= set(re.findall(r"(node_ethtool_\w+)", used))
    with running(tmp_path, {"stubDomains": CORP}) as cache:
        for _ in range(2):
            _resolves_what_it_should(cache, {})
        text = httpx.get(f"http://{OWN}:9253/metrics").text
    exposed = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    on_failure = {"coredns_proxy_healthcheck_failures_total"}  # appears with the first failed check
    assert names - exposed - on_failure == FROM_ELSEWHERE.keys() & names
    assert FROM_ELSEWHERE.keys() <= names
