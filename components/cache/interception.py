"""How queries for the cluster's DNS address come to the node's cache, and to CoreDNS when it is dead."""

import ipaddress
from typing import Literal

from components.cache.corefile import HEALTH_PORT

Interception = Literal["socket", "upstream"]
"""`socket`: rules that hold only while the cache listens. `upstream`: node-cache's own, unconditional rules."""

INTERFACE = "nodelocaldns"
COMMENT = "node-local-dns"
"""Marks our rules, so that they are counted and removed without touching anybody else's."""

UPSTREAM_COMMENT = "NodeLocal DNS Cache: "
"""How node-cache's own comments begin; its rules are removed too when it died before it could."""

STATE = "/run/node-local-dns"
"""The pod's scratch directory (emptyDir): rendered Corefile, pid file, the fallback's zone."""

RULES_IN_PLACE = f"{STATE}/rules-in-place"
"""Exists once the rules are there: the cache starts after them, so that a ready pod is one that is asked."""

HEARTBEAT = f"{STATE}/heartbeat"
"""Made at every look at the rules and taken away by the liveness probe, which fails when nobody made it again."""

DRAIN_COMMAND = ("sh", "-c", "kill -USR1 1")
"""Tells the interception container that its pod is about to end."""

DRAIN_SECONDS = 2
"""How long the cache goes on serving after that: for answers under way, and to write rules on a slow node."""

DRAIN_TRIES = 10
"""How often draining is tried within that time, if somebody else changes the tables at the same moment."""

NODE_CACHE = "/node-cache"
"""The binary in the image."""


def socket_table_address(address: str) -> str:
    """Return port 53 of `address` as /proc/net/udp writes it: hexadecimal, in the byte order of EKS' processors."""
    return f"{int.from_bytes(ipaddress.IPv4Address(address).packed, 'little'):08X}:0035"


Rule = tuple[str, str, str]
"""Table, chain, and what follows the chain."""


def rules(local_address: str, cluster_dns_ip: str) -> list[Rule]:
    """Return the rules of `socket`.

    A socket outlives its address: node-cache of another mode takes the interface away when it ends, and a question
    for an address that is no longer the node's would leave for the VPC. Hence LOCAL beside the socket.

    Answers leave untracked as the questions came; the ACCEPT rules let untracked packets through filters that
    only know connections. A host process' query carries the ClusterIP as its source (it is a local address) and
    is DNATed to CoreDNS, which answers only to an address it can route to: hence MASQUERADE.
    """
    found: list[Rule] = []
    for address in (local_address, cluster_dns_ip):
        for protocol in ("udp", "tcp"):
            to, back = f"-d {address} -p {protocol} --dport 53", f"-s {address} -p {protocol} --sport 53"
            found += [
                ("raw", "PREROUTING", f"{to} -m addrtype --dst-type LOCAL -m socket -j NOTRACK"),
                ("raw", "OUTPUT", f"{back} -j NOTRACK"),
                ("filter", "INPUT", f"{to} -j ACCEPT"),
                ("filter", "OUTPUT", f"{back} -j ACCEPT"),
            ]
    return [*found, _masquerade(cluster_dns_ip)]


def _masquerade(cluster_dns_ip: str) -> Rule:
    return ("nat", "POSTROUTING", f"-s {cluster_dns_ip} ! -o lo -j MASQUERADE")


def upstream_rules(local_address: str, cluster_dns_ip: str) -> list[Rule]:
    """Return node-cache's own rules (its cmd/node-cache/app/cache_app.go), which ask for no listener.

    They take a host process' query to the cache, where the socket match cannot.
    """
    found: list[Rule] = []
    for address in (local_address, cluster_dns_ip):
        for protocol in ("udp", "tcp"):
            to, back = f"-d {address} -p {protocol} --dport 53", f"-s {address} -p {protocol} --sport 53"
            found += [
                ("raw", "PREROUTING", f"{to} -j NOTRACK"),
                ("raw", "OUTPUT", f"{back} -j NOTRACK"),
                ("raw", "OUTPUT", f"{to} -j NOTRACK"),
                ("filter", "INPUT", f"{to} -j ACCEPT"),
                ("filter", "OUTPUT", f"{back} -j ACCEPT"),
            ]
        found += [
            ("raw", "OUTPUT", f"{way} -j NOTRACK")
            for way in (f"-d {address} -p tcp --dport {HEALTH_PORT}", f"-s {address} -p tcp --sport {HEALTH_PORT}")
        ]
    return found


RuleSet = Literal["socket", "draining", "upstream", "idle"]
"""`socket`: while the pod lives. `draining`: when its end begins, new questions for the ClusterIP go to CoreDNS.
Without a socket match, `upstream`: while a cache listens, and `idle`: while none does."""


def rule_sets(local_address: str, cluster_dns_ip: str) -> dict[RuleSet, list[Rule]]:
    """Return the rules that are written under `socket` interception, by when."""
    socket = rules(local_address, cluster_dns_ip)
    return {
        "socket": socket,
        "draining": [
            each for each in socket if each[1] != "PREROUTING" or not each[2].startswith(f"-d {cluster_dns_ip} ")
        ],
        "upstream": [*upstream_rules(local_address, cluster_dns_ip), _masquerade(cluster_dns_ip)],
        "idle": [_masquerade(cluster_dns_ip)],
    }


def node_cache_arguments(mode: Interception, local_address: str, cluster_dns_ip: str) -> list[str]:
    """Return node-cache's arguments."""
    arguments = [
        "-localip", f"{local_address},{cluster_dns_ip}",
        "-interfacename", INTERFACE,
        "-basecorefile", "/etc/coredns/Corefile.base",
        "-conf", f"{STATE}/Corefile",
        "-pidfile", f"{STATE}/node-cache.pid",
        # Five seconds: the flag is a duration that node-cache multiplies by a second once more.
        "-syncinterval", "5ns",
    ]  # fmt: skip
    return [*arguments, "-setupiptables=false", "-skipteardown"] if mode == "socket" else arguments
