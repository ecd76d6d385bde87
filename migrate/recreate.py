"""Recreating the pods of owners, a few owners at a time: everything it waits for is read from the cluster."""

import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Literal

from components.running_cluster.cni_state import look
from components.running_cluster.kubernetes_api import KubernetesApi, KubernetesApiError, Manifest
from components.running_cluster.strict_pods import Owner, SecurityGroupPod, owner_of, part
from migrate.budgets import allowed, hindrances, matching
from migrate.plan import Plan, available, desired, down_at_once, is_ready, plan, unfinished
from migrate.refusal import refusal

RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
"""Annotation of a pod template whose change is a rollout; kubectl's own, so that both know each other's."""

PODS_WANTED = "eks-node-local-dns/pods-wanted"
"""Annotation of pods that are about to be evicted, if nothing else says it: how many pods their owner is to have. It
goes with them."""

_COLLECTIONS = {
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    "DaemonSet": "/apis/apps/v1/namespaces/{}/daemonsets",
    "ReplicaSet": "/apis/apps/v1/namespaces/{}/replicasets",
    "ReplicationController": "/api/v1/namespaces/{}/replicationcontrollers",
}

_ANOTHER_OR_NONE = {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}
"""Statuses of a request for a pod by its name and uid, when there is another of that name, or none."""

_NOTHING = "nothing is left to recreate"

Outcome = Literal["done", "blocked", "failed", "left", "interrupted", "not begun"]
"""`blocked`: a budget, or pods that are not ready, forbid it. `failed`: a replacement did not get ready, or the API
refused; no further owner is begun then. `left`: what is left ends by itself, or is not ours to end."""


@dataclass(frozen=True)
class Result:
    """What became of the pods of one owner."""

    owner: Owner | None
    """Whose pods; None: bare ones."""

    outcome: Outcome
    """How it ended."""

    detail: str
    """What was done, or what is in the way."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the work is done."""

    timeout: float = 600
    """Seconds that may pass without any progress of an owner."""

    parallel: int = 1
    """Owners worked on at once."""

    poll: float = 1
    """Seconds between two looks."""


def workload_of(api: KubernetesApi, owner: Owner) -> Manifest | None:
    """Return an owner as the API serves it; None if it is not there or of a kind that is not known here."""
    collection = _COLLECTIONS.get(owner.kind)
    return api.get(f"{collection.format(owner.namespace)}/{owner.name}") if collection else None


class _StuckError(Exception):
    """Nothing moved for as long as it may."""


class _BlockedError(Exception):
    """Something forbids to go on, and nothing has been harmed."""


class _LeftError(Exception):
    """What is left ends by itself, later."""


class _StoppedError(Exception):
    """The command is being ended."""


Say = Callable[[Owner, str], None]


@dataclass
class Recreation:
    """Recreates pods; one instance is one run."""

    api: KubernetesApi
    options: Options
    say: Say
    """Is told what is going on, from any thread."""

    _stop: threading.Event = field(default_factory=threading.Event)
    _broken: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        """End it soon, leaving every owner as it is at that moment."""
        self._stop.set()

    def run(self, owners: Iterable[Owner]) -> list[Result]:
        """Recreate what has to be of these owners, in this order; begin no more once a replacement fails.

        After Ctrl-C every owner is left as it is at that moment, and the next run goes on from there.
        """
        waiting = list(owners)
        results: dict[Owner, Result] = {}
        running: dict[Future[Result], Owner] = {}
        with ThreadPoolExecutor(self.options.parallel) as pool:
            try:
                while running or (waiting and not self._broken.is_set()):
                    while waiting and len(running) < self.options.parallel and not self._broken.is_set():
                        owner = waiting.pop(0)
                        running[pool.submit(self._owner, owner)] = owner
                    # With a timeout, or Ctrl-C would wait too.
                    for each in wait(running, timeout=0.2, return_when=FIRST_COMPLETED).done:
                        results[running.pop(each)] = each.result()
            except KeyboardInterrupt:
                self._stop.set()
            for each, owner in running.items():
                results[owner] = each.result()
        why = "interrupted" if self._stop.is_set() else "an earlier one failed; see to that first"
        return [*results.values(), *(Result(each, "not begun", why) for each in waiting)]

    def _owner(self, owner: Owner) -> Result:
        try:
            outcome, detail = self._recreated(owner)
        except _BlockedError as error:
            outcome, detail = "blocked", str(error)
        except _LeftError as error:
            outcome, detail = "left", str(error)
        except _StoppedError:
            outcome, detail = "interrupted", "left as it is now; the next run goes on from there"
        except (_StuckError, KubernetesApiError) as error:
            self._broken.set()
            outcome, detail = "failed", str(error)
        self.say(owner, detail)
        return Result(owner, outcome, detail)

    def _recreated(self, owner: Owner) -> tuple[Outcome, str]:
        pods, workload = self._suspects(owner), workload_of(self.api, owner)
        if not pods:
            return "done", _NOTHING
        chosen = plan(owner, workload, pods)
        if chosen.way == "by hand":
            return "left", chosen.why
        if chosen.way == "restart" and workload is not None and unfinished(workload):
            # Ours, which was interrupted, or somebody's: it replaces pods as a new one would.
            self._wait(
                owner, "waiting for the rollout that is under way", lambda: self._rolled_out(owner), stuck=_BlockedError
            )
            pods = self._suspects(owner)
        staying = [each for each in pods if not each.leaving]
        if not pods:
            return "done", _NOTHING
        if chosen.way == "wait":
            self._wait(owner, "waiting for its pods to end", lambda: self._gone(owner, pods), stuck=_LeftError)
            return "done", "its pods have ended"
        if not staying:
            self._wait(
                owner, "waiting for pods that are being deleted", lambda: self._gone(owner, pods), stuck=_LeftError
            )
            return "done", "its pods had been deleted and are gone"
        how = self._replace(owner, staying)
        self._wait(owner, "waiting for the old pods to be gone", lambda: self._gone(owner, pods), stuck=_LeftError)
        self._refuse_strict_replacements(owner)
        noun = "pod" if len(pods) == 1 else "pods"
        return "done", f"{len(pods)} {noun} recreated ({how})"

    def _replace(self, owner: Owner, pods: list[SecurityGroupPod]) -> str:
        """Have others made in place of pods, and return how that was done."""
        if self._way(owner, pods).way == "evict":
            self._evict_all(owner, pods)
            return "evicted"
        self._restart(owner)
        self._wait(owner, "waiting for its rollout", lambda: self._rolled_out(owner))
        uids = {each.uid for each in pods}
        kept = [each for each in self._suspects(owner) if each.uid in uids and not each.leaving]
        if not kept:
            return "rollout restarted"
        self.say(owner, "something put its pod template back, and the restart was undone: evicting the old pods")
        self._evict_all(owner, kept)
        return "rollout restarted, which something undid, then evicted"

    def _suspects(self, owner: Owner) -> list[SecurityGroupPod]:
        """Return the pods that are not known to have the rules of standard mode, as long as others would have them."""
        state = look(self.api, owner.namespace)
        if why := refusal(state):
            raise _StuckError(why)
        return [each for each in state.suspects if each.owner == owner]

    def _refuse_strict_replacements(self, owner: Owner) -> None:
        made = [each for each in self._suspects(owner) if each.mode == "strict" and not each.leaving]
        if made:
            raise _StuckError(
                "pods that were made anew have strict rules again: "
                + "; ".join(f"{each} ({each.reason})" for each in made)
                + ". See that aws-node is healthy on their nodes, then run this again"
            )

    def _pods(self, owner: Owner) -> list[Manifest]:
        return [
            each for each in self.api.items(f"/api/v1/namespaces/{owner.namespace}/pods") if owner_of(each) == owner
        ]

    def _wait(
        self,
        owner: Owner,
        what: str,
        condition: Callable[[], tuple[bool, Hashable]],
        *,
        stuck: type[Exception] = _StuckError,
    ) -> None:
        """Wait until a condition holds; its second value is how far things are, and a change of it is progress.

        Raises `stuck` when there is none for too long.
        """
        self.say(owner, what)
        seen: Hashable = None
        since = time.monotonic()
        trouble = ""
        while True:
            try:
                held, state = condition()
            except KubernetesApiError as error:
                if HTTPStatus.BAD_REQUEST <= error.status < HTTPStatus.INTERNAL_SERVER_ERROR and (
                    error.status != HTTPStatus.TOO_MANY_REQUESTS
                ):
                    raise
                held, state, trouble = False, seen, str(error)  # an API server that is being replaced comes back
            else:
                trouble = ""
            if held:
                return
            if state != seen:
                seen, since = state, time.monotonic()
            if time.monotonic() - since > self.options.timeout:
                raise stuck(f"{what}: no progress for {self.options.timeout:g} s ({trouble or state})")
            if self._stop.wait(self.options.poll):
                raise _StoppedError

    def _rolled_out(self, owner: Owner) -> tuple[bool, Hashable]:
        workload = workload_of(self.api, owner)
        if workload is None:
            return True, "it is gone"
        ready, wanted = available(workload), desired(workload)
        old = unfinished(workload)
        return (
            not old and ready >= wanted,
            f"{ready} of {wanted} pods available{', old ones among them' if old else ''}",
        )

    def _gone(self, owner: Owner, pods: Iterable[SecurityGroupPod]) -> tuple[bool, Hashable]:
        there = {str(each["metadata"]["uid"]) for each in self._pods(owner) if _runs(each)}
        left = [str(each) for each in pods if each.uid in there]
        return not left, f"still there: {', '.join(left)}"

    def _way(self, owner: Owner, pods: list[SecurityGroupPod]) -> Plan:
        """Return how to recreate pods, once every budget that protects them lets one go."""
        uids = {each.uid for each in pods}
        found = [each for each in self._pods(owner) if each["metadata"]["uid"] in uids]
        workload = workload_of(self.api, owner)
        chosen = plan(owner, workload, pods, unready=not all(map(is_ready, found)))
        if chosen.way != "restart" or workload is None:
            return chosen
        # A rollout does not ask budgets, so we do: as long as nothing may go, nothing is begun.
        budgets: list[Manifest] = []

        def free() -> tuple[bool, Hashable]:
            budgets[:] = self._budgets(owner, found)
            hindering = list(hindrances(budgets))
            return not hindering, "; ".join(hindering)

        self._wait(owner, "waiting for its PodDisruptionBudget", free, stuck=_BlockedError)
        if any(allowed(each) < down_at_once(workload) for each in budgets):
            return Plan("evict", "its rollout would take more pods away at once than its budget allows")
        return chosen

    def _budgets(self, owner: Owner, pods: Iterable[Manifest]) -> list[Manifest]:
        budgets = list(self.api.items(f"/apis/policy/v1/namespaces/{owner.namespace}/poddisruptionbudgets"))
        found = {
            str(budget["metadata"]["name"]): budget
            for pod in pods
            for budget in matching(budgets, pod["metadata"].get("labels") or {})
        }
        return list(found.values())

    def _restart(self, owner: Owner) -> None:
        self.say(owner, "restarting its rollout")
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.api.send(
            "PATCH",
            f"{_COLLECTIONS[owner.kind].format(owner.namespace)}/{owner.name}",
            {"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: now}}}}},
            query={"fieldManager": "migrate"},
            content="application/strategic-merge-patch+json",
        )

    def _evict_all(self, owner: Owner, pods: list[SecurityGroupPod]) -> None:
        """Evict pods one by one, each only when all others serve, but for those that are to go themselves."""
        now = {str(each["metadata"]["uid"]): each for each in self._pods(owner)}
        there = [each for each in pods if each.uid in now]
        left = {each.uid for each in there}
        # What no API object tells, such as an operator's wish, is what was there at the beginning.
        noted = None if workload_of(self.api, owner) else self._noted(there, now)

        def complete() -> tuple[bool, Hashable]:
            workload = workload_of(self.api, owner)
            staying = [each for each in self._pods(owner) if _stays(each)]
            serving = sum(is_ready(each) or each["metadata"]["uid"] in left for each in staying)
            wanted = desired(workload) if workload else noted or 0
            source = f", by the annotation {PODS_WANTED} of its old pods" if noted else ""
            return serving >= wanted, f"{serving} of {wanted} pods ready{source}"

        for number, each in enumerate(sorted(there, key=lambda pod: is_ready(now[pod.uid]))):
            self._wait(
                owner,
                f"waiting until its pods are ready, to evict {each.name}",
                complete,
                stuck=_StuckError if number else _BlockedError,
            )
            self._evict(owner, each, now[each.uid])
            left.discard(each.uid)
        self._wait(owner, "waiting for the last replacement", complete)

    def _noted(self, pods: Iterable[SecurityGroupPod], now: Mapping[str, Manifest]) -> int:
        """Return how many pods there were before the first eviction, and write it on those that are to go.

        A run that is killed has counted for the next one: it would find one pod less, and think that all are there.
        """
        written = [part(now[each.uid], "metadata", "annotations").get(PODS_WANTED, "") for each in pods]
        wanted = max([sum(map(_stays, now.values())), *(int(each) for each in written if each.isdecimal())])
        for each, before in zip(pods, written, strict=True):
            if before == str(wanted):
                continue
            try:
                self.api.send(
                    "PATCH",
                    f"/api/v1/namespaces/{each.namespace}/pods/{each.name}",
                    {"metadata": {"uid": each.uid, "annotations": {PODS_WANTED: str(wanted)}}},
                    content="application/merge-patch+json",
                )
            except KubernetesApiError as error:
                if error.status not in _ANOTHER_OR_NONE:
                    raise
        return wanted

    def _evict(self, owner: Owner, pod: SecurityGroupPod, manifest: Manifest) -> None:
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod.name, "namespace": pod.namespace},
            "deleteOptions": {"preconditions": {"uid": pod.uid}},
        }

        def evicted() -> tuple[bool, Hashable]:
            try:
                self.api.send("POST", f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/eviction", body)
            except KubernetesApiError as error:
                if error.status in _ANOTHER_OR_NONE:
                    return True, None
                if error.status != HTTPStatus.TOO_MANY_REQUESTS:
                    raise
                hindering = list(hindrances(self._budgets(owner, [manifest])))
                return False, "; ".join(hindering) or str(error)
            return True, None

        budgets = self._budgets(owner, [manifest])
        if len(budgets) > 1:
            names = ", ".join(str(each["metadata"]["name"]) for each in budgets)
            raise _BlockedError(f"{pod} has several PodDisruptionBudgets ({names}): Kubernetes evicts no such pod")
        self._wait(owner, f"evicting {pod.name}", evicted, stuck=_BlockedError)


def _runs(pod: Manifest) -> bool:
    status: Mapping[str, object] = pod.get("status") or {}
    return status.get("phase") not in {"Succeeded", "Failed"}


def _stays(pod: Manifest) -> bool:
    return _runs(pod) and "deletionTimestamp" not in pod["metadata"]
