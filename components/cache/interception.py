"""How queries for the cluster's DNS address come to the node's cache, and to CoreDNS when it is dead."""

import ipaddress
from typing import Literal

from components.cache.corefile import HEALTH_PORT, METRICS_PORT, NO_SOCKET_MATCH_ZONE

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

OWN_SOCKET = f"{STATE}/socket"
"""Inode of the DNS socket of the pod's own cache, by which its sidecars know it from another pod's."""

CLEANED_UP = f"{STATE}/cleaned-up"
"""Made before the rules are removed for good: whoever writes some at that very moment takes them away again."""

REPAIR_SECONDS = 4
"""Pause between two looks at the rules: what somebody flushed is back well within ten seconds."""

WATCH_SECONDS = 0.5
"""Pause between two looks at the cache where the kernel has no socket match: how long its death goes unnoticed."""

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


_TABLES = ("filter", "nat", "raw")  # what lets untracked packets through stands before what untracks them
_CHAINS = (("raw", "PREROUTING"), ("raw", "OUTPUT"), ("filter", "INPUT"), ("filter", "OUTPUT"), ("nat", "POSTROUTING"))


def _cleanup(name: str, served: Literal["listening", "others"], local_address: str, cluster_dns_ip: str) -> str:
    """Return the shell functions with which a container called `name` cleans up after the node's last cache.

    `served` is what keeps it from that: `listening`, any cache, or `others`, one of another pod. Who may be ended
    while its pod lives, by a probe, must leave its own pod's cache alone.
    """
    return f"""\
set -u
say() {{ echo "{name}: $*" >&2; }}
listening() {{ grep -q ' {socket_table_address(cluster_dns_ip)} ' /proc/net/udp; }}
others() {{
  while read -r _ local _ _ _ _ _ _ _ inode _; do
    [ "$local" != {socket_table_address(cluster_dns_ip)} ] || grep -qsx "$inode" {OWN_SOCKET} || return 0
  done </proc/net/udp
  return 1
}}

# What deletes the rules of this product, and node-cache's own, from table $2 of backend $1.
deletions() {{
  # Asking for a table makes it in the legacy backend: ask only for those there are.
  [ "$1" = nft ] || grep -qx "$2" /proc/net/ip_tables_names 2>/dev/null || return 0
  "iptables-$1-save" -t "$2" 2>/dev/null | while read -r line; do
    case "$line" in
      -A*' --comment {COMMENT} '* | -A*' --comment "{UPSTREAM_COMMENT}'*) printf '%s\n' "-D${{line#-A}}" ;;
    esac
  done
}}

# One transaction a table; again, if somebody else changed it between reading and writing.
remove() {{
  for backend in nft legacy; do
    for table in raw nat filter; do
      tries=0
      while lines=$(deletions $backend $table) && [ -n "$lines" ] && [ $tries -lt 5 ]; do
        tries=$((tries + 1))
        printf '*%s\n%s\nCOMMIT\n' $table "$lines" | "iptables-$backend-restore" -w 5 --noflush || sleep 0.1
      done
    done
  done
}}

# What was written in the moment in which others cleaned up goes too.
recheck() {{ [ ! -e {CLEANED_UP} ] || remove; }}
resume() {{ :; }}
stop() {{
  # A hung cache is killed in the moment in which this is asked to end: give it that moment.
  tries=0
  while {served} && [ $tries -lt 10 ]; do
    tries=$((tries + 1))
    sleep 0.1
  done
  if {served}; then
    say 'a cache still serves this node: rules and interface stay'
    ! others || resume
    recheck
    exit 0
  fi
  : >{CLEANED_UP}
  remove
  if grep -q '^ *{INTERFACE}:' /proc/net/dev; then
    # Nothing else in the image can remove a link.
    echo '.:53 {{
      bind {local_address}
    }}' >{STATE}/{name}-last
    {NODE_CACHE} -localip {local_address},{cluster_dns_ip} -interfacename {INTERFACE} -setupiptables=false \
      -basecorefile {STATE}/{name}-last -conf {STATE}/{name}-last.conf -metrics-listen-address 127.0.0.1:0 \
      -pidfile {STATE}/{name}-last.pid &
    tries=0
    while [ ! -s {STATE}/{name}-last.pid ] && [ $tries -lt 60 ]; do
      tries=$((tries + 1))
      sleep 0.05
    done
    kill "$!"
    wait "$!"
  fi
  say 'the last cache of this node is gone: so are its rules and its interface'
  exit 0
}}
trap stop TERM INT
rm -f {CLEANED_UP}
"""


def cleanup_script(local_address: str, cluster_dns_ip: str) -> str:
    """Return the shell program that does nothing until the pod ends, and then cleans up if no cache is left.

    It needs nothing but what node-cache's image has: dash, cat, grep, sleep, the iptables programs, and
    node-cache itself. Nothing but the end of its pod ends it, so a cache of its own that still listens is hung and
    about to be killed: no reason to wait.
    """
    return f"""\
{_cleanup("cleanup", "others", local_address, cluster_dns_ip)}
while :; do
  sleep 3600 &
  wait "$!"
done
"""


def rules_script(local_address: str, cluster_dns_ip: str) -> str:
    """Return the shell program that puts the rules in place, keeps them there and cleans up after the cache.

    It needs nothing but what node-cache's image has, as `cleanup_script`, and rm.
    """
    masquerade = _masquerade(cluster_dns_ip)
    socket = rules(local_address, cluster_dns_ip)
    sets = {
        "socket": socket,
        "draining": [each for each in socket if each[1] != "PREROUTING" or cluster_dns_ip not in each[2]],
        "upstream": [*upstream_rules(local_address, cluster_dns_ip), masquerade],
        "idle": [masquerade],
    }
    wanted = "\n".join(
        f"    {name}-{table}) echo '{lines}' ;;"
        for name, found in sets.items()
        for table in _TABLES
        if (
            lines := "\n".join(
                f"-I {chain} {rule} -m comment --comment {COMMENT}" for at, chain, rule in found if at == table
            )
        )
    )
    expected = "\n".join(
        f"    {name}) echo '{' '.join(str(sum(each[:2] == chain for each in found)) for chain in _CHAINS)}' ;;"
        for name, found in sets.items()
    )
    present = " ".join(f'"$(count {table} {chain})"' for table, chain in _CHAINS)
    return f"""\
{_cleanup("interception", "listening", local_address, cluster_dns_ip)}
# The image's `iptables` rewrites links to itself, which a read-only root forbids: choose as it does.
kubernetes='^:KUBE-(IPTABLES-HINT|KUBELET-CANARY)'
kind=nft
if ! iptables-nft-save -t mangle 2>/dev/null | grep -Eq "$kubernetes" &&
  grep -qx mangle /proc/net/ip_tables_names 2>/dev/null &&
  iptables-legacy-save -t mangle 2>/dev/null | grep -Eq "$kubernetes"; then
  kind=legacy
fi
say "kube-proxy's rules are in iptables-$kind"

ipt() {{ "iptables-$kind" -w 5 "$@"; }}
count() {{ ipt -t "$1" -S "$2" 2>/dev/null | grep -Ec -- '--comment ({COMMENT} |"{UPSTREAM_COMMENT})'; }}
present() {{ echo {present}; }}
expected() {{
  case "$1" in
{expected}
  esac
}}
wanted() {{
  case "$1-$2" in
{wanted}
  esac
}}

# Replace what there is by set $1, so that no packet ever sees a half of it in one table.
put() {{
  for table in {" ".join(_TABLES)}; do
    echo "*$table"
    deletions "$kind" "$table"
    wanted "$1" "$table"
    echo COMMIT
  done | "iptables-$kind-restore" -w 5 --noflush
  written=$?
  recheck # a transaction that failed has written the tables before its own
  return $written
}}

# A rule for an address nobody has (RFC 5737) asks the kernel, and the program, whether they know the match.
probe() {{ ipt -t raw -I PREROUTING -d 192.0.2.1 -p udp --dport 53 "$@" -j NOTRACK -m comment --comment {COMMENT}; }}

rm -f {STATE}/no-socket-match.corefile {RULES_IN_PLACE}
match=yes
refused=0
until complaint=$(probe -m socket 2>&1); do
  say "cannot write a packet rule: $complaint"
  # Somebody who holds the lock longer than we wait, or a busy kernel, is no missing match: that is refused again,
  # for another reason, while the same rule without it is written.
  case "$complaint" in
    *'xtables lock'*) refused=0 ;;
    *) probe && refused=$((refused + 1)) || refused=0 ;;
  esac
  if [ $refused -eq 2 ]; then
    match=no
    break
  fi
  sleep 0.2
done
rounds=1
pause={REPAIR_SECONDS}
now=socket
drained=draining
if [ "$match" = no ]; then
  say "WARNING: this kernel has no socket match (xt_socket): node-cache's own rules, watched instead of conditional"
  echo '{NO_SOCKET_MATCH_ZONE}:53 {{
    bind {local_address} {cluster_dns_ip}
    prometheus :{METRICS_PORT}
    whoami
}}' >{STATE}/no-socket-match.corefile
  rounds={int(REPAIR_SECONDS / WATCH_SECONDS)}
  pause={WATCH_SECONDS}
  now=idle
  drained=idle
  put idle && : >{RULES_IN_PLACE}  # the others come with the cache, which waits for this
fi

# The pod is about to end: new questions go to CoreDNS, so that none is in the socket that the cache closes.
ending=no
drain() {{
  ending=yes
  tries=0
  until put $drained; do
    tries=$((tries + 1))
    if [ $tries -ge {DRAIN_TRIES} ]; then
      say 'cannot drain: what is asked in the moment in which the cache ends may be lost'
      return
    fi
    sleep {DRAIN_SECONDS / DRAIN_TRIES}
  done
  say 'draining: new questions go to CoreDNS'
}}
trap drain USR1
resume() {{ [ "$ending" = no ] || put $now; }}

last=none
round=0
patient=no
while :; do
  : >{HEARTBEAT}
  if [ "$match" = no ]; then
    now=idle
    ! listening || now=upstream
  fi
  round=$((round + 1))
  if [ $ending = no ] && {{ [ $now != $last ] || [ $round -ge $rounds ]; }}; then
    round=0
    found=$(present)
    if [ "$found" = "$(expected $now)" ]; then
      last=$now
      patient=no
    elif [ $now = $last ] && [ $patient = no ] && [ "$found" = "$(expected $drained)" ]; then
      patient=yes # another pod drains its cache, and puts this back when it is done; unless it dies
    elif [ $ending = no ] && put $now; then
      last=$now
      patient=no
      : >{RULES_IN_PLACE}
      say "rules in place ($now)"
    fi
  fi
  sleep "$pause" &
  wait "$!"
done
"""


def listening_script(address: str, proc: str = "/proc") -> str:
    """Return the probe that asks whether this container's own node-cache holds the DNS socket, and notes which it is.

    The health endpoint is shared between two caches during an update and always says 200; the socket's inode
    among the process' own descriptors cannot be somebody else's. Kernels before 5.14 do not tell it (`ino:` in
    fdinfo): there any cache's socket will do.
    """
    return f"""\
heard=no
while read -r _ local _ _ _ _ _ _ _ inode _; do
  [ "$local" = {socket_table_address(address)} ] || continue
  heard=yes
  if grep -Eqs "^ino:[[:space:]]+$inode$" {proc}/1/fdinfo/*; then
    echo "$inode" >{OWN_SOCKET}
    exit 0
  fi
done <{proc}/net/udp
[ $heard = yes ] && ! grep -qs '^ino:' {proc}/1/fdinfo/*
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
