"""The routes and rules the VPC CNI writes for a pod, per enforcing mode, as lines for `ip -batch`.

From amazon-vpc-cni-k8s: pkg/networkutils/network.go (priorities), cmd/routed-eni-cni-plugin/driver/driver.go
(tables and routes), pkg/sgpp/utils.go (names of links), pkg/networkutils/iptables_connmark.go (marks) and
nftables_connmark.go beside it (from 1.23 on, where iptables is nft, they are in an nftables table of its own instead).
"""

import hashlib
from typing import Literal

EnforcingMode = Literal["strict", "standard"]

PRIMARY_LINK = "eth0"


def trunk_link(vlan: int) -> str:
    """Return the name of the link at which a branch ENI's packets come to the node."""
    return f"vlan.eth.{vlan}"


def _table(vlan: int) -> int:
    return vlan + 100


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


def branch_routes(vlan: int, gateway: str) -> list[str]:
    """Return the routes of a branch ENI's table."""
    return [
        f"route replace {gateway}/32 dev {trunk_link(vlan)} scope link table {_table(vlan)}",
        f"route replace default via {gateway} dev {trunk_link(vlan)} table {_table(vlan)}",
    ]


def pod_routes(pod: str, address: str) -> list[str]:
    """Return routes and rules of a pod without security groups, on the node's primary ENI."""
    return [
        f"route replace {address}/32 dev {host_link(pod, None)} scope link",
        f"rule add priority 512 to {address} lookup main",
    ]


def branch_pod_routes(pod: str, address: str, vlan: int, mode: EnforcingMode) -> list[str]:
    """Return routes and rules of a pod with a branch ENI."""
    link = host_link(pod, mode)
    if mode == "strict":
        return [
            f"route replace {address}/32 dev {link} scope link table {_table(vlan)}",
            f"rule add priority 10 iif {trunk_link(vlan)} lookup {_table(vlan)}",
            f"rule add priority 10 iif {link} lookup {_table(vlan)}",
        ]
    return [
        f"route replace {address}/32 dev {link} scope link",
        f"rule add priority 512 to {address} lookup main",
        f"rule add priority 1536 from {address} lookup {_table(vlan)}",
    ]


def undo(lines: list[str]) -> list[str]:
    """Return the lines that take `lines` back."""
    return [line.replace(" add ", " del ", 1).replace(" replace ", " del ", 1) for line in reversed(lines)]


TABLE = "aws-cni"
"""Name of the CNI's own table where iptables is nft (since v1.23.0)."""


def packet_rules(vpc_cidr: str, node_address: str, *, marks: bool = True, external_snat: bool = False) -> str:
    """Return the CNI's address translation for traffic that leaves the VPC, and its marks, for iptables-restore.

    What is marked is sent out of the primary ENI. Appended, so that kube-proxy's DNAT of a ClusterIP, which is no
    address of the VPC, is asked before anything is marked. Without `marks` those of such traffic are left to
    `mark_table`. With `external_snat` nothing is translated, and only what comes to node ports is marked.
    """
    mangle = f"""\
*mangle
-A PREROUTING -i {PRIMARY_LINK} -m comment --comment "AWS, primary ENI" -m addrtype --dst-type LOCAL --limit-iface-in \
-j CONNMARK --set-xmark 0x80/0x80
-A PREROUTING -i eni+ -m comment --comment "AWS, primary ENI" -j CONNMARK --restore-mark --mask 0x80
-A PREROUTING -i vlan+ -m comment --comment "AWS, primary ENI" -j CONNMARK --restore-mark --mask 0x80
COMMIT
"""
    marking = f"""\
:AWS-CONNMARK-CHAIN-0 - [0:0]
-A PREROUTING -i eni+ -m comment --comment "AWS, outbound connections" -j AWS-CONNMARK-CHAIN-0
-A PREROUTING -m comment --comment "AWS, CONNMARK" -j CONNMARK --restore-mark --mask 0x80
-A AWS-CONNMARK-CHAIN-0 -d {vpc_cidr} -m comment --comment "AWS CONNMARK CHAIN" -j RETURN
-A AWS-CONNMARK-CHAIN-0 -m comment --comment "AWS, CONNMARK" -j CONNMARK --set-xmark 0x80/0x80
"""
    if external_snat:
        return mangle
    return f"""\
{mangle}*nat
{marking if marks else ""}:AWS-SNAT-CHAIN-0 - [0:0]
-A POSTROUTING -m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0
-A AWS-SNAT-CHAIN-0 -d {vpc_cidr} -m comment --comment "AWS SNAT CHAIN" -j RETURN
-A AWS-SNAT-CHAIN-0 ! -o vlan+ -m comment --comment "AWS, SNAT" -m addrtype ! --dst-type LOCAL -j SNAT \
--to-source {node_address} --random-fully
COMMIT
"""


def mark_table(vpc_cidr: str) -> str:
    """Return the CNI's marks where iptables is nft, for `nft -f -`.

    In a chain of its own, which the kernel asks after kube-proxy's address translation, in either of its modes.
    """
    return f"""\
table ip {TABLE} {{
  chain snat-mark {{
    ip daddr {vpc_cidr} return
    ct mark set ct mark or 0x80
  }}
  chain nat-prerouting {{
    type nat hook prerouting priority dstnat + 10; policy accept;
    fib daddr type local return
    iifname "eni*" jump snat-mark
    meta mark set ct mark and 0x80
  }}
}}
"""
