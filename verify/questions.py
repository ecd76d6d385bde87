"""The DNS questions a probe asks, and what became of them."""

import ipaddress
import re
from typing import Literal, NamedTuple

from components.cache.corefile import MARKER_ZONE

Client = Literal["node", "plain", "branch"]
"""Who asks: the node itself, a pod without a security group of its own, a pod with one."""

Server = Literal["cluster", "local", "upstream", "neighbour"]
"""Whom: kube-dns' ClusterIP, the cache's link-local address, kube-dns-upstream, another node's own address."""

Protocol = Literal["udp", "tcp"]
Purpose = Literal["internal", "external", "negative", "marker"]
PROTOCOLS: tuple[Protocol, ...] = ("udp", "tcp")


class Question(NamedTuple):
    """One question."""

    server: Server
    protocol: Protocol
    purpose: Purpose

    @property
    def id(self) -> str:
        """The question's name in the document of facts."""
        return "-".join(self)

    def __str__(self) -> str:
        return f"{self.purpose} name at {self.server} over {self.protocol}"


class Addresses(NamedTuple):
    """Whom a probe asks."""

    cluster: str
    """kube-dns' ClusterIP."""

    local: str = ""
    """The cache's link-local address; empty: not installed."""

    upstream: str = ""
    """kube-dns-upstream's ClusterIP; empty: not installed."""

    neighbour: str = ""
    """Another node's own address, at which no cache may answer; empty: there is no other node with a cache."""

    node: str = ""
    """The node's own address, at which its metrics are; empty: not installed."""


class Names(NamedTuple):
    """What a probe asks for."""

    run: str
    """Makes a name that nobody has asked for before."""

    cluster_domain: str = "cluster.local"
    external: str = "example.com"

    def asked(self, purpose: Purpose) -> tuple[str, str]:
        """Return (type, name)."""
        return {
            "internal": ("A", f"kubernetes.default.svc.{self.cluster_domain}"),
            "external": ("A", self.external),
            "negative": ("TXT", f"verify-{self.run}.default.svc.{self.cluster_domain}"),
            "marker": ("TXT", MARKER_ZONE),
        }[purpose]


def questions(client: Client, addresses: Addresses) -> list[Question]:
    """Return what a client asks."""
    found = [
        Question(server, protocol, purpose)
        for server in ("cluster", "local") if getattr(addresses, server)
        for protocol in PROTOCOLS
        for purpose in ("internal", "external", "negative", "marker")
    ]  # fmt: skip
    if addresses.upstream:
        found += [Question("upstream", protocol, "internal") for protocol in PROTOCOLS]
    if addresses.neighbour and client == "plain":
        found += [Question("neighbour", protocol, "marker") for protocol in PROTOCOLS]
    return found


def watched() -> list[Question]:
    """Return what is asked again and again while the cache is down: does somebody answer, and is it the cache."""
    return [Question("cluster", protocol, purpose) for protocol in PROTOCOLS for purpose in ("internal", "marker")]


def lines(asked: list[Question], addresses: Addresses, names: Names) -> str:
    """Return the questions as the collector reads them; raises `ValueError` for an address that is none."""
    found = []
    for each in asked:
        server = str(ipaddress.IPv4Address(getattr(addresses, each.server)))
        kind, name = names.asked(each.purpose)
        found.append(f"{each.id} {server} {each.protocol} {kind} {name}")
    return "\n".join(found)


class Answer(NamedTuple):
    """What became of a question."""

    status: str
    """The reply's code, such as NOERROR; `timed out`, `refused` or `no reply` when there was none."""

    values: tuple[str, ...]
    """The answer section: data of each record, text without its quotes."""

    milliseconds: int | None
    """How long it took; None without a reply."""

    @property
    def replied(self) -> bool:
        """Whether a DNS message came back."""
        return self.milliseconds is not None

    def __str__(self) -> str:
        return f"{self.status} {' '.join(self.values)}".strip()


_STATUS = re.compile(r"^;; ->>HEADER<<-.*status: ([A-Z]+)", re.MULTILINE)
_TIME = re.compile(r"^;; Query time: (\d{1,9}) msec", re.MULTILINE)
_RECORD = re.compile(r"^\S+\s+\d+\s+IN\s+\S+\s+(.+)$")


def answer(text: str) -> Answer:
    """Return what dig says became of a question."""
    status, time = _STATUS.search(text), _TIME.search(text)
    if status is None or time is None:
        reason = next((each for each in ("timed out", "refused") if each in text), "no reply")
        return Answer(reason, (), None)
    records = (_RECORD.match(line) for line in text.splitlines() if not line.startswith(";"))
    return Answer(status[1], tuple(each[1].strip().strip('"') for each in records if each), int(time[1]))
