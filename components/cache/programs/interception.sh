#!/bin/sh
# Puts the packet rules in place, keeps them there, and cleans up after the node's last cache.
#
# Arguments: those of cleaning.sh, and
#   RULES_IN_PLACE    file that is there once the rules are: the cache starts after them, so that a ready pod is one that
#                     is asked
#   HEARTBEAT         file made at every look at the rules and taken away by the liveness probe, which fails when nobody
#                     made it again
#   RULES             one a line: the sets it belongs to, joined by +; table; chain; the rule. The sets:
#                       socket     while the pod lives
#                       draining   when its end begins: new questions for the ClusterIP go to CoreDNS
#                       upstream   without a socket match, while a cache listens
#                       idle       without a socket match, while none does
#   DRAIN_TRIES       how often draining is tried, if somebody else changes the tables at the same moment
#   DRAIN_PAUSE       seconds between two of these
#   NO_SOCKET_MATCH   what the Corefile has in addition where the kernel lacks the socket match
#
# TERM is the end of the pod, or of this container alone if a probe ends it; USR1 says that the former is near.

# A probe may end this while its pod lives, so any cache needs the rules.
served() { listening; }

. ./cleaning.sh

# The image's `iptables` rewrites links to itself, which a read-only root forbids: choose as it does.
kubernetes='^:KUBE-(IPTABLES-HINT|KUBELET-CANARY)'
kind=nft
if ! iptables-nft-save -t mangle 2>/dev/null | grep -Eq "$kubernetes" &&
  grep -qx mangle /proc/net/ip_tables_names 2>/dev/null &&
  iptables-legacy-save -t mangle 2>/dev/null | grep -Eq "$kubernetes"; then
  kind=legacy
fi
say "kube-proxy's rules are in iptables-$kind"

ipt() { "iptables-$kind" -w 5 "$@"; }

# What writes the rules of set $1 to table $2.
insertions() {
  while read -r sets table rule; do
    case "$table +$sets+" in
      "$2 "*"+$1+"*) echo "-I $rule -m comment --comment $COMMENT" ;;
    esac
  done <<END
$RULES
END
}

# How many rules each chain has, and how many it has in set $1.
chains='filter:INPUT filter:OUTPUT nat:POSTROUTING raw:PREROUTING raw:OUTPUT'
present() {
  for each in $chains; do
    ipt -t "${each%:*}" -S "${each#*:}" 2>/dev/null | grep -Ec -- "--comment ($COMMENT |\"$UPSTREAM_COMMENT)"
  done
}
expected() {
  for each in $chains; do
    insertions "$1" "${each%:*}" | grep -c -- "^-I ${each#*:} "
  done
}

# Replace what there is by set $1, so that no packet ever sees a half of it in one table. What lets untracked packets
# through stands before what untracks them.
put() {
  for table in filter nat raw; do
    echo "*$table"
    deletions "$kind" "$table"
    insertions "$1" "$table"
    echo COMMIT
  done | "iptables-$kind-restore" -w 5 --noflush
  written=$?
  recheck # a transaction that failed has written the tables before its own
  return $written
}

# A rule for an address nobody has (RFC 5737) asks the kernel, and the program, whether they know the match.
probe() { ipt -t raw -I PREROUTING -d 192.0.2.1 -p udp --dport 53 "$@" -j NOTRACK -m comment --comment "$COMMENT"; }

rm -f "$STATE/no-socket-match.corefile" "$RULES_IN_PLACE"
match=yes
refused=0
until complaint=$(probe -m socket 2>&1); do
  say "cannot write a packet rule: $complaint"
  # Somebody who holds the lock longer than we wait, or a busy kernel, is no missing match: that is refused again,
  # for another reason, while the same rule without it is written.
  case "$complaint" in
    *'xtables lock'*) refused=0 ;;
    *) if probe; then refused=$((refused + 1)); else refused=0; fi ;;
  esac
  if [ $refused -eq 2 ]; then
    match=no
    break
  fi
  sleep 0.2
done

# What somebody flushed is back well within ten seconds: a look at the rules every four.
rounds=1
pause=4
now=socket
drained=draining
if [ $match = no ]; then
  say "WARNING: this kernel has no socket match (xt_socket): node-cache's own rules, watched instead of conditional"
  printf %s "$NO_SOCKET_MATCH" >"$STATE/no-socket-match.corefile"
  # Twice a second a look at the cache, whose death goes unnoticed in between; at the rules every four seconds again.
  rounds=8
  pause=0.5
  now=idle
  drained=idle
  put idle && : >"$RULES_IN_PLACE" # the others come with the cache, which waits for this
fi

# The pod is about to end: new questions go to CoreDNS, so that none is in the socket that the cache closes.
ending=no
drain() {
  ending=yes
  tries=0
  until put $drained; do
    tries=$((tries + 1))
    if [ $tries -ge "$DRAIN_TRIES" ]; then
      say 'cannot drain: what is asked in the moment in which the cache ends may be lost'
      return
    fi
    sleep "$DRAIN_PAUSE"
  done
  say 'draining: new questions go to CoreDNS'
}
trap drain USR1
resume() { [ $ending = no ] || put $now; }

last=none
round=0
patient=no
while :; do
  : >"$HEARTBEAT"
  if [ $match = no ]; then
    now=idle
    ! listening || now=upstream
  fi
  round=$((round + 1))
  if [ $ending = no ] && { [ $now != $last ] || [ $round -ge $rounds ]; }; then
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
      : >"$RULES_IN_PLACE"
      say "rules in place ($now)"
    fi
  fi
  sleep "$pause" &
  wait "$!"
done
