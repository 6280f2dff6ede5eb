#!/bin/bash
# watchdog.sh: kill PostgreSQL if Patroni has not renewed its leader lease in time; started by `database.sh`.
#
# Standard input is the named pipe that is Patroni's watchdog device (driver `testing`). Patroni writes `Ctimeout=25`
# and a newline when it becomes the leader and when the lease duration changes, `1` after each renewal of the lease, and
# `V` when no client can get a commit confirmed any more, or when the watchdog is disabled. While Patroni is not the
# leader, this script sleeps indefinitely. Environment: PGDATA.
set -u
seconds='' left=''

# shellcheck source=reconcilers/files/database/orphans.sh
. "${0%/*}/orphans.sh"

# stop_postgres: kill the server if it runs, and processes of a former one. Each of its processes has its own process
# group. The postmaster is stopped before its children are listed, so that it starts no more. Children of a frozen
# server do not notice its death.
stop_postgres() {
    local server file line child children=()
    if running_server; then
        echo "watchdog: Patroni has not renewed its lease within $seconds s: killing PostgreSQL ($server)" >&2
        kill -STOP "$server"
        for file in /proc/[0-9]*/stat; do
            { read -r line <"$file"; } 2>/dev/null || continue
            # After the name: the state and the parent's id.
            if [[ ${line##*) } == ?" $server "* ]]; then child=${file#/proc/} children+=("${child%/stat}"); fi
        done
        kill -KILL "$server"
        for child in "${children[@]}"; do kill -KILL "$child" "-$child"; done 2>/dev/null
    fi
    end_orphans
}

while :; do
    message=''
    read -r -N 1 ${left:+-t "$left"} message
    status=$?
    # On an overloaded machine `read` may return a message together with the status of a timeout.
    if [ -n "$message" ]; then
        case $message in
        C)
            # A Patroni that was killed may have written a part of the line.
            read -r -t 1 message
            if [[ $message =~ ^timeout=([1-9][0-9]*)$ ]]; then seconds=${BASH_REMATCH[1]} left=$seconds; fi
            ;;
        1) left=$seconds ;;
        V)
            left=''
            # Patroni gives up the lease: a server that has crashed may have left processes that confirm commits.
            end_orphans
            ;;
        esac
    elif [ "$status" -le 128 ]; then
        # End of file: Patroni and the container's first process have ended.
        if [ -n "$left" ]; then stop_postgres; fi
        exit 0
    elif ! read -r -t 0; then
        # A server that starts later must be killed, too, until Patroni renews the lease.
        stop_postgres
        left=1
    fi
done
