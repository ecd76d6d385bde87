"""The rules of a security group: what one allows, and what Amazon EC2 would not take."""

import re
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv4Network
from typing import NotRequired

import pulumi
from pydantic import with_config
from typing_extensions import TypedDict

from components.setting import CLOSED

HIGHEST_PORT = 65535

LONGEST_DESCRIPTION = 255
"""Characters of a description at most (Amazon EC2 API reference, `UserIdGroupPair`, as is which they may be)."""

_NOT_IN_A_DESCRIPTION = re.compile(r"[^a-zA-Z0-9 ._\-:/()#,@\[\]+=;{}!$*]")


class TrafficProtocol(StrEnum):
    """What a rule allows through."""

    TCP = "tcp"
    """TCP, on the ports given."""

    UDP = "udp"
    """UDP, on the ports given."""

    ALL = "-1"
    """Every protocol and port; takes no port."""


@with_config(CLOSED)
class TrafficRuleArgs(TypedDict):
    """Traffic that a security group allows, to or from one peer: a CIDR, a security group or a prefix list."""

    description: str
    """Why it is allowed; shown in the console beside the rule. At most 255 ASCII letters, digits, spaces and
    ._-:/()#,@[]+=;{}!$*"""

    protocol: TrafficProtocol
    """The protocol."""

    port: NotRequired[int]
    """The port, or the first one of a range."""

    to_port: NotRequired[int]
    """The last port of a range; absent: only `port`."""

    cidr: NotRequired[str]
    """The peer's IPv4 addresses, e.g. 10.0.0.0/16."""

    security_group_id: NotRequired[pulumi.Input[str]]
    """The peer's security group."""

    prefix_list_id: NotRequired[pulumi.Input[str]]
    """The peer's prefix list, e.g. that of a gateway endpoint."""


PEERS = {"cidr": "cidr", "security_group_id": "securityGroupId", "prefix_list_id": "prefixListId"}
"""What can be on the other side, as Python and as the other languages spell it."""


def dns_rule(protocol: TrafficProtocol, core_dns_security_group_id: pulumi.Input[str]) -> TrafficRuleArgs:
    """Return the rule that lets a pod ask CoreDNS, which it does whenever its node's cache does not answer."""
    return {
        "description": f"DNS over {protocol.upper()} at CoreDNS, when the cache of the node does not answer",
        "protocol": protocol,
        "port": 53,
        "security_group_id": core_dns_security_group_id,
    }


def probe_rule(port: int, node_security_group_id: pulumi.Input[str]) -> TrafficRuleArgs:
    """Return the rule that lets the kubelet probe a pod."""
    return {
        "description": f"Probes of the kubelet on port {port}",
        "protocol": TrafficProtocol.TCP,
        "port": port,
        "security_group_id": node_security_group_id,
    }


def description_problems(key: str, description: str) -> list[str]:
    """Return why EC2 would not take a description, which `key` holds or is made of."""
    problems: list[str] = []
    if strange := sorted(set(_NOT_IN_A_DESCRIPTION.findall(description))):
        problems.append(
            f"{key} has {' '.join(strange)}, which EC2 refuses in a description, after it has made other things. "
            "Use ASCII letters, digits, spaces and ._-:/()#,@[]+=;{}!$* only."
        )
    if len(description) > LONGEST_DESCRIPTION:
        problems.append(
            f"{key}: the description has {len(description)} characters, and EC2 takes {LONGEST_DESCRIPTION}. "
            "Shorten it."
        )
    return problems


def rule_problems(direction: str, rules: Mapping[str, TrafficRuleArgs]) -> list[str]:
    """Return what is wrong with the rules of a direction (`ingress`, `egress`): each with key, reason and remedy."""
    problems = [problem for name, rule in rules.items() for problem in _rule_problems(f"{direction}.{name}", rule)]
    seen: dict[tuple[object, ...], str] = {}
    for name, rule in rules.items():
        peers = [rule.get(key) for key in PEERS]
        if any(isinstance(peer, pulumi.Output) for peer in peers):
            continue  # unknown before the deployment
        first = rule.get("port")
        same = seen.setdefault((rule["protocol"], first, rule.get("to_port", first), *peers), name)
        if same != name:
            problems.append(
                f"{direction}.{name} allows the same as {direction}.{same}; EC2 refuses a rule that is there already. "
                "Remove one of them."
            )
    return problems


def _rule_problems(key: str, rule: TrafficRuleArgs) -> list[str]:
    problems: list[str] = []
    given = [spelt for name, spelt in PEERS.items() if rule.get(name) is not None]
    if len(given) != 1:
        problems.append(
            f"{key} names {' and '.join(given) or 'no peer'}; a rule is for one peer. "
            f"Give exactly one of {', '.join(PEERS.values())}."
        )
    cidr = rule.get("cidr")
    if cidr is not None:
        try:
            IPv4Network(cidr)
        except ValueError as error:
            problems.append(f"{key}.cidr is no IPv4 network: {error}. Write it like 10.0.0.0/16.")
    first = rule.get("port")
    last = rule.get("to_port", first)
    if rule["protocol"] is TrafficProtocol.ALL:
        if first is not None or last is not None:
            problems.append(
                f"{key} allows every protocol, which takes no port: EC2 would open all ports, not port {first}. "
                "Name the protocol tcp or udp, or remove the port."
            )
    elif first is None or last is None or not 1 <= first <= last <= HIGHEST_PORT:
        problems.append(
            f"{key} has the ports {first} to {last}, which are none. Give port (and toPort, at least as high) "
            f"between 1 and {HIGHEST_PORT}."
        )
    problems += description_problems(f"{key}.description", rule["description"])
    if not rule["description"].strip():
        problems.append(f"{key}.description is empty; whoever reads the group's rules has to know why. Say it.")
    return problems
