"""DNS questions asked from inside a namespace: one by one, and as a load."""

import itertools
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from components.corefile import MARKER_ZONE
from lab.namespaces import Namespace

Protocol = Literal["udp", "tcp"]
PROTOCOLS: tuple[Protocol, ...] = ("udp", "tcp")

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
        if reply is None or not reply.answer:
            return None
        marker = _ask(MARKER_ZONE, "TXT", server, protocol)
        return "cache" if marker is not None and marker.answer else "coredns"

    return client.call(ask)


@dataclass
class Load:
    """What became of a load of UDP questions."""

    sent: int = 0
    answered: int = 0

    @property
    def lost(self) -> int:
        """How many were never answered."""
        return self.sent - self.answered


def _send_and_count(server: str, rate: float, stop: threading.Event, load: Load) -> None:
    # Many ports, as a resolver library uses a new one for each question: a connection once tracked stays so.
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(64)]
    question = dns.message.make_query("load.default.svc.cluster.local", "A").to_wire()
    answered: set[int] = set()
    with selectors.DefaultSelector() as ready:
        for each in sockets:
            each.setblocking(False)  # noqa: FBT003  # the socket module's signature
            ready.register(each, selectors.EVENT_READ)
        due, end = time.monotonic(), None
        while end is None or (time.monotonic() < end and len(answered) < load.sent):
            if end is None and stop.is_set():
                end = time.monotonic() + _PATIENCE
            if end is None and time.monotonic() >= due:
                load.sent += 1
                due += 1 / rate
                sockets[load.sent % 64].sendto(struct.pack("!H", load.sent % 65536) + question[2:], (server, 53))
            for key, _ in ready.select(max(0.0, min(due - time.monotonic(), 0.01))):
                assert isinstance(key.fileobj, socket.socket)  # noqa: S101  # only sockets were registered
                reply = key.fileobj.recv(4096)
                if not reply[3] & 0xF:  # NOERROR
                    answered.add(struct.unpack("!H", reply[:2])[0])
    for each in sockets:
        each.close()
    load.answered = len(answered)


@contextmanager
def under_load(client: Namespace, server: str, rate: float = 500) -> Iterator[Load]:
    """Ask `rate` questions a second over UDP while the block runs; the figures are final after it.

    At most 65,535 questions in all: they are told apart by their id.
    """
    load, stop = Load(), threading.Event()
    thread = threading.Thread(
        target=lambda: client.call(lambda: _send_and_count(server, rate, stop, load)), name="load"
    )
    thread.start()
    try:
        yield load
    finally:
        stop.set()
        thread.join()
