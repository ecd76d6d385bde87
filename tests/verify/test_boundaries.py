"""Every check of verify at its boundary: the last view that is well, and the first that is not."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from broken_clusters import (
    another_checksum,
    born_strict,
    changed,
    healthy,
    strict_on_a_node,
    switched,
    with_cni,
    with_container,
    with_corefile,
    with_strategy,
    wrong,
)
from broken_nodes import NODE, NXDOMAIN, SERVFAIL, SILENCE, UPSTREAM, Broken, odd
from reports import CLUSTER, LOCAL, REFUSED, recorded

from verify.cluster_checks import CLUSTER_CHECKS
from verify.cluster_facts import ClusterFacts
from verify.findings import Verdict
from verify.node_checks import NODE_CHECKS
from verify.questions import Addresses

Change = Callable[[Broken], object]
MASQUERADE = f"*nat\n-A POSTROUTING -s {CLUSTER}/32 ! -o lo -m comment --comment node-local-dns -j MASQUERADE\n"
LIMIT = 30 * 2**20
"""Bytes: the limit of memory in these tests."""


def text(name: str, change: Callable[[str], str], client: Any = "node") -> Change:
    """Return what changes a text of a report."""
    return lambda node: node.text(name, change, client)


def added(name: str, line: str, client: Any = "node") -> Change:
    """Return what adds a line to a text of a report."""
    return text(name, lambda old: f"{old.rstrip()}\n{line}\n", client)


def without(name: str, pattern: str) -> Change:
    """Return what takes the lines with a pattern out of a text."""
    return text(
        name, lambda old: "".join(each for each in old.splitlines(keepends=True) if not re.search(pattern, each))
    )


def answered(client: Any, pattern: str, reply: str) -> Change:
    """Return what changes answers."""
    return lambda node: node.answer(client, pattern, reply)


def both(*changes: Change) -> Change:
    """Return all of some changes."""

    def apply(node: Broken) -> None:
        for each in changes:
            each(node)

    return apply


def in_milliseconds(client: Any, pattern: str, took: int) -> Change:
    """Return what lets answers take so long."""
    return lambda node: node.replies(client, pattern, lambda old: old.replace("time: 1 msec", f"time: {took} msec"))


def slow_cache(took: int) -> Change:
    """Return what lets a pod's answers of the cache take so long."""
    return in_milliseconds("plain", "(cluster|local)-", took)


def memory(used: int) -> Change:
    """Return what lets the cache use so many bytes."""

    def apply(node: Broken) -> None:
        assert node.installation is not None
        node.installation = node.installation._replace(memory_limit_bytes=LIMIT)
        node.text("metrics", lambda old: re.sub(r"(resident_memory_bytes) \S+", rf"\1 {used}", old))

    return apply


def asked_twice(count: int) -> Change:
    """Return what lets so many of the 56 questions have their reply only the second time."""

    def apply(node: Broken) -> None:
        replies = [each for document in node.documents.values() for each in document["questions"].values()]
        assert len(replies) == 56
        answering = [each for each in replies if each["text"] not in {REFUSED, SILENCE}]
        for each in answering[:count]:
            each["first"] = SILENCE

    return apply


def events(*said: str) -> Change:
    """Return what lets the kubelet say something of the cache's pod."""
    return lambda node: node.more.update(events=said)


def nothing_there(node: Broken) -> None:
    """Let nothing of the cache be there, but its pod."""
    node.gone()


def uninstalled(node: Broken) -> None:
    """Let nothing of a cache be there, where none is installed."""
    node.asked(Addresses(CLUSTER))
    node.gone()
    node.installation, node.pods = None, []


def unreachable(error: str, code: int = 28) -> Change:
    """Return what lets a pod's request to another node's metrics end with an error of curl."""
    return lambda node: node.unseen("far_metrics", "plain", exit=code, error=error)


WITHOUT_ONE_SOCKET = both(without("tcp", rf"{re.escape(LOCAL)}:53"), *(
    answered(each, "local-tcp", REFUSED) for each in ("node", "plain", "branch")
))  # fmt: skip

NODE_BOUNDARIES: dict[str, tuple[list[Change], list[Change]]] = {
    "port 53 is free": (
        [added("udp", "UNCONN 0 0 0.0.0.0:54 0.0.0.0:*"), added("tcp", "LISTEN 0 9 10.0.1.10:53 0.0.0.0:*")],
        [added("udp", "UNCONN 0 0 *:53 *:*"), added("tcp", "LISTEN 0 9 [::]:53 [::]:*")],
    ),
    "rules are written without lock errors": (
        [
            added("metrics", 'coredns_nodecache_setup_errors_total{errortype="iptables_lock"} 0'),
            added("metrics", 'coredns_nodecache_setup_errors_total{errortype="iptables"} 1'),
            events("FailedMount no such file"),
        ],
        [
            added("metrics", 'coredns_nodecache_setup_errors_total{errortype="iptables_lock"} 1'),
            events("FailedMount /run/xtables.lock is not a file"),
        ],
    ),
    "cache runs": (
        [lambda node: node.pods.clear(), lambda node: setattr(node, "pods", None)],
        [nothing_there, both(nothing_there, lambda node: setattr(node, "pods", None))],
    ),
    "cache listens": (
        [without("tcp", ":9253"), without("tcp", ":8080")],
        [WITHOUT_ONE_SOCKET, lambda node: node.dead()],
    ),
    "cache's addresses": (
        [added("addresses", "7: nodelocaldns    inet 169.254.20.11/32 scope global nodelocaldns")],
        [
            without("addresses", rf"inet {re.escape(CLUSTER)}/"),
            without("addresses", rf"inet {re.escape(LOCAL)}/"),
            without("routes", f"local {re.escape(CLUSTER)} "),
            text("routes", lambda old: old.replace(f"local {LOCAL} ", f"{LOCAL} ")),
            text("routes", lambda old: old.replace(f"local {LOCAL} dev nodelocaldns", f"local {LOCAL} dev lo")),
        ],
    ),
    "packet rules are there": (
        [added("nft", f"-A PREROUTING -d {LOCAL}/32 -p udp -m udp --dport 5353 -j NOTRACK")],
        [
            text("nft", lambda old: old.replace("-m socket ", "", 1)),
            text("nft", lambda old: old.replace("--dst-type LOCAL", "--dst-type UNICAST", 1)),
            text("nft", lambda old: old.replace("! -o lo", "-o lo", 1)),
            text("nft", lambda old: old.replace("*filter", "*mangle", 1)),
        ],
    ),
    "no rule twice": (
        [added("nft", f"-A KUBE-SERVICES -d {CLUSTER}/32 -p tcp -m tcp --dport 54 -j KUBE-SVC-X")],
        [
            text("nft", lambda old: re.sub(r"(-A POSTROUTING [^\n]*\n)", r"\1\1", old, count=1)),
            text("legacy", lambda _: MASQUERADE),
        ],
    ),
    "addresses are free": (
        [
            added("addresses", "2: eth0    inet 169.254.20.11/32 scope global eth0"),
            added("routes", "169.254.20.11 dev eth0 scope link"),
            added("routes", f"blackhole {LOCAL}"),
        ],
        [
            added("addresses", f"2: eth0    inet {LOCAL}/32 scope global eth0"),
            added("addresses", f"8: kube-ipvs0    inet {CLUSTER}/32 scope global kube-ipvs0"),
            added("routes", f"{LOCAL} dev eth0 scope link"),
        ],
    ),
    "no strict rules": (
        [
            added("rules", "9: from all iif vlanc6461fc2633 lookup 102"),
            added("rules", "11: from all iif vlanc6461fc2633 lookup 102"),
            added("rules", "10: from all iif eth1 lookup 102"),
        ],
        [
            added("rules", "10: from all iif vlanc6461fc2633 lookup 102"),
            text("cni", lambda _: '{"podSGEnforcingMode": "strict"}'),
        ],
    ),
    "resolver is not the cache": (
        [
            text("resolver", lambda _: "nameserver 126.255.255.254\nnameserver 128.0.0.1"),
            text("resolver", lambda _: "nameserver 169.254.20.1"),
        ],
        [
            added("resolver", "nameserver 127.0.0.1"),
            added("resolver", f"nameserver {CLUSTER}"),
            added("resolver", f"nameserver {LOCAL}"),
        ],
    ),
    "CoreDNS and the resolver answer": (
        [in_milliseconds("node", "upstream-", 1000), in_milliseconds("node", "upstream-udp", 1001)],
        [in_milliseconds("node", "upstream-", 1001), answered("node", "upstream-tcp", SERVFAIL)],
    ),
    "security group lets DNS through": (
        [lambda node: node.more.update(branch_expected=False)],
        [answered("branch", "upstream-udp", SILENCE), answered("branch", "upstream-tcp", SILENCE)],
    ),
    "UDP and TCP alike": (
        [in_milliseconds("plain", "cluster-tcp", 400)],
        [answered("plain", "cluster-tcp", SILENCE), answered("branch", "local-udp", SILENCE)],
    ),
    "pods may reach the cache": (
        [in_milliseconds("plain", "upstream-", 999)],
        [answered("plain", "cluster-", SILENCE), answered("plain", "upstream-", SILENCE)],
    ),
    "cache answers pods": (
        [answered("node", "cluster-.*-marker", NXDOMAIN)],
        [answered("branch", "cluster-.*-marker", NXDOMAIN), answered("plain", "cluster-udp-marker", NXDOMAIN)],
    ),
    "pods ask the ClusterIP first": (
        [added("resolver", "nameserver 10.0.0.2", "plain"), added("resolver", f"nameserver {LOCAL}", "plain")],
        [
            text("resolver", lambda old: f"nameserver 10.0.0.2\n{old}", "plain"),
            text("resolver", lambda _: "search shop.svc.cluster.local", "plain"),
        ],
    ),
    "no second family passes by": (
        [added("resolver", "options ndots:5", "plain")],
        [added("resolver", "nameserver ::1", "plain")],
    ),
    "nothing is left behind": (
        [uninstalled],
        [
            both(uninstalled, text("addresses", lambda _: f"7: nodelocaldns    inet {LOCAL}/32 scope global")),
            both(uninstalled, text("legacy", lambda _: MASQUERADE)),
        ],
    ),
    "DNS stays on the node": (
        [
            text("far_health", lambda _: "NOT OK", "plain"),
            lambda node: node.unseen("far_health", "plain", exit=7),
            answered("branch", "neighbour-", NXDOMAIN),
        ],
        [text("far_health", lambda _: "OK\n", "plain"), answered("plain", "neighbour-tcp", NXDOMAIN)],
    ),
    "memory is below the limit": (
        [memory(LIMIT * 9 // 10)],
        [memory(LIMIT * 9 // 10 + 1), memory(LIMIT * 95 // 100), memory(LIMIT)],
    ),
    "metrics": (
        [added("metrics", "coredns_reload_failed_total 0")],
        [
            added("metrics", "coredns_reload_failed_total 1"),
            text("metrics", lambda old: old.replace("coredns_build_info", "caddy_build_info")),
        ],
    ),
    "metrics are reachable": (
        [
            unreachable("curl: (28) Operation timed out after 3001 milliseconds with 0 bytes received"),
            unreachable("curl: (7) Failed to connect to 10.0.0.9 port 9253: Connection refused", 7),
            both(unreachable("curl: (28) Connection timed out"), lambda node: node.more.update(neighbour="")),
        ],
        [
            unreachable("curl: (28) Connection timed out after 3001 milliseconds"),
            lambda node: node.unseen("near_metrics", "plain", exit=28, error="curl: (28) Operation timed out"),
        ],
    ),
    "cache is quick": ([slow_cache(500)], [slow_cache(501)]),
    "DNS works": (
        [asked_twice(14)],
        [
            asked_twice(15),
            answered("plain", "local-udp-internal", SERVFAIL),
            answered("plain", "local-udp-negative", recorded("answer-without-data")),
            answered("plain", "local-udp-external", recorded("answer-without-data")),
        ],
    ),
}
"""By check: what is still well on a node, and what is not any more."""


def rows(table: dict[str, tuple[list[Any], list[Any]]], side: int) -> list[Any]:
    """Return the rows of one side, a row a view."""
    return [
        pytest.param(check, each, id=f"{check} {number}")
        for check, sides in table.items()
        for number, each in enumerate(sides[side])
    ]


@pytest.mark.parametrize(("check", "change"), rows(NODE_BOUNDARIES, 0))
def test_what_is_just_well_on_a_node(check: str, change: Change) -> None:
    """The check says that all is well, and so does every other."""
    node = Broken()
    change(node)
    found = node.findings()
    assert check in {each.check for each in found}
    assert [(each.check, each.evidence) for each in found if each.verdict is not Verdict.OK] == []


@pytest.mark.parametrize(("check", "change"), rows(NODE_BOUNDARIES, 1))
def test_what_is_just_not_well_on_a_node(check: str, change: Change) -> None:
    """The check alone fails."""
    node = Broken()
    change(node)
    assert odd(node) == [(check, Verdict.FAILED)]


def test_no_check_of_a_node_is_without_its_boundary() -> None:
    """Each has views on both sides."""
    assert set(NODE_BOUNDARIES) == {each.name for each in NODE_CHECKS}
    assert all(well and ill for well, ill in NODE_BOUNDARIES.values())


def with_denials(seconds: int) -> ClusterFacts:
    """Return a cluster whose cache keeps denials for so long."""
    return with_corefile(lambda old: re.sub(r"denial (\d+) \d+", rf"denial \1 {seconds}", old))


def with_interval(value: str) -> ClusterFacts:
    """Return a cluster whose node-cache looks at its rules so often."""
    return with_container(lambda container: container.update(args=[*container["args"], f"-syncinterval={value}"]))


def with_image(image: str) -> ClusterFacts:
    """Return a cluster with another image of the cache."""
    return with_container(lambda container: container.update(image=image))


def with_ports(ports: list[Any]) -> ClusterFacts:
    """Return a cluster whose cache declares ports."""
    return with_container(lambda container: container.update(ports=ports))


CLUSTER_BOUNDARIES: dict[str, tuple[list[Callable[[], ClusterFacts]], list[Callable[[], ClusterFacts]]]] = {
    "kube-dns has an address": (
        [lambda: changed(daemon_set=None)],
        [
            lambda: changed(kube_dns={"spec": {"clusterIP": "None"}}),
            lambda: changed(kube_dns={"spec": {"clusterIP": "172.20.0.1"}}),
        ],
    ),
    "Corefile asks CoreDNS": (
        [lambda: with_corefile(lambda old: old.replace("forward . /etc/resolv.conf", "forward . 10.0.0.3"))],
        [
            lambda: changed(upstream={"spec": {"clusterIP": "172.20.30.31"}}),
            lambda: with_corefile(lambda old: "forward . 10.0.0.2".join(old.rsplit(f"forward . {UPSTREAM}", 1))),
            lambda: with_corefile(
                lambda old: old.replace(f"forward . {UPSTREAM}", f"forward . {UPSTREAM} 10.0.0.2", 1)
            ),
        ],
    ),
    "kube-proxy leaves the ClusterIP to the cache": (
        [lambda: changed(kube_proxy_mode=""), lambda: changed(kube_proxy_mode="nftables")],
        [lambda: changed(kube_proxy_mode="ipvs"), lambda: changed(kube_proxy_mode="userspace")],
    ),
    "CNI is in standard mode": (
        [lambda: with_cni("strict", pod_interfaces=False)],
        [lambda: with_cni("strict"), strict_on_a_node],
    ),
    "no pod from strict mode": ([lambda: switched(node_created="2025-01-02T00:00:01Z")], [born_strict]),
    "denials are short, stale ones are not served": (
        [
            lambda: with_denials(30),
            lambda: with_corefile(
                lambda old: re.sub(r"denial \d+ \d+", "serve_stale 60s\n        disable denial", old)
            ),
        ],
        [
            lambda: with_denials(31),
            lambda: with_denials(3000),
            lambda: with_corefile(lambda old: re.sub(r"denial \d+ \d+", "serve_stale 60s", old, count=1)),
        ],
    ),
    "updates leave no gap": (
        [lambda: with_strategy(maxSurge=1, maxUnavailable=0), lambda: with_ports([])],
        [
            lambda: with_strategy(maxSurge=0, maxUnavailable=0),
            lambda: with_strategy(maxSurge=1, maxUnavailable=1),
            lambda: with_ports([{"containerPort": 9253}]),
        ],
    ),
    "every pod has the present configuration": ([healthy], [another_checksum]),
    "rules are looked at often": (
        [lambda: with_interval("1"), lambda: with_interval("60ns")],
        [lambda: with_interval("0"), lambda: with_interval("61"), lambda: with_interval("5s")],
    ),
    "version": (
        [
            lambda: with_image("x/k8s-dns-node-cache:1.26.8"),
            lambda: with_image("x/k8s-dns-node-cache:v1.27.0"),
            lambda: with_image("x/k8s-dns-node-cache:2.0.0"),
        ],
        [
            lambda: with_image("x/k8s-dns-node-cache:1.26.7"),
            lambda: with_image("x/k8s-dns-node-cache:1.25.9"),
            lambda: with_image("x/k8s-dns-node-cache:0.27.9"),
        ],
    ),
    "VPC CNI knows standard mode": (
        [
            lambda: with_cni("standard", image="amazon-k8s-cni:v1.11.0"),
            lambda: with_cni("standard", image="amazon-k8s-cni:v2.0.0"),
        ],
        [
            lambda: with_cni("standard", image="amazon-k8s-cni:v1.10.9"),
            lambda: with_cni("standard", image="amazon-k8s-cni:v0.99.9"),
        ],
    ),
}
"""By check: what is still well in a cluster, and what is not any more."""


@pytest.mark.parametrize(("check", "make"), rows(CLUSTER_BOUNDARIES, 0))
def test_what_is_just_well_in_a_cluster(check: str, make: Callable[[], ClusterFacts]) -> None:
    """The check says that all is well, and so does every other."""
    del check
    assert wrong(make()) == []


@pytest.mark.parametrize(("check", "make"), rows(CLUSTER_BOUNDARIES, 1))
def test_what_is_just_not_well_in_a_cluster(check: str, make: Callable[[], ClusterFacts]) -> None:
    """The check alone does not say that all is well."""
    assert wrong(make()) == [check]


def test_no_check_of_a_cluster_is_without_its_boundary() -> None:
    """Each has clusters on both sides."""
    assert set(CLUSTER_BOUNDARIES) == {each.name for each in CLUSTER_CHECKS}
    assert all(well and ill for well, ill in CLUSTER_BOUNDARIES.values())


RULES = [each for each in recorded("nft-socket").splitlines() if "--comment node-local-dns" in each]


def test_the_recording_has_every_rule_of_ours() -> None:
    """Four rules a protocol and address, and the one that masquerades."""
    assert len(RULES) == len(set(RULES)) == 17


@pytest.mark.parametrize("rule", RULES)
def test_each_of_our_rules_is_missed(rule: str) -> None:
    """Whichever of the rules that the kernel lists is gone, it is missed."""
    node = Broken()
    node.text("nft", lambda old: old.replace(f"{rule}\n", ""))
    assert odd(node) == [("packet rules are there", Verdict.FAILED)]
    (told,) = (each.evidence for each in node.findings() if each.verdict is Verdict.FAILED)
    assert "1 of 17 rules missing in iptables-nft" in told


def with_upstream_rules(node: Broken) -> None:
    """Let node-cache's own rules be there, as they were recorded, and be asked for."""
    assert node.installation is not None
    node.installation = node.installation._replace(interception="upstream")
    node.text("nft", lambda _: recorded("nft-upstream"))
    for each in node.documents["node"]["questions"]:
        if each.startswith("cluster-") and each.endswith("-marker"):
            node.documents["node"]["questions"][each] = node.documents["node"]["questions"][f"local{each[7:]}"]


UPSTREAM_RULES = [each for each in recorded("nft-upstream").splitlines() if "NodeLocal DNS Cache: " in each]


def test_node_caches_own_rules_are_known() -> None:
    """As the kernel lists them."""
    node = Broken()
    with_upstream_rules(node)
    assert odd(node) == []
    assert len(UPSTREAM_RULES) == 24


@pytest.mark.parametrize("rule", UPSTREAM_RULES)
def test_each_of_node_caches_own_rules_is_missed(rule: str) -> None:
    """Whichever of them is gone."""
    node = Broken()
    with_upstream_rules(node)
    node.text("nft", lambda old: old.replace(f"{rule}\n", ""))
    assert odd(node) == [("packet rules are there", Verdict.FAILED)]


def test_watched_rules_are_as_good_as_conditional_ones() -> None:
    """Where the kernel has no socket match: node-cache's rules under our comment, and ours that masquerades."""
    watched = recorded("nft-upstream")
    for each in ("skip conntrack", "allow DNS traffic"):
        watched = watched.replace(f'"NodeLocal DNS Cache: {each}"', "node-local-dns")
    node = Broken()
    node.text("nft", lambda _: watched.replace("*nat\n", MASQUERADE))
    assert odd(node) == []
    node.text("nft", lambda _: watched)
    assert odd(node) == [("packet rules are there", Verdict.FAILED)]


def test_an_address_on_another_link_is_not_the_caches() -> None:
    """The cache lacks it, and somebody else has it."""
    node = Broken()
    node.text("addresses", lambda old: old.replace(f"7: nodelocaldns    inet {LOCAL}", f"2: eth0    inet {LOCAL}"))
    assert odd(node) == [("cache's addresses", Verdict.FAILED), ("addresses are free", Verdict.FAILED)]


def test_marker_of_another_node_is_no_marker() -> None:
    """An answer of another node's cache is told as that."""
    node = Broken()
    node.replies("plain", "cluster-udp-marker", lambda old: old.replace(f'"{NODE}"', '"node-2"'))
    assert odd(node) == [("cache answers pods", Verdict.FAILED)]


def starting(node: Broken) -> None:
    """Let the cache be one that may still come."""
    node.more["starting"] = "its pod was made a minute ago"


def dead(node: Broken) -> None:
    """Let the cache be dead, and CoreDNS answer in its place."""
    node.dead()


def dead_with_dns(node: Broken) -> None:
    """Let the cache be dead, and nobody answer in its place."""
    node.dead()
    for each in node.documents:
        node.answer(each, "cluster-", REFUSED)


def hung(node: Broken) -> None:
    """Let the cache have its sockets and answer nobody."""
    for each in node.documents:
        node.answer(each, "(local|cluster)-", SILENCE)
    for each in ("metrics", "setup_metrics"):
        node.unseen(each, exit=28)


def somebody_on_port_53(node: Broken) -> None:
    """Let another program listen where the cache would."""
    node.text("udp", lambda old: f"{old}UNCONN 0 0 0.0.0.0:53 0.0.0.0:*\n")


def without_metrics(node: Broken) -> None:
    """Let nobody have metrics of the cache, not even the node."""
    for each in ("metrics", "setup_metrics"):
        node.unseen(each, exit=7, error="curl: (7) Failed to connect")
    for each in ("near_metrics", "far_metrics"):
        node.unseen(each, "plain", exit=7, error="curl: (7) Failed to connect")


def absent(*clients: Any) -> Change:
    """Return what lets probes not have reported."""

    def apply(node: Broken) -> None:
        for each in clients:
            del node.documents[each]

    return apply


FAILED, UNKNOWN = Verdict.FAILED, Verdict.UNKNOWN
TOGETHER: list[tuple[Change, list[tuple[str, Verdict]]]] = [
    (both(dead, lambda node: node.pods.clear()), [("cache runs", FAILED)]),
    (both(dead, starting), [("cache listens", UNKNOWN)]),
    (dead_with_dns, [("cache listens", FAILED)]),
    (both(dead_with_dns, starting), [("cache listens", FAILED)]),
    (hung, [
        ("rules are written without lock errors", UNKNOWN), ("memory is below the limit", UNKNOWN),
        ("DNS works", FAILED),
    ]),
    (both(dead, somebody_on_port_53), [("port 53 is free", FAILED)]),
    (both(nothing_there, somebody_on_port_53), [("port 53 is free", FAILED)]),
    (both(nothing_there, starting), [("cache runs", UNKNOWN)]),
    (both(dead, events("FailedMount /run/xtables.lock is not a file")), [
        ("rules are written without lock errors", FAILED), ("cache listens", FAILED),
    ]),
    (without_metrics, [
        ("rules are written without lock errors", UNKNOWN), ("memory is below the limit", UNKNOWN),
        ("metrics", FAILED),
    ]),
    (absent("plain"), [
        ("pods ask the ClusterIP first", UNKNOWN), ("no second family passes by", UNKNOWN),
        ("DNS stays on the node", UNKNOWN), ("metrics are reachable", UNKNOWN),
    ]),
    (absent("branch"), [("security group lets DNS through", UNKNOWN)]),
    (both(absent("branch"), lambda node: node.more.update(branch_expected=False)), []),
    (absent("plain", "branch"), [
        ("security group lets DNS through", UNKNOWN), ("pods may reach the cache", UNKNOWN),
        ("cache answers pods", UNKNOWN), ("pods ask the ClusterIP first", UNKNOWN),
        ("no second family passes by", UNKNOWN), ("DNS stays on the node", UNKNOWN), ("metrics are reachable", UNKNOWN),
    ]),
    (absent("node"), [("facts", UNKNOWN)]),
    (both(dead, answered("branch", "(upstream|cluster)-", SILENCE)), [
        ("cache listens", FAILED), ("security group lets DNS through", FAILED),
    ]),
    (both(answered("node", "upstream-", SILENCE), answered("branch", "upstream-", SILENCE)), [
        ("CoreDNS and the resolver answer", FAILED),
    ]),
    (lambda node: node.unseen("resolver", error="cat: no such file"), [("resolver is not the cache", UNKNOWN)]),
    (lambda node: node.unseen("addresses", error="ip: no"), [("facts", UNKNOWN)]),
    (lambda node: node.unseen("tcp", error="ss: no"), [("facts", UNKNOWN)]),
]  # fmt: skip
"""What is broken together, and what alone is told of it."""


@pytest.mark.parametrize(("change", "expected"), TOGETHER, ids=range(len(TOGETHER)))
def test_causes_are_told_and_not_what_follows(change: Change, expected: list[tuple[str, Verdict]]) -> None:
    """What another check explains, or nobody could see, is told as that and as nothing more."""
    node = Broken()
    change(node)
    assert odd(node) == expected


def test_what_a_dead_cache_costs_is_told() -> None:
    """Whether CoreDNS answers in its place."""
    for change, said in (
        (dead, "and CoreDNS answers at the ClusterIP instead"),
        (dead_with_dns, "and every question to the ClusterIP is lost"),
    ):
        node = Broken()
        change(node)
        (told,) = (each.evidence for each in node.findings() if each.check == "cache listens")
        assert told.endswith(said)
        assert told.startswith(f"nobody listens at {LOCAL}:53/udp, {LOCAL}:53/tcp, {CLUSTER}:53/udp, {CLUSTER}:53/tcp,")
