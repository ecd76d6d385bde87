"""The rules kube-proxy writes in iptables mode for Services with one endpoint each, for iptables-restore.

Its jumps come first in the kernel's chains: it puts them before what is there, as pkg/proxy/iptables/proxier.go does.
"""

import base64
import hashlib
from collections.abc import Mapping

_PROTOCOLS = {"udp": "dns", "tcp": "dns-tcp"}


def _chain(kind: str, *parts: str) -> str:
    digest = base64.b32encode(hashlib.sha256("".join(parts).encode()).digest()).decode()[:16]
    return f"KUBE-{kind}-{digest}"


def rules(services: Mapping[str, str], endpoint: str) -> str:
    """Return the tables for Services (name to ClusterIP) that serve DNS at `endpoint`.

    The mangle table has only the chain by which iptables' users find out which of its two kinds is in use.
    """
    chains, jumps, bodies = ["KUBE-SERVICES", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"], [], []
    for service, address in services.items():
        for protocol, port in _PROTOCOLS.items():
            name = f"{service}:{port}"
            to_service = _chain("SVC", name, protocol)
            to_endpoint = _chain("SEP", name, protocol, f"{endpoint}:53")
            chains += [to_service, to_endpoint]
            jumps.append(
                f'-A KUBE-SERVICES -d {address}/32 -p {protocol} -m comment --comment "{name} cluster IP" '
                f"-m {protocol} --dport 53 -j {to_service}"
            )
            bodies += [
                f'-A {to_service} -m comment --comment "{name} -> {endpoint}:53" -j {to_endpoint}',
                f'-A {to_endpoint} -s {endpoint}/32 -m comment --comment "{name}" -j KUBE-MARK-MASQ',
                (
                    f'-A {to_endpoint} -p {protocol} -m comment --comment "{name}" -m {protocol} '
                    f"-j DNAT --to-destination {endpoint}:53"
                ),
            ]
    portals = '-m comment --comment "kubernetes service portals" -j KUBE-SERVICES'
    lines = [
        "*mangle", ":KUBE-IPTABLES-HINT - [0:0]", ":KUBE-KUBELET-CANARY - [0:0]", "COMMIT",
        "*filter", ":KUBE-FORWARD - [0:0]",
        '-I FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD',
        "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP",
        '-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT',
        ('-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" '
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"), "COMMIT",
        "*nat", *(f":{chain} - [0:0]" for chain in chains),
        f"-I PREROUTING {portals}", f"-I OUTPUT {portals}",
        '-I POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',
        "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000",
        "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
        "-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000",
        ('-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" '
        "-j MASQUERADE --random-fully"),
        *jumps, *bodies, "COMMIT", "",
    ]  # fmt: skip
    return "\n".join(lines)
