#!/bin/bash
# pgbouncer-pause.sh PID: pause pgBouncer if the first line of its configuration is `;; paused`, else resume it.
# pgbouncer-pause.sh: print `paused` or `running`.
#
# Called at the start and after each change of the files. pgBouncer handles USR1 as PAUSE and USR2 as RESUME, which need
# no password; https://www.pgbouncer.org/usage.html (signals).
here=${0%/*} flag=${TMPDIR:-/tmp}/pgbouncer-paused first=''

if [ $# -eq 0 ]; then
    if [ -e "$flag" ]; then echo paused; else echo running; fi
    exit 0
fi
read -r first <"${PGBOUNCER_CONFIG:-/etc/pgbouncer/~postgres-operator.ini}"
if [ "$first" = ";; paused" ]; then
    # Until pgBouncer listens, the signal would terminate it.
    until bash "$here/pgbouncer-check.sh" answers 2>/dev/null; do
        kill -0 "$1" 2>/dev/null || exit 0
        sleep 0.1
    done
    kill -s USR1 "$1" && : >"$flag"
elif [ -e "$flag" ]; then
    kill -s USR2 "$1" && rm -f "$flag"
fi
