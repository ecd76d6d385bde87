"""The crash test: one node's cache is made to crash, and DNS is asked all the while whether it goes on.

Nothing here takes the cache down and has to put it back: the cache gets the signal of a crash, and the node's kubelet
starts it again at once, as after any crash. So a test that is interrupted or killed leaves nothing undone.
"""

import contextlib
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta

from components.running_cluster.kubernetes_api import KubernetesApiError
from verify import probe, watching
from verify.cluster import SYSTEM, Cluster
from verify.cluster_facts import ClusterFacts, container_statuses, ready
from verify.facts import FactsError
from verify.findings import Finding, Result, Verdict, unknown
from verify.installation import Manifest
from verify.lease import alone
from verify.options import Options
from verify.questions import Addresses, Client, Names
from verify.security_groups import NOT_BEHIND_ONE, is_behind_one, make_policies, sets_of_groups
from verify.sweep import sweep
from verify.watching import Watch

CACHE_CONTAINER = "node-cache"
CRASH = ("sh", "-c", "kill -ABRT 1")
"""What is run in the cache's container. The kernel lets nobody inside send KILL to process 1; ABRT is a signal at which
Go's runtime ends the process on the spot, whatever the program had in mind to do at its end (os/signal)."""

RETURN_SECONDS = 60
"""How long the cache may take to answer again. The kubelet starts a container at once after its first crash."""

CALM = timedelta(minutes=10)
"""For so long a container has to have run since its last restart: until then the kubelet waits before it starts it
again, up to five minutes (Kubernetes, Pod Lifecycle, "Container restarts")."""

_LATE_SECONDS = 3
"""How long after a reply its line is in the log, at most."""

_POLL_SECONDS = 0.5

Progress = Callable[[str], None]


def refusal(facts: ClusterFacts, node: str, findings: Iterable[Finding], now: datetime) -> str:
    """Say why a node's cache may not be made to crash; empty if it may. `findings` are what was just found there."""
    installation = facts.installed
    known = next((each for each in facts.nodes if each.name == node), None)
    if known is None or installation is None or known.without_cache:
        return "there is no cache to crash on this node"
    if installation.interception == "upstream":
        return (
            "interception is upstream: node-cache's own rules stay when it dies, and DNS on this node would die with "
            "it. Set nodeLocalDns.interception: socket"
        )
    pods = facts.pods_by_node().get(node, [])
    if len(pods) != 1 or not ready(pods[0]):
        return f"it takes exactly one pod of the cache on this node, and a ready one; pods there now: {len(pods)}"
    restarted = _last_restart(pods[0])
    if restarted is not None and now - restarted < CALM:
        return (
            f"the cache was restarted at {restarted:%H:%M:%S} UTC, and the kubelet would wait before the next start; "
            f"try again after {restarted + CALM:%H:%M:%S}"
        )
    wrong = [
        each.check for each in findings
        if each.verdict is Verdict.FAILED or (each.place == node and each.verdict is Verdict.UNKNOWN)
    ]  # fmt: skip
    if wrong:
        return f"only a healthy node is crashed, and these checks do not say that it is: {', '.join(wrong)}"
    return ""


def _status(pod: Manifest) -> Manifest:
    return next((each for each in container_statuses(pod) if each.get("name") == CACHE_CONTAINER), {})


def _restarts(pod: Manifest) -> int:
    return int(_status(pod).get("restartCount", 0))


def _last_restart(pod: Manifest) -> datetime | None:
    """Return since when the cache runs, if it has been restarted."""
    started = (_status(pod).get("state", {}).get("running") or {}).get("startedAt")
    return datetime.fromisoformat(started) if started and _restarts(pod) else None


def not_tried(node: str, why: str) -> list[Finding]:
    """Return the findings of a test that was not made."""
    return _findings(node, unknown(f"not tried: {why}"), unknown(f"not tried: {why}"))


_REMEDIES = (
    "Look at the packet rules, the kernel's socket match (docs/interception.md), and whether pods reach CoreDNS.",
    "Delete the cache's pod on this node; look at its events and its log (`kubectl -n kube-system logs --previous`).",
)


def _findings(node: str, fallback: Result, back: Result) -> list[Finding]:
    told = zip(("DNS goes on while the cache is down", "cache comes back"), (fallback, back), _REMEDIES, strict=True)
    return [Finding(check, 1, node, each.verdict, each.evidence, remedy) for check, each, remedy in told]


def crash_once(cluster: Cluster, facts: ClusterFacts, options: Options, node: str, progress: Progress) -> list[Finding]:
    """Make one node's cache crash and return what became of DNS there. Raises `KubernetesApiError` and `BusyError`.

    Ask `refusal` first.
    """
    (pod,) = facts.pods_by_node()[node]
    run = secrets.token_hex(4)
    with alone(cluster, options.namespace, run):
        sweep(cluster, options.namespace)
        try:
            watchers = _Watchers(cluster, facts, options, run, node)
            progress("waiting for the watchers")
            watchers.start()
            return watchers.crash(pod["metadata"]["name"], progress)
        finally:
            sweep(cluster, options.namespace)


class _Watchers:
    """The pods that ask all the while."""

    def __init__(self, cluster: Cluster, facts: ClusterFacts, options: Options, run: str, node: str) -> None:
        self._cluster, self._facts, self._options, self._run, self._node = cluster, facts, options, run, node
        self._names: dict[Client, str] = {}

    def start(self) -> None:
        """Make a watcher on the pod network, and one behind a security group where there can be one."""
        clients: list[Client] = ["plain"]
        here = next(each for each in self._facts.nodes if each.name == self._node)
        sets = sets_of_groups(self._cluster, self._options.groups)[:1] if here.has_trunk else []
        make_policies(self._cluster, self._options.namespace, self._run, sets)
        if sets:
            clients.append("branch")
        seconds = 2 * self._options.timeout + RETURN_SECONDS
        for client in clients:
            made = probe.pod(
                client, "0", self._options.namespace, self._run, self._node, Addresses(self._facts.cluster_dns_ip),
                Names(self._run), seconds, watching=True, image=self._options.image,
            )  # fmt: skip
            self._cluster.create(f"/api/v1/namespaces/{self._options.namespace}/pods", made)
            self._names[client] = made["metadata"]["name"]

    def _look(self) -> Mapping[Client, Watch]:
        """Return what was seen so far; a watcher that has not begun has seen nothing. Raises `FactsError`."""
        seen: dict[Client, Watch] = {}
        for client, name in self._names.items():
            text = ""
            with contextlib.suppress(KubernetesApiError):  # it has not started
                text = self._cluster.log(self._options.namespace, name, probe.CONTAINER)
            seen[client] = watching.read(text, self._run, self._node)
        return seen

    def _until(self, seconds: float, enough: Callable[[Mapping[Client, Watch]], bool]) -> Mapping[Client, Watch]:
        end = time.monotonic() + seconds
        while not enough(seen := self._look()) and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)
        return seen

    def crash(self, pod: str, progress: Progress) -> list[Finding]:
        """Crash the cache once the watchers are steady, and judge when it is back, or does not come back."""
        path, was = f"/api/v1/namespaces/{SYSTEM}/pods/{pod}", _restarts(self._facts.pods_by_node()[self._node][0])
        try:
            before = self._until(self._options.timeout, _all_steady)
            if not _all_steady(before):
                waiting = ", ".join(client for client, watch in before.items() if not watch.steady)
                return not_tried(
                    self._node, f"the watcher {waiting} had no steady answers within {self._options.timeout} s"
                )
            branch = self._names.get("branch")
            watcher = branch and self._cluster.get(f"/api/v1/namespaces/{self._options.namespace}/pods/{branch}")
            if watcher and not is_behind_one(watcher):
                return not_tried(self._node, f"branch watcher: {NOT_BEHIND_ONE}")
            said = self._cluster.execute(SYSTEM, pod, CACHE_CONTAINER, *CRASH)
        except (FactsError, KubernetesApiError) as error:
            return not_tried(self._node, str(error))
        progress("the cache was made to crash; waiting until it is back")
        began = time.monotonic()
        back: list[float] = []

        def over(seen: Mapping[Client, Watch]) -> bool:
            if all(each.returned for each in seen.values()):
                return True
            # It may have been away too shortly for a question: look a little longer, and end.
            found = self._cluster.get(path) or {}
            if _restarts(found) > was and ready(found):
                back.append(time.monotonic())
            return bool(back) and time.monotonic() - back[0] > _LATE_SECONDS

        try:
            after = self._until(RETURN_SECONDS, over)
            restarts = _restarts(self._cluster.get(path) or {}) - was
        except (FactsError, KubernetesApiError) as error:
            return _findings(self._node, unknown(str(error)), unknown(str(error)))
        waited = time.monotonic() - began
        down = f"the kubelet started it {restarts} times in {waited:.0f} s{'' if restarts else f'; exec said: {said}'}"
        return _findings(self._node, watching.judge_fallback(after, down), watching.judge_return(after, waited))


def _all_steady(seen: Mapping[Client, Watch]) -> bool:
    return all(each.steady for each in seen.values())


def now() -> datetime:
    """Return the time, for `refusal`."""
    return datetime.now(UTC)
