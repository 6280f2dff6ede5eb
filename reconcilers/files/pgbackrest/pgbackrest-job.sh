# shellcheck shell=bash
# To be sourced by the scripts of pgBackRest's Jobs: wait for the configuration, run pgBackRest, report the result.
#
# The report for the operator is the termination message. It becomes part of the pod's status, so the operator needs no
# command in the pod, and finds the report after a restart. It is limited to 4 KiB.
report=${TERMINATION_LOG:-/dev/termination-log}
output=${TMPDIR:-/tmp}/pgbackrest-output
conf=${PGBACKREST_CONF:-/etc/pgbackrest/conf.d}
limit=${MOUNT_SECONDS:-100}
limits=() # pgBackRest's time limits, where those of the configuration are too long

# shellcheck source=reconcilers/files/common/account.sh
if [ -r "${0%/*}/account.sh" ]; then . "${0%/*}/account.sh"; fi

fail() {
    printf '%s\n' "${2:0:3000}" >&2
    printf '%s\n' "${2:0:3000}" >"$report"
    exit "$1"
}

# await_configuration HASH: wait until kubelet has mounted the present files. After the limit: status 75 (EX_TEMPFAIL).
await_configuration() {
    local waited=0
    while [ "$(cat "$conf/config-hash" 2>/dev/null)" != "$1" ]; do
        ((waited++ < limit)) || fail 75 "the present configuration of pgBackRest was not mounted within $limit s"
        sleep 1
    done
}

# run COMMAND...: also copy its output to the Job's log. Signals are forwarded to pgBackRest, which releases its locks.
run() {
    local child log tee status
    exec {log}> >(exec tee "$output")
    tee=$!
    "$@" >&"$log" 2>&1 {log}>&- &
    child=$!
    exec {log}>&-
    # shellcheck disable=SC2064  # the child's id must be expanded now
    trap "kill -TERM $child 2>/dev/null" TERM INT
    wait "$child"
    status=$?
    # A signal interrupts `wait`; only the wait for an ended child returns its status.
    while kill -0 "$child" 2>/dev/null; do wait "$child"; status=$?; done
    trap - TERM INT
    wait "$tee"  # it may still write output that the next command reads
    return "$status"
}

# inventory REPO: set `info` to the content of the repository. An unreadable repository must not be taken for an empty
# one: pgBackRest exits with 0 then, and reports the error only in its answer (code 99).
inventory() {
    local try cause
    for try in 1 2 3; do
        if ((try > 1)); then sleep "${INVENTORY_PAUSE:-5}"; fi
        run pgbackrest --stanza=db "--repo=$1" "${limits[@]}" --no-log-timestamp --output=json info >/dev/null ||
            fail 1 "$(complaint)"
        info=$(<"$output")
        [[ $info == *'"code":99,'* ]] || return 0
    done
    # Encrypted files that are read without the passphrase are quoted in the message, as they are.
    cause=$(LC_ALL=C tr -cd '[:print:]\n' <"$output" |
        sed --quiet 's/.*"code":99,"message":"\(\([^"\\]\|\\.\)*\)".*/\1/p')
    printf 'ERROR: repo%s cannot be read: %b\n' "$1" "$cause" | sed '2,$s/^/    /' >"$output"
    fail 1 "$(complaint)"
}

# complaint: print pgBackRest's error messages, one per line, without secrets. Requests to an object store are left out;
# of its answers the code and the message are kept.
complaint() {
    sed --regexp-extended --quiet \
        -e 's/^P[0-9]+ +ERROR:/ERROR:/' \
        -e '/^ +(\*\*\* .* \*\*\*:|(GET|HEAD|PUT|POST|DELETE) .*)$/d' \
        -e '/^ +repo[1-4]: /!{/^ +[a-z][a-z0-9-]*: /d}' \
        -e '/^ +</{s/<Code>([^<]*)<.*<Message>([^<]*)<.*/<>\1 (\2)/;/<>/!d;s/<.*>//}' \
        -e 's/((key|secret|pass|token|credential)[a-z-]*[=:] *)[^ ,]+/\1<redacted>/Ig' \
        -e '/^ERROR:/,/^P[0-9]+ +[A-Z]+:/{/^P[0-9]/!p}' "$output" | awk '!seen[$0]++'
}
