#!/bin/bash
# pgbackrest-push.sh PATH REPOSITORIES: archive_command of the members. Push a WAL segment; the exit status is that of
# the push. Nothing is pushed while the mounted configuration has another digest than REPOSITORIES, which have the mark
# of this cluster: other repositories may belong to another cluster.
# (pgBackRest looks for its own name in archive_command before it takes a backup.)
#
# After status 0 PostgreSQL may remove the segment, so nothing after the push may change the status. Information for the
# operator is written to files, which archive-time.sh reports in the background as annotations of this pod: `pushed` has
# the paths of pushed segments (none that pgBackRest dropped), `failed` has the cause why no segment can be pushed, and
# `turned` exists if `failed` was created, removed or changed. This needs no writes to the database, and no work while
# the database is idle.
set -u
here=${0%/*} state=${ARCHIVE_STATE:-/tmp/archive-state} conf=${PGBACKREST_CONF:-/etc/pgbackrest/conf.d}
mounted=$(cat "$conf/config-hash")

# Before Patroni rewinds a former primary, it pushes the remaining segments one by one, with absolute paths. The member
# must come back soon: a push that takes too long is given up, and for a minute after that all further pushes.
if [[ $1 = /* ]]; then
    [ "${2-}" = "$mounted" ] || exit 1
    printf -v now '%(%s)T' -1
    if read -r failed 2>/dev/null <"$state/given-up" && ((now - failed < 60)); then exit 1; fi
    timeout "${PUSH_SECONDS:-10}" pgbackrest --stanza=db archive-push "$1" && exit 0
    mkdir -p "$state" && echo "$now" >"$state/given-up"
    exit 1
fi

foreign=''
if [ "${2-}" = "$mounted" ]; then
    output=$(pgbackrest --stanza=db --log-level-stderr=warn archive-push "$1" 2>&1)
    status=$?
else
    foreign="the operator has not found the mounted repositories to be those of this cluster"
    output="nothing is archived: $foreign" status=1
fi
if [ -n "$output" ]; then printf '%s\n' "$output" >&2; fi
# With archive-push-queue-max pgBackRest gives segments up, and reports success.
dropped=''
if ((status == 0)) && [[ $output == *"dropped WAL file"* ]]; then
    dropped="WAL is dropped, because more than archive-push-queue-max waits to be archived. Later moments can be restored \
only from a backup that begins after that"
fi

# cause: print pgBackRest's error message as one line for a JSON string, without secrets and without the request to S3.
cause() {
    local text
    text=$(sed --regexp-extended --quiet \
        -e 's/^.*ERROR: (\[[0-9]{3}\])/\1/' \
        -e 's/((key|secret|pass|token|credential)[a-z-]*[=:] *)[^ ,]+/\1<redacted>/Ig' \
        -e '/ on (retry at|[0-9]+ retries from) /d' \
        -e '/^\[[0-9]{3}\]|^ *repo[1-4]: |^ *[A-Za-z]+Error: /p' <<<"$output" |
        awk '!seen[$0]++' | tr '\\"' "/'" | tr -cd '[:print:]\n')
    # shellcheck disable=SC2086  # split into words to normalise white space
    text=$(set -f; echo ${foreign:-${dropped:-${text:-pgbackrest archive-push ended with status $status}}})
    printf '%s' "${text:0:800}"
}

# note PATH: write the files for archive-time.sh; fails if there is nothing to report.
note() {
    local now found told
    if ((status == 0)) && [ -z "$dropped" ]; then
        printf '%s\n' "$PWD/$1" >>"$state/pushed"
        if [ -e "$state/failed" ]; then rm -f "$state/failed"; : >"$state/turned"; fi
        rm -f "$state/first-failure"
        return 0
    fi
    TZ=UTC printf -v now '%(%Y-%m-%dT%H:%M:%SZ)T' -1
    # PostgreSQL retries at once. A first failure is not reported, unless the push took 10 s or longer.
    if [ ! -s "$state/first-failure" ]; then
        echo "$now" >"$state/first-failure"
        ((SECONDS >= 10)) || [ -n "$dropped" ] || return 1
    fi
    # Kubelet takes up to two minutes to mount a changed configuration.
    if [ -n "$foreign" ] && (($(stat -c %Y "$state/first-failure") > $(date +%s) - 180)); then return 1; fi
    found=$(cause) told=$(cat "$state/failed")
    # Report each cause once, ignoring numbers in it. A timeout (082) does not replace a more specific cause.
    if [ -n "$told" ] && [[ $found = '[082]'* || ${told//[0-9]/} = *'"cause":"'"${found//[0-9]/}\"}" ]]; then
        [ -e "$state/turned" ]  # the API server was unreachable
        return
    fi
    printf '{"since":"%s","cause":"%s"}' "$(<"$state/first-failure")" "$found" >"$state/failed"
    : >"$state/turned"
}

if mkdir -p "$state" 2>/dev/null && note "$1" 2>/dev/null; then
    # In its own session, without this script's descriptors: archiving neither waits for it nor ends it.
    setsid bash "$here/archive-time.sh" "$state" </dev/null >/dev/null 2>&1 &
fi
exit "$status"
