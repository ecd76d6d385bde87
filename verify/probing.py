"""The probes of one run: made on a node, waited for, judged, and removed."""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self

from components.running_cluster.kubernetes_api import KubernetesApiError
from verify import probe
from verify.cluster import Cluster, cache_pods, events_of
from verify.cluster_checks import cni_state, corefile_asks_core_dns
from verify.cluster_facts import ClusterFacts, NodeObject, container_statuses, forwarded, ready, waits_for
from verify.facts import Facts, FactsError
from verify.findings import Finding, Verdict
from verify.installation import Manifest
from verify.node_checks import judge
from verify.node_view import NodeView
from verify.options import Options
from verify.question_checks import security_group_lets_dns_through
from verify.questions import Addresses, Client, Names
from verify.security_groups import NOT_BEHIND_ONE, Groups, is_behind_one

SETTLING = timedelta(minutes=3)
"""How long a node may take to become ready after it joined, and a cache after its pod was made."""

_NO_PODS = {"fargate": "a Fargate node runs no pods of others", "windows": "the probes are Linux programs"}
"""Nodes on which nothing can be looked at, and why."""

_PULL_FAILED = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
"""What a kubelet says of an image that it does not get, and that waiting does not bring."""

_ENOUGH_PULLS = 5
"""Nodes without the image, and none with it, after which no other is asked to pull it."""

_POLL_SECONDS = 0.5


class _State(NamedTuple):
    """What the API says of one probe."""

    phase: str
    waits_for: str
    behind_groups: bool

    @classmethod
    def read(cls, pod: Manifest) -> Self:
        """Return the state of a pod."""
        return cls(pod.get("status", {}).get("phase", ""), waits_for(pod), is_behind_one(pod))

    @property
    def ended(self) -> bool:
        """Whether it will say no more."""
        return self.phase in {"Succeeded", "Failed"}

    @property
    def lacks_image(self) -> bool:
        """Whether it waits for an image that waiting does not bring."""
        return any(each in self.waits_for for each in _PULL_FAILED)

    def __str__(self) -> str:
        return "; ".join(filter(None, (self.phase, self.waits_for)))


_NEVER_SEEN = _State("never seen", "", behind_groups=False)


@dataclass
class _Reports:
    """What a node's probes told, and what became of those that told nothing."""

    seen: dict[Client, Facts] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def untold(node: str, why: str, remedy: str = "Look at the pod's events and the node; run it again.") -> Finding:
    """Return that something could not be looked at."""
    return Finding("probe", None, node, Verdict.UNKNOWN, why[:1000], remedy)


def unseen(node: str, why: str) -> Finding:
    """Return that a node cannot be looked at, which says nothing against it."""
    return Finding("probe", None, node, Verdict.NOT_VISIBLE, why, "")


def _is_young(created: str) -> bool:
    return bool(created) and datetime.now(UTC) - datetime.fromisoformat(created) < SETTLING


def not_ready(node: NodeObject) -> Finding:
    """Return that no pod can look at a node; on a cluster that grows and shrinks some always come and go."""
    if node.leaving or _is_young(node.created):
        return unseen(node.name, f"the node is not ready: it {'is leaving' if node.leaving else 'has just joined'}")
    return untold(node.name, "the node is not ready: no pod can look at it",
                  "`kubectl describe node` says what its kubelet lacks; run it again when it is ready.")  # fmt: skip


class Probing:
    """The probes of one run."""

    def __init__(self, cluster: Cluster, facts: ClusterFacts, options: Options, run: str, sets: list[Groups]) -> None:
        self._cluster, self._facts, self._options, self._run, self._sets = cluster, facts, options, run, sets
        self._pods = f"/api/v1/namespaces/{options.namespace}/pods"
        self._installation = facts.installed
        self._broken_corefile = corefile_asks_core_dns.judge(facts).verdict is Verdict.FAILED
        self._pod_interfaces = cni_state(facts).pod_interfaces
        asked = forwarded(facts.corefile).values()
        self._asks_resolver = not asked or any("/etc/resolv.conf" in servers for servers in asked)
        self._states: dict[str, _State] = {}
        self._over = threading.Event()
        self._without_image: set[str] = set()
        self._reported = False
        self.strict_links: dict[str, frozenset[str]] = {}
        """By node: the links for which it has rules of strict mode."""

    def observe(self) -> None:
        """Keep the states of all probes up to date, until the run is over."""
        while not self._over.wait(_POLL_SECONDS):
            with contextlib.suppress(KubernetesApiError):
                self._states = {
                    each["metadata"]["name"]: _State.read(each)
                    for each in self._cluster.items(self._pods, labelSelector=f"{probe.LABEL}={self._run}")
                }

    def stop(self) -> None:
        """Let every node that is being probed end at once."""
        self._over.set()

    def node(self, number: int, node: NodeObject, neighbour: NodeObject | None) -> list[Finding]:
        """Probe and judge one node; what its probes said is dropped."""
        if node.without_cache in _NO_PODS:
            return [unseen(node.name, _NO_PODS[node.without_cache])]
        if not node.ready:
            return [not_ready(node)]
        clients: list[Client] = ["node", "plain", *(["branch"] if self._sets and node.has_trunk else [])]
        view, problems = self._look(str(number), node, neighbour, clients)
        if view.host is None and self._is_gone(node.name):
            return [unseen(node.name, "the node went away while it was looked at")]
        found = judge(view, self._run)
        if len(found) > 1:  # or its report was of no use
            self.strict_links[node.name] = view.strict_links
        return [untold(node.name, each) for each in problems] + found

    def groups(self, number: int, node: NodeObject) -> list[Finding]:
        """Look from a node whether pods behind another set of security groups reach CoreDNS."""
        view, problems = self._look(f"groups-{number}", node, None, ["node", "branch"], number)
        name = f"{security_group_lets_dns_through.name} ({', '.join(self._sets[number])})"
        if view.host is None or problems:
            problem = problems[0] if problems else "no report"
            return [Finding(name, security_group_lets_dns_through.number, node.name, Verdict.UNKNOWN, problem, "")]
        found = security_group_lets_dns_through.judge(view, view.host)
        return [security_group_lets_dns_through._replace(name=name).finding(node.name, found)]

    def _look(
        self, number: str, node: NodeObject, neighbour: NodeObject | None, clients: list[Client], groups: int = 0
    ) -> tuple[NodeView, list[str]]:
        """Return what a node's probes saw, and what became of those that saw nothing. Raises `KubernetesApiError`."""
        here = None if node.without_cache else self._installation
        addresses = Addresses(
            self._facts.cluster_dns_ip, here.local_address if here else "", self._facts.upstream_ip if here else "",
            neighbour.address if here and neighbour else "", node.address if here else "",
        )  # fmt: skip
        made: list[Manifest] = []

        def make(client: Client, end: str) -> str:
            made.append(self._make(client, f"{number}{end}", node, addresses, groups))
            return made[-1]["metadata"]["name"]

        try:
            reports = self._reports(node.name, clients, make)
        finally:
            for each in made:
                with contextlib.suppress(KubernetesApiError):  # the sweep at the end tries again
                    self._cluster.delete(f"{self._pods}/{each['metadata']['name']}", probe.grace_seconds(each))
        pods = cache_pods(self._cluster, node.name) if here else []
        plain = reports.seen.get("plain")
        if neighbour and plain and plain.text("far_metrics").timed_out and self._is_gone(neighbour.name):
            neighbour = None
        view = NodeView(
            name=node.name, installation=self._installation, probes=reports.seen, addresses=addresses,
            neighbour=neighbour.name if neighbour else "", cache_pods=pods,
            events=tuple(said for each in pods if not ready(each) for said in events_of(self._cluster, each)),
            starting=starting(node, pods), pod_interfaces=self._pod_interfaces, asks_resolver=self._asks_resolver,
            branch_expected="branch" in clients, excluded=node.without_cache, broken_corefile=self._broken_corefile,
        )  # fmt: skip
        return view, reports.problems

    def _make(self, client: Client, number: str, node: NodeObject, addresses: Addresses, groups: int) -> Manifest:
        here, options = self._installation, self._options
        return self._cluster.create(self._pods, probe.pod(
            client, number, options.namespace, self._run, node.name, addresses,
            Names(self._run, external=options.external), options.timeout, groups=groups, image=options.image,
            rules_image=here.image if here and here.image else probe.RULES_IMAGE,
        ))  # fmt: skip

    def _reports(self, node: str, clients: list[Client], make: Callable[[Client, str], str]) -> _Reports:
        """Make a node's probes and wait for their reports; `make` is told a client and how a pod's number ends."""
        if len(self._without_image) >= _ENOUGH_PULLS and not self._reported:
            nodes = len(self._without_image)
            return _Reports(problems=[f"not tried: {nodes} nodes did not get the image of their probes, and none did"])
        reports, deadline = _Reports(), time.monotonic() + self._options.timeout
        waiting: dict[str, Client] = {make(client, ""): client for client in clients}
        again: set[str] = set()
        while waiting and time.monotonic() < deadline and not self._over.is_set():
            for name, client in list(waiting.items()):
                state = self._states.get(name, _NEVER_SEEN)
                if state.lacks_image:
                    self._without_image.add(node)
                    reports.problems.append(f"{client} probe: {state.waits_for}")
                elif not state.ended:
                    continue
                elif client == "branch" and not state.behind_groups and not again:
                    # Once more: the controller may not have seen the policy yet.
                    again.add(made := make(client, "-again"))
                    waiting[made] = client
                elif client == "branch" and not state.behind_groups:
                    reports.problems.append(f"{client} probe: {NOT_BEHIND_ONE}")
                else:
                    self._read(name, client, state, reports)
                del waiting[name]
            self._over.wait(_POLL_SECONDS / 2)
        for name, client in waiting.items():
            state = self._states.get(name, _NEVER_SEEN)
            reports.problems.append(f"{client} probe: no report within {self._options.timeout} s (pod {state})")
        return reports

    def _read(self, pod: str, client: Client, state: _State, reports: _Reports) -> None:
        try:
            reports.seen[client] = Facts.read(self._cluster.log(self._options.namespace, pod, probe.CONTAINER))
            self._reported = True
        except (FactsError, KubernetesApiError) as error:
            reports.problems.append(f"{client} probe: {error} {state.waits_for}".strip())

    def _is_gone(self, node: str) -> bool:
        found = self._cluster.get(f"/api/v1/nodes/{node}")
        return found is None or NodeObject.read(found).leaving


def starting(node: NodeObject, pods: list[Manifest]) -> str:
    """Say why a cache that is not there may still come: node or pod is young; empty if it has had its time."""
    begun = any(
        ready(pod) or any(each.get("restartCount") or each.get("lastState") for each in container_statuses(pod))
        for pod in pods
    )
    if begun:
        return ""
    if _is_young(node.created):
        return f"the node joined at {node.created}"
    created = [str(each["metadata"].get("creationTimestamp", "")) for each in pods]
    return f"its pod was made at {max(created)}" if created and all(map(_is_young, created)) else ""
