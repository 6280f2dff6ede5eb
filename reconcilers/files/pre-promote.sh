#!/bin/bash
# pre-promote.sh: has a member that is about to lead archive what the former primary may not have archived.
#
# PostgreSQL marks what a standby receives as archived (archive_mode=on), and the next checkpoint removes it, here as
# on the former primary. Marked as ready instead, it is kept until it is pushed, in order, before what this member will
# write. pgBackRest takes a segment that it has already, and says so
# (https://pgbackrest.org/command.html#command-archive-push).
#
# But not a segment of which it has another version, and PostgreSQL tries that one for ever. So only whole ones are
# marked: PostgreSQL also marks the beginning of a segment as archived, where its upstream ended or went over to
# another timeline.
# Any status but 0 would keep Patroni from promoting, so there is none. Environment: PGDATA, PGHOST.
cd "$PGDATA/pg_wal/archive_status" 2>/dev/null || exit 0
shopt -s nullglob
segments=() done=()
declare -A ended=() # by timeline: the number of the segment in which it ended
newest=0 reached='' history=''

for file in *.done; do
    if [[ $file =~ ^[0-9A-F]{24}\.done$ ]] && [ -f "../${file%.done}" ]; then segments+=("${file%.done}"); fi
done
((${#segments[@]})) || exit 0
size=$(stat -c %s "../${segments[0]}") && ((size > 0)) || exit 0
each=$(((1 << 32) / size)) # as the names of segments count

# segment LSN: number of the segment with this position, counted from the beginning of all WAL.
segment() { echo $((((16#${1%/*} << 32) + 16#${1#*/}) / size)); }

for file in ../????????.history; do history=$file; done
if [ -n "$history" ]; then
    newest=$((16#${history:3:8}))
    while read -r timeline lsn _; do
        if [[ $timeline =~ ^[0-9]+$ ]]; then ended[$timeline]=$(segment "$lsn"); fi
    done <"$history"
fi
# By name, so the last one is the newest.
last=${segments[-1]}
if ((16#${last:0:8} > newest)); then newest=$((16#${last:0:8})); fi
ended[$newest]=$((16#${last:8:8} * each + 16#${last:16:8})) # not known how much of it is there, if the server does not say
reached=$(PGCONNECT_TIMEOUT=2 timeout 3 psql --no-psqlrc -qAtw postgres \
    -c 'SELECT greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())' 2>/dev/null)
if [[ $reached =~ ^[0-9A-F]+/[0-9A-F]+$ ]]; then ended[$newest]=$(segment "$reached"); fi

for name in "${segments[@]}"; do
    timeline=$((16#${name:0:8})) number=$((16#${name:8:8} * each + 16#${name:16:8}))
    if ((number < ${ended[$timeline]:-0})); then : >"$name.ready" && done+=("$name.done"); fi
done
# At once, in as few processes as it takes: nobody can write meanwhile.
if ((${#done[@]})); then printf '%s\0' "${done[@]}" | xargs -0 rm -f; fi
exit 0
