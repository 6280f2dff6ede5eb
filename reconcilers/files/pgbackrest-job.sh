# shellcheck shell=bash
# To be sourced by the scripts of pgBackRest's Jobs: wait for the configuration, run pgBackRest, say what came
# of it.
#
# What the operator is told stands in the termination log: it becomes part of the pod's status, so that no command
# has to be run in a pod to ask for it, and an operator that was away finds it there. It holds 4 KiB.
report=${TERMINATION_LOG:-/dev/termination-log}
output=${TMPDIR:-/tmp}/pgbackrest-output
conf=${PGBACKREST_CONF:-/etc/pgbackrest/conf.d}
limit=${MOUNT_SECONDS:-100}

# shellcheck source=reconcilers/files/account.sh
if [ -r "${0%/*}/account.sh" ]; then . "${0%/*}/account.sh"; fi

fail() {
    printf '%s\n' "${2:0:3000}" >&2
    printf '%s\n' "${2:0:3000}" >"$report"
    exit "$1"
}

# await_configuration HASH: kubelet may still show the files of a minute ago. Status 75 (EX_TEMPFAIL): it never came.
await_configuration() {
    local waited=0
    while [ "$(cat "$conf/config-hash" 2>/dev/null)" != "$1" ]; do
        ((waited++ < limit)) || fail 75 "the present configuration of pgBackRest was not mounted within $limit s"
        sleep 1
    done
}

# run COMMAND...: its lines go to the Job's log, too. A signal reaches pgBackRest, which then frees its locks.
run() {
    local child log tee status
    exec {log}> >(exec tee "$output")
    tee=$!
    "$@" >&"$log" 2>&1 {log}>&- &
    child=$!
    exec {log}>&-
    # shellcheck disable=SC2064  # the child's id is meant to be put in now
    trap "kill -TERM $child 2>/dev/null" TERM INT
    wait "$child"
    status=$?
    # A signal ends `wait` early; only the wait for a child that is gone tells its status.
    while kill -0 "$child" 2>/dev/null; do wait "$child"; status=$?; done
    trap - TERM INT
    wait "$tee"  # which may still be writing what the next command reads
    return "$status"
}

# inventory REPO: puts what the repository holds into `info`. One that could not be read is not an empty one:
# pgBackRest ends with 0 all the same, and says so only in its answer (code 99).
inventory() {
    local try cause
    for try in 1 2 3; do
        if ((try > 1)); then sleep "${INVENTORY_PAUSE:-5}"; fi
        run pgbackrest --stanza=db "--repo=$1" --no-log-timestamp --output=json info >/dev/null ||
            fail 1 "$(complaint)"
        info=$(<"$output")
        [[ $info == *'"code":99,'* ]] || return 0
    done
    cause=$(sed --quiet 's/.*"code":99,"message":"\(\([^"\\]\|\\.\)*\)".*/\1/p' "$output")
    printf 'ERROR: repo%s cannot be read: %b\n' "$1" "$cause" | sed '2,$s/^/    /' >"$output"
    fail 1 "$(complaint)"
}

# complaint: pgBackRest's own words about what went wrong, on one line each, without secrets. Of what it said to an
# object store nothing, of the answer the code and the message.
complaint() {
    sed --regexp-extended --quiet \
        -e 's/^P[0-9]+ +ERROR:/ERROR:/' \
        -e '/^ +(\*\*\* .* \*\*\*:|(GET|HEAD|PUT|POST|DELETE) .*)$/d' \
        -e '/^ +repo[1-4]: /!{/^ +[a-z][a-z0-9-]*: /d}' \
        -e '/^ +</{s/<Code>([^<]*)<.*<Message>([^<]*)<.*/<>\1 (\2)/;/<>/!d;s/<.*>//}' \
        -e 's/((key|secret|pass|token|credential)[a-z-]*[=:] *)[^ ,]+/\1<redacted>/Ig' \
        -e '/^ERROR:/,/^P[0-9]+ +[A-Z]+:/{/^P[0-9]/!p}' "$output" | awk '!seen[$0]++'
}
