#!/bin/bash
# archive-get.sh FILE PATH: restore_command of the members. Fetches a file from the archive, within bounds.
#
# A standby asks the archive before it streams, and a member that is being promoted asks for histories: neither
# may wait for a repository that does not answer. So each is asked by itself, for seconds at most, and after a failure
# that is not plain absence it is left alone for a while: another one may have the file. Any status but 0 means "not
# there" to PostgreSQL, which then streams, and asks again later
# (https://www.postgresql.org/docs/current/warm-standby.html).
# Never use this for recovery to a point in time: there, an archive that does not answer is not an empty one.
set -u
pause=30 limit=${GET_SECONDS:-3} marks=${ARCHIVE_UNREACHABLE:-/tmp/archive-unreachable}

# The history of a timeline that is here belongs to the data that is here, and PostgreSQL reads it when it is told that
# the archive has none. It asks for it several times at each start and promotion, while clients wait.
if [[ $1 = *.history && -s ${2%/*}/$1 ]]; then exit 1; fi

printf -v now '%(%s)T' -1
repos=$(cat "${CONFIGURATION:-/etc/pgbackrest/conf.d}"/*.conf 2>/dev/null |
    sed --quiet 's/^repo\([1-4]\)-path *=.*/\1/p' | sort -u)
for repo in ${repos:-1}; do
    if read -r failed 2>/dev/null <"$marks-$repo" && ((now - failed < pause)); then continue; fi
    # Not asynchronously: what a member lacks is a file or two, and waiting for a process that fetches ahead has been
    # seen to hold up a promotion for seconds.
    timeout "$limit" pgbackrest --stanza=db "--repo=$repo" --no-archive-async archive-get "$1" "$2"
    status=$?
    if ((status == 0)); then exit 0; fi
    # 1: the repository answered that it has no such file.
    if ((status > 1)); then echo "$now" >"$marks-$repo"; fi
done
exit 1
