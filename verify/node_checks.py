"""The checks of one node, in their order, and what they say of it together."""

from collections.abc import Iterator

from verify.check import NodeCheck
from verify.facts import Facts
from verify.findings import Finding, Verdict
from verify.network_checks import (
    addresses_are_free,
    has_addresses,
    no_rule_twice,
    no_strict_rules,
    nothing_left_behind,
    rules_are_there,
)
from verify.node_view import CACHE, NodeView
from verify.process_checks import (
    cache_listens,
    cache_runs,
    has_metrics,
    memory_below_limit,
    metrics_are_reachable,
    no_lock_errors,
    port_is_free,
)
from verify.question_checks import (
    cache_answers_pods,
    cache_is_quick,
    dns_stays_on_the_node,
    dns_works,
    no_second_family,
    pods_ask_the_cluster_ip,
    pods_reach_the_cache,
    protocols_alike,
    resolver_is_not_the_cache,
    security_group_lets_dns_through,
    upstreams_answer,
)
from verify.questions import Client, questions

NODE_CHECKS: tuple[NodeCheck, ...] = (
    port_is_free,
    no_lock_errors,
    cache_runs,
    cache_listens,
    has_addresses,
    rules_are_there,
    no_rule_twice,
    addresses_are_free,
    no_strict_rules,
    resolver_is_not_the_cache,
    upstreams_answer,
    security_group_lets_dns_through,
    protocols_alike,
    pods_reach_the_cache,
    cache_answers_pods,
    pods_ask_the_cluster_ip,
    no_second_family,
    nothing_left_behind,
    dns_stays_on_the_node,
    memory_below_limit,
    has_metrics,
    metrics_are_reachable,
    cache_is_quick,
    dns_works,
)
"""Every check of a node, causes before symptoms: what a check explains, no later one names."""


def _wrong_report(view: NodeView, client: Client, facts: Facts, run: str) -> str:
    """Say why a probe's report cannot be about what was asked; empty if it can."""
    wrong = {
        f"the {client} probe tells of another run ({facts.run!r})": facts.run != run,
        f"the {client} probe tells of another node ({facts.node!r})": facts.node != view.name,
        f"the {client} probe could ask nothing: {facts.asks_nothing} is missing": bool(facts.asks_nothing),
        f"the {client} probe tells from a {facts.role}": (facts.role == "node") != (client == "node"),
    }
    asked = {each.id for each in questions(client, view.addresses)}
    unanswered, unasked = sorted(asked - set(facts.answers)), sorted(set(facts.answers) - asked)
    wrong |= {
        f"the {client} probe does not tell of {len(unanswered)} of {len(asked)} questions ({unanswered[:1]})":
            bool(unanswered),
        f"the {client} probe tells of questions that nobody asked ({unasked[:1]})": bool(unasked),
    }  # fmt: skip
    return next((sentence for sentence, is_so in wrong.items() if is_so), "")


def _contradictions(view: NodeView, run: str) -> Iterator[str]:
    """Yield where facts contradict one another or the questions asked; an empty text says nothing."""
    host = view.host
    if host is None:
        yield "no probe on the node itself reported"
        return
    for client, facts in view.probes.items():
        yield _wrong_report(view, client, facts, run)
    for text in ("addresses", "rules", "routes", "udp", "tcp"):
        if not host.text(text).seen:
            yield f"{text} could not be looked at: {host.text(text).why_not}"
    local = view.addresses.local
    for client in view.probes:
        for question, answer in view.answers(client, "local").items():
            marked = question.purpose == "marker" and answer.values == (view.name,)
            if marked and not (view.wildcards or view.listening(local, question.protocol)):
                yield f"{client} was answered at {local}, where by the node's own facts nobody listens"


def judge(view: NodeView, run: str) -> list[Finding]:
    """Return every check's finding about a node."""
    problem = next(filter(None, _contradictions(view, run)), "")
    host = view.host
    if problem or host is None:
        reason = problem or "no probe reported"
        return [
            Finding("facts", None, view.name, Verdict.UNKNOWN, reason[:1000], "Run it again; look at the probe's pod.")
        ]
    found: list[Finding] = []
    view.unexplained = set(view.failing)
    if view.broken_corefile:  # the cluster's check names it once, not every node's
        view.unexplained -= view.failing_at(*CACHE, purposes=("internal", "negative"))
    for check in NODE_CHECKS:
        result = check.judge(view, host)
        view.unexplained -= result.explains
        found.append(check.finding(view.name, result))
    return found
