#!/bin/bash
# pgbackrest-push.sh PATH: archive_command of the members. Pushes a WAL segment; its status is that of the push.
# (pgBackRest looks for its own name in archive_command before it takes a backup.)
#
# PostgreSQL forgets a segment for which it is told 0, so nothing that comes after the push may change the status.
# What the operator shall know is left in files, which archive-time.sh tells in the background by this pod's
# annotations: `pushed` has the paths of pushed segments, `failed` why no segment can be pushed, `turned` is there
# when `failed` has come, gone or changed. Nothing is written to the database for it, and nothing happens while the
# database is idle.
set -u
here=${0%/*} state=${ARCHIVE_STATE:-/tmp/archive-state}

# Patroni pushes what a former primary has left before that is rewound, one after another, and gives whole paths. The
# member is to come back: what a repository does not take soon is given up, and after that the rest for a minute.
if [[ $1 = /* ]]; then
    printf -v now '%(%s)T' -1
    if read -r failed 2>/dev/null <"$state/given-up" && ((now - failed < 60)); then exit 1; fi
    timeout "${PUSH_SECONDS:-10}" pgbackrest --stanza=db archive-push "$1" && exit 0
    mkdir -p "$state" && echo "$now" >"$state/given-up"
    exit 1
fi

output=$(pgbackrest --stanza=db archive-push "$1" 2>&1)
status=$?
if [ -n "$output" ]; then printf '%s\n' "$output" >&2; fi

# cause: pgBackRest's own words on one line that fits into JSON, without secrets and without what S3 was sent.
cause() {
    local text
    text=$(sed --regexp-extended --quiet \
        -e 's/^.*ERROR: (\[[0-9]{3}\])/\1/' \
        -e 's/((key|secret|pass|token|credential)[a-z-]*[=:] *)[^ ,]+/\1<redacted>/Ig' \
        -e '/ on (retry at|[0-9]+ retries from) /d' \
        -e '/^\[[0-9]{3}\]|^ *repo[1-4]: |^ *[A-Za-z]+Error: /p' <<<"$output" |
        awk '!seen[$0]++' | tr '\\"' "/'" | tr -cd '[:print:]\n')
    # shellcheck disable=SC2086  # words, whatever is between them
    text=$(set -f; echo ${text:-pgbackrest archive-push ended with status $status})
    printf '%s' "${text:0:800}"
}

# note PATH: leave what is to be told; false when that is nothing.
note() {
    local now found told
    if ((status == 0)); then
        printf '%s\n' "$PWD/$1" >>"$state/pushed"
        if [ -e "$state/failed" ]; then rm -f "$state/failed"; : >"$state/turned"; fi
        rm -f "$state/first-failure"
        return 0
    fi
    TZ=UTC printf -v now '%(%Y-%m-%dT%H:%M:%SZ)T' -1
    # PostgreSQL tries again at once: what is over by then is not worth a word. What took long was no moment.
    if [ ! -s "$state/first-failure" ]; then
        echo "$now" >"$state/first-failure"
        ((SECONDS >= 10)) || return 1
    fi
    found=$(cause) told=$(cat "$state/failed")
    # Once for each cause, whatever numbers are in it. That a push took too long (082) says less than another one.
    if [ -n "$told" ] && [[ $found = '[082]'* || ${told//[0-9]/} = *'"cause":"'"${found//[0-9]/}\"}" ]]; then
        [ -e "$state/turned" ]  # the API server was away
        return
    fi
    printf '{"since":"%s","cause":"%s"}' "$(<"$state/first-failure")" "$found" >"$state/failed"
    : >"$state/turned"
}

if mkdir -p "$state" 2>/dev/null && note "$1" 2>/dev/null; then
    # Its own session and nothing of ours: archiving never waits for it, and does not end it.
    setsid bash "$here/archive-time.sh" "$state" </dev/null >/dev/null 2>&1 &
fi
exit "$status"
