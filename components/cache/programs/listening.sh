#!/bin/sh
# Asks whether this container's own node-cache holds the DNS socket, and notes which socket that is.
#
# The health endpoint is shared between two caches during an update and always says 200; the socket's inode among the
# process' own descriptors cannot be somebody else's. Kernels before 5.14 do not tell it (`ino:` in fdinfo): there any
# cache's socket will do.
#
# Each argument is NAME=value:
#   DNS_SOCKET   port 53 of the ClusterIP as /proc/net/udp writes it
#   STATE        directory that the pod's containers share and nobody else: the inode is written to its file `socket`
set -u
readonly "$@"

heard=no
while read -r _ local _ _ _ _ _ _ _ inode _; do
  [ "$local" = "$DNS_SOCKET" ] || continue
  heard=yes
  if grep -Eqs "^ino:[[:space:]]+$inode$" /proc/1/fdinfo/*; then
    echo "$inode" >"$STATE/socket"
    exit 0
  fi
done </proc/net/udp
[ $heard = yes ] && ! grep -qs '^ino:' /proc/1/fdinfo/*
