"""Packet rules as iptables-save prints them, in a form in which two spellings of one rule are equal."""

import shlex
from typing import Literal, NamedTuple

from components.cache import interception

Backend = Literal["nft", "legacy"]
BACKENDS: tuple[Backend, ...] = ("nft", "legacy")

_HINTS = ("KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY")
_IMPLIED = {"udp", "tcp", "comment"}
"""Matches that only carry options; what they carry is compared."""


class Rule(NamedTuple):
    """One rule, without its comment."""

    table: str
    chain: str
    options: frozenset[str]
    """Each option with its value, such as `-d 172.20.0.10` or `! -o lo`."""

    def __str__(self) -> str:
        return " ".join((self.table, self.chain, *sorted(self.options)))


def rule(table: str, chain: str, text: str) -> tuple[Rule, str]:
    """Return a rule from its text after the chain, and its comment; raises `ValueError` for unbalanced quotes."""
    options: list[str] = []
    comment, words, negation = "", iter(shlex.split(text)), ""
    for word in words:
        if word == "!":
            negation = "! "
            continue
        if word == "--notrack":
            continue
        if not word.startswith("-"):
            options[-1] += f" {word}"
            continue
        value = next(words, "") if word in {"-m", "-d", "-s", "-p", "-j", "--comment"} else ""
        if word == "--comment":
            comment = value
        elif not (word == "-m" and value in _IMPLIED):
            value = {"CT": "NOTRACK"}.get(value, value) if word == "-j" else value.removesuffix("/32")
            options.append(f"{negation}{word} {value}".strip())
        negation = ""
    return Rule(table, chain, frozenset(options)), comment


class PacketRules(NamedTuple):
    """What one backend's iptables-save says."""

    rules: list[tuple[Rule, str]]
    """Every rule with its comment, in order."""

    of_kube_proxy: bool
    """Whether kube-proxy and the kubelet use this backend."""


def parse(text: str) -> PacketRules:
    """Return the rules of an iptables-save; lines that are neither rule, chain nor table are passed over."""
    table, found, hint = "", list[tuple[Rule, str]](), False
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith("-A "):
            chain, _, rest = line[3:].partition(" ")
            found.append(rule(table, chain, rest))
        elif line.startswith(":"):
            hint = hint or (table == "mangle" and line[1:].split()[0] in _HINTS)
    return PacketRules(found, hint)


def expected(mode: interception.Interception, local_address: str, cluster_dns_ip: str) -> dict[str, list[Rule]]:
    """Return the sets of rules, any one of which is right, by what a person would call them."""
    addresses = local_address, cluster_dns_ip
    if mode == "upstream":
        sets = {"node-cache's own": interception.upstream_rules(*addresses)}
    else:
        written = interception.rule_sets(*addresses)
        sets = {"conditional": written["socket"], "watched (the kernel has no socket match)": written["upstream"]}
    return {name: [rule(*each)[0] for each in found] for name, found in sets.items()}


def of_the_cache(packets: PacketRules) -> list[Rule]:
    """Return the rules that node-cache or this project wrote, each as often as it is there."""
    return [
        each for each, comment in packets.rules
        if comment == interception.COMMENT or comment.startswith(interception.UPSTREAM_COMMENT)
    ]  # fmt: skip
