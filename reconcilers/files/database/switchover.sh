#!/bin/bash
# switchover.sh ADDRESS PATH BODY SECONDS: request this member's promotion from Patroni, and wait until it accepts
# writes.
#
# Patroni checks the progress once a second. This script queries the database more often, because clients are held.
set -u
here=${0%/*} out=$(mktemp)
trap 'rm -f "$out"' EXIT
PATRONI_SECONDS=$4 bash "$here/patroni.sh" "$1" "$2" "$3" >"$out" 2>&1 &
asked=$! status='' end=$((SECONDS + $4))
until [ "$(psql --no-psqlrc -qAtc 'SELECT pg_is_in_recovery()' postgres 2>/dev/null)" = f ]; do
    if [ -z "$status" ] && ! kill -0 "$asked" 2>/dev/null; then
        wait "$asked"; status=$?
        [ "$status" = 0 ] || { cat "$out" >&2; exit 1; }
    fi
    if [ "$SECONDS" -ge "$end" ]; then
        echo "no promotion within $4 s: $(<"$out")" >&2
        exit 1
    fi
    sleep 0.05
done
