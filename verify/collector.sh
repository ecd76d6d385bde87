#!/bin/sh
# Prints what is to be seen from here as one JSON document of raw texts; it judges nothing.
#
# ROLE       packets: only saves the packet rules into SCRATCH (in the image that has iptables)
#            node:    the node's addresses, rules, routes, sockets, packet rules, metrics, files; then questions
#            pod:     /etc/resolv.conf and questions
#            watch:   the questions again and again, and a JSON line for each reply; ends when it is killed
# RUN        echoed, so that an old answer is not taken for a new one
# NODE       name of the node, echoed
# SCRATCH    a directory that can be written
# ADDRESSES  the DNS addresses, to keep of a large table of packet rules what is about them
# HEALTH, METRICS, SETUP_METRICS   URLs on the node
# NEAR_METRICS, FAR_METRICS, FAR_HEALTH   URLs at the own and another node's address, asked by a pod; empty: not asked
# CNI        the CNI's configuration file
# RESOLV     the resolver's configuration file
# QUESTIONS  one a line: id, server, protocol, type, name
set -u
LC_ALL=C
export LC_ALL

if [ "$ROLE" = packets ]; then
  for backend in nft legacy; do
    save="iptables-$backend-save"
    if ! command -v "$save" >/dev/null 2>&1; then
      echo missing >"$SCRATCH/$backend.code"
      continue
    fi
    "$save" >"$SCRATCH/$backend.all" 2>"$SCRATCH/$backend.error"
    echo "$?" >"$SCRATCH/$backend.code"
    # Lines that begin with * name the table.
    set -- -e '^\*' -e NOTRACK -e notrack -e node-local-dns -e NodeLocal -e KUBE-IPTABLES-HINT -e KUBE-KUBELET-CANARY
    for address in $ADDRESSES; do set -- "$@" -e "$address/32"; done
    grep "$@" "$SCRATCH/$backend.all" >"$SCRATCH/$backend.rules"
    rm -f "$SCRATCH/$backend.all"
  done
  exit 0
fi

# Without questions there is nothing to tell, and a report without them would look like one in which all is well.
if ! printf '%s\n' "$QUESTIONS" >"$SCRATCH/questions"; then
  echo "$SCRATCH/questions could not be written" >&2
  exit 1
fi

# Standard input as a JSON string: ASCII, no control characters, at most 256 KiB.
string() {
  printf '"'
  head -c 262144 | tr '\t' ' ' | tr -cd '\012\040-\176' |
    sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' | awk '{printf "%s%s", separator, $0; separator = "\\n"}'
  printf '"'
}

separator=''
fact() { # name, command ...
  name=$1
  shift
  printf '%s\n"%s":' "$separator" "$name"
  separator=','
  if ! command -v "$1" >/dev/null 2>&1; then
    printf '{"missing":"%s"}' "$1"
    return
  fi
  "$@" >"$SCRATCH/out" 2>"$SCRATCH/error"
  printf '{"exit":%d,"text":' "$?"
  string <"$SCRATCH/out"
  printf ',"error":'
  head -c 500 "$SCRATCH/error" | string
  printf '}'
}

packets() {
  code=$(cat "$SCRATCH/$1.code") || return 1
  [ "$code" != missing ] || { echo "iptables-$1-save is missing" >&2; return 127; }
  cat "$SCRATCH/$1.rules" || return 1
  cat "$SCRATCH/$1.error" >&2
  return "$code"
}

get() { curl --silent --show-error --max-time 3 "$1"; }

metrics() {
  get "$1" >"$SCRATCH/metrics" || return
  grep -E '^(coredns_build_info|coredns_reload_failed_total|coredns_nodecache_setup_errors_total|process_resident_memory_bytes)' "$SCRATCH/metrics"
  return 0
}

ask() { # server, protocol, type, name
  if [ "$2" = tcp ]; then over=+tcp; else over=+notcp; fi
  dig -r -4 +tries=1 +time=2 +noall +comments +answer +stats "$over" "@$1" "$3" "$4"
}

reply() { # tick, id, server, protocol, type, name
  ask "$3" "$4" "$5" "$6" >"$SCRATCH/answer-$1-$2" 2>&1
  code=$?
  {
    printf '{"tick":%d,"id":"%s","exit":%d,"text":' "$1" "$2" "$code"
    string <"$SCRATCH/answer-$1-$2"
    printf '}\n'
  } >"$SCRATCH/line-$1-$2"
  rm -f "$SCRATCH/answer-$1-$2" "$SCRATCH/asked-$1-$2"
  mv "$SCRATCH/line-$1-$2" "$SCRATCH/replied-$1-$2"
}

if [ "$ROLE" = watch ]; then
  printf '{"format":1,"run":"%s","node":"%s","role":"watch"}\n' "$RUN" "$NODE"
  tick=0
  while :; do
    set -- "$SCRATCH"/asked-*
    # Where nobody answers, questions pile up: sixteen at a time are enough to see that, and need little memory.
    if [ $# -lt 16 ]; then
      tick=$((tick + 1))
      while read -r id server protocol type name; do
        [ -n "$id" ] || continue
        : >"$SCRATCH/asked-$tick-$id"
        reply "$tick" "$id" "$server" "$protocol" "$type" "$name" &
      done <"$SCRATCH/questions"
    fi
    sleep 0.2
    for each in "$SCRATCH"/replied-*; do
      [ ! -e "$each" ] || { cat "$each" && rm -f "$each"; }
    done
  done
fi

printf '{"format":1,"run":"%s","node":"%s","role":"%s","facts":{' "$RUN" "$NODE" "$ROLE"
fact resolver cat "$RESOLV"
if [ "$ROLE" = node ]; then
  fact addresses ip -4 -oneline address show
  fact rules ip -4 rule show
  fact routes ip -4 route show table all
  fact udp ss -Hlun
  fact tcp ss -Hltn
  fact nft packets nft
  fact legacy packets legacy
  fact cni cat "$CNI"
  fact health get "$HEALTH"
  fact metrics metrics "$METRICS"
  fact setup_metrics metrics "$SETUP_METRICS"
fi
[ -z "$NEAR_METRICS" ] || fact near_metrics metrics "$NEAR_METRICS"
[ -z "$FAR_METRICS" ] || fact far_metrics metrics "$FAR_METRICS"
[ -z "$FAR_HEALTH" ] || fact far_health get "$FAR_HEALTH"
printf '},\n"questions":{'

# Six at a time: silence costs its patience once for six, and six need little memory.
ask_all() { # what the answers' files are called; questions on standard input
  asked=0
  while read -r id server protocol type name; do
    [ -n "$id" ] || continue
    { ask "$server" "$protocol" "$type" "$name" >"$SCRATCH/$1-$id" 2>&1; echo "$?" >"$SCRATCH/$1-$id.code"; } &
    asked=$((asked + 1))
    [ $((asked % 6)) -ne 0 ] || wait
  done
  wait
}

if command -v dig >/dev/null 2>&1; then
  ask_all first <"$SCRATCH/questions"
  # One lost packet is no failure: what had no reply is asked once more, and both are told.
  while read -r id rest; do
    [ -z "$id" ] || [ "$(cat "$SCRATCH/first-$id.code")" = 0 ] || echo "$id $rest"
  done <"$SCRATCH/questions" >"$SCRATCH/unanswered"
  ask_all again <"$SCRATCH/unanswered"
  separator=''
  while read -r id rest; do
    [ -n "$id" ] || continue
    last=first
    [ ! -e "$SCRATCH/again-$id.code" ] || last=again
    printf '%s\n"%s":{"exit":%d,"text":' "$separator" "$id" "$(cat "$SCRATCH/$last-$id.code")"
    separator=','
    string <"$SCRATCH/$last-$id"
    if [ "$last" = again ]; then
      printf ',"first":'
      string <"$SCRATCH/first-$id"
    fi
    printf '}'
  done <"$SCRATCH/questions"
  printf '}}\n'
else
  printf '},"missing":"dig"}\n'
fi
