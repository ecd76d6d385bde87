"""DNS questions asked from inside a namespace: one by one, and as a load."""

import contextlib
import itertools
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
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

_LAST_ANSWERS = 3.0  # seconds for which the last answers of a load are waited for; it ends with the last of them
_BURST = 20  # questions that may be asked at once to make up for lost time
_PATIENCE = 1.0  # seconds; whoever answers in the lab does so in a few milliseconds
_serial = itertools.count()


def new_name() -> str:
    """Return a name that nobody has asked for yet, so that no cache has its answer."""
    return f"n{next(_serial)}.default.svc.cluster.local"


def _ask(name: str, kind: str, server: str, protocol: Protocol) -> dns.message.Message | None:
    question = dns.message.make_query(name, kind)
    ask = dns.query.udp if protocol == "udp" else dns.query.tcp
    try:
        return ask(question, server, timeout=_PATIENCE)
    except (OSError, EOFError, dns.exception.DNSException):
        return None


def answers(client: Namespace, server: str, protocol: Protocol, name: str | None = None) -> str | None:
    """Say who answers a question of `client` for a name (a new one by default): "cache", "coredns", or nobody."""

    def ask() -> str | None:
        reply = _ask(name or new_name(), "A", server, protocol)
        if reply is None or not (reply.answer or reply.additional):  # `whoami` answers in the latter
            return None
        marker = _ask(MARKER_ZONE, "TXT", server, protocol)
        return "cache" if marker is not None and marker.answer else "coredns"

    return client.call(ask)


@dataclass
class Load:
    """What became of a load of questions."""

    sent: int = 0
    answered: int = 0

    @property
    def lost(self) -> int:
        """How many are not answered: while the load runs, those in flight too."""
        return self.sent - self.answered


def _question(name: str) -> bytes:
    """Return a question's text but for its number."""
    return dns.message.make_query(name, "A").to_wire()[2:]


class _Datagrams:
    """Asks over UDP."""

    def __init__(self, server: str, ready: selectors.BaseSelector) -> None:
        self._server = server
        self.waiting: set[int] = set()
        # Many ports, as a resolver library uses a new one for each question: a connection once tracked stays so.
        self._sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(64)]
        for each in self._sockets:
            each.setblocking(False)  # noqa: FBT003  # the socket module's signature
            ready.register(each, selectors.EVENT_READ)

    def ask(self, number: int, question: bytes) -> None:
        self.waiting.add(number)
        self._sockets[number % 64].sendto(struct.pack("!H", number) + question, (self._server, 53))

    def hear(self, source: socket.socket) -> bool:
        """Read what is ready and say whether it answers a question."""
        number, flags = struct.unpack("!HH", source.recv(4096)[:4])
        answered = number in self.waiting and not flags & 0xF  # NOERROR
        if answered:
            self.waiting.discard(number)
        return answered

    def close(self) -> None:
        for each in self._sockets:
            each.close()


class _Connections:
    """Asks over TCP, with a connection of its own for every question."""

    def __init__(self, server: str, ready: selectors.BaseSelector) -> None:
        self._server, self._ready = server, ready
        self.waiting: dict[socket.socket, bytes] = {}
        """What each connection has still to send; nothing when it waits for the answer."""

    def ask(self, number: int, question: bytes) -> None:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.setblocking(False)  # noqa: FBT003  # the socket module's signature
        connection.connect_ex((self._server, 53))
        text = struct.pack("!H", number) + question
        self.waiting[connection] = struct.pack("!H", len(text)) + text
        self._ready.register(connection, selectors.EVENT_WRITE)

    def hear(self, source: socket.socket) -> bool:
        """Send the question on a new connection, or read its answer and say whether it is one."""
        answered = False
        try:
            if self.waiting[source]:
                source.send(self.waiting[source])
                self.waiting[source] = b""
                self._ready.modify(source, selectors.EVENT_READ)
                return False
            _, _, flags = struct.unpack("!HHH", source.recv(4096)[:6])  # length, number
            answered = not flags & 0xF  # NOERROR
        except (OSError, struct.error):
            pass  # refused, reset, or closed without an answer: a lost question
        self._ready.unregister(source)
        del self.waiting[source]
        source.close()
        return answered

    def close(self) -> None:
        for each in self.waiting:
            each.close()


_ASKERS = {"udp": _Datagrams, "tcp": _Connections}


def _send_and_count(
    server: str, rate: float, stop: threading.Event, load: Load, *, protocol: Protocol, new_names: bool
) -> None:
    question = _question("load.default.svc.cluster.local")
    with selectors.DefaultSelector() as ready, contextlib.closing(_ASKERS[protocol](server, ready)) as asker:
        due, end = time.monotonic(), None
        while end is None or (time.monotonic() < end and asker.waiting):
            now = time.monotonic()
            if end is None and stop.is_set():
                end = now + _LAST_ANSWERS
            if end is None and now >= due:
                # A machine that made us late must not make us ask everything at once: that would overrun buffers.
                due = max(due + 1 / rate, now - _BURST / rate)
                load.sent += 1
                if new_names:
                    question = _question(new_name())
                asker.ask(load.sent % 65536, question)
            for key, _ in ready.select(max(0.0, min(due - time.monotonic(), 0.01))):
                assert isinstance(key.fileobj, socket.socket)  # noqa: S101  # only sockets were registered
                load.answered += asker.hear(key.fileobj)


@contextlib.contextmanager
def under_load(
    client: Namespace, server: str, rate: float = 500, *, protocol: Protocol = "udp", new_names: bool = False
) -> Iterator[Load]:
    """Ask `rate` questions a second while the block runs; the figures are final after it.

    For one name that the cache knows after the first, or for names nobody asked for before (`new_names`).

    Questions over UDP are told apart by their id, so an answer has to come before 65,536 more are asked.
    """
    load, stop = Load(), threading.Event()

    def ask() -> None:
        _send_and_count(server, rate, stop, load, protocol=protocol, new_names=new_names)

    thread = threading.Thread(target=lambda: client.call(ask), name="load")
    thread.start()
    try:
        yield load
    finally:
        stop.set()
        thread.join()
