"""The routes and rules the VPC CNI writes for a pod, per enforcing mode, as lines for `ip -batch`.

From amazon-vpc-cni-k8s: pkg/networkutils/network.go (priorities), cmd/routed-eni-cni-plugin/driver/driver.go
(tables and routes) and pkg/sgpp/utils.go (names of links).
"""

import hashlib
from typing import Literal

EnforcingMode = Literal["strict", "standard"]

TRUNK_LINK = "vlan.eth.2"
VLAN = 2
BRANCH_TABLE = VLAN + 100


def host_link(pod: str, mode: EnforcingMode | None) -> str:
    """Return the name of a pod's link on the node; `mode` is None for a pod without security groups."""
    digest = hashlib.sha1(f"default.{pod}".encode(), usedforsecurity=False).hexdigest()[:11]
    return ("vlan" if mode == "strict" else "eni") + digest


def node_rules(mode: EnforcingMode) -> list[str]:
    """Return what the CNI's start does to a node's rules: strict moves the local table out of the way."""
    rules = ["rule add priority 1024 fwmark 0x80/0x80 lookup main"]
    if mode == "strict":
        rules += ["rule add priority 20 lookup local", "rule del priority 0 lookup local"]
    return rules


def branch_routes(gateway: str) -> list[str]:
    """Return the routes of the branch ENI's table."""
    return [
        f"route replace {gateway}/32 dev {TRUNK_LINK} scope link table {BRANCH_TABLE}",
        f"route replace default via {gateway} dev {TRUNK_LINK} table {BRANCH_TABLE}",
    ]


def pod_routes(pod: str, address: str) -> list[str]:
    """Return routes and rules of a pod without security groups, on the node's primary ENI."""
    return [
        f"route replace {address}/32 dev {host_link(pod, None)} scope link",
        f"rule add priority 512 to {address} lookup main",
    ]


def branch_pod_routes(pod: str, address: str, mode: EnforcingMode) -> list[str]:
    """Return routes and rules of a pod with a branch ENI."""
    link = host_link(pod, mode)
    if mode == "strict":
        return [
            f"route replace {address}/32 dev {link} scope link table {BRANCH_TABLE}",
            f"rule add priority 10 iif {TRUNK_LINK} lookup {BRANCH_TABLE}",
            f"rule add priority 10 iif {link} lookup {BRANCH_TABLE}",
        ]
    return [
        f"route replace {address}/32 dev {link} scope link",
        f"rule add priority 512 to {address} lookup main",
        f"rule add priority 1536 from {address} lookup {BRANCH_TABLE}",
    ]


def undo(lines: list[str]) -> list[str]:
    """Return the lines that take `lines` back."""
    return [line.replace(" add ", " del ", 1).replace(" replace ", " del ", 1) for line in reversed(lines)]


def snat(vpc_cidr: str, node_address: str) -> str:
    """Return the CNI's address translation for traffic that leaves the VPC, for iptables-restore."""
    return f"""\
*nat
:AWS-SNAT-CHAIN-0 - [0:0]
-A POSTROUTING -m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0
-A AWS-SNAT-CHAIN-0 -d {vpc_cidr} -m comment --comment "AWS SNAT CHAIN" -j RETURN
-A AWS-SNAT-CHAIN-0 ! -o vlan+ -m comment --comment "AWS, SNAT" -m addrtype ! --dst-type LOCAL -j SNAT \
--to-source {node_address} --random-fully
COMMIT
"""
