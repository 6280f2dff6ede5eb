#!/bin/bash
# pre-promote.sh: has a member that is about to lead archive what the former primary may not have archived.
#
# PostgreSQL marks what a standby receives as archived (archive_mode=on), and the next checkpoint removes it, here as
# on the former primary. Marked as ready instead, it is kept until it is pushed, in order, before what this member will
# write. pgBackRest takes a segment that it has already, and says so
# (https://pgbackrest.org/command.html#command-archive-push).
# Any status but 0 would keep Patroni from promoting, so there is none. Environment: PGDATA.
cd "$PGDATA/pg_wal/archive_status" 2>/dev/null || exit 0
done=()
for file in *.done; do
    segment=${file%.done}
    if [[ $segment =~ ^[0-9A-F]{24}$ ]] && [ -f "../$segment" ]; then : >"$segment.ready" && done+=("$file"); fi
done
# At once, in as few processes as it takes: nobody can write meanwhile.
if ((${#done[@]})); then printf '%s\0' "${done[@]}" | xargs -0 rm -f; fi
exit 0
