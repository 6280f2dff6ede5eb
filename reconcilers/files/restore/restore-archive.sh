# shellcheck shell=bash disable=SC2154
# To be sourced by restore.sh: `complete_archive` archives the WAL that only the former data has, before it is replaced.
#
# Environment: FORMER_WAL, for a recovery to the end of the archive of the same cluster: `required` (the restore fails
# if WAL stays missing in the archive) or `optional` (the user has accepted its loss). PUSH_SECONDS (120): how long one
# segment is retried.
#
# It may be killed at any point: it changes the former data only as its next start would. It sets `end`, the newest
# segment with transactions, and `lost`, a message about WAL whose loss was accepted.
lost=''

# of_archive COMMAND...: run pgBackRest on the former data.
of_archive() {
    timeout 60 pgbackrest "--stanza=$STANZA" "--pg1-path=$PGDATA" --no-archive-async "$@" >"$log" 2>&1 & wait $!
    local status=$?
    if [ "$status" = 124 ]; then echo "ERROR: pgBackRest has not answered for 60 s" >>"$log"; fi
    return "$status"
}

# is_archived SEGMENT: whether the repository of the restore has it.
is_archived() { of_archive "--repo=$REPO" archive-get "$1" "$work/segment"; }

# push NAME: archive a file of pg_wal. It is ready until every repository has it; the restore needs only its own.
push() {
    local name=$1 status=$PGDATA/pg_wal/archive_status/$1 failed
    # pgBackRest would drop WAL if the queue is longer than this.
    if of_archive --reset-archive-push-queue-max archive-push "$PGDATA/pg_wal/$name"; then
        if [ -e "$status.ready" ]; then mv "$status.ready" "$status.done"; fi
        return 0
    fi
    failed=$(<"$log")
    if is_archived "$name"; then return 0; fi
    echo "$failed" >"$log"
    return 1
}

# pending LAST: print the files to archive, in order: those that are ready, and segments up to LAST of its timeline that
# have no status, because the server was killed or did not archive.
pending() {
    local file name status=$PGDATA/pg_wal/archive_status
    for file in "$status"/*.ready; do
        name=${file##*/} name=${name%.ready}
        if [ -e "$PGDATA/pg_wal/$name" ]; then echo "$name"; fi
    done
    for file in "$PGDATA/pg_wal/${1:0:8}"????????????????; do
        name=${file##*/}
        if [[ ! $name > $1 && -e $file && ! -e $status/$name.ready && ! -e $status/$name.done ]]; then echo "$name"; fi
    done
}

# push_pending LAST: archive them; a failure is retried. Status 1: `why` names those that are left.
push_pending() {
    local names name i since=$SECONDS
    mapfile -t names < <(pending "$1" | LC_ALL=C sort -u)
    for i in "${!names[@]}"; do
        name=${names[i]}
        until push "$name"; do
            echo "could not archive $name: $(pick 'ERROR' 1)" >&2
            if ((SECONDS - since >= ${PUSH_SECONDS:-120})); then
                why="$((${#names[@]} - i)) files of WAL cannot be archived, from $name to $1: $(pick 'ERROR|HINT' 3)"
                return 1
            fi
            sleep 2 & wait $!
        done
        since=$SECONDS
    done
}

# finish_former: recover former data that did not stop cleanly, as its next start would, so that its last segment ends.
finish_former() {
    echo "the former data did not stop cleanly: recovering it" >&2
    # Not empty: PostgreSQL before 15 ends the last segment only if there is a command.
    serve "$PGDATA" false || { why="the former data cannot be recovered: $(pick 'FATAL|PANIC' 2)"; return 1; }
}

# ended: whether the former data stopped cleanly, and the stop ended the segment with the last transactions. Then the
# checkpoint is the first record of the next segment, behind the header of 40 bytes. The checkpoint at the end of crash
# recovery is also recorded as a clean stop, but it ends no segment.
ended() {
    local location bytes
    [ "$(controldata 'Database cluster state' "$PGDATA")" = 'shut down' ] || return 1
    location=$(controldata 'Latest checkpoint location' "$PGDATA") bytes=$(controldata 'Bytes per WAL segment' "$PGDATA")
    ((16#${location#*/} % bytes == 40))
}

# last_segment: print the name of the segment before the last checkpoint.
last_segment() {
    local location bytes number
    location=$(controldata 'Latest checkpoint location' "$PGDATA") bytes=$(controldata 'Bytes per WAL segment' "$PGDATA")
    number=$(((16#${location%/*} * 0x100000000 + 16#${location#*/}) / bytes - 1))
    printf '%08X%08X%08X\n' "$(controldata "Latest checkpoint's TimeLineID" "$PGDATA")" \
        $((number / (0x100000000 / bytes))) $((number % (0x100000000 / bytes)))
}

# archive_former: archive all that the former data has, and set `end`. Status 1: `why` has the cause.
# shellcheck disable=SC2034  # restore.sh reads `end`
archive_former() {
    local last
    if [ ! -s "$PGDATA/PG_VERSION" ]; then why="the instance has no former data"; return 1; fi
    if [ -e "$PGDATA/standby.signal" ] || [ -e "$PGDATA/recovery.signal" ]; then
        why='the former data is that of a replica, which may lack the newest transactions'
        return 1
    fi
    if ! ended; then finish_former || return 1; fi
    last=$(last_segment)
    push_pending "$last" || return 1
    if is_archived "$last"; then end=$last; return 0; fi
    why="segment $last was archived, but cannot be read back: $(pick 'ERROR|HINT' 3)"
    return 1
}

complete_archive() {
    local why=''
    [ -n "${FORMER_WAL-}" ] || return 0
    echo "archiving what the former data has written" >&2
    if archive_former; then return 0; fi
    if [ "$FORMER_WAL" = optional ]; then lost="WAL may be lost, as accepted: $why"; echo "$lost" >&2; return 0; fi
    die "repo$REPO lacks WAL up to the end of the former data: $why"
}
