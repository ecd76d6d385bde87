"""What happens to DNS on a node, scenario by scenario, next to what we claim happens."""

import contextlib
import functools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from typing import Any

from components.cache.corefile import NO_SOCKET_MATCH_ZONE
from components.cache.interception import Interception
from components.cache.node_local_dns import NodeLocalDnsSettings, manifests
from components.cluster import addon_configuration
from lab import kube_proxy, queries
from lab.kubelet import BACK_OFF, SOON, Pod, replace
from lab.namespaces import LabError
from lab.node import CLUSTER_DNS, SECOND_SGP_POD, SGP_POD, UPSTREAM, Backend, BranchPod, Node, worker_node
from lab.vpc_cni import EnforcingMode
from tools import locate

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
    protocol: str
    sent: int
    lost: int
    in_flight: int
    """How many of those lost had been asked and not been answered when somebody died, and so may be lost."""

    at_least: int
    at_most: int
    """How many of the others may be lost."""

    @property
    def right(self) -> bool:
        """Whether it went as expected."""
        return self.sent > 0 and self.at_least <= self.lost - self.in_flight <= self.at_most


@dataclass(frozen=True, kw_only=True)
class StateCheck:
    """How the node differs from how it was before, where it may not: lines gone (-) and lines come (+)."""

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

    def add(self, other: "Report") -> None:
        """Take in what another report found."""
        self.checks += other.checks
        self.loads += other.loads
        self.states += other.states
        self.strict_route = self.strict_route or other.strict_route

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
            found = queries.answers(node.machines[client], server, protocol, name, expected=by is not None)
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
    # The node's own questions to the ClusterIP: see components/cache/interception.py.
    "socket": ("coredns", "cache"),
    "upstream": BOTH,
}  # fmt: skip
UNCACHED = _expect(CORE_DNS, CORE_DNS, CORE_DNS)


RATE = 2000
"""Questions a second of the loads under which a cache dies, loops and is replaced."""

TCP_RATE = 200
"""Connections a second, for one question each, beside them when a cache dies."""

NO_SOCKET_MATCH = "usr/lib/*/xtables/libxt_socket.so"
"""Hidden from the containers, the rule with the match is refused as by a kernel without it."""

CHANGES: tuple[Interception, ...] = ("socket", "upstream")
"""The changes of the interception, from `upstream` on."""

_one_at_a_time = threading.Lock()


@contextlib.contextmanager
def _under_load(client: queries.Namespace, rate: float = RATE, *, new_names: bool = False) -> Iterator[queries.Load]:
    """Ask for as long as the block runs; no two scenarios do so at once, or they would measure each other."""
    with _one_at_a_time, queries.under_load(client, CLUSTER_DNS, rate, new_names=new_names) as load:
        yield load


def cache(
    node: Node,
    interception: Interception = "socket",
    name: str = "cache",
    *,
    back_off: Sequence[float] = (),
    pace: float = 1,
    hidden: Iterable[str] = (),
) -> Pod:
    """Return the cache's pod as the component renders it."""
    settings = NodeLocalDnsSettings(interception=interception)
    objects = manifests(settings, cluster_dns_ip=CLUSTER_DNS, upstream_ip=UPSTREAM)
    return Pod(node, objects, name, back_off=back_off, pace=pace, hidden=hidden)


def managed_mode() -> EnforcingMode:
    """Return the enforcing mode that the component gives the CNI when nobody says otherwise."""
    configuration = addon_configuration.vpc_cni_configuration(addon_configuration.VpcCniSettings())
    return configuration["env"]["POD_SECURITY_GROUP_ENFORCING_MODE"]


def managed_node(
    backend: Backend = "nft", *, kube_proxy_mode: kube_proxy.Mode = "iptables", external_snat: bool = False
) -> contextlib.AbstractContextManager[Node]:
    """Make a node whose CNI is as the component configures it."""
    return worker_node(managed_mode(), backend, kube_proxy_mode=kube_proxy_mode, external_snat=external_snat)


def difference(before: list[str], after: list[str]) -> list[str]:
    """Return what differs between two snapshots of a node: lines gone (-) and lines come (+)."""
    old, new = Counter(before), Counter(after)
    return [f"- {line}" for line in (old - new).elements()] + [f"+ {line}" for line in (new - old).elements()]


def no_cache(report: Report, title: str) -> None:
    """Before the installation every pod reaches CoreDNS, in either mode."""
    for mode in ("strict", "standard"):
        with worker_node(mode) as node:
            report.ask(f"{title}, {mode}", node, UNCACHED)


def strict(report: Report, title: str) -> None:
    """Show the failure: the pod with security groups loses DNS; a switch does not help it, recreating does."""
    with worker_node("strict") as node:
        cache(node).start()
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
        with managed_node() as node:
            pod = cache(node, interception)
            pod.start()
            report.ask(title, node, _expect(BOTH, BOTH, HOST[interception]))
            killed = f"cache killed, {interception} interception"
            report.loads += crash_under_load(node, pod, killed, loses_all=interception == "upstream")
            report.ask(killed, node, UNCACHED if interception == "socket" else _expect(NEITHER, NEITHER, NEITHER))

    return scenario


def crash_under_load(node: Node, pod: Pod, title: str, *, loses_all: bool) -> list[LoadCheck]:
    """Kill the cache without a warning and ask on: only what was in flight may be lost, or all is from then on."""
    client = node.machines["plain-pod"]
    with _under_load(client) as udp, queries.under_load(client, CLUSTER_DNS, TCP_RATE, protocol="tcp") as tcp:
        time.sleep(0.5)
        pod.crash()
        dead = {"udp": udp.now(), "tcp": tcp.now()}
        time.sleep(1.5)
    checks: list[LoadCheck] = []
    for protocol, load in {"udp": udp, "tcp": tcp}.items():
        lost = load.sent - dead[protocol].sent if loses_all else 0
        checks.append(_load(title, load, lost, lost, dead=[dead[protocol]], protocol=protocol))
    return checks


def _load(
    scenario: str,
    load: queries.Load,
    at_least: int,
    at_most: int,
    *,
    dead: Iterable[queries.Moment] = (),
    client: str = "plain-pod",
    protocol: str = "udp",
) -> LoadCheck:
    """Say what a load came to, during which somebody died at the moments `dead`."""
    in_flight = load.unanswered & {number for each in dead for number in each.unanswered}
    return LoadCheck(
        scenario=scenario, client=client, protocol=protocol, sent=load.sent, lost=load.lost,
        in_flight=len(in_flight), at_least=at_least, at_most=at_most,
    )  # fmt: skip


def _uninstall(
    interception: Interception, accident: Callable[[Pod], None] | None = None, grace_seconds: float = 3
) -> Callable[[Report, str], None]:
    def scenario(report: Report, title: str) -> None:
        with managed_node() as node:
            uninstall(report, title, node, cache(node, interception), accident, grace_seconds)

    return scenario


def uninstall(
    report: Report,
    title: str,
    node: Node,
    pod: Pod,
    accident: Callable[[Pod], None] | None = None,
    grace_seconds: float = 3,
) -> None:
    """Install and delete the cache: the node is as it was, even if something happened to the pod just before.

    Who hangs uses the grace up; a shorter one than the pod's shows the same sooner.
    """
    before = node.snapshot()
    pod.start()
    if accident is not None:
        accident(pod)
    pod.stop(grace_seconds)
    report.states.append(StateCheck(scenario=title, leftovers=difference(before, node.snapshot())))
    report.ask(title, node, UNCACHED)


def rolling_update(report: Report, title: str) -> None:
    """Start the new pod before the old one ends: nobody notices."""
    with managed_node() as node:
        old, new = cache(node, name="old"), cache(node, name="new")
        old.start()
        with _under_load(node.machines["plain-pod"]) as load:
            time.sleep(0.3)
            replace(old, new)
            time.sleep(0.5)
        report.loads.append(_load(title, load, 0, 0))
        report.ask(title, node, _expect(BOTH, BOTH, HOST["socket"]))


def change_of_interception(report: Report, title: str) -> None:
    """Change the setting back and forth: the pods are replaced as the new one's update strategy says."""
    with managed_node() as node:
        before = node.snapshot()
        pod = cache(node, "upstream", "first")
        pod.start()
        for number, interception in enumerate(CHANGES):
            changed = f"{title} to {interception}"
            old, pod = pod, cache(node, interception, f"{interception}-{number}")
            with _under_load(node.machines["plain-pod"]) as load, ThreadPoolExecutor() as watching:
                time.sleep(0.3)
                (ending,) = old.containers
                death = watching.submit(lambda: (ending.until_gone(), load.now())[1])  # noqa: B023  # waited for here
                halves: list[queries.Moment] = []
                replace(old, pod, lambda: halves.append(load.now()))  # noqa: B023  # called here
                halves.append(load.now())
                time.sleep(0.5)
            # Node-cache writes its own rules one by one: for a moment questions go untracked and answers do not.
            at_most = halves[1].sent - halves[0].sent if interception == "upstream" else 0
            report.loads.append(_load(changed, load, 0, at_most, dead=[death.result()]))
            # A cache that was `upstream` takes the interface with it; the new one looks every five seconds.
            wait_for("the interface", lambda: _has_addresses(node))
            report.ask(changed, node, _expect(BOTH, BOTH, HOST[interception]))
        pod.stop()
        left = difference(before, node.snapshot())
        report.states.append(StateCheck(scenario=f"{title}: uninstalled", leftovers=left))


def _has_addresses(node: Node) -> bool:
    """Say whether the cache's addresses are on the node, where a kernel without dummy links gets the link from us."""
    node.prepare_interface()
    held = node.host.run(locate("ip"), "-oneline", "addr")
    return all(f" {address}/32 " in held for address in SERVERS)


def crash_loop(report: Report, title: str, times: int = 10, back_off: Sequence[float] = SOON) -> None:
    """Kill the cache as often as it comes back: each time only what was in flight is lost."""
    with managed_node() as node:
        pod = cache(node, back_off=back_off)
        pod.start()
        dead: list[queries.Moment] = []
        with _under_load(node.machines["plain-pod"]) as load:
            for number in range(1, times + 1):
                time.sleep(0.3)
                pod.crash()
                # Asked before it was dead and not answered: whoever asks after that is answered by CoreDNS.
                dead.append(load.now())
                wait_for(f"restart {number} of the cache", lambda: pod.restarts == number)  # noqa: B023  # waited for here
                wait_for("the cache", lambda: pod.containers[0].probe("readinessProbe"))
            time.sleep(0.3)
        report.loads.append(_load(title, load, 0, 0, dead=dead))
        report.ask(title, node, _expect(BOTH, BOTH, HOST["socket"]))


def wait_for(what: str, there: Callable[[], bool], seconds: float = 60) -> None:
    """Return when `there` says so; raises `LabError` when it does not within `seconds`."""
    end = time.monotonic() + seconds
    while not there():
        if time.monotonic() > end:
            raise LabError(f"{what} did not come within {seconds} s")
        time.sleep(0.05)


def _rules_flushed(interception: Interception = "socket", backend: Backend = "nft") -> Callable[[Report, str], None]:
    def scenario(report: Report, title: str) -> None:
        with managed_node(backend) as node:
            cache(node, interception).start()
            rules_flushed(report, title, node, interception)

    return scenario


def rules_flushed(report: Report, title: str, node: Node, interception: Interception) -> None:
    """Let somebody flush the cache's chains: DNS answers meanwhile, and the rules are back within ten seconds."""
    before = node.snapshot()

    def rules() -> list[str]:
        return [line for line in node.leftovers() if line.startswith(f"{node.backend} ")]

    def flush() -> bool:
        """Flush, a table at a time, and say whether nobody repaired anything before all of it was gone."""
        for table in ("raw", "filter", "nat"):
            # Kube-proxy's rules share the latter two, and nobody plays kube-proxy here and would write them again.
            own = [line.split(maxsplit=3)[3] for line in rules() if line.split()[1] == table]
            lines = ["-F PREROUTING", "-F OUTPUT"] if table == "raw" else [f"-D {each}" for each in own]
            text = "\n".join([f"*{table}", *lines, "COMMIT", ""])
            # Somebody repaired in between: that is looked at below.
            node.host.run(node.iptables("-restore"), "-w", "--noflush", given=text, check=False)
        return not rules()

    with _under_load(node.machines["plain-pod"], 500) as load:
        wait_for("a moment without rules", flush)
        with contextlib.suppress(LabError):  # what is still missing then is in the report
            wait_for("the rules", lambda: not difference(before, node.snapshot()), 10)
    report.states.append(StateCheck(scenario=title, leftovers=difference(before, node.snapshot())))
    report.loads.append(_load(title, load, 0, 0))
    report.ask(title, node, _expect(BOTH, BOTH, HOST[interception]))


def legacy_iptables(report: Report, title: str) -> None:
    """Do it all where kube-proxy writes with iptables-legacy."""
    with managed_node("legacy") as node:
        pod, before = cache(node), node.snapshot()
        pod.start()
        report.ask(title, node, _expect(BOTH, BOTH, HOST["socket"]))
        report.loads += crash_under_load(node, pod, f"{title}: cache killed", loses_all=False)
        report.ask(f"{title}: cache killed", node, UNCACHED)
        pod.stop()
        report.states.append(
            StateCheck(scenario=f"{title}: uninstalled", leftovers=difference(before, node.snapshot()))
        )


def _life(
    interception: Interception, *, kube_proxy_mode: kube_proxy.Mode = "iptables", external_snat: bool = False
) -> Callable[[Report, str], None]:
    """Return the scenario of a cache's life on a node of another kind: installed, updated, killed, uninstalled."""

    def scenario(report: Report, title: str) -> None:
        with managed_node(kube_proxy_mode=kube_proxy_mode, external_snat=external_snat) as node:
            report.ask(f"{title}: no cache", node, UNCACHED)
            old, pod, before = cache(node, interception, "old"), cache(node, interception, "new"), node.snapshot()
            old.start()
            halves: list[queries.Moment] = []
            with _under_load(node.machines["plain-pod"]) as load:
                time.sleep(0.3)
                replace(old, pod, lambda: halves.append(load.now()))
                halves.append(load.now())
                time.sleep(0.5)
            # As in a change of the interception.
            at_most = halves[1].sent - halves[0].sent if interception == "upstream" else 0
            report.loads.append(_load(f"{title}: updated", load, 0, at_most))
            report.ask(title, node, _expect(BOTH, BOTH, HOST[interception]))
            killed = f"{title}: cache killed"
            report.loads += crash_under_load(node, pod, killed, loses_all=interception == "upstream")
            report.ask(killed, node, UNCACHED if interception == "socket" else _expect(NEITHER, NEITHER, NEITHER))
            pod.stop()
            left = difference(before, node.snapshot())
            report.states.append(StateCheck(scenario=f"{title}: uninstalled", leftovers=left))
            report.ask(f"{title}: uninstalled", node, UNCACHED)

    return scenario


def hung_cache(report: Report, title: str) -> None:
    """Stop the cache without ending it: it keeps its socket, so pods wait until the liveness probe ends it."""
    with managed_node() as node:
        pod = cache(node, back_off=SOON, pace=5)
        pod.start()
        with queries.under_load(node.machines["plain-pod"], CLUSTER_DNS, 50) as load:
            pod.freeze()
            report.ask(title, node, _expect(NEITHER, NEITHER, CORE_DNS))
            wait_for("the restart of the cache", lambda: pod.restarts > 0)
            wait_for("the cache", lambda: pod.containers[0].probe("readinessProbe"))
            hung = load.sent
            time.sleep(1)
        report.loads.append(_load(f"{title}: until its restart", load, 1, hung))
        report.ask(f"{title}: restarted", node, _expect(BOTH, BOTH, HOST["socket"]))


def no_socket_match(report: Report, title: str) -> None:
    """Take the kernel's socket match away: node-cache's own rules, there only while somebody listens."""
    with managed_node() as node:
        pod, before = cache(node, hidden=[NO_SOCKET_MATCH]), node.snapshot()
        pod.start()
        shown = {("plain-pod", CLUSTER_DNS): "cache"}
        report.ask(title, node, _expect(BOTH, BOTH, HOST["upstream"]))
        report.ask(f"{title}: its zone", node, shown, NO_SOCKET_MATCH_ZONE)
        with _under_load(node.machines["plain-pod"]) as load:
            time.sleep(0.5)
            pod.crash()
            dead = load.now()
            wait_for("the fallback", lambda: not any("NOTRACK" in line for line in node.leftovers()))
            watched = load.now()
            time.sleep(1)
        # Lost is what is asked between the cache's death and the moment in which the rules are seen gone.
        report.loads.append(_load(f"{title}: cache killed", load, 1, watched.sent - dead.sent, dead=[dead]))
        report.ask(f"{title}: cache killed", node, UNCACHED)
        pod.stop()
        report.states.append(
            StateCheck(scenario=f"{title}: uninstalled", leftovers=difference(before, node.snapshot()))
        )


def coredns_unreachable(report: Report, title: str) -> None:
    """Cut CoreDNS off: the cache still answers what it knows, and nothing else."""
    with managed_node() as node:
        cache(node).start()
        known = queries.new_name()
        report.ask(f"{title}: before", node, {("plain-pod", CLUSTER_DNS): "cache"}, known)
        node.cut_coredns_off()
        pods = [(client, server) for client in ("plain-pod", "sgp-pod") for server in SERVERS]
        report.ask(f"{title}: known name", node, dict.fromkeys(pods, "cache"), known)
        report.ask(f"{title}: new name", node, dict.fromkeys(pods))


def security_group_without_dns(report: Report, title: str) -> None:
    """Let the cache ask under the node's security group; the fallback needs the pod's own to allow port 53."""
    with managed_node() as node:
        pod = cache(node)
        pod.start()
        node.refuse_dns_of_branch_pod()
        report.ask(f"{title}: cache up", node, _expect(BOTH, BOTH, HOST["socket"]))
        pod.crash()
        report.ask(f"{title}: cache killed", node, _expect(CORE_DNS, NEITHER, CORE_DNS))


class _Life:
    """A replica of an owner of pods with security groups, which asks from when it is ready until it is deleted."""

    def __init__(self, node: Node, pod: BranchPod, ending: contextlib.ExitStack) -> None:
        self._node, self.pod, self._ending = node, pod, ending
        self._end = contextlib.ExitStack()
        self.load = self._end.enter_context(queries.under_load(node.machines[pod.name], CLUSTER_DNS, 500))
        ending.callback(self._end.close)

    def replaced(self) -> "_Life":
        """Delete the pod, create it anew and return its next life."""
        self._end.close()
        self._node.delete_branch_pod(self.pod)
        self._node.create_branch_pod(self.pod)
        return _Life(self._node, self.pod, self._ending)

    def check(self, title: str, at_least: int = 0, at_most: int = 0) -> LoadCheck:
        """Return what this life's questions came to."""
        return _load(title, self.load, at_least, at_most, client=self.pod.name)


@contextlib.contextmanager
def _two_replicas() -> Iterator[tuple[Node, list[_Life]]]:
    """Make a strict node without the cache, on which two pods with security groups ask; they end with the block."""
    with worker_node("strict") as node, _one_at_a_time, contextlib.ExitStack() as ending:
        node.create_branch_pod(SECOND_SGP_POD)
        yield node, [_Life(node, pod, ending) for pod in (SGP_POD, SECOND_SGP_POD)]


def right_order(report: Report, title: str) -> None:
    """Switch, recreate both replicas, and only then install: nothing is lost, from before it all until after."""
    with _two_replicas() as (node, before):
        time.sleep(0.3)
        node.switch_to_standard()
        time.sleep(0.3)
        after = [life.replaced() for life in before]
        cache(node).start()
        time.sleep(0.5)
        report.ask(title, node, _expect(BOTH, BOTH, HOST["socket"]))
    report.loads += [life.check(f"{title}: until recreated") for life in before]
    report.loads += [life.check(f"{title}: recreated") for life in after]


def wrong_order(report: Report, title: str) -> None:
    """Install first: from then until they are recreated, the pods with security groups lose every question."""
    with _two_replicas() as (node, before):
        cache(node).start()
        installed = [life.load.sent for life in before]
        node.switch_to_standard()
        time.sleep(0.7)
        after = [life.replaced() for life in before]
        time.sleep(0.3)
        report.ask(f"{title}: recreated", node, _expect(BOTH, BOTH, HOST["socket"]))
    # What was asked before the rules came may have been answered.
    report.loads += [
        life.check(f"{title}: until recreated", life.load.sent - sent, life.load.sent)
        for life, sent in zip(before, installed, strict=True)
    ]
    report.loads += [life.check(f"{title}: recreated") for life in after]


SCENARIOS: dict[str, Callable[[Report, str], None]] = {
    "no cache": no_cache,
    "strict, cache running": strict,
    "standard, cache running": _standard("socket"),
    "standard, cache running, upstream's rules": _standard("upstream"),
    "crash loop": crash_loop,
    "crash loop, a kubelet's back-off": functools.partial(crash_loop, times=2, back_off=BACK_OFF),
    "cache hangs": hung_cache,
    "rolling update": rolling_update,
    "interception changed": change_of_interception,
    "rules flushed": _rules_flushed(),
    "legacy iptables": legacy_iptables,
    "kube-proxy in nftables mode": _life("socket", kube_proxy_mode="nftables"),
    "kube-proxy in nftables mode, upstream's rules": _life("upstream", kube_proxy_mode="nftables"),
    "external SNAT": _life("socket", external_snat=True),
    "no socket match": no_socket_match,
    "uninstalled": _uninstall("socket"),
    "uninstalled while the cache hangs": _uninstall("socket", Pod.freeze, grace_seconds=0),
    "uninstalled, upstream's rules": _uninstall("upstream"),
    "CoreDNS unreachable": coredns_unreachable,
    "security group without port 53": security_group_without_dns,
    "right order of migration": right_order,
    "wrong order of migration": wrong_order,
}

AT_ONCE = 4
"""Scenarios that run at a time: each has a node of its own, and most of its time is waiting."""


def run(names: list[str], report: Report) -> Iterator[str]:
    """Run scenarios into `report`, in the order of their names there, yielding each one's name when it is done."""

    def one(name: str) -> tuple[str, Report]:
        found = Report()
        SCENARIOS[name](found, name)
        return name, found

    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        started = {name: pool.submit(one, name) for name in names}
        try:
            for done in as_completed(started.values()):
                yield done.result()[0]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        for name in names:
            report.add(started[name].result()[1])
