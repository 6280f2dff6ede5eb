#!/bin/bash
# pre-promote.sh: before a promotion, mark WAL segments that the former primary may not have archived for archiving.
#
# With archive_mode=on PostgreSQL marks segments that a standby receives as archived (.done), and the next checkpoint
# removes them. Marked as .ready instead, they are kept until they are pushed, in order, before the segments that this
# member will write. pgBackRest accepts a segment that it already has and reports that
# (https://pgbackrest.org/command.html#command-archive-push).
#
# pgBackRest rejects a segment of which it has a different version, and PostgreSQL would retry it indefinitely. So only
# complete segments are marked: PostgreSQL also marks a partial segment as archived where its upstream ended or changed
# to another timeline.
#
# The exit status is always 0, because Patroni would not promote otherwise. Environment: PGDATA, PGHOST.
cd "$PGDATA/pg_wal/archive_status" 2>/dev/null || exit 0
shopt -s nullglob
segments=() done=()
declare -A ended=() # by timeline: number of the segment in which the timeline ended
newest=0 reached='' history=''

for file in *.done; do
    if [[ $file =~ ^[0-9A-F]{24}\.done$ ]] && [ -f "../${file%.done}" ]; then segments+=("${file%.done}"); fi
done
((${#segments[@]})) || exit 0
size=$(stat -c %s "../${segments[0]}") && ((size > 0)) || exit 0
each=$(((1 << 32) / size)) # segments per 4 GiB, as in segment names

# segment LSN: print the number of the segment with this position, counted from the beginning of all WAL.
segment() { echo $((((16#${1%/*} << 32) + 16#${1#*/}) / size)); }

for file in ../????????.history; do history=$file; done
if [ -n "$history" ]; then
    newest=$((16#${history:3:8}))
    while read -r timeline lsn _; do
        if [[ $timeline =~ ^[0-9]+$ ]]; then ended[$timeline]=$(segment "$lsn"); fi
    done <"$history"
fi
# Sorted by name: the last segment is the newest.
last=${segments[-1]}
if ((16#${last:0:8} > newest)); then newest=$((16#${last:0:8})); fi
ended[$newest]=$((16#${last:8:8} * each + 16#${last:16:8})) # may be partial unless the server reports its position
reached=$(PGCONNECT_TIMEOUT=2 timeout 3 psql --no-psqlrc -qAtw postgres \
    -c 'SELECT greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())' 2>/dev/null)
if [[ $reached =~ ^[0-9A-F]+/[0-9A-F]+$ ]]; then ended[$newest]=$(segment "$reached"); fi

for name in "${segments[@]}"; do
    timeline=$((16#${name:0:8})) number=$((16#${name:8:8} * each + 16#${name:16:8}))
    if ((number < ${ended[$timeline]:-0})); then : >"$name.ready" && done+=("$name.done"); fi
done
# In as few processes as possible: the cluster accepts no writes until the promotion.
if ((${#done[@]})); then printf '%s\0' "${done[@]}" | xargs -0 rm -f; fi
exit 0
