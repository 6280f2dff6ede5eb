#!/bin/bash
# archive-get.sh FILE PATH: restore_command of the members. Fetch a file from the archive within a time limit.
#
# A standby reads the archive before it streams, and a member that is being promoted reads history files: neither may
# wait for a repository that does not answer. So each repository is queried separately, for a few seconds at most. After
# any failure but a missing file it is skipped for a while, because another repository may have the file. A repository
# host is first tried by TCP: one on a dead node must not delay a promotion by the whole limit. PostgreSQL
# takes every status but 0 for "file not found": it streams, and retries later
# (https://www.postgresql.org/docs/current/warm-standby.html).
#
# Never use this for point-in-time recovery, where an unreachable archive must not be taken for an empty archive.
set -u
pause=30 limit=${GET_SECONDS:-3} marks=${ARCHIVE_UNREACHABLE:-/tmp/archive-unreachable}

# A local history file belongs to the local data, and PostgreSQL reads it if the archive reports none. PostgreSQL asks
# for it several times at each start and promotion, while clients wait.
if [[ $1 = *.history && -s ${2%/*}/$1 ]]; then exit 1; fi

# The repositories may belong to another cluster.
if grep -qsx '# unconfirmed' "${CONFIGURATION:-/etc/pgbackrest/conf.d}"/*.conf; then exit 1; fi

# setting NAME: print the value of pgBackRest's setting, nothing without one.
setting() {
    cat "${CONFIGURATION:-/etc/pgbackrest/conf.d}"/*.conf 2>/dev/null | sed --quiet "s/^$1 *= *//p" | head -n 1
}

# answers REPO: whether the host of the repository accepts a connection within 0.5 s, or it has no host of ours.
answers() {
    local host port
    host=$(setting "repo$1-host")
    [ -n "$host" ] || return 0
    port=$(setting "repo$1-host-port")
    # shellcheck disable=SC2016  # for the inner shell
    timeout 0.5 bash -c ': <>"/dev/tcp/$0/$1"' "$host" "${port:-8432}" 2>/dev/null
}

printf -v now '%(%s)T' -1
repos=$(cat "${CONFIGURATION:-/etc/pgbackrest/conf.d}"/*.conf 2>/dev/null |
    sed --quiet 's/^repo\([1-4]\)-path *=.*/\1/p' | sort -u)
for repo in ${repos:-1}; do
    if read -r failed 2>/dev/null <"$marks-$repo" && ((now - failed < pause)); then continue; fi
    if ! answers "$repo"; then echo "$now" >"$marks-$repo"; continue; fi
    # Not asynchronously: a member lacks a file or two, and waiting for the prefetch process has delayed a promotion by
    # seconds.
    timeout "$limit" pgbackrest --stanza=db "--repo=$repo" --no-archive-async archive-get "$1" "$2"
    status=$?
    if ((status == 0)); then exit 0; fi
    # Status 1: the repository answered that the file does not exist.
    if ((status > 1)); then echo "$now" >"$marks-$repo"; fi
done
exit 1
