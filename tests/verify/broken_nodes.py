"""A healthy node's reports, as its probes print them, to break something in."""

import functools
import json
import re
from collections.abc import Callable
from typing import Any

from reports import CLUSTER, LOCAL, REFUSED, printed

from components.cache.node_local_dns import NodeLocalDnsSettings, manifests
from verify.facts import Facts
from verify.findings import Finding, Verdict
from verify.installation import Installation
from verify.node_checks import judge
from verify.node_view import NodeView
from verify.probe import environment
from verify.questions import Addresses, Client, Names

NODE, RUN, UPSTREAM = "node-1", "r", "172.20.30.30"
STRICT_LINK = "vlana1a4120ed4a"
"""What the CNI calls the link of pod shop/app in strict mode."""

OBJECTS = manifests(NodeLocalDnsSettings(), cluster_dns_ip=CLUSTER, upstream_ip=UPSTREAM)
SILENCE = ";; communications error: timed out"
SERVFAIL = ";; ->>HEADER<<- opcode: QUERY, status: SERVFAIL, id: 1\n;; Query time: 1 msec\n"
NXDOMAIN = SERVFAIL.replace("SERVFAIL", "NXDOMAIN")


@functools.cache
def _healthy(addresses: Addresses) -> dict[Client, str]:
    """Return what the probes of a healthy node print that were told to ask somebody."""
    clients: tuple[Client, ...] = ("node", "plain", "branch")
    told = {each: environment(each, RUN, NODE, addresses, Names(RUN)) for each in clients}
    return {each: printed({**told[each], "ROLE": "node" if each == "node" else "pod"}, "healthy") for each in clients}


class Broken:
    """A healthy node's reports and objects, to break something in."""

    def __init__(self) -> None:
        self.installation: Installation | None = Installation.read(OBJECTS["daemonSet"])
        self.pods: list[Any] = [{"metadata": {"name": "cache"}, "status": {"phase": "Running"}}]
        self.more: dict[str, Any] = {}
        """What else is known of the node: fields of its view."""

        self.asked(Addresses(CLUSTER, LOCAL, UPSTREAM, "10.0.0.9", "10.0.0.1"))

    def asked(self, addresses: Addresses) -> None:
        """Let the probes have been told to ask somebody."""
        self.addresses = addresses
        self.documents: dict[Client, Any] = {each: json.loads(text) for each, text in _healthy(addresses).items()}

    def text(self, name: str, change: Callable[[str], str], client: Client = "node") -> None:
        """Change one of a report's texts."""
        facts = self.documents[client]["facts"]
        facts[name] = {"text": change(facts.get(name, {}).get("text", ""))}

    def answer(self, client: Client, pattern: str, text: str) -> None:
        """Change the answers to the questions whose names match."""
        for key, reply in self.documents[client]["questions"].items():
            if re.match(pattern, key):
                reply["text"] = text

    def replies(self, client: Client, pattern: str, change: Callable[[str], str]) -> None:
        """Change what became of the questions whose names match."""
        for key, reply in self.documents[client]["questions"].items():
            if re.match(pattern, key):
                reply["text"] = change(reply["text"])

    def unseen(self, name: str, client: Client = "node", *, exit: int = 1, error: str = "") -> None:  # noqa: A002  # as in the document
        """Let a report's text not be had."""
        self.documents[client]["facts"][name] = {"exit": exit, "text": "", "error": error}

    def dead(self) -> None:
        """Let the cache be dead: nobody listens, CoreDNS answers at the ClusterIP, nobody at the other address."""
        for protocol in ("udp", "tcp"):
            self.text(protocol, lambda _: "")
        for client in self.documents:
            self.answer(client, "local-", REFUSED)
            self.answer(client, "cluster-.*-marker", NXDOMAIN)

    def gone(self) -> None:
        """Let nothing of the cache be there."""
        self.dead()
        for name in ("addresses", "routes", "nft"):
            self.text(name, lambda _: "")

    def findings(self) -> list[Finding]:
        """Return what the checks say."""
        view = NodeView(
            name=NODE, installation=self.installation,
            probes={client: Facts.read(json.dumps(each)) for client, each in self.documents.items()},
            cache_pods=self.pods, addresses=self.addresses, **{"neighbour": "node-2", **self.more},
        )  # fmt: skip
        return judge(view, RUN)


def odd(node: Broken) -> list[tuple[str, Verdict]]:
    """Return the checks that do not say that all is well, and what they say."""
    return [(each.check, each.verdict) for each in node.findings() if each.verdict is not Verdict.OK]
