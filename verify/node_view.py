"""One node as the checks see it: what its probes found, next to what the cluster asks of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from verify import packet_rules
from verify.facts import Facts
from verify.findings import Asked, ok
from verify.installation import Installation, Manifest
from verify.packet_rules import BACKENDS, Rule
from verify.questions import PROTOCOLS, Addresses, Answer, Client, Protocol, Purpose, Question, Server, questions

CACHE: tuple[Server, ...] = ("cluster", "local")
"""The cache's two addresses."""

POD_CLIENTS: tuple[Client, ...] = ("plain", "branch")
NOT_INSTALLED = ok("the cache is not meant to run here")
DNS_PORT = 53
_WILDCARDS = {"*", "0.0.0.0", "::"}  # noqa: S104  # what ss prints


@dataclass(kw_only=True)
class NodeView:
    """What is known of one node; every property follows from the fields."""

    name: str
    installation: Installation | None
    """How the cache is installed; None: it is not."""

    probes: Mapping[Client, Facts]
    """What each probe saw; a probe that did not report is not there."""

    addresses: Addresses
    """Whom the probes were told to ask."""

    neighbour: str = ""
    """Name of the node whose own address a pod asks; empty: none, or one that has gone away meanwhile."""

    cache_pods: list[Manifest] | None = None
    """The cache's pods on this node; None: the API was not asked."""

    events: tuple[str, ...] = ()
    """What the kubelet says of a pod of the cache that has not started."""

    starting: str = ""
    """Why the cache may not be there yet, such as a node that has just joined; empty: it has had its time."""

    pod_interfaces: bool = True
    """Whether a pod that is made now can get a branch interface."""

    asks_resolver: bool = True
    """Whether the Corefile sends anything to the node's /etc/resolv.conf."""

    branch_expected: bool = True
    """Whether a probe behind a security group was to be made: a policy names groups, and the node has a trunk."""

    broken_corefile: bool = False
    """Whether the Corefile asks somebody who is not CoreDNS."""

    excluded: str = ""
    """Why the cache does not run here by design."""

    unexplained: set[Asked] = field(default_factory=set)
    """Failed questions that no check has explained yet."""

    @property
    def host(self) -> Facts | None:
        """What the probe on the node itself saw."""
        return self.probes.get("node")

    @cached_property
    def expected_here(self) -> Installation | None:
        """How the cache is installed, where it is meant to run on this node."""
        return None if self.excluded else self.installation

    def answers(self, client: Client, server: Server) -> dict[Question, Answer]:
        """Return what a client asked of a server, and what became of it."""
        facts = self.probes.get(client)
        if facts is None:
            return {}
        return {
            each: facts.answers[each.id]
            for each in questions(client, self.addresses)
            if each.server == server and each.id in facts.answers
        }

    def good(self, client: Client, question: Question, answer: Answer) -> bool:
        """Say whether a question got the answer it should get."""
        if question.purpose == "negative":
            return answer.status == "NXDOMAIN"
        if question.purpose == "marker":
            return not self.has_marker(client, question) or answer.values == (self.name,)
        return answer.status == "NOERROR" and bool(answer.values)

    def has_marker(self, client: Client, question: Question) -> bool:
        """Say whether the cache has to answer this one: the node's own questions to the ClusterIP go to CoreDNS."""
        here = self.expected_here
        return here is not None and not (
            client == "node" and question.server == "cluster" and here.interception == "socket"
        )

    @cached_property
    def failing(self) -> frozenset[Asked]:
        """Every question that did not get the answer it should get; the neighbour's is another matter."""
        servers: tuple[Server, ...] = ("cluster", "local", "upstream")
        return frozenset(
            (client, question)
            for client in self.probes
            for server in servers
            for question, answer in self.answers(client, server).items()
            if not self.good(client, question, answer)
        )

    def failing_at(
        self,
        *servers: Server,
        clients: tuple[Client, ...] = ("node", "plain", "branch"),
        protocol: Protocol | None = None,
        purposes: tuple[Purpose, ...] = (),
    ) -> frozenset[Asked]:
        """Return the failed questions at servers, of clients, over a protocol, with purposes; any if none is named."""
        return frozenset(
            (client, question)
            for client, question in self.failing
            if question.server in servers
            and client in clients
            and protocol in {None, question.protocol}
            and (not purposes or question.purpose in purposes)
        )

    def silent(self, client: Client, server: Server, protocol: Protocol) -> bool:
        """Say whether everything asked of a server over a protocol stayed without a reply."""
        found = [answer for question, answer in self.answers(client, server).items() if question.protocol == protocol]
        return bool(found) and not any(each.replied for each in found)

    def lively(self, client: Client, server: Server) -> bool:
        """Say whether everything asked of a server, over both protocols, had a reply."""
        found = self.answers(client, server).values()
        return bool(found) and all(each.replied for each in found)

    def fastest(self, client: Client, server: Server, purpose: Purpose) -> int | None:
        """Return the milliseconds of the fastest reply to a kind of question; None without any."""
        times = [
            answer.milliseconds
            for question, answer in self.answers(client, server).items()
            if question.purpose == purpose and answer.milliseconds is not None
        ]
        return min(times, default=None)

    @cached_property
    def hung(self) -> bool:
        """Whether the cache has its sockets and answers nobody, not even the node itself."""
        return self.cache_listens and all(self.silent("node", "local", each) for each in PROTOCOLS)

    def listening(self, address: str, protocol: Protocol = "udp") -> bool:
        """Say whether somebody listens for DNS at exactly this address."""
        assert self.host is not None  # noqa: S101  # callers look first
        return any(each.address == address and each.port == DNS_PORT for each in self.host.listeners[protocol])

    @cached_property
    def wildcards(self) -> list[str]:
        """Who listens for DNS at every address of the node."""
        assert self.host is not None  # noqa: S101  # callers look first
        return [
            f"{each.address}:{each.port}/{protocol}"
            for protocol in PROTOCOLS
            for each in self.host.listeners[protocol]
            if each.port == DNS_PORT and each.address in _WILDCARDS
        ]

    @cached_property
    def cache_listens(self) -> bool:
        """Whether the cache listens at both of its addresses."""
        here = self.expected_here
        return here is not None and all(
            self.listening(address, protocol)
            for address in (here.local_address, here.cluster_dns_ip) for protocol in PROTOCOLS
        )  # fmt: skip

    @cached_property
    def rules(self) -> dict[packet_rules.Backend, list[Rule]]:
        """The cache's packet rules by backend."""
        assert self.host is not None  # noqa: S101  # callers look first
        return {backend: packet_rules.of_the_cache(self.host.packets[backend]) for backend in BACKENDS}

    @cached_property
    def leftovers(self) -> list[str]:
        """What of the cache is on the node: its link's addresses and its rules."""
        assert self.host is not None  # noqa: S101  # callers look first
        link = self.installation.interface if self.installation else "nodelocaldns"
        return [f"{each.address} on {link}" for each in self.host.addresses if each.link == link] + [
            f"{backend}: {each}" for backend, rules in self.rules.items() for each in rules
        ]

    @cached_property
    def strict_links(self) -> frozenset[str]:
        """The links for which there are routing rules of strict mode."""
        return frozenset(link for each in self.strict_rules for link in re.findall(r"iif (vlan\S+)", each))

    @cached_property
    def strict_rules(self) -> list[str]:
        """The routing rules of pods with branch interfaces created in strict mode (VlanRulePriority is 10)."""
        assert self.host is not None  # noqa: S101  # callers look first
        return [
            f"{each.priority}: {each.selector} lookup {each.table}"
            for each in self.host.rules
            if each.priority == 10 and "iif vlan" in each.selector  # noqa: PLR2004  # amazon-vpc-cni-k8s network.go
        ]
