"""What a probe saw from one place: the collector's document, read into types."""

import json
import re
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from verify import packet_rules
from verify.packet_rules import BACKENDS, Backend, PacketRules
from verify.questions import Answer, Protocol, answer

LARGEST_DOCUMENT = 4 * 1024 * 1024
"""Bytes of a document that are read at most: eleven texts of 256 KiB are the collector's own bound."""

_TIMED_OUT = 28
"""curl's exit code."""


class FactsError(ValueError):
    """A document that is not what the collector prints; the message says where it differs."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Text(_Strict):
    """A command's output."""

    exit: int = 0
    text: str = ""
    error: str = ""
    missing: str = ""
    """The program that is not there."""

    @property
    def seen(self) -> bool:
        """Whether the command did its work."""
        return not self.missing and self.exit == 0

    @property
    def timed_out(self) -> bool:
        """Whether curl waited in vain."""
        return self.exit == _TIMED_OUT

    @property
    def why_not(self) -> str:
        """Why there is nothing to see, for an evidence."""
        return f"{self.missing} is missing in the probe's image" if self.missing else self.error or f"exit {self.exit}"


class _Reply(_Strict):
    exit: int
    text: str
    first: str | None = None
    """What became of it before it was asked again, for want of a reply; None: it was asked once."""


class Document(_Strict):
    """What verify/collector.sh prints."""

    format: Literal[1]
    run: Annotated[str, Field(max_length=100)]
    node: Annotated[str, Field(max_length=253)]
    role: Literal["node", "pod"]
    facts: dict[str, Text]
    questions: dict[str, _Reply]
    missing: str = ""
    """The program without which no question could be asked."""


class Address(_Strict):
    """An IPv4 address on a link."""

    link: str
    address: str
    prefix: int


class PolicyRule(_Strict):
    """A rule of the routing policy, as `ip rule` prints it."""

    priority: int
    selector: str
    """What the packets have to be, e.g. `from all iif vlan.eth.2`."""

    table: str


class Route(_Strict):
    """A route of any table."""

    destination: str
    link: str
    table: str
    kind: str
    """`unicast`, `local`, `broadcast`, `blackhole`, ..."""


class Listener(_Strict):
    """A listening socket."""

    address: str
    port: int


_ADDRESS = re.compile(r"^\d+:\s+(\S+?)(?:@\S+)?\s+inet\s+([\d.]+)(?:/(\d+))?")
_RULE = re.compile(r"^(\d+):\s+(.*?)\s+lookup\s+(\S+)")
_KINDS = {"local", "broadcast", "blackhole", "unreachable", "prohibit", "throw", "unicast", "multicast", "anycast"}


def addresses(text: str) -> list[Address]:
    """Return the addresses of `ip -oneline -4 address show`."""
    found = (_ADDRESS.match(line) for line in text.splitlines())
    return [Address(link=each[1], address=each[2], prefix=int(each[3] or 32)) for each in found if each]


def policy_rules(text: str) -> list[PolicyRule]:
    """Return the rules of `ip rule show`."""
    found = (_RULE.match(line.strip()) for line in text.splitlines())
    return [PolicyRule(priority=int(each[1]), selector=each[2], table=each[3]) for each in found if each]


def routes(text: str) -> list[Route]:
    """Return the routes of `ip route show table all`."""
    found: list[Route] = []
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        kind = words.pop(0) if words[0] in _KINDS else "unicast"
        after = dict(pairwise(words))
        if words:
            found.append(
                Route(destination=words[0], link=after.get("dev", ""), table=after.get("table", "main"), kind=kind)
            )
    return found


def listeners(text: str) -> list[Listener]:
    """Return the sockets of `ss -Hln` of one protocol."""
    found: list[Listener] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 3:  # noqa: PLR2004  # state, two queues, local address
            address, _, port = words[3].rpartition(":")
            if port.isdigit():
                found.append(Listener(address=address.partition("%")[0].strip("[]"), port=int(port)))
    return found


def nameservers(text: str) -> list[str]:
    """Return the servers of a resolv.conf."""
    words = (line.split() for line in text.splitlines())
    return [each[1] for each in words if len(each) > 1 and each[0] == "nameserver"]


class Facts:
    """What one probe saw: from a node, or from a pod."""

    def __init__(self, document: Document) -> None:
        self.run, self.node, self.role = document.run, document.node, document.role
        self.asks_nothing = document.missing
        self._texts = document.facts
        self.answers: dict[str, Answer] = {key: answer(each.text) for key, each in document.questions.items()}
        self.asked_again = frozenset(
            key for key, each in document.questions.items() if each.first is not None and self.answers[key].replied
        )
        """Questions that had a reply only when they were asked a second time."""

        try:
            self.addresses = addresses(self.text("addresses").text)
            self.rules = policy_rules(self.text("rules").text)
            self.routes = routes(self.text("routes").text)
            self.listeners: dict[Protocol, list[Listener]] = {
                "udp": listeners(self.text("udp").text), "tcp": listeners(self.text("tcp").text)
            }  # fmt: skip
            self.packets: dict[Backend, PacketRules] = {
                name: packet_rules.parse(self.text(name).text) for name in BACKENDS
            }
        except (ValueError, IndexError) as error:
            raise FactsError(f"a text of the facts of {self.node} is not what its command prints: {error}") from None

    @classmethod
    def read(cls, text: str) -> "Facts":
        """Return the facts of a collector's document; raises `FactsError` for anything else."""
        try:
            document: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FactsError(f"what the probe printed is not JSON: {error}; it begins {text[:80]!r}") from None
        try:
            return cls(Document.model_validate(document))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(each) for each in first["loc"])
            raise FactsError(f"what the probe printed is not a document of facts: {where}: {first['msg']}") from None

    def text(self, name: str) -> Text:
        """Return the output of one command; a command that was not run is one that is missing."""
        return self._texts.get(name, Text(missing=name))

    @property
    def nameservers(self) -> list[str]:
        """The servers of /etc/resolv.conf."""
        return nameservers(self.text("resolver").text)

    @property
    def backend(self) -> Backend:
        """The iptables backend that kube-proxy uses, chosen as the cache's rules choose it."""
        return "legacy" if self.packets["legacy"].of_kube_proxy and not self.packets["nft"].of_kube_proxy else "nft"

    @property
    def enforcing_mode(self) -> str:
        """The CNI's mode for pods it makes from now on; empty when its file does not say or was not seen."""
        found = re.search(r'"podSGEnforcingMode"\s*:\s*"([a-z]*)"', self.text("cni").text)
        return found[1] if found else ""
