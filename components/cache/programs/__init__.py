"""The shell programs that run in the cache's pod: files beside this one, and what each of them is told.

A container gets a program's text in its command and what varies in its arguments, so that a pod runs what it was made
with, whatever an update has brought since.
"""

import re
from pathlib import Path
from typing import Literal, TypedDict

from components.cache.corefile import no_socket_match_zone
from components.cache.interception import (
    COMMENT,
    DRAIN_SECONDS,
    DRAIN_TRIES,
    HEARTBEAT,
    INTERFACE,
    NODE_CACHE,
    RULES_IN_PLACE,
    STATE,
    UPSTREAM_COMMENT,
    Rule,
    rule_sets,
    socket_table_address,
)

Program = Literal["cleanup", "interception", "listening"]


class Command(TypedDict):
    """What a container runs."""

    command: list[str]
    args: list[str]


def text(name: str) -> str:
    """Return a program, and in the place of each file that it includes that file's text."""
    written = Path(__file__).with_name(f"{name}.sh").read_text()
    return re.sub(r"^\. \./(\w+)\.sh\n", lambda included: text(included[1]), written, flags=re.MULTILINE)


def _run(program: Program, **told: object) -> Command:
    arguments = [f"{name}={value}" for name, value in told.items()]
    return {"command": ["sh", "-c", text(program)], "args": [program, *arguments]}


def _cleaning(local_address: str, cluster_dns_ip: str) -> dict[str, str]:
    return {
        "LOCAL_ADDRESS": local_address,
        "CLUSTER_DNS_IP": cluster_dns_ip,
        "DNS_SOCKET": socket_table_address(cluster_dns_ip),
        "INTERFACE": INTERFACE,
        "COMMENT": COMMENT,
        "UPSTREAM_COMMENT": UPSTREAM_COMMENT,
        "STATE": STATE,
        "NODE_CACHE": NODE_CACHE,
    }


def cleanup(local_address: str, cluster_dns_ip: str) -> Command:
    """Return what does nothing until the pod ends, and then cleans up if no cache is left."""
    return _run("cleanup", **_cleaning(local_address, cluster_dns_ip))


def interception(local_address: str, cluster_dns_ip: str) -> Command:
    """Return what puts the rules in place, keeps them there and cleans up after the cache."""
    within: dict[Rule, list[str]] = {}
    for name, found in rule_sets(local_address, cluster_dns_ip).items():
        for rule in found:
            within.setdefault(rule, []).append(name)
    return _run(
        "interception",
        **_cleaning(local_address, cluster_dns_ip),
        RULES_IN_PLACE=RULES_IN_PLACE,
        HEARTBEAT=HEARTBEAT,
        DRAIN_TRIES=DRAIN_TRIES,
        DRAIN_PAUSE=DRAIN_SECONDS / DRAIN_TRIES,
        NO_SOCKET_MATCH=no_socket_match_zone(local_address, cluster_dns_ip),
        RULES="\n".join(" ".join(("+".join(names), *rule)) for rule, names in within.items()),
    )


def listening(cluster_dns_ip: str) -> list[str]:
    """Return the probe that asks whether the cache's container holds the DNS socket itself, and notes which it is."""
    run = _run("listening", DNS_SOCKET=socket_table_address(cluster_dns_ip), STATE=STATE)
    return [*run["command"], *run["args"]]
