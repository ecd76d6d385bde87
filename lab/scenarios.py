"""What happens to DNS on a node, scenario by scenario, next to what we claim happens."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from components.interception import Interception
from components.node_local_dns import NodeLocalDnsSettings, manifests
from lab import queries
from lab.kubelet import Pod
from lab.node import CLUSTER_DNS, UPSTREAM, Node, worker_node

LOCAL = NodeLocalDnsSettings().local_address
SERVERS = (CLUSTER_DNS, LOCAL)

Expected = Mapping[tuple[str, str], str | None]
"""Who answers which client (`plain-pod`, `sgp-pod`, `host`) at which server; over UDP and TCP alike."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One question: who asked whom, and who was to answer."""

    scenario: str
    client: str
    server: str
    protocol: str
    question: str
    answered: bool
    expected: bool
    answered_by: str | None
    expected_by: str | None

    @property
    def right(self) -> bool:
        """Whether it went as expected."""
        return self.answered_by == self.expected_by


@dataclass(frozen=True, kw_only=True)
class LoadCheck:
    """A load of questions: how many were lost, and how many may be."""

    scenario: str
    client: str
    sent: int
    lost: int
    at_least: int
    at_most: int

    @property
    def right(self) -> bool:
        """Whether it went as expected."""
        return self.sent > 0 and self.at_least <= self.lost <= self.at_most


@dataclass(frozen=True, kw_only=True)
class StateCheck:
    """What of the cache is left on the node where nothing may be."""

    scenario: str
    leftovers: list[str]

    @property
    def right(self) -> bool:
        """Whether it went as expected."""
        return not self.leftovers


@dataclass
class Report:
    """Everything a run found."""

    checks: list[Check] = field(default_factory=list)
    loads: list[LoadCheck] = field(default_factory=list)
    states: list[StateCheck] = field(default_factory=list)
    strict_route: str = ""

    @property
    def right(self) -> bool:
        """Whether anything was checked, and everything went as expected."""
        return bool(self.checks) and all(each.right for each in (*self.checks, *self.loads, *self.states))

    def plain(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return {"right": self.right, **asdict(self)}

    def ask(self, scenario: str, node: Node, expected: Expected, question: str = "new name") -> None:
        """Ask over UDP and TCP what `expected` names; `question` is `new name` or a name."""
        wanted = [(*key, protocol, by) for key, by in expected.items() for protocol in queries.PROTOCOLS]

        def one(row: tuple[str, str, queries.Protocol, str | None]) -> Check:
            client, server, protocol, by = row
            name = None if question == "new name" else question
            found = queries.answers(node.machines[client], server, protocol, name)
            return Check(
                scenario=scenario, client=client, server=server, protocol=protocol, question=question,
                answered=found is not None, expected=by is not None, answered_by=found, expected_by=by,
            )  # fmt: skip

        with ThreadPoolExecutor(max_workers=len(wanted)) as pool:
            self.checks += pool.map(one, wanted)


def _expect(plain: tuple[str | None, str | None], sgp: tuple[str | None, str | None],
            host: tuple[str | None, str | None]) -> Expected:  # fmt: skip
    """Return expectations from pairs: at the ClusterIP, at the local address."""
    clients = {"plain-pod": plain, "sgp-pod": sgp, "host": host}
    return {(client, server): pair[place] for client, pair in clients.items() for place, server in enumerate(SERVERS)}


BOTH = ("cache", "cache")
NEITHER = (None, None)
CORE_DNS = ("coredns", None)  # nothing translates the local address, so only the ClusterIP has a second answerer
HOST = {
    # The node's own questions to the ClusterIP: see components/interception.py.
    "socket": ("coredns", "cache"),
    "upstream": BOTH,
}  # fmt: skip
UNCACHED = _expect(CORE_DNS, CORE_DNS, CORE_DNS)


def cache(node: Node, interception: Interception, name: str = "cache") -> Pod:
    """Return the cache's pod as the component renders it."""
    settings = NodeLocalDnsSettings(interception=interception)
    return Pod(node, manifests(settings, cluster_dns_ip=CLUSTER_DNS, upstream_ip=UPSTREAM), name)


def no_cache(report: Report, title: str) -> None:
    """Before the installation every pod reaches CoreDNS, in either mode."""
    for mode in ("strict", "standard"):
        with worker_node(mode) as node:
            report.ask(f"{title}, {mode}", node, UNCACHED)


def strict(report: Report, title: str) -> None:
    """Show the failure: the pod with security groups loses DNS; a switch does not help it, recreating does."""
    with worker_node("strict") as node:
        cache(node, "socket").start()
        report.strict_route = node.why(CLUSTER_DNS)
        lost = _expect(BOTH, NEITHER, HOST["socket"])
        report.ask(title, node, lost)
        node.switch_to_standard()
        report.ask("pod that survives the switch to standard", node, lost)
        node.delete_branch_pod()
        node.create_branch_pod()
        report.ask("same pod, recreated in standard", node, _expect(BOTH, BOTH, HOST["socket"]))


def _standard(interception: Interception) -> Callable[[Report, str], None]:
    def scenario(report: Report, title: str) -> None:
        with worker_node("standard") as node:
            pod = cache(node, interception)
            pod.start()
            report.ask(title, node, _expect(BOTH, BOTH, HOST[interception]))
            with queries.under_load(node.machines["plain-pod"], CLUSTER_DNS) as load:
                time.sleep(0.5)
                pod.crash()
                time.sleep(1)
            # Half a second of it is before the crash; after it, upstream's rules lose every question.
            bounds = (0, 25) if interception == "socket" else (400, load.sent)
            killed = f"cache killed, {interception} interception"
            report.loads.append(_load(killed, load, *bounds))
            report.ask(killed, node, UNCACHED if interception == "socket" else _expect(NEITHER, NEITHER, NEITHER))

    return scenario


def _load(scenario: str, load: queries.Load, at_least: int, at_most: int, client: str = "plain-pod") -> LoadCheck:
    return LoadCheck(
        scenario=scenario, client=client, sent=load.sent, lost=load.lost, at_least=at_least, at_most=at_most
    )


def _uninstall(interception: Interception) -> Callable[[Report, str], None]:
    def scenario(report: Report, title: str) -> None:
        with worker_node("standard") as node:
            pod = cache(node, interception)
            pod.start()
            pod.stop()
            report.states.append(StateCheck(scenario=title, leftovers=node.leftovers()))
            report.ask(title, node, UNCACHED)

    return scenario


def rolling_update(report: Report, title: str) -> None:
    """Start the new pod before the old one ends: nobody notices."""
    with worker_node("standard") as node:
        old, new = cache(node, "socket", "old"), cache(node, "socket", "new")
        old.start()
        with queries.under_load(node.machines["plain-pod"], CLUSTER_DNS) as load:
            time.sleep(0.3)
            new.start()
            old.stop()
            time.sleep(0.5)
        report.loads.append(_load(title, load, 0, 0))
        report.ask(title, node, _expect(BOTH, BOTH, HOST["socket"]))


def coredns_unreachable(report: Report, title: str) -> None:
    """Cut CoreDNS off: the cache still answers what it knows, and nothing else."""
    with worker_node("standard") as node:
        cache(node, "socket").start()
        known = queries.new_name()
        report.ask(f"{title}: before", node, {("plain-pod", CLUSTER_DNS): "cache"}, known)
        node.cut_coredns_off()
        pods = [(client, server) for client in ("plain-pod", "sgp-pod") for server in SERVERS]
        report.ask(f"{title}: known name", node, dict.fromkeys(pods, "cache"), known)
        report.ask(f"{title}: new name", node, dict.fromkeys(pods))


def security_group_without_dns(report: Report, title: str) -> None:
    """Let the cache ask under the node's security group; the fallback needs the pod's own to allow port 53."""
    with worker_node("standard") as node:
        pod = cache(node, "socket")
        pod.start()
        node.refuse_dns_of_branch_pod()
        report.ask(f"{title}: cache up", node, _expect(BOTH, BOTH, HOST["socket"]))
        pod.crash()
        report.ask(f"{title}: cache killed", node, _expect(CORE_DNS, NEITHER, CORE_DNS))


def right_order(report: Report, title: str) -> None:
    """Switch, recreate, and only then install: the recreated pod loses nothing."""
    with worker_node("strict") as node:
        node.switch_to_standard()
        node.delete_branch_pod()
        node.create_branch_pod()
        with queries.under_load(node.machines["sgp-pod"], CLUSTER_DNS) as load:
            time.sleep(0.3)
            cache(node, "socket").start()
            time.sleep(0.5)
        report.loads.append(_load(title, load, 0, 0, "sgp-pod"))
        report.ask(title, node, _expect(BOTH, BOTH, HOST["socket"]))


def wrong_order(report: Report, title: str) -> None:
    """Install first: from then until it is recreated, the pod with security groups loses every question."""
    with worker_node("strict") as node:
        with queries.under_load(node.machines["sgp-pod"], CLUSTER_DNS) as load:
            cache(node, "socket").start()
            time.sleep(0.3)
            node.switch_to_standard()
            time.sleep(0.7)
        # The last second is lost whole; what was asked before the rules came may have been answered.
        report.loads.append(_load(title, load, 400, load.sent, "sgp-pod"))


SCENARIOS: dict[str, Callable[[Report, str], None]] = {
    "no cache": no_cache,
    "strict, cache running": strict,
    "standard, cache running": _standard("socket"),
    "standard, cache running, upstream's rules": _standard("upstream"),
    "uninstalled": _uninstall("socket"),
    "uninstalled, upstream's rules": _uninstall("upstream"),
    "rolling update": rolling_update,
    "CoreDNS unreachable": coredns_unreachable,
    "security group without port 53": security_group_without_dns,
    "right order of migration": right_order,
    "wrong order of migration": wrong_order,
}


def run(names: list[str], report: Report) -> Iterator[str]:
    """Run scenarios into `report`, yielding each one's name before it starts."""
    for name in names:
        yield name
        SCENARIOS[name](report, name)
