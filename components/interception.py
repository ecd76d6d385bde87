"""How queries for the cluster's DNS address come to the node's cache, and to CoreDNS when it is dead."""

import ipaddress
from typing import Literal

from components.corefile import METRICS_PORT, NO_SOCKET_MATCH_ZONE

Interception = Literal["socket", "upstream"]
"""`socket`: rules that hold only while the cache listens. `upstream`: node-cache's own, unconditional rules."""

INTERFACE = "nodelocaldns"
COMMENT = "node-local-dns"
"""Marks our rules, so that they are counted and removed without touching anybody else's."""

STATE = "/run/node-local-dns"
"""The pod's scratch directory (emptyDir): rendered Corefile, pid file, the fallback's zone."""

RULES_IN_PLACE = f"{STATE}/rules-in-place"
"""Exists once the rules are there: the cache starts after them, so that a ready pod is one that is asked."""

REPAIR_SECONDS = 4
"""Pause between two looks at the rules: what somebody flushed is back well within ten seconds."""

NODE_CACHE = "/node-cache"
"""The binary in the image."""


def socket_table_address(address: str) -> str:
    """Return port 53 of `address` as /proc/net/udp writes it: hexadecimal, in the byte order of EKS' processors."""
    return f"{int.from_bytes(ipaddress.IPv4Address(address).packed, 'little'):08X}:0035"


def rules(local_address: str, cluster_dns_ip: str, match: str) -> list[tuple[str, str, str]]:
    """Return (table, chain, rule) of every rule; `match` stands before NOTRACK in PREROUTING.

    Answers leave untracked as the questions came; the ACCEPT rules let untracked packets through filters that
    only know connections. A host process' query carries the ClusterIP as its source (it is a local address) and
    is DNATed to CoreDNS, which answers only to an address it can route to: hence MASQUERADE.
    """
    found: list[tuple[str, str, str]] = []
    for address in (local_address, cluster_dns_ip):
        for protocol in ("udp", "tcp"):
            to, back = f"-d {address} -p {protocol} --dport 53", f"-s {address} -p {protocol} --sport 53"
            found += [
                ("raw", "PREROUTING", f"{to} {match} -j NOTRACK"),
                ("raw", "OUTPUT", f"{back} -j NOTRACK"),
                ("filter", "INPUT", f"{to} -j ACCEPT"),
                ("filter", "OUTPUT", f"{back} -j ACCEPT"),
            ]
    found.append(("nat", "POSTROUTING", f"-s {cluster_dns_ip} ! -o lo -j MASQUERADE"))
    return found


def rules_script(local_address: str, cluster_dns_ip: str) -> str:
    """Return the shell program that puts the rules in place, keeps them there and cleans up after the cache.

    It needs nothing but what node-cache's image has: dash, cat, grep, rm, sleep, the iptables programs, and
    node-cache itself, which is what can remove the interface.
    """
    table = "\n".join(
        f'  "$1" {name} {chain} "{rule}"' for name, chain, rule in rules(local_address, cluster_dns_ip, "$match")
    )
    counts = {
        name: sum(each[0] == name for each in rules(local_address, cluster_dns_ip, ""))
        for name in ("raw", "filter", "nat")
    }
    return f"""\
set -u
say() {{ echo "interception: $*" >&2; }}

# The image's `iptables` rewrites links to itself, which a read-only root forbids: choose as it does.
backend=nft
if ! iptables-nft-save -t mangle 2>/dev/null | grep -Eq '^:KUBE-(IPTABLES-HINT|KUBELET-CANARY)' &&
  iptables-legacy-save -t mangle 2>/dev/null | grep -Eq '^:KUBE-(IPTABLES-HINT|KUBELET-CANARY)'; then
  backend=legacy
fi
say "kube-proxy's rules are in iptables-$backend"

ipt() {{ "iptables-$backend" -w 5 "$@"; }}
listening() {{ grep -q ' {socket_table_address(cluster_dns_ip)} ' /proc/net/udp; }}
count() {{ "iptables-$backend-save" -t "$1" 2>/dev/null | grep -c -- '--comment {COMMENT} '; }}

# Word splitting of $3 is meant: it is a rule.
ensure() {{ ipt -t "$1" -C "$2" $3 -m comment --comment {COMMENT} 2>/dev/null || ipt -t "$1" -I "$2" $3 -m comment --comment {COMMENT}; }}
remove() {{ while ipt -t "$1" -D "$2" $3 -m comment --comment {COMMENT} 2>/dev/null; do :; done; }}
each() {{
{table}
}}

match='-m socket'
rm -f {STATE}/no-socket-match.corefile {RULES_IN_PLACE}
if ! ipt -t raw -I PREROUTING -d {cluster_dns_ip} -p udp --dport 53 -m socket -j NOTRACK -m comment --comment {COMMENT}; then
  match=''
  say 'WARNING: this kernel has no socket match (xt_socket): the rules follow the cache by watching, not by packet'
  echo '{NO_SOCKET_MATCH_ZONE}:53 {{
    bind {local_address} {cluster_dns_ip}
    prometheus :{METRICS_PORT}
    whoami
}}' >{STATE}/no-socket-match.corefile
  : >{RULES_IN_PLACE}  # they come with the cache, which waits for this
fi
each remove
stop() {{
  if listening; then
    say 'another cache serves this node: rules and interface stay'
    exit 0
  fi
  each remove
  match='' && each remove
  echo '.:53 {{
    bind {local_address}
  }}' >{STATE}/last.corefile
  {NODE_CACHE} -localip {local_address},{cluster_dns_ip} -interfacename {INTERFACE} -setupiptables=false \\
    -basecorefile {STATE}/last.corefile -conf {STATE}/last -metrics-listen-address 127.0.0.1:0 -pidfile {STATE}/last.pid &
  tries=0
  while [ ! -s {STATE}/last.pid ] && [ $tries -lt 30 ]; do tries=$((tries + 1)); sleep 0.05; done
  kill "$!"
  wait "$!"
  say 'the last cache of this node is gone: rules and interface removed'
  exit 0
}}
trap stop TERM INT

while :; do
  if [ -z "$match" ] && ! listening; then
    each remove
  elif [ "$(count raw)" != {counts["raw"]} ] || [ "$(count filter)" != {counts["filter"]} ] || [ "$(count nat)" != {counts["nat"]} ]; then
    [ "$(count raw)" -le {counts["raw"]} ] || each remove
    each ensure
    : >{RULES_IN_PLACE}
    say "rules in place (match: ${{match:-none}})"
  fi
  pause={REPAIR_SECONDS}
  [ -n "$match" ] || pause=0.5
  sleep "$pause" &
  wait "$!"
done
"""


def listening_script(address: str) -> str:
    """Return the probe that asks whether this container's own node-cache holds the DNS socket.

    The health endpoint is shared between two caches during an update and always says 200; the socket's inode
    among the process' own descriptors cannot be somebody else's.
    """
    return f"""\
while read -r _ local _ _ _ _ _ _ _ inode _; do
  if [ "$local" = {socket_table_address(address)} ] && grep -Eqs "^ino:[[:space:]]+$inode$" /proc/${{NODE_CACHE_PID:-1}}/fdinfo/*; then
    exit 0
  fi
done </proc/net/udp
exit 1
"""


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
