#!/bin/bash
# Sourced by pgbouncer-hold.sh and pgbouncer-outage.sh: marks and signals. Signals need neither psql nor a password
# (https://www.pgbouncer.org/usage.html#signals).
#
# Environment, for tests: HOLD_MARK, HOLD_PAUSED, HOLD_PROCESS.

# `mark`: clients are held for a planned change. `paused`: pgBouncer is paused by spec.proxy.pgBouncer.paused.
# shellcheck disable=SC2034  # for the scripts that source this one
mark=${HOLD_MARK:-/tmp/pgbouncer-hold} paused=${HOLD_PAUSED:-/tmp/pgbouncer-paused}

# signal NAME: send the signal to pgBouncer, found by its name among all processes of the pod.
signal() {
    local directory name found=''
    for directory in /proc/[0-9]*; do
        read -r name 2>/dev/null <"$directory/comm" || continue
        if [ "$name" = "${HOLD_PROCESS:-pgbouncer}" ]; then kill -s "$1" "${directory##*/}" && found=1; fi
    done
    [ -n "$found" ] || { echo "could not signal pgBouncer: no process pgbouncer exists" >&2; return 1; }
}
