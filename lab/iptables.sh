#!/bin/sh
# Like the image's `iptables`: the kind that Kubernetes' chains are in.
kind=nft
if ! iptables-nft-save -t mangle | grep -q KUBE-IPTABLES-HINT && grep -qx mangle /proc/net/ip_tables_names; then
  kind=legacy
fi
exec "iptables-$kind" "$@"
