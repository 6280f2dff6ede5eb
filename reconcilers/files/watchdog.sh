#!/bin/bash
# watchdog.sh: stops PostgreSQL when Patroni has not said in time that it still leads; started by `database.sh`.
#
# Standard input is the pipe that is Patroni's watchdog device (driver `testing`). Into it Patroni writes
# `Ctimeout=25` and a newline when it becomes the leader and when the lease changes, `1` each time it has renewed the
# lease, and `V` when no client can get a confirmation any more, or when it is not to be watched. While it does not
# lead, this is a sleep without end. Environment: PGDATA.
set -u
seconds='' left=''

# stop_postgres: kill the server, if there is one. Its processes have a group each; the first one is stopped before
# they are looked up, so that it makes no more of them. Those of a frozen server do not notice that it is gone.
stop_postgres() {
    local server name file line child children=()
    { read -r server <"$PGDATA/postmaster.pid" && read -r name <"/proc/$server/comm"; } 2>/dev/null || return 0
    # The file may be of a server that is gone, whose number has another one.
    [[ $server =~ ^[1-9][0-9]*$ ]] && [ "$name" = postgres ] && [ "/proc/$server/cwd" -ef "$PGDATA" ] || return 0
    echo "watchdog: Patroni has not renewed its lease within $seconds s: killing PostgreSQL ($server)" >&2
    kill -STOP "$server"
    for file in /proc/[0-9]*/stat; do
        { read -r line <"$file"; } 2>/dev/null || continue
        # After the name: the state, and the parent.
        if [[ ${line##*) } == ?" $server "* ]]; then child=${file#/proc/} children+=("${child%/stat}"); fi
    done
    kill -KILL "$server"
    for child in "${children[@]}"; do kill -KILL "$child" "-$child"; done 2>/dev/null
}

while :; do
    message=''
    read -r -N 1 ${left:+-t "$left"} message
    status=$?
    # A message may come with the status of a time that is over, after this machine has been too busy to look.
    if [ -n "$message" ]; then
        case $message in
        C)
            read -r message
            if [[ $message =~ ^timeout=([1-9][0-9]*)$ ]]; then seconds=${BASH_REMATCH[1]} left=$seconds; fi
            ;;
        1) left=$seconds ;;
        V) left='' ;;
        esac
    elif [ "$status" -le 128 ]; then
        # Whoever could write has ended: Patroni, and the container's first process with it.
        if [ -n "$left" ]; then stop_postgres; fi
        exit 0
    elif ! read -r -t 0; then
        # A server that starts from now on is too late as well.
        stop_postgres
        left=1
    fi
done
