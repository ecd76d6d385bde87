import contextlib
import sys
from collections.abc import Callable, Iterator

import pytest
from probing import LOCAL, findings, installation, named

from components.cache.interception import INTERFACE, Interception
from components.cache.node_local_dns import NodeLocalDnsSettings, manifests
from lab import scenarios
from lab.kubelet import Pod
from lab.node import BRANCH_POD, CLUSTER_DNS, CORE_DNS, NODE, PLAIN_POD, UPSTREAM, Node, worker_node
from tools import locate
from verify.findings import Verdict
from verify.questions import Client

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

OTHER_GATEWAY = "10.0.3.1"
"""Stands for another node: no DNS, no metrics and no health there."""


@contextlib.contextmanager
def node_with_cache(interception: Interception = "socket", upstream: str = UPSTREAM) -> Iterator[tuple[Node, Pod]]:
    """Make a node on which the cache runs, asking CoreDNS or somebody else."""
    settings = NodeLocalDnsSettings(interception=interception)
    with worker_node("standard") as node:
        pod = Pod(node, manifests(settings, cluster_dns_ip=CLUSTER_DNS, upstream_ip=upstream), "cache")
        pod.start()
        yield node, pod


def iptables(node: Node, *rule: str) -> None:
    """Run iptables on the node."""
    node.host.run(node.iptables(), *rule)


def test_killed_cache_leaves_what_is_named() -> None:
    """What a killed cache leaves on a node is named there where none is installed any more."""
    with node_with_cache("upstream") as (node, pod):
        pod.crash()
        assert list(named(findings(node, None))) == ["nothing is left behind"]


@pytest.mark.parametrize("upstream", ["172.20.99.99", NODE])
def test_corefile_that_asks_nobody_is_named_once(upstream: str) -> None:
    """A Corefile that asks an address nobody has, or one that refuses, is the cluster's fault and no node's."""
    with node_with_cache(upstream=upstream) as (node, _):
        assert named(findings(node, installation(), broken_corefile=True)) == {}
        assert named(findings(node, installation())) != {}


def test_lost_question_is_told_and_no_failure() -> None:
    """A packet that is lost once is told, and fails nothing."""
    with node_with_cache() as (node, _):
        for address in (LOCAL, CLUSTER_DNS):
            iptables(node, "-I", "INPUT", "-d", address, "-p", "udp", "--dport", "53",
                     "-m", "statistic", "--mode", "nth", "--every", "10000", "--packet", "0", "-j", "DROP")  # fmt: skip
        found = findings(node, installation())
    assert named(found) == {}
    assert any("questions had a reply only when asked a second time" in each.evidence for each in found)


def test_node_without_the_pod_is_named() -> None:
    """A node on which the installed cache does not run is named as that."""
    with worker_node("standard") as node:
        assert list(named(findings(node, installation()))) == ["cache runs"]


def test_port_taken_by_another_is_named() -> None:
    """Somebody on port 53 of every address keeps the cache from starting, and is what is wrong."""
    with worker_node("standard") as node:
        corefile = node.directory / "other.corefile"
        corefile.write_text(".:53 {\n  template ANY ANY {\n    rcode REFUSED\n  }\n}\n")
        with (node.directory / "other.log").open("wb") as log:
            node.host.start((locate("node-cache-stand-in"), "-conf", corefile), log)
        scenarios.wait_for("the other", lambda: ":53" in node.host.run("ss", "-Hlun"))
        assert list(named(findings(node, installation()))) == ["port 53 is free"]


def _drop(node: Node, pod: Pod) -> None:
    pod.crash("interception")
    iptables(node, "-t", "nat", "-D", "POSTROUTING", "-s", CLUSTER_DNS, "!", "-o", "lo", "-j", "MASQUERADE",
             "-m", "comment", "--comment", "node-local-dns")  # fmt: skip


def _twice(node: Node, pod: Pod) -> None:
    pod.crash("interception")
    iptables(node, "-t", "filter", "-I", "INPUT", "-d", LOCAL, "-p", "udp", "--dport", "53", "-j", "ACCEPT",
             "-m", "comment", "--comment", "node-local-dns")  # fmt: skip


def _bypass(node: Node, _pod: Pod) -> None:
    iptables(node, "-t", "raw", "-I", "PREROUTING", "-d", CLUSTER_DNS, "-j", "ACCEPT")


def _tcp_hangs(node: Node, _pod: Pod) -> None:
    iptables(node, "-I", "INPUT", "-p", "tcp", "--dport", "53", "-j", "DROP")


def _policy(node: Node, _pod: Pod) -> None:
    iptables(node, "-I", "INPUT", "-s", PLAIN_POD, "-d", LOCAL, "-j", "DROP")


def _branch_policy(node: Node, _pod: Pod) -> None:
    iptables(node, "-I", "INPUT", "-s", BRANCH_POD, "-j", "DROP")


def _collision(node: Node, _pod: Pod) -> None:
    node.host.ip(f"addr add {LOCAL}/32 dev eth0")


def _no_address(node: Node, _pod: Pod) -> None:
    node.host.ip(f"addr del {CLUSTER_DNS}/32 dev {INTERFACE}", f"addr add {CLUSTER_DNS}/32 dev lo")


def _no_route(node: Node, _pod: Pod) -> None:
    node.host.ip(f"route del local {LOCAL} dev {INTERFACE} table local")


def _core_dns_without_tcp(node: Node, _pod: Pod) -> None:
    node.router.run(locate("iptables"), "-I", "FORWARD", "-p", "tcp", "-d", CORE_DNS, "-j", "DROP")


@pytest.mark.parametrize(
    ("breaks", "check"),
    [
        (_drop, ["packet rules are there"]),
        (_twice, ["no rule twice"]),
        (_bypass, ["cache answers pods"]),
        (_tcp_hangs, ["UDP and TCP alike"]),
        (_policy, ["pods may reach the cache"]),
        (_branch_policy, ["pods may reach the cache"]),
        (_collision, ["addresses are free"]),
        (_no_address, ["cache's addresses", "addresses are free"]),
        (_no_route, ["cache's addresses"]),
        (_core_dns_without_tcp, ["CoreDNS and the resolver answer"]),
    ],
)
def test_failure_is_named_by_its_check(breaks: Callable[[Node, Pod], None], check: list[str]) -> None:
    """What is broken is named by the check meant for it, and by no other."""
    with node_with_cache() as (node, pod):
        breaks(node, pod)
        assert list(named(findings(node, installation()))) == check


def test_resolver_that_is_the_cache_is_named() -> None:
    """A node whose resolver is the cache itself is named, though the cache has not noticed yet."""
    with node_with_cache() as (node, _):
        assert list(named(findings(node, installation(), nameserver=LOCAL))) == [
            "resolver is not the cache", "pods ask the ClusterIP first",
        ]  # fmt: skip


def test_dns_off_the_node_is_named() -> None:
    """Another node that answers DNS on its own address is named."""
    with node_with_cache() as (node, _):
        assert list(named(findings(node, installation(), neighbour=CORE_DNS))) == ["DNS stays on the node"]


HEALTH = """
import http.server
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"OK")
http.server.HTTPServer(("", 8080), Health).serve_forever()
"""


def test_health_off_the_node_is_named() -> None:
    """Another node whose cache answers for its health on the node's address is named."""
    with node_with_cache() as (node, _):
        with (node.directory / "health.log").open("wb") as log:
            node.router.start((sys.executable, "-c", HEALTH), log)
        scenarios.wait_for("the other's health", lambda: ":8080" in node.router.run("ss", "-Hltn"))
        wrong = named(findings(node, installation(), neighbour=OTHER_GATEWAY))
    assert list(wrong) == ["DNS stays on the node"]
    assert "health at port 8080" in wrong["DNS stays on the node"]


def test_metrics_that_are_cut_off_are_named() -> None:
    """Metrics that another node's security group keeps from pods are named; a port on which nobody listens is not."""
    with node_with_cache() as (node, _):
        assert named(findings(node, installation(), neighbour=OTHER_GATEWAY)) == {}
        node.router.run(locate("iptables"), "-A", "INPUT", "-p", "tcp", "--dport", "9253", "-j", "DROP")
        wrong = named(findings(node, installation(), neighbour=OTHER_GATEWAY))
    assert list(wrong) == ["metrics are reachable"]


def test_metrics_of_the_node_alone_are_named() -> None:
    """Metrics that the node itself has and its pods do not are named."""
    with node_with_cache() as (node, _):
        iptables(node, "-I", "INPUT", "-s", PLAIN_POD, "-p", "tcp", "--dport", "9253", "-j", "REJECT")
        assert list(named(findings(node, installation()))) == ["metrics are reachable"]


def test_probe_that_is_missing_is_no_verdict() -> None:
    """Without a probe behind a security group, its checks cannot tell, and the others can."""
    clients: tuple[Client, ...] = ("node", "plain")
    with node_with_cache() as (node, _):
        found = findings(node, installation(), *clients)
    assert [each.check for each in found if each.verdict is Verdict.UNKNOWN] == ["security group lets DNS through"]
    assert named(found) == {}
