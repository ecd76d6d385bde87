#!/bin/sh
# Stands in for the iptables programs of one kind, by the name it is called by: it refuses and fails as told, and keeps
# no rules. What it reads and writes is in the current directory:
#   refusals     each line is what a rule with the socket match is refused with, once; a marked one (`always ...`), for
#                ever
#   failures     transactions that fail, one a line
#   meanwhile    what happens at the end of a transaction, whose parent is the program that is tested
#   saved-nft, saved-legacy   what iptables-save prints
#   written      the transactions that did not fail, and in `wrote` by which program
case "${0##*/}" in
  *-save)
    kind=${0%-save}
    cat "saved-${kind##*-}"
    ;;
  *-restore)
    cat >transaction
    if { read -r _ && cat; } <failures >rest; then
      mv rest failures
      exit 4
    fi
    cat transaction >>written
    echo "${0##*/}" >>wrote
    # shellcheck source=/dev/null
    [ ! -e meanwhile ] || . ./meanwhile
    ;;
  *)
    case "$*" in
      *'-m socket'*) ;;
      *) exit 0 ;;
    esac
    read -r line <refusals || exit 0
    if [ "${line#always }" = "$line" ]; then
      grep -v -m1 -xF "$line" refusals >rest
      mv rest refusals
    fi
    echo "${line#always }" >&2
    exit 4
    ;;
esac
