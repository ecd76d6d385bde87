#!/bin/sh
# Stands in for the iptables programs of one kind, by the name it is called by: it keeps rules, and refuses and fails as
# told. It knows as much of them as the program that is tested uses. What it reads and writes is in the current directory:
#   refusals     each line is what a rule with the socket match is refused with, once; a marked one (`always ...`), for
#                ever
#   failures     transactions that fail, one a line
#   meanwhile    what happens at the end of a transaction, whose parent is the program that is tested
#   saved-nft, saved-legacy   what iptables-save prints of the mangle table
#   rules-raw, ...            the rules of the other tables
#   written      the transactions that did not fail, and in `wrote` by which program
name=${0##*/}
table=none
[ "${1-}" = -w ] && shift 2
[ "${1-}" = -t ] && table=$2 && shift 2
case "$name" in
  *-save)
    kind=${name%-save}
    if [ "$table" = mangle ]; then cat "saved-${kind##*-}"; else cat "rules-$table"; fi
    ;;
  *-restore)
    cat >transaction
    if { read -r _ && cat; } <failures >rest; then
      mv rest failures
      exit 4
    fi
    cat transaction >>written
    echo "$name" >>wrote
    while read -r line; do
      case "$line" in
        \**) table=${line#\*} ;;
        -I*)
          # The target is printed last, wherever it was written.
          jump=${line#* -j }
          match=${line%% -j *}
          echo "-A${match#-I} ${jump#* } -j ${jump%% *}" >>"rules-$table"
          ;;
        -D*)
          grep -vxF -- "-A${line#-D}" "rules-$table" >rest
          mv rest "rules-$table"
          ;;
      esac
    done <transaction
    # shellcheck source=/dev/null
    [ ! -e meanwhile ] || . ./meanwhile
    ;;
  *)
    case "$1 $*" in
      -S*)
        grep -- "^-A $2 " "rules-$table"
        exit 0
        ;;
      *'-m socket'*) ;;
      *) exit 0 ;;
    esac
    { read -r line && cat; } <refusals >rest || exit 0
    [ "${line#always }" != "$line" ] || mv rest refusals
    echo "${line#always }" >&2
    exit 4
    ;;
esac
