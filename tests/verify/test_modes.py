"""Every check of verify fails for what it is meant for, alone; and every failure mode has such a check."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from broken_clusters import (
    another_checksum,
    aws_node,
    born_strict,
    changed,
    edited_by_hand,
    healthy,
    seen_strict,
    strict_on_a_node,
    switched,
    with_cni,
    with_container,
    with_corefile,
    with_strategy,
    wrong,
)
from broken_nodes import NODE, NXDOMAIN, SERVFAIL, SILENCE, STRICT_LINK, UPSTREAM, Broken, odd
from reports import CLUSTER, LOCAL

from components.running_cluster.strict_pods import SecurityGroupPod
from verify.cluster_checks import CLUSTER_CHECKS, NOT_VISIBLE, judge_cluster, strict_link
from verify.cluster_facts import ClusterFacts
from verify.findings import Verdict
from verify.node_checks import NODE_CHECKS
from verify.questions import Addresses


def _wildcard(node: Broken) -> None:
    node.text("udp", lambda text: text + "UNCONN 0 0 0.0.0.0:53 0.0.0.0:*\n")


def _no_pod(node: Broken) -> None:
    node.gone()
    node.pods = []


def _dead(node: Broken) -> None:
    node.dead()


def _no_route(node: Broken) -> None:
    node.text("routes", lambda text: text.replace(LOCAL, "169.254.20.11"))


def _rule_lost(node: Broken) -> None:
    node.text("nft", lambda text: re.sub(r"-A PREROUTING[^\n]*\n", "", text, count=1))


def _rules_in_the_other_backend(node: Broken) -> None:
    rules = node.documents["node"]["facts"]["nft"]["text"]
    node.text("legacy", lambda _: rules)
    node.text("nft", lambda _: "*mangle\n:KUBE-IPTABLES-HINT - [0:0]")


def _rule_twice(node: Broken) -> None:
    node.text("nft", lambda text: re.sub(r"(-A PREROUTING[^\n]*\n)", r"\1\1", text, count=1))


def _address_taken(node: Broken) -> None:
    node.text("addresses", lambda text: f"{text}2: eth0    inet {LOCAL}/32 scope global\n")


def _address_routed(node: Broken) -> None:
    node.text("routes", lambda text: f"{text}{LOCAL} dev eth1 scope link\n")


def _strict(node: Broken) -> None:
    node.text("rules", lambda _: "10: from all iif vlanc6461fc2633 lookup 102\n20: from all lookup local")
    node.answer("branch", "(cluster|local)-", SILENCE)


def _strict_for_the_next(node: Broken) -> None:
    node.text("cni", lambda _: '{"podSGEnforcingMode": "strict"}')


def _loop(node: Broken) -> None:
    node.text("resolver", lambda _: "nameserver 127.0.0.53")


def _lock_errors(node: Broken) -> None:
    node.text("setup_metrics", lambda _: 'coredns_nodecache_setup_errors_total{errortype="iptables_lock"} 3')


def _lock_is_a_directory(node: Broken) -> None:
    node.gone()
    initializing = {"waiting": {"reason": "PodInitializing"}}
    node.pods[0]["status"] = {"phase": "Pending", "containerStatuses": [{"name": "node-cache", "state": initializing}]}
    said = "hostPath type check failed: /run/xtables.lock is not a file"
    node.more["events"] = (f'FailedMount MountVolume.SetUp failed for volume "xtables-lock" : {said}',)


def _core_dns_down(node: Broken) -> None:
    for client in node.documents:
        node.answer(client, "upstream-", SILENCE)
        node.answer(client, ".*-(internal|negative)", SERVFAIL)


def _group_without_dns(node: Broken) -> None:
    node.answer("branch", "upstream-", SILENCE)


def _tcp_hangs(node: Broken) -> None:
    node.answer("plain", "(cluster|local)-tcp", SILENCE)


def _blocked(node: Broken) -> None:
    node.answer("plain", "(cluster|local)-", SILENCE)


def _blocked_from_core_dns(node: Broken) -> None:
    node.answer("plain", "upstream-", SILENCE)


def _not_intercepted(node: Broken) -> None:
    node.answer("plain", "cluster-.*-marker", NXDOMAIN)


def _other_resolver(node: Broken) -> None:
    node.text("resolver", lambda _: f"nameserver {LOCAL}", "plain")


def _second_family(node: Broken) -> None:
    node.text("resolver", lambda text: f"{text}\nnameserver fd00::10", "plain")


def _left_behind(node: Broken) -> None:
    node.dead()
    node.installation = None
    node.pods = []


def _exposed(node: Broken) -> None:
    node.answer("plain", "neighbour-udp", NXDOMAIN)


def _memory_full(node: Broken) -> None:
    node.text("metrics", lambda text: re.sub(r"(resident_memory_bytes) \S+", r"\1 9.9e+11", text))


def _out_of_memory(node: Broken) -> None:
    ended = {"terminated": {"reason": "OOMKilled"}}
    node.pods[0]["status"]["containerStatuses"] = [{"name": "node-cache", "lastState": ended, "restartCount": 4}]


def _reload_failed(node: Broken) -> None:
    node.text("metrics", lambda text: f"{text}\ncoredns_reload_failed_total 2")


def _somebody_elses_metrics(node: Broken) -> None:
    # Nobody else's process tells of its memory under this name.
    node.text("metrics", lambda _: "process_resident_memory_bytes 1000000")


def _wrong_answers(node: Broken) -> None:
    node.answer("plain", "local-.*-(internal|external)", SERVFAIL)


def _local_address_first(node: Broken) -> None:
    node.text("resolver", lambda text: f"nameserver {LOCAL}\n{text}", "plain")


def _health_exposed(node: Broken) -> None:
    node.text("far_health", lambda _: "OK", "plain")


def _metrics_on_the_node_only(node: Broken) -> None:
    node.unseen("near_metrics", "plain", exit=7, error="curl: (7) Failed to connect to 10.0.0.1 port 9253")


def _metrics_dropped(node: Broken) -> None:
    node.unseen("far_metrics", "plain", exit=28, error="curl: (28) Connection timed out after 3001 milliseconds")


def _slow(node: Broken) -> None:
    for client in node.documents:
        node.replies(client, "(cluster|local)-", lambda text: text.replace("time: 1 msec", "time: 1900 msec"))


def _core_dns_slow(node: Broken) -> None:
    node.replies("node", "upstream-", lambda text: text.replace("time: 1 msec", "time: 1900 msec"))


def _lossy(node: Broken) -> None:
    for reply in node.documents["plain"]["questions"].values():
        reply["first"] = SILENCE


NODE_CASES: dict[str, list[Callable[[Broken], None]]] = {
    "port 53 is free": [_wildcard],
    "cache runs": [_no_pod],
    "cache listens": [_dead],
    "cache's addresses": [_no_route],
    "packet rules are there": [_rule_lost, _rules_in_the_other_backend],
    "no rule twice": [_rule_twice],
    "addresses are free": [_address_taken, _address_routed],
    "no strict rules": [_strict, _strict_for_the_next],
    "resolver is not the cache": [_loop],
    "rules are written without lock errors": [_lock_errors, _lock_is_a_directory],
    "CoreDNS and the resolver answer": [_core_dns_down, _core_dns_slow],
    "security group lets DNS through": [_group_without_dns],
    "UDP and TCP alike": [_tcp_hangs],
    "pods may reach the cache": [_blocked, _blocked_from_core_dns],
    "cache answers pods": [_not_intercepted],
    "pods ask the ClusterIP first": [_other_resolver, _local_address_first],
    "no second family passes by": [_second_family],
    "nothing is left behind": [_left_behind],
    "DNS stays on the node": [_exposed, _health_exposed],
    "memory is below the limit": [_memory_full, _out_of_memory],
    "metrics": [_reload_failed, _somebody_elses_metrics],
    "metrics are reachable": [_metrics_on_the_node_only, _metrics_dropped],
    "cache is quick": [_slow],
    "DNS works": [_wrong_answers, _lossy],
}
"""What is broken on a node, by the check that is to name it."""


def test_healthy_node_is_all_green() -> None:
    """Before anything is broken every check says that all is well."""
    assert [each for each in Broken().findings() if each.verdict is not Verdict.OK] == []


@pytest.mark.parametrize(("check", "case"), [(check, each) for check, cases in NODE_CASES.items() for each in cases])
def test_broken_node_is_named_by_its_check(check: str, case: Callable[[Broken], None]) -> None:
    """What is broken on a node is named by the check meant for it, and by no other."""
    node = Broken()
    case(node)
    assert [each.check for each in node.findings() if each.verdict is not Verdict.OK] == [check]


def _empty(node: Broken) -> None:
    node.documents["plain"]["questions"] = {}


def _one_question_short(node: Broken) -> None:
    node.documents["branch"]["questions"].popitem()


def _question_nobody_asked(node: Broken) -> None:
    node.documents["node"]["questions"]["x"] = {"exit": 0, "text": ""}


def _time_past_all_numbers(node: Broken) -> None:
    node.replies("plain", "cluster-udp-internal", lambda text: text.replace("time: 1", f"time: {'9' * 5000}"))


@pytest.mark.parametrize("case", [_empty, _one_question_short, _question_nobody_asked])
def test_report_of_other_questions_is_no_verdict(case: Callable[[Broken], None]) -> None:
    """A report that does not tell of exactly the questions asked judges nothing: nothing asked, nothing went wrong."""
    node = Broken()
    case(node)
    assert odd(node) == [("facts", Verdict.UNKNOWN)]


def test_odd_time_is_no_reply() -> None:
    """A number that no clock shows is not taken for one."""
    node = Broken()
    _time_past_all_numbers(node)
    assert odd(node) == [("DNS works", Verdict.FAILED)]


def _no_cni_file(node: Broken) -> None:
    node.unseen("cni", error="cat: 10-aws.conflist: Permission denied")


def _cni_file_without_mode(node: Broken) -> None:
    node.text("cni", lambda _: "{}")


def _no_packet_rules(node: Broken) -> None:
    node.unseen("legacy", error="iptables-legacy-save: Permission denied")


def _no_metrics(node: Broken) -> None:
    for name in ("metrics", "setup_metrics"):
        node.documents["node"]["facts"][name] = {"missing": "curl"}


def _no_packet_rules_without_a_cache(node: Broken) -> None:
    node.installation = None
    node.asked(Addresses(CLUSTER))
    node.gone()
    node.unseen("nft", error="iptables-nft-save: Permission denied")


def _young_node(node: Broken) -> None:
    node.gone()
    node.more["starting"] = "the node joined a minute ago"


def _young_pod(node: Broken) -> None:
    _no_pod(node)
    node.more["starting"] = "its pod was made a minute ago"


def _starting_pod(node: Broken) -> None:
    node.dead()
    node.more["starting"] = "its pod was made a minute ago"


UNSEEN_CASES: list[tuple[Callable[[Broken], None], list[str]]] = [
    (_no_cni_file, ["no strict rules"]),
    (_cni_file_without_mode, ["no strict rules"]),
    (_no_packet_rules, ["packet rules are there", "no rule twice"]),
    (_no_metrics, ["rules are written without lock errors", "memory is below the limit", "metrics"]),
    (_no_packet_rules_without_a_cache, ["no rule twice", "nothing is left behind"]),
    (_young_node, ["cache runs"]),
    (_young_pod, ["cache runs"]),
    (_starting_pod, ["cache listens"]),
]
"""What could not be seen, or not yet, with the checks that cannot tell for it."""


@pytest.mark.parametrize(("case", "checks"), UNSEEN_CASES)
def test_unseen_is_not_well(case: Callable[[Broken], None], checks: list[str]) -> None:
    """Where a check has nothing to see it says that it cannot tell."""
    node = Broken()
    case(node)
    assert sorted(odd(node)) == sorted((each, Verdict.UNKNOWN) for each in checks)


def _setup_metrics_of_another(node: Broken) -> None:
    # After an update nobody has node-cache's own port; the metrics proper are the same process'.
    node.unseen("setup_metrics", exit=7)


def _running_unlisted(node: Broken) -> None:
    node.pods = []


def _strict_without_pod_interfaces(node: Broken) -> None:
    _strict_for_the_next(node)
    node.more["pod_interfaces"] = False


def _resolver_nobody_asks(node: Broken) -> None:
    _loop(node)
    node.more["asks_resolver"] = False


def _lost_once(node: Broken) -> None:
    node.documents["plain"]["questions"]["local-udp-internal"]["first"] = SILENCE


def _excluded(node: Broken) -> None:
    node.asked(Addresses(CLUSTER))
    node.gone()
    for client in node.documents:
        node.answer(client, ".*-marker", NXDOMAIN)
    node.more["excluded"] = "hybrid"
    node.unseen("cni", error="cat: No such file")


def _broken_corefile(node: Broken) -> None:
    for client in node.documents:
        node.answer(client, "(cluster|local)-.*-(internal|negative)", SERVFAIL)
    node.more["broken_corefile"] = True


@pytest.mark.parametrize(
    "case",
    [_setup_metrics_of_another, _running_unlisted, _strict_without_pod_interfaces, _resolver_nobody_asks, _lost_once,
     _excluded, _broken_corefile],
)  # fmt: skip
def test_what_does_no_harm_is_no_failure(case: Callable[[Broken], None]) -> None:
    """What does no harm, or is the cluster's fault and named there, fails no check of a node."""
    node = Broken()
    case(node)
    assert odd(node) == []


def test_loss_is_told() -> None:
    """A question that had its reply only the second time is told, though it is no failure."""
    node = Broken()
    _lost_once(node)
    (found,) = (each.evidence for each in node.findings() if each.check == "DNS works")
    assert "1 of 56 questions had a reply only when asked a second time: plain: local-udp-internal" in found


def test_neighbour_is_named() -> None:
    """Who answers where nobody should is told by name and address."""
    node = Broken()
    _exposed(node)
    (found,) = (each.evidence for each in node.findings() if each.verdict is Verdict.FAILED)
    assert found == "node-2 (10.0.0.9) answers on its own address: DNS over udp"


def test_pod_that_does_not_start_says_why() -> None:
    """What the kubelet says of a pod that does not start is in the evidence."""
    node = Broken()
    node.gone()
    state = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    node.pods[0]["status"] = {"containerStatuses": [{"name": "node-cache", "state": state}]}
    (found,) = (each.evidence for each in node.findings() if each.verdict is Verdict.FAILED)
    assert found.endswith("its pod: node-cache: ImagePullBackOff no such image")


CLUSTER_CASES: dict[str, list[Callable[[], ClusterFacts]]] = {
    "kube-dns has an address": [
        lambda: changed(kube_dns=None),
        lambda: changed(kube_dns={"spec": {"clusterIP": "10.100.0.10"}}),
    ],
    "Corefile asks CoreDNS": [
        lambda: changed(upstream={"spec": {"clusterIP": "172.20.30.31"}}),
        lambda: changed(upstream=None),
        lambda: with_corefile(lambda text: text.replace(f"forward . {UPSTREAM}", "forward . <nil>")),
    ],
    "kube-proxy leaves the ClusterIP to the cache": [lambda: changed(kube_proxy_mode="ipvs")],
    "CNI is in standard mode": [lambda: with_cni("strict"), strict_on_a_node],
    "no pod from strict mode": [born_strict, seen_strict],
    "denials are short, stale ones are not served": [
        lambda: with_corefile(lambda text: re.sub(r"denial (\d+) \d+", r"denial \1 3600", text)),
        lambda: with_corefile(lambda text: re.sub(r"denial \d+ \d+", "serve_stale 60s", text)),
    ],
    "updates leave no gap": [
        lambda: with_strategy(maxUnavailable=1),
        lambda: with_container(lambda container: container.update(ports=[{"containerPort": 53}])),
    ],
    "every pod has the present configuration": [another_checksum, edited_by_hand],
    "rules are looked at often": [
        lambda: with_container(lambda container: container.update(args=[*container["args"], "-syncinterval=5s"])),
        lambda: with_container(lambda container: container.update(args=[*container["args"], "-syncinterval=3600"])),
    ],
    "version": [lambda: with_container(lambda container: container.update(image="x/k8s-dns-node-cache:1.22.20"))],
    "VPC CNI knows standard mode": [
        lambda: with_cni("standard", image="602401143452.dkr.ecr.eu-west-1.amazonaws.com/amazon-k8s-cni:v1.10.4")
    ],
}
"""What is broken in a cluster, by the check that is to name it."""


def test_healthy_cluster_is_all_green() -> None:
    """Before anything is broken every check of the cluster says that all is well."""
    assert wrong(healthy()) == []


@pytest.mark.parametrize(
    ("check", "case"), [(check, each) for check, cases in CLUSTER_CASES.items() for each in cases]
)  # fmt: skip
def test_broken_cluster_is_named_by_its_check(check: str, case: Callable[[], ClusterFacts]) -> None:
    """What is broken in a cluster is named by the check meant for it, and by no other."""
    assert wrong(case()) == [check]


HARMLESS: list[Callable[[], ClusterFacts]] = [
    lambda: with_cni("strict", pod_interfaces=False),
    lambda: with_cni("standard", pod_interfaces=False, image="amazon-k8s-cni:v1.10.4"),
    lambda: changed(daemon_set=None, aws_node={"spec": {"template": {"spec": aws_node("strict")}}}),
    lambda: with_container(lambda container: container.update(image="mirror/node-cache@sha256:" + 64 * "0")),
    lambda: with_corefile(lambda text: text.replace("forward . /etc/resolv.conf", "forward . 10.0.0.2")),
]
"""Clusters in which nothing is wrong though it looks like it."""


@pytest.mark.parametrize("case", HARMLESS)
def test_harmless_cluster_is_well(case: Callable[[], ClusterFacts]) -> None:
    """What does no harm in a cluster neither fails a check nor keeps one from telling."""
    assert wrong(case()) == []


UNSEEN: dict[str, Callable[[], ClusterFacts]] = {
    "kube-proxy leaves the ClusterIP to the cache": lambda: changed(kube_proxy_mode=None),
    "Corefile asks CoreDNS": lambda: with_corefile(lambda text: text.replace("cluster.local:53", "corp.example:53")),
    "every pod has the present configuration": lambda: changed(cache_pods=[]),
    "CNI is in standard mode": lambda: changed(aws_node=None),
}
"""What the API did not show, by the check that cannot tell for it."""


@pytest.mark.parametrize("check", UNSEEN)
def test_unseen_object_is_not_well(check: str) -> None:
    """Where a check of the cluster has nothing to see it says that it cannot tell."""
    facts = UNSEEN[check]()
    found = [(each.check, each.verdict) for each in judge_cluster(facts)]
    assert [each for each in found if each[1] not in {Verdict.OK, Verdict.NOT_VISIBLE}] == [(check, Verdict.UNKNOWN)]


@pytest.mark.parametrize(
    ("facts", "strict"),
    [
        (switched(node_created="2025-01-02T18:00:00Z"), False),
        (switched(node_created="2025-01-02T18:00:00Z", revisions=False), True),
        (switched(), True),
    ],
)
def test_pods_mode_is_told_by_times(facts: ClusterFacts, strict: bool) -> None:
    """Where no rule was seen, times tell: on a node younger than the switch it is standard, if the switch is dated."""
    assert wrong(facts) == (["no pod from strict mode"] if strict else [])


def test_looked_at_installation_settles_a_pods_mode() -> None:
    """What the guard found when the cache was installed counts here too, if the mode had been switched by then."""
    facts = switched()
    assert facts.daemon_set is not None
    facts.daemon_set["metadata"]["creationTimestamp"] = "2025-01-02T12:00:00Z"
    assert wrong(facts) == []
    facts.daemon_set["metadata"]["creationTimestamp"] = "2025-01-01T12:00:00Z"
    assert wrong(facts) == ["no pod from strict mode"]


@pytest.mark.parametrize(
    ("links", "strict"),
    [
        (frozenset[str](), False),
        (frozenset({"vlan.eth.2"}), False),
        (frozenset({STRICT_LINK}), True),
        (frozenset({"vlan00000000000"}), True),
    ],
)
def test_nodes_own_rules_settle_a_pods_mode(links: frozenset[str], strict: bool) -> None:
    """What a node's rules show counts more than times; a rule of no known pod leaves it to them."""
    facts = switched()
    facts.strict_links = {NODE: links}
    assert wrong(facts) == (["no pod from strict mode"] if strict else [])


def test_strict_link_is_named_as_the_cni_names_it() -> None:
    """The link's name is made as the VPC CNI's own test has it."""
    pod = SecurityGroupPod("kube-system", "coredns-57ff979f67-qqbdh", "", NODE, None, "unknown", "", leaving=False)
    assert strict_link(pod) == "vlanb5faff8a083"


def test_every_check_has_a_failing_case() -> None:
    """No check is without a case in which it is the one that names what is broken, and no case without its check."""
    assert set(NODE_CASES) == {each.name for each in NODE_CHECKS}
    assert set(CLUSTER_CASES) == {each.name for each in CLUSTER_CHECKS}


def test_every_failure_mode_has_a_check_or_is_not_visible() -> None:
    """Each of the 27 failure modes is some check's, or is told as not visible; the page lists all of them."""
    seen = {each.number for each in (*NODE_CHECKS, *CLUSTER_CHECKS)} - {None}
    assert seen.isdisjoint(NOT_VISIBLE)
    assert seen | set(NOT_VISIBLE) == set(range(1, 28))
    page = Path(__file__).parents[2].joinpath("docs", "verify.md").read_text()
    rows = dict(re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$", page, re.MULTILINE))
    assert set(map(int, rows)) == set(range(1, 28))
    for number, told in rows.items():
        names = {each.name for each in (*NODE_CHECKS, *CLUSTER_CHECKS) if each.number == int(number)}
        assert names <= {part.strip() for part in told.split(";")} or told.startswith("not visible"), number
