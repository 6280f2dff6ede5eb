#!/bin/bash
# archive-get.sh FILE PATH: restore_command of the members. Fetches a file from the archive, within bounds.
#
# A standby asks the archive before it streams, and a member that is being promoted asks for histories: neither
# may wait for a repository that does not answer. So one try takes seconds at most, and after a failure that is
# not plain absence the archive is left alone for a while. Any status but 0 means "not there" to PostgreSQL,
# which then streams, and asks again later (https://www.postgresql.org/docs/current/warm-standby.html).
# Never use this for recovery to a point in time: there, an archive that does not answer is not an empty one.
set -u
pause=30 limit=3 mark=${ARCHIVE_UNREACHABLE:-/tmp/archive-unreachable}

# The history of a timeline that is here belongs to the data that is here, and PostgreSQL reads it when it is told that
# the archive has none. It asks for it several times at each start and promotion, while clients wait.
if [[ $1 = *.history && -s ${2%/*}/$1 ]]; then exit 1; fi

printf -v now '%(%s)T' -1
if [ -r "$mark" ] && read -r failed <"$mark" && ((now - failed < pause)); then exit 1; fi

# Not asynchronously: what a member lacks is a file or two, and waiting for a process that fetches ahead has been
# seen to hold up a promotion for seconds.
timeout "$limit" pgbackrest --stanza=db --no-archive-async archive-get "$1" "$2"
status=$?
# 0: fetched. 1: the repository answered that it has no such file.
if ((status > 1)); then echo "$now" >"$mark"; else rm -f "$mark"; fi
exit "$status"
