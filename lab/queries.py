"""DNS questions asked from inside a namespace: one by one, and as a load."""

import collections
import contextlib
import itertools
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from components.cache.corefile import MARKER_ZONE
from lab.namespaces import Namespace

Protocol = Literal["udp", "tcp"]
PROTOCOLS: tuple[Protocol, ...] = ("udp", "tcp")

_LAST_ANSWERS = 5.0  # seconds for which the last answers of a load are waited for; it ends with the last of them
_BURST = 20  # questions that may be asked at once to make up for lost time
AT_ONCE = 100
"""Questions under way: fewer than a socket's buffer holds, so that who stalls for a while loses none."""

_GIVEN_UP = 1.0  # seconds after which a question is no longer under way, if there is no answer
_LOOK = 0.01  # seconds between two looks at whether it is to end
_PATIENCE = 10.0  # seconds; whoever answers in the lab does so in a few milliseconds, unless the machine is busy
_SILENCE = 1.0  # seconds without an answer, beside others that came, which say that there will be none
_serial = itertools.count()


def new_name() -> str:
    """Return a name that nobody has asked for yet, so that no cache has its answer."""
    return f"n{next(_serial)}.default.svc.cluster.local"


def _ask(name: str, kind: str, server: str, protocol: Protocol, seconds: float) -> dns.message.Message | None:
    question = dns.message.make_query(name, kind)
    ask = dns.query.udp if protocol == "udp" else dns.query.tcp
    try:
        return ask(question, server, timeout=seconds)
    except (OSError, EOFError, dns.exception.DNSException):
        return None


def answers(
    client: Namespace, server: str, protocol: Protocol, name: str | None = None, *, expected: bool = True
) -> str | None:
    """Say who answers a question of `client` for a name (a new one by default): "cache", "coredns", or nobody.

    An answer that is `expected` is waited for longer than a busy machine needs.
    """

    def ask() -> str | None:
        reply = _ask(name or new_name(), "A", server, protocol, _PATIENCE if expected else _SILENCE)
        if reply is None or not (reply.answer or reply.additional):  # `whoami` answers in the latter
            return None
        marker = _ask(MARKER_ZONE, "TXT", server, protocol, _PATIENCE)
        return "cache" if marker is not None and marker.answer else "coredns"

    return client.call(ask)


@dataclass(frozen=True, kw_only=True)
class Moment:
    """How far a load had come at some moment."""

    sent: int
    """How many questions had been asked."""

    unanswered: frozenset[int]
    """Which of them had no answer: in flight, or lost before."""


@dataclass
class Load:
    """What became of a load of questions, which are numbered from 1."""

    sent: int = 0
    unanswered: set[int] = field(default_factory=set)
    """Questions without an answer: lost, and while the load runs those in flight too."""

    @property
    def lost(self) -> int:
        """How many are not answered: while the load runs, those in flight too."""
        return len(self.unanswered)

    def now(self) -> Moment:
        """Say how far it has come, while it runs."""
        sent = self.sent
        unanswered = frozenset(self.unanswered)  # one step of the interpreter, which no other thread comes between
        return Moment(sent=sent, unanswered=frozenset(each for each in unanswered if each <= sent))

    def ask(self) -> int:
        """Count one more question and return its number."""
        number = self.sent + 1
        self.unanswered.add(number)  # before it counts, or it would neither be answered nor unanswered for a moment
        self.sent = number
        return number


def _question(name: str) -> bytes:
    """Return a question's text but for its number."""
    return dns.message.make_query(name, "A").to_wire()[2:]


class _Datagrams:
    """Asks over UDP."""

    WAYS = 64
    """Ports it asks from, as a resolver library uses a new one for each question: a connection once tracked stays so.
    """

    STRAGGLERS = 0.5
    """Seconds by which an answer may be later than one to a later question."""

    def __init__(self, server: str, ready: selectors.BaseSelector) -> None:
        self._server = server
        self._waiting: dict[int, int] = {}
        """Numbers of questions by their id, which is 16 bits long."""
        self._sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(self.WAYS)]
        for each in self._sockets:
            each.setblocking(False)  # noqa: FBT003  # the socket module's signature
            ready.register(each, selectors.EVENT_READ)

    @property
    def waiting(self) -> bool:
        """Whether there is anybody who may still answer."""
        return bool(self._waiting)

    def ask(self, number: int, question: bytes) -> None:
        self._waiting[number % 65536] = number
        self._sockets[number % self.WAYS].sendto(struct.pack("!H", number % 65536) + question, (self._server, 53))

    def hear(self, source: socket.socket) -> int | None:
        """Read what is ready and return the number of the question it answers."""
        text, (sender, _) = source.recvfrom(4096)
        identity, flags = struct.unpack("!HH", text[:4])
        # NOERROR, and from whom was asked: a resolver library takes an answer from nobody else.
        return self._waiting.pop(identity, None) if not flags & 0xF and sender == self._server else None

    def close(self) -> None:
        for each in self._sockets:
            each.close()


class _Connections:
    """Asks over TCP, with a connection of its own for every question."""

    WAYS = 1
    STRAGGLERS = _LAST_ANSWERS  # whose connection is not refused is still being asked for, again and again

    def __init__(self, server: str, ready: selectors.BaseSelector) -> None:
        self._server, self._ready = server, ready
        self._waiting: dict[socket.socket, tuple[int, bytes]] = {}
        """Each connection's question, and what it has still to send of it; nothing when it waits for the answer."""

    @property
    def waiting(self) -> bool:
        """Whether there is anybody who may still answer."""
        return bool(self._waiting)

    def ask(self, number: int, question: bytes) -> None:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.setblocking(False)  # noqa: FBT003  # the socket module's signature
        connection.connect_ex((self._server, 53))
        text = struct.pack("!H", number % 65536) + question
        self._waiting[connection] = (number, struct.pack("!H", len(text)) + text)
        self._ready.register(connection, selectors.EVENT_WRITE)

    def hear(self, source: socket.socket) -> int | None:
        """Send the question on a new connection, or read an answer and return the number of the question."""
        number, text = self._waiting[source]
        answered = False
        try:
            if text:
                source.send(text)
                self._waiting[source] = (number, b"")
                self._ready.modify(source, selectors.EVENT_READ)
                return None
            _, _, flags = struct.unpack("!HHH", source.recv(4096)[:6])  # length, id
            answered = not flags & 0xF  # NOERROR
        except (OSError, struct.error):
            pass  # refused, reset, or closed without an answer: a lost question
        self._ready.unregister(source)
        del self._waiting[source]
        source.close()
        return number if answered else None

    def close(self) -> None:
        for each in self._waiting:
            each.close()


_ASKERS = {"udp": _Datagrams, "tcp": _Connections}


class _UnderWay:
    """Questions that are too young to be given up; as many at once as everybody has room for."""

    def __init__(self, load: Load, at_once: float) -> None:
        self._load, self._at_once = load, at_once
        self._asked: collections.deque[tuple[int, float]] = collections.deque()
        self._given_up: set[int] = set()

    def add(self, number: int) -> None:
        self._asked.append((number, time.monotonic()))

    def has_room(self) -> bool:
        """Whether one more may be asked."""
        while self._asked and time.monotonic() - self._asked[0][1] > _GIVEN_UP:
            number, _ = self._asked.popleft()
            if number in self._load.unanswered:
                self._given_up.add(number)
        self._given_up &= self._load.unanswered
        return len(self._load.unanswered) - len(self._given_up) < self._at_once


def _send_and_count(
    server: str, rate: float, stop: threading.Event, load: Load, *, protocol: Protocol, new_names: bool, at_once: float
) -> None:
    question = _question("load.default.svc.cluster.local")
    under_way = _UnderWay(load, at_once)
    with selectors.DefaultSelector() as ready, contextlib.closing(_ASKERS[protocol](server, ready)) as asker:

        def ask() -> int:
            number = load.ask()
            under_way.add(number)
            asker.ask(number, _question(new_name()) if new_names else question)
            return number

        def hear(seconds: float) -> None:
            for key, _ in ready.select(min(seconds, _LOOK)):
                assert isinstance(key.fileobj, socket.socket)  # noqa: S101  # only sockets were registered
                load.unanswered.discard(asker.hear(key.fileobj) or 0)

        due = time.monotonic()
        while not stop.is_set():
            now = time.monotonic()
            room = under_way.has_room()
            if now >= due and room:
                # A machine that made us late must not make us ask everything at once: that would overrun buffers.
                due = max(due + 1 / rate, now - _BURST / rate)
                ask()
            hear(max(0.0, due - time.monotonic()) if room else _LOOK)
        # Who is answered on every way has overtaken nobody: what is not answered soon after is lost.
        last = {ask() for _ in range(asker.WAYS)}
        end = time.monotonic() + _LAST_ANSWERS
        while asker.waiting and time.monotonic() < end:
            hear(_LOOK)
            if last and not last & load.unanswered:
                last.clear()
                end = min(end, time.monotonic() + asker.STRAGGLERS)


@contextlib.contextmanager
def under_load(
    client: Namespace,
    server: str,
    rate: float = 500,
    *,
    protocol: Protocol = "udp",
    new_names: bool = False,
    at_once: float = AT_ONCE,
) -> Iterator[Load]:
    """Ask `rate` questions a second while the block runs; the figures are final after it.

    Fewer, when as many as `at_once` are under way: asked and not answered for less than a second.

    For one name that the cache knows after the first, or for names nobody asked for before (`new_names`).

    Questions over UDP are told apart by their id, so an answer has to come before 65,536 more are asked.
    """
    load, stop = Load(), threading.Event()

    def ask() -> None:
        _send_and_count(server, rate, stop, load, protocol=protocol, new_names=new_names, at_once=at_once)

    thread = threading.Thread(target=lambda: client.call(ask), name="load")
    thread.start()
    try:
        yield load
    finally:
        stop.set()
        thread.join()
