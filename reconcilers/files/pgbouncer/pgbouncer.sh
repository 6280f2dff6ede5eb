#!/bin/bash
# pgbouncer.sh CONFIG: entry point of the container `pgbouncer`; changed files are reloaded without a restart, and clients
# wait while the primary is away.
set -u
here=${0%/*}

export PGBOUNCER_CONFIG=$1
rm -f "${TMPDIR:-/tmp}/pgbouncer-paused"
# Each client and each connection to a server needs a file descriptor.
ulimit -S -n "$(ulimit -H -n)" 2>/dev/null

child='' early=()
forward() { if [ -n "$child" ]; then kill -s "$1" "$child" 2>/dev/null; else early+=("$1"); fi; }
# shellcheck disable=SC2064  # the name must be expanded now
for name in TERM INT QUIT HUP USR1; do trap "forward $name" "$name"; done
exec {log}> >(trap '' TERM INT QUIT HUP USR1; exec bash "$here/pgbouncer-outage.sh")
reader=$!
# The subshell resets INT and QUIT, which bash ignores in background commands.
(
    trap - TERM INT QUIT HUP USR1
    exec bash "$here/supervise.sh" -c "$here/pgbouncer-pause.sh" /etc/pgbouncer -- pgbouncer "$1" 2>&"$log" {log}>&-
) & child=$!
exec {log}>&-
for name in "${early[@]}"; do forward "$name"; done
# A signal interrupts `wait`; only the wait for an ended child returns its status.
while kill -0 "$child" 2>/dev/null; do wait "$child"; done
wait "$child"; status=$?
# The last lines of the log often have the cause. The reader ends with the last process that can write to it.
{ sleep 2; kill -KILL "$reader"; } 2>/dev/null &
wait "$reader"
exit "$status"
