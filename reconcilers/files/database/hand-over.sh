#!/bin/bash
# hand-over.sh: make a replica the primary before this container ends; supervise.sh runs it when the container gets TERM.
#
# Patroni itself would first stop answering its members, then stop the server and write its checkpoint, and only then
# let a replica lead. A switchover writes the checkpoint while clients are still served, and names the next primary. The
# operator can do it without an error for clients of pgBouncer. So this script waits 1.5 s for the operator's mark
# ($PGHOST.planned), and 8 s in all if there is one. If this member then still leads, it asks Patroni itself: for the
# replica that has most, and with synchronous replication only for a synchronous one.
#
# It ends as soon as another member leads or nothing can be done; without the operator after 6 s at most. Then
# Patroni gets TERM. While Patroni is paused, it does nothing. The exit status has no meaning.
# Environment: PGHOST, PATRONI_NAME, PATRONI_RESTAPI_CONNECT_ADDRESS. For tests: HAND_OVER_PATIENCE, HAND_OVER_LIMIT.
set -u
here=${0%/*} mark=$PGHOST.planned patience=${HAND_OVER_PATIENCE:-1500} limit=${HAND_OVER_LIMIT:-4500} # ms
exec {idle}<> <(:)

# ask METHOD SECONDS PATH [BODY]: send a request to the own Patroni, and print the answer.
ask() {
    PATRONI_METHOD=$1 PATRONI_SECONDS=$2 bash "$here/patroni.sh" "$PATRONI_RESTAPI_CONNECT_ADDRESS" "$3" "${4-}"
}

# milliseconds: set `now`, counted from the start.
milliseconds() { now=${EPOCHREALTIME/[.,]/} now=$((${now%???} - began)); }
began=0
milliseconds
began=$now

# has_moved: whether another member leads.
has_moved() {
    [[ $(ask GET 2 cluster 2>/dev/null) =~ \"name\":\ *\"([^\"]*)\",\ *\"role\":\ *\"leader\" ]] &&
        [ "${BASH_REMATCH[1]}" != "$PATRONI_NAME" ]
}

# operator_acts: whether the operator has begun to hand over: its mark is not older than this script, or hardly.
operator_acts() {
    local at
    at=$(stat --format=%Y "$mark" 2>/dev/null) && ((at >= began / 1000 - 2))
}

candidates() {
    PGCONNECT_TIMEOUT=2 timeout 2 psql --no-psqlrc -qAtw postgres -c "SELECT application_name FROM pg_stat_replication
        WHERE state = 'streaming' AND usename = '_crunchyrepl'
            AND (current_setting('synchronous_standby_names') = '' OR sync_state IN ('sync', 'quorum'))
        ORDER BY flush_lsn DESC NULLS LAST LIMIT 2"
}

# switch_to CANDIDATE: status 0 as soon as another member leads, 1 if Patroni refuses, 2 after the time.
switch_to() {
    local asked
    echo "this container is stopping: asking Patroni to switch over to $1" >&2
    ask POST $((limit / 1000 + 2)) switchover "{\"leader\":\"$PATRONI_NAME\",\"candidate\":\"$1\"}" >&2 &
    asked=$!
    while :; do
        if has_moved; then return 0; fi
        if ! kill -0 "$asked" 2>/dev/null; then
            if wait "$asked"; then return 0; else return 1; fi
        fi
        milliseconds
        if ((now >= end)); then return 2; fi
        read -r -t 0.1 -u "$idle"
    done
}

said=$(ask GET 2 primary 2>/dev/null) || exit 0
if [[ $said =~ \"pause\":\ *true ]]; then exit 0; fi
end=$patience
if [ -z "$(candidates)" ]; then end=0; fi
while milliseconds; ((now < end)); do
    if has_moved; then exit 0; fi
    if operator_acts; then end=8000; fi
    read -r -t 0.1 -u "$idle"
done
# The stop that follows is planned in any case.
: >"$mark"
end=$((now + limit))
for candidate in $(candidates); do
    if switch_to "$candidate"; then exit 0; fi
    milliseconds
    if ((now >= end)); then break; fi
done
exit 0
