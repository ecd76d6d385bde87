"""Who may work on a cluster, by a lease that is kept in memory and a clock that moves when somebody sleeps."""

import re
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from components.running_cluster import lease as lease_module
from components.running_cluster.kubernetes_api import KubernetesApiError
from components.running_cluster.lease import BusyError, Lease, alone

LEASE = Lease("kube-system", "migrate", {"app": "x"})
COLLECTION = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
PATH = f"{COLLECTION}/migrate"


def held_by(holder: str, renewed: str = "once", version: str = "1") -> dict[str, Any]:
    """Return the object as a run has written it."""
    return {"metadata": {"name": "migrate", "resourceVersion": version},
            "spec": {"holderIdentity": holder, "renewTime": renewed}}  # fmt: skip


class Leases:
    """An API with room for one lease; keeps what was asked."""

    def __init__(self, there: dict[str, Any] | None = None) -> None:
        self.there = there
        self.asked: list[tuple[str, str]] = []
        self.written: list[Any] = []
        self.failures: dict[str, list[int]] = {}

    def _note(self, method: str, path: str) -> None:
        self.asked.append((method, path))
        if failing := self.failures.get(method):
            raise KubernetesApiError(f"{method} failed", failing.pop(0))

    def get(self, path: str) -> dict[str, Any] | None:
        """Return the lease, if there is one."""
        self._note("GET", path)
        return self.there

    def send(self, method: str, path: str, body: Any) -> Any:
        """Keep what is written; each version has another number."""
        self._note(method, path)
        self.written.append(body)
        version = str(len(self.written) + 1)
        self.there = {**body, "metadata": {**body["metadata"], "resourceVersion": version}}
        return self.there

    def request(self, method: str, path: str) -> bytes:
        """Take the lease away."""
        self._note(method, path)
        self.there = None
        return b""

    def methods(self) -> list[str]:
        """Return what was asked beside looking."""
        return [method for method, _ in self.asked if method != "GET"]


class Clock:
    """Moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.on_sleep: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        """Return the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let it pass."""
        self.now += seconds
        self.on_sleep()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the only clock there is."""
    made = Clock()
    monkeypatch.setattr(lease_module, "time", made)
    return made


class Beats(threading.Event):
    """An end that a number of renewals come before."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.left = number
        self.begun, self.over = threading.Event(), threading.Event()
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Return at once while renewals are left."""
        self.begun.wait()
        self.waits.append(timeout)
        if self.left:
            self.left -= 1
            return False
        self.over.set()
        return super().wait()

    def set(self) -> None:
        """End."""
        self.begun.set()
        super().set()

    def all_passed(self) -> bool:
        """Begin, and say whether all have passed."""
        self.begun.set()
        return self.over.wait(30)


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Beats]:
    """Return a way to say how often the next lease is renewed."""

    def number(of: int) -> Beats:
        made = Beats(of)
        monkeypatch.setattr(lease_module, "threading", SimpleNamespace(Event=lambda: made, Thread=threading.Thread))
        return made

    return number


def taken(api: Leases, holder: str = "me", lease: Lease = LEASE, **options: Any) -> None:
    """Hold the lease for as long as nothing takes."""
    with alone(api, lease, holder, **options):  # type: ignore[arg-type]
        pass


def test_a_free_lease_is_made_and_given_back() -> None:
    """With who holds it, for how long, and since when."""
    api = Leases()
    with alone(api, LEASE, "me"):  # type: ignore[arg-type]
        [made] = api.written
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", made["spec"].pop("renewTime"))
        assert made == {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "migrate", "namespace": "kube-system", "labels": {"app": "x"}},
            "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15},
        }
    assert api.asked == [("GET", PATH), ("POST", COLLECTION), ("GET", PATH), ("DELETE", PATH)]


def test_the_lease_of_a_living_run_is_respected(clock: Clock) -> None:
    """It is renewed while we look, so its holder lives; nothing of it is changed, and nothing deleted."""
    api = Leases(held_by("laptop"))

    def renew() -> None:
        api.there = held_by("laptop", renewed=str(clock.now))

    clock.on_sleep = renew
    with pytest.raises(BusyError) as busy:
        taken(api)
    assert str(busy.value) == (
        "another run (laptop) is at work on this cluster; wait for it, or end it. When it is dead its lease "
        "kube-system/migrate is free after 15 s"
    )
    assert api.methods() == []


def test_the_lease_of_a_dead_run_is_taken_when_its_time_is_over(clock: Clock) -> None:
    """Not at the last moment that it covers, but at the first look after that."""
    api = Leases({**held_by("dead"), "kind": "Lease"})
    started = clock.now
    taken(api)
    [written] = api.written
    assert clock.now - started == 15.5
    assert written["metadata"]["resourceVersion"] == "1"
    assert written["kind"] == "Lease"
    assert written["spec"]["holderIdentity"] == "me"
    assert [each for each in api.asked if each[0] != "GET"] == [("PUT", PATH), ("DELETE", PATH)]


def test_a_lease_without_a_spec_is_waited_for_like_another(clock: Clock) -> None:
    """Its holder has written nothing, and may yet."""
    api = Leases({"metadata": {"name": "migrate"}})
    started = clock.now
    taken(api)
    assert clock.now - started == 15.5


def test_who_was_faster_is_waited_for_anew(clock: Clock) -> None:
    """A conflict is another run that got it: its time begins when it is seen, and nobody waits for ever."""
    api = Leases(held_by("dead"))
    api.failures["PUT"] = [409, 409]
    started = clock.now
    with pytest.raises(BusyError) as busy:
        taken(api)
    assert str(busy.value) == "the lease of another run could be neither had nor waited for; try again"
    assert api.methods() == ["PUT"]
    assert clock.now - started == 30


def test_a_race_for_a_free_lease_is_tried_again(clock: Clock) -> None:
    """It is made by one, and the other sees it."""
    api = Leases()
    api.failures["POST"] = [409]
    started = clock.now
    taken(api)
    assert clock.now - started == 0.5
    assert api.methods() == ["POST", "POST", "DELETE"]


def test_an_api_that_refuses_is_no_race(clock: Clock) -> None:
    """Who may not make it is told at once."""
    api = Leases()
    api.failures["POST"] = [403]
    with pytest.raises(KubernetesApiError, match="POST failed"):
        taken(api)
    assert clock.now == 1000


@pytest.mark.parametrize("there", [None, held_by("laptop")])
def test_what_is_not_ours_any_more_is_not_deleted(there: dict[str, Any] | None) -> None:
    """Another run may have taken it over, and works by it."""
    api = Leases()
    with alone(api, LEASE, "me"):  # type: ignore[arg-type]
        api.there = there
    assert api.methods() == ["POST"]
    assert api.there == there


def test_a_lease_that_cannot_be_given_back_runs_out() -> None:
    """The work is done, and its result is not lost for that."""
    api = Leases()
    with alone(api, LEASE, "me"):  # type: ignore[arg-type]
        api.failures["GET"] = [500]
    assert api.methods() == ["POST"]


def test_it_is_given_back_when_the_work_fails() -> None:
    """The next run need not wait."""
    api = Leases()

    def fail() -> None:
        with alone(api, LEASE, "me"):  # type: ignore[arg-type]
            raise LookupError("work")

    with pytest.raises(LookupError, match="work"):
        fail()
    assert api.methods() == ["POST", "DELETE"]


def test_it_is_renewed_three_times_in_its_time(beats: Callable[[int], Beats]) -> None:
    """Two renewals may be lost before another run takes it over; each is of the object as it was written last."""
    beating, api = beats(2), Leases()
    with alone(api, LEASE, "me"):  # type: ignore[arg-type]
        assert beating.all_passed()
    assert beating.waits == [5, 5, 5]
    assert api.methods() == ["POST", "PUT", "PUT", "DELETE"]
    assert [each for each in api.asked if each[0] == "PUT"] == [("PUT", PATH)] * 2
    _, first, second = api.written
    assert (first["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"]) == ("2", "3")
    assert {first["spec"]["holderIdentity"], second["spec"]["holderIdentity"]} == {"me"}
    assert first["metadata"]["labels"] == {"app": "x"}


@pytest.mark.parametrize("status", [409, 404])
@pytest.mark.parametrize("there", [None, held_by("laptop")])
def test_who_loses_it_is_told_once_and_renews_no_more(
    beats: Callable[[int], Beats], there: dict[str, Any] | None, status: int
) -> None:
    """Another holds it, or it is gone; told from a thread that keeps no program alive."""
    beating = beats(5)
    api, lost, over = Leases(), [], threading.Event()

    def on_loss() -> None:
        lost.append(threading.current_thread().daemon)
        over.set()

    api.failures["PUT"] = [status]
    original = api.send

    def lose(method: str, path: str, body: Any) -> Any:
        if method == "PUT":
            api.there = there
        return original(method, path, body)

    api.send = lose  # type: ignore[method-assign]
    with alone(api, LEASE, "me", on_loss):  # type: ignore[arg-type]
        beating.begun.set()
        assert over.wait(30)
    assert lost == [True]
    assert api.methods() == ["POST", "PUT"]
    assert api.there == there


@pytest.mark.parametrize(
    ("failures", "methods"),
    [
        ({"PUT": [500]}, ["POST", "PUT", "PUT", "DELETE"]),  # out of reach for a moment
        ({"PUT": [0]}, ["POST", "PUT", "PUT", "DELETE"]),
        ({"PUT": [409]}, ["POST", "PUT", "PUT", "DELETE"]),  # somebody has labelled it: it is still ours
    ],
)
def test_a_renewal_that_fails_is_tried_again(
    beats: Callable[[int], Beats], failures: dict[str, list[int]], methods: list[str]
) -> None:
    """Nobody is told of a loss that is none."""
    beating, api, lost = beats(2), Leases(), []
    api.failures = failures
    with alone(api, LEASE, "me", lambda: lost.append(1)):  # type: ignore[arg-type]
        assert beating.all_passed()
    assert (api.methods(), lost) == (methods, [])


def test_after_a_conflict_the_object_is_renewed_as_it_is_by_then(beats: Callable[[int], Beats]) -> None:
    """Else every later renewal would be a conflict as well, and the lease lost while its holder lives."""
    beating, api = beats(2), Leases()
    api.failures["PUT"] = [409]
    with alone(api, LEASE, "me"):  # type: ignore[arg-type]
        api.there = held_by("me", version="77")
        assert beating.all_passed()
    assert api.written[-1]["metadata"]["resourceVersion"] == "77"


def test_while_the_api_is_out_of_reach_nothing_is_lost_yet(beats: Callable[[int], Beats]) -> None:
    """Neither the renewal nor the look at who holds it tells anything."""
    beating, api, lost = beats(2), Leases(), []
    with alone(api, LEASE, "me", lambda: lost.append(1)):  # type: ignore[arg-type]
        api.failures |= {"PUT": [409], "GET": [0]}
        assert beating.all_passed()
    assert lost == []
