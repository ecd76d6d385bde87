"""One run: look at the cluster, probe its nodes a few at a time, judge each, and leave nothing behind."""

import ipaddress
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle

from components.running_cluster.kubernetes_api import KubernetesApiError
from verify.cluster import Cluster, look
from verify.cluster_checks import judge_cluster
from verify.cluster_facts import ClusterFacts, NodeObject
from verify.findings import Finding, Verdict
from verify.lease import alone
from verify.node_checks import NODE_CHECKS
from verify.options import Options
from verify.probing import Probing, not_ready, unseen, untold
from verify.security_groups import MOST_SETS, make_policies, sets_of_groups
from verify.sweep import sweep

Progress = Callable[[int, int, str], None]


@dataclass
class Outcome:
    """What a run found; of a node, its findings only."""

    findings: list[Finding] = field(default_factory=list)
    nodes: int = 0
    """Nodes that were looked at."""

    @property
    def verdict(self) -> Verdict:
        """The worst of all: failed, then could not tell, then ok."""
        found = {each.verdict for each in self.findings}
        return next((each for each in (Verdict.FAILED, Verdict.UNKNOWN) if each in found), Verdict.OK)


def could_not_look(reason: str) -> Outcome:
    """Return the outcome of a run that found out nothing."""
    return Outcome([untold("", reason, "Run it again when that is settled; nothing was judged.")])


def run_once(cluster: Cluster, options: Options, progress: Progress) -> Outcome:
    """Prove DNS on a cluster once. Raises `KubernetesApiError` and `BusyError`.

    `progress` is told the nodes done, all nodes, and the last one's name.
    """
    facts = look(cluster)
    missing = set(options.nodes) - {each.name for each in facts.nodes}
    if missing:
        raise KubernetesApiError(f"there is no node {', '.join(sorted(missing))}; `kubectl get nodes` lists them")
    nodes = [each for each in facts.nodes if not options.nodes or each.name in options.nodes]
    outcome = Outcome(nodes=len(nodes))
    problem = _unaskable(facts, nodes)
    if problem:
        # Nothing can be asked, so nothing is made.
        outcome.findings += [not_ready(each) for each in nodes if not each.ready]
        outcome.findings.append(_unlooked(problem))
    else:
        identity = secrets.token_hex(4)
        with alone(cluster, options.namespace, identity):
            sweep(cluster, options.namespace)
            try:
                outcome.findings += _probe_all(cluster, facts, options, identity, nodes, progress)
            finally:
                sweep(cluster, options.namespace)
        if all(each.verdict is Verdict.NOT_VISIBLE for each in outcome.findings):
            outcome.findings.append(_unlooked("no node of the cluster can be looked at"))
    # Last: what the nodes' own rules say counts more than what the API says of their pods.
    outcome.findings = judge_cluster(facts) + outcome.findings
    return outcome


def _unaskable(facts: ClusterFacts, nodes: list[NodeObject]) -> str:
    """Say why no node can be asked anything; empty if one can."""
    if not nodes:
        return "the cluster has no node"
    if not any(each.ready for each in nodes):
        return "no node is ready"
    if not facts.cluster_dns_ip:
        return "there is no Service kube-dns with a ClusterIP to ask"
    try:
        ipaddress.IPv4Address(facts.cluster_dns_ip)
    except ValueError:
        return f"kube-dns is at {facts.cluster_dns_ip}, and the cache and this command know IPv4 only"
    return ""


def _unlooked(problem: str) -> Finding:
    names = ", ".join(each.name for each in NODE_CHECKS)
    return untold("", f"{problem}: nothing could be looked at from inside. Not checked: {names}",
                  "Run it again where a node is ready.")  # fmt: skip


def neighbour(nodes: list[NodeObject], number: int, node: NodeObject) -> NodeObject | None:
    """Return another node that has a cache, at whose own address nobody may answer DNS; None without any.

    Where no cache is meant to be CoreDNS itself may be: a Fargate node's address is its pod's.
    """
    others = [
        each for each in nodes
        if each.name != node.name and each.ready and each.address and not each.without_cache
    ]  # fmt: skip
    return others[number % len(others)] if others else None


def _probe_all(
    cluster: Cluster, facts: ClusterFacts, options: Options, identity: str, nodes: list[NodeObject], progress: Progress
) -> list[Finding]:
    trunks = [each for each in nodes if each.ready and each.has_trunk]
    sets = sets_of_groups(cluster, options.groups) if trunks else []
    untried = [
        unseen("", f"no pod behind {', '.join(each)} was tried: {MOST_SETS} sets of security groups are, at most; "
                   "--security-group names others") for each in sets[MOST_SETS:]
    ]  # fmt: skip
    sets = sets[:MOST_SETS]
    make_policies(cluster, options.namespace, identity, sets)
    probing = Probing(cluster, facts, options, identity, sets)

    def on_node(number: int, node: NodeObject) -> list[Finding]:
        return probing.node(number, node, neighbour(facts.nodes, number, node))

    # Every node is looked at with the first set of groups, and each other set on one node.
    other_sets = zip(range(1, len(sets)), cycle(trunks), strict=False)
    work: Iterator[tuple[str, Callable[[], list[Finding]]]] = iter([
        *((node.name, partial(on_node, number, node)) for number, node in enumerate(nodes)),
        *((node.name, partial(probing.groups, number, node)) for number, node in other_sets),
    ])  # fmt: skip
    observer = threading.Thread(target=probing.observe, daemon=True)
    observer.start()
    found, done, total = untried, 0, len(nodes) + max(len(sets) - 1, 0)
    running: dict[Future[list[Finding]], str] = {}
    with ThreadPoolExecutor(max_workers=options.parallel) as pool:
        try:
            while True:
                for name, job in work:
                    running[pool.submit(job)] = name
                    if len(running) >= options.parallel:
                        break
                if not running:
                    break
                for each in wait(running, return_when=FIRST_COMPLETED).done:
                    name, done = running.pop(each), done + 1
                    found += _findings(name, each)
                    progress(done, total, name)
        finally:
            probing.stop()
    observer.join()
    facts.strict_links = probing.strict_links
    return found


def _findings(node: str, job: Future[list[Finding]]) -> list[Finding]:
    """Return what was found about a node: whatever goes wrong with one node says nothing about the others."""
    try:
        return job.result()
    except KubernetesApiError as error:
        return [untold(node, str(error))]
    except Exception as error:  # noqa: BLE001  # a probe may say anything
        return [untold(node, f"its reports could not be judged: {type(error).__name__}: {error}")]
