"""The rules kube-proxy writes for Services with one endpoint each, in iptables mode and in nftables mode.

In iptables mode its jumps come first in the kernel's chains: it puts them before what is there, as
pkg/proxy/iptables/proxier.go does. In nftables mode it has a table of its own (pkg/proxy/nftables/proxier.go), whose
chains the kernel asks at the priorities of address translation and filtering.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Literal

Mode = Literal["iptables", "nftables"]
"""With what kube-proxy's configuration says its rules are written."""

WITHOUT_ENDPOINTS = "172.20.40.40"
"""ClusterIP of one more Service, which nobody serves: who asks it is refused."""

SERVICE_CIDR = "172.20.0.0/16"

TABLE = "kube-proxy"
"""Name of its table in nftables mode."""

_PROTOCOLS = {"udp": "dns", "tcp": "dns-tcp"}


def _digest(*parts: str) -> str:
    return base64.b32encode(hashlib.sha256("".join(parts).encode()).digest()).decode()


def _chain(kind: str, *parts: str) -> str:
    return f"KUBE-{kind}-{_digest(*parts)[:16]}"


def kubelet_rules() -> str:
    """Return what the kubelet writes beside kube-proxy, whatever the mode, for iptables-restore.

    The mangle table has only the chains by which iptables' users find out which of its two kinds is in use.
    """
    return """\
*mangle
:KUBE-IPTABLES-HINT - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
COMMIT
*nat
:KUBE-KUBELET-CANARY - [0:0]
COMMIT
*filter
:KUBE-FIREWALL - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
-A INPUT -j KUBE-FIREWALL
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" \
-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
COMMIT
"""


def iptables_rules(services: Mapping[str, str], endpoint: str) -> str:
    """Return the tables for Services (name to ClusterIP) that serve DNS at `endpoint`, for iptables-restore."""
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
    new = "-m conntrack --ctstate NEW -m comment --comment"
    externally = f'{new} "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES'
    firewall = f'{new} "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL'
    node_ports = (
        '-m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" '
        "-m addrtype --dst-type LOCAL -j KUBE-NODEPORTS"
    )
    lines = [
        "*mangle", ":KUBE-PROXY-CANARY - [0:0]", "COMMIT",
        "*filter", ":KUBE-FORWARD - [0:0]", ":KUBE-SERVICES - [0:0]", ":KUBE-EXTERNAL-SERVICES - [0:0]",
        ":KUBE-NODEPORTS - [0:0]", ":KUBE-PROXY-FIREWALL - [0:0]", ":KUBE-PROXY-CANARY - [0:0]",
        '-I FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD',
        '-I INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS',
        *(f"-I {chain} {externally}" for chain in ("INPUT", "FORWARD")),
        *(f'-I {chain} {new} "kubernetes service portals" -j KUBE-SERVICES' for chain in ("FORWARD", "OUTPUT")),
        *(f"-I {chain} {firewall}" for chain in ("INPUT", "OUTPUT", "FORWARD")),
        (f'-A KUBE-SERVICES -d {WITHOUT_ENDPOINTS}/32 -p tcp -m comment --comment "default/nobody has no endpoints" '
        "-m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable"),
        "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP",
        '-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT',
        ('-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" '
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"), "COMMIT",
        "*nat", *(f":{chain} - [0:0]" for chain in (*chains, "KUBE-NODEPORTS", "KUBE-PROXY-CANARY")),
        f"-I PREROUTING {portals}", f"-I OUTPUT {portals}",
        '-I POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',
        "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000",
        "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
        "-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000",
        ('-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" '
        "-j MASQUERADE --random-fully"),
        *jumps, f"-A KUBE-SERVICES {node_ports}", *bodies, "COMMIT", "",
    ]  # fmt: skip
    return "\n".join(lines)


def nftables_rules(services: Mapping[str, str], endpoint: str, node_address: str) -> str:
    """Return kube-proxy's table for Services (name to ClusterIP) that serve DNS at `endpoint`, for `nft -f -`."""
    elements: list[str] = []
    chains: list[str] = []
    for service, address in services.items():
        for protocol, port in _PROTOCOLS.items():
            name = f"{service}/{protocol}/{port}"
            to_service = f"service-{_digest(name)[:8]}-{name}"
            to_endpoint = f"endpoint-{_digest(name, endpoint)[:8]}-{name}__{endpoint}/53"
            elements.append(f"{address} . {protocol} . 53 : goto {to_service}")
            chains += [
                f"chain {to_endpoint} {{",
                f"  ip saddr {endpoint} jump mark-for-masquerade",
                f"  meta l4proto {protocol} dnat to {endpoint}:53",
                "}",
                f"chain {to_service} {{",
                f"  numgen random mod 1 vmap {{ 0 : goto {to_endpoint} }}",
                "}",
            ]
    key = "type ipv4_addr . inet_proto . inet_service : verdict"
    port_key = "type inet_proto . inet_service : verdict"
    hooks = {
        "filter-prerouting-pre-dnat": "filter hook prerouting priority -110",
        "filter-output-pre-dnat": "filter hook output priority -110",
        "filter-input": "filter hook input priority 0",
        "filter-forward": "filter hook forward priority 0",
        "filter-output": "filter hook output priority 0",
        "nat-prerouting": "nat hook prerouting priority -100",
        "nat-output": "nat hook output priority -100",
        "nat-postrouting": "nat hook postrouting priority 100",
    }
    jumps = {
        "filter-prerouting-pre-dnat": ["ct state new jump firewall-check"],
        "filter-output-pre-dnat": ["ct state new jump firewall-check"],
        "filter-input": ["ct state new jump nodeport-endpoints-check", "ct state new jump service-endpoints-check"],
        "filter-forward": ["ct state new jump service-endpoints-check", "ct state new jump cluster-ips-check"],
        "filter-output": ["ct state new jump service-endpoints-check", "ct state new jump cluster-ips-check"],
        "nat-prerouting": ["jump services"],
        "nat-output": ["jump services"],
        "nat-postrouting": ["jump masquerading"],
    }
    looked_up = "ip daddr . meta l4proto . th dport vmap"
    port_looked_up = "ip daddr @nodeport-ips meta l4proto . th dport vmap"
    lines = [
        f"table ip {TABLE} {{",
        f"set cluster-ips {{ type ipv4_addr; elements = {{ {', '.join([*services.values(), WITHOUT_ENDPOINTS])} }}; }}",
        f"set nodeport-ips {{ type ipv4_addr; elements = {{ {node_address} }}; }}",
        f"map no-endpoint-services {{ {key}; elements = {{ {WITHOUT_ENDPOINTS} . tcp . 80 : goto reject-chain }}; }}",
        f"map no-endpoint-nodeports {{ {port_key}; }}",
        f"map firewall-ips {{ {key}; }}",
        f"map service-nodeports {{ {port_key}; }}",
        "chain reject-chain { reject; }",
        "chain mark-for-masquerade { mark set mark or 0x4000; }",
        "chain masquerading { mark and 0x4000 == 0 return; mark set mark xor 0x4000; masquerade fully-random; }",
        f"chain firewall-check {{ {looked_up} @firewall-ips; }}",
        f"chain service-endpoints-check {{ {looked_up} @no-endpoint-services; }}",
        f"chain nodeport-endpoints-check {{ {port_looked_up} @no-endpoint-nodeports; }}",
        f"chain cluster-ips-check {{ ip daddr @cluster-ips reject; ip daddr {SERVICE_CIDR} drop; }}",
        *chains,
        f"map service-ips {{ {key}; elements = {{ {', '.join(elements)} }}; }}",
        f"chain services {{ {looked_up} @service-ips; {port_looked_up} @service-nodeports; }}",
        *(f"chain {name} {{ type {hook}; policy accept; {'; '.join(jumps[name])}; }}" for name, hook in hooks.items()),
        "}", "",
    ]  # fmt: skip
    return "\n".join(lines)
