#!/bin/bash
# pgbackrest-push.sh PATH: archive_command of the members. Pushes a WAL segment; its status is that of the push.
# (pgBackRest looks for its own name in archive_command before it takes a backup.)
#
# PostgreSQL forgets a segment for which it is told 0, so nothing that comes after the push may change the status.
# Afterwards, in the background and at most every 10 s, the time of the last commit that is archived is written to
# this pod's own annotation: until then one can restore. The operator sees it by its watch of pods. Nothing is
# written to the database for it, and nothing happens while the database is idle.
set -u
here=${0%/*} state=${ARCHIVE_STATE:-/tmp/archive-state}

pgbackrest --stanza=db archive-push "$1"
status=$?
if ((status == 0)) && mkdir -p "$state" 2>/dev/null && printf '%s\n' "$PWD/$1" 2>/dev/null >>"$state/pushed"; then
    # Its own session and nothing of ours: archiving never waits for it, and does not end it.
    setsid bash "$here/archive-time.sh" "$state" </dev/null >/dev/null 2>&1 &
fi
exit "$status"
