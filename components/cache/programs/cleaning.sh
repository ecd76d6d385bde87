#!/bin/sh
# Cleans up after the node's last cache: for programs that end with their pod. Whoever includes this defines
# `served`, which says whether somebody else still needs the rules and the interface.
#
# Each argument is NAME=value:
#   LOCAL_ADDRESS, CLUSTER_DNS_IP   the cache's addresses
#   DNS_SOCKET                      port 53 of the latter as /proc/net/udp writes it
#   INTERFACE                       the link that holds both
#   COMMENT, UPSTREAM_COMMENT       the comment of this product's rules, and how those of node-cache's own begin
#   STATE                           directory that the pod's containers share and nobody else:
#                                     socket       inode of the DNS socket of the pod's own cache
#                                     cleaned-up   made before the rules are removed for good
#   NODE_CACHE                      the program
#
# It needs nothing but what node-cache's image has: dash, cat, grep, rm, sleep, the iptables programs, node-cache.
set -u
readonly "$@"

say() { echo "$0: $*" >&2; }

# Any cache on this node.
listening() { grep -q " $DNS_SOCKET " /proc/net/udp; }

# A cache of another pod; that of the own one has noted its socket.
others() {
  while read -r _ local _ _ _ _ _ _ _ inode _; do
    [ "$local" != "$DNS_SOCKET" ] || grep -qsx "$inode" "$STATE/socket" || return 0
  done </proc/net/udp
  return 1
}

# What deletes the rules of this product, and node-cache's own, from table $2 of backend $1.
deletions() {
  # Asking for a table makes it in the legacy backend: ask only for those there are.
  [ "$1" = nft ] || grep -qx "$2" /proc/net/ip_tables_names 2>/dev/null || return 0
  "iptables-$1-save" -t "$2" 2>/dev/null | while read -r line; do
    case "$line" in
      -A*" --comment $COMMENT "* | -A*" --comment \"$UPSTREAM_COMMENT"*) printf '%s\n' "-D${line#-A}" ;;
    esac
  done
}

# One transaction a table; again, if somebody else changed it between reading and writing.
remove() {
  for backend in nft legacy; do
    for table in raw nat filter; do
      tries=0
      while lines=$(deletions $backend $table) && [ -n "$lines" ] && [ $tries -lt 5 ]; do
        tries=$((tries + 1))
        printf '*%s\n%s\nCOMMIT\n' $table "$lines" | "iptables-$backend-restore" -w 5 --noflush || sleep 0.1
      done
    done
  done
}

# What was written in the moment in which others cleaned up goes too: they leave the file before they begin.
recheck() { [ ! -e "$STATE/cleaned-up" ] || remove; }

# What is done when this one ends and another pod's cache goes on.
resume() { :; }

stop() {
  # A hung cache is killed in the moment in which this is asked to end: give it that moment.
  tries=0
  while served && [ $tries -lt 10 ]; do
    tries=$((tries + 1))
    sleep 0.1
  done
  if served; then
    say 'a cache still serves this node: rules and interface stay'
    ! others || resume
    recheck
    exit 0
  fi
  : >"$STATE/cleaned-up"
  remove
  if grep -q "^ *$INTERFACE:" /proc/net/dev; then
    # Nothing else in the image can remove a link.
    files="$STATE/$0-last"
    echo ".:53 {
      bind $LOCAL_ADDRESS
    }" >"$files"
    "$NODE_CACHE" -localip "$LOCAL_ADDRESS,$CLUSTER_DNS_IP" -interfacename "$INTERFACE" -setupiptables=false \
      -basecorefile "$files" -conf "$files.conf" -metrics-listen-address 127.0.0.1:0 -pidfile "$files.pid" &
    tries=0
    while [ ! -s "$files.pid" ] && [ $tries -lt 60 ]; do
      tries=$((tries + 1))
      sleep 0.05
    done
    kill "$!"
    wait "$!"
  fi
  say 'the last cache of this node is gone: so are its rules and its interface'
  exit 0
}
trap stop TERM INT
rm -f "$STATE/cleaned-up"
