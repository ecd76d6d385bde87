#!/bin/sh
# Does nothing until its pod ends, and then cleans up if no cache is left on the node. Arguments: see cleaning.sh.

# Nothing but the end of its pod ends this, so a cache of its own that still listens is hung and about to be killed:
# no reason to wait.
served() { others; }

. ./cleaning.sh

while :; do
  sleep 3600 &
  wait "$!"
done
