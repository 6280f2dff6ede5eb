#!/bin/bash
# pgbouncer-outage.sh: pass the log of pgBouncer on from standard input to standard error, and hold its clients while
# the primary is away.
#
# pgBouncer refuses each new query at once after a failed login, as long as it has no other connection to the server
# (`check_fast_fail` in its objects.c). While it is paused, queries wait. So when the log shows a lost connection or a
# failed login, this script asks the primary itself. If it is down, pgBouncer is paused until it is up again, for
# PGBOUNCER_OUTAGE_SECONDS at most (15; 0 turns this off); clients then get errors as without this script.
#
# The line `;; primary HOST PORT` of the configuration names the primary. The operator writes it only if all databases
# lead there. A planned hold and spec.proxy.pgBouncer.paused have precedence: while their marks exist, no signal is sent.
set -u
here=${0%/*} limit=${PGBOUNCER_OUTAGE_SECONDS:-15} held=${HOLD_OUTAGE:-/tmp/pgbouncer-outage}
# shellcheck source=reconcilers/files/pgbouncer/pgbouncer-signal.sh
. "$here/pgbouncer-signal.sh"
export LC_ALL=C # `read -N` counts bytes
for program in tee grep timeout; do command -v "$program" >/dev/null || limit=0; done
[ "$limit" != 0 ] || exec cat >&2
# Reading a pipe without a writer is a sleep without a process.
exec {never}<> <(:)

nap() { read -r -t "$1" -u "$never"; }

# is_taken: whether somebody else decides about the pause.
is_taken() { [ -e "$mark" ] || [ -e "$paused" ]; }

# primary: print host and port of the primary.
primary() {
    local line
    while read -r line; do
        case $line in ';; primary '*) echo "${line#;; primary }"; return ;; esac
    done <"${PGBOUNCER_CONFIG:-/etc/pgbouncer/~postgres-operator.ini}"
    return 1
}

# is_up HOST PORT: whether the server answers a client's first message within half a second, and not that it starts,
# stops or recovers (SQLSTATE 57P03). Any other refusal comes from a server that runs.
# https://www.postgresql.org/docs/current/protocol-message-formats.html (StartupMessage, ErrorResponse)
is_up() {
    local status
    # shellcheck disable=SC2016  # for the inner shell
    timeout 0.5 bash -c 'exec 3<>"/dev/tcp/$0/$1" || exit 1
        printf "\0\0\0\x32\0\3\0\0user\0_crunchypgbouncer\0database\0postgres\0\0" >&3
        read -r -N 1 -u 3 kind || exit 1
        [ "$kind" = E ] || exit 0
        read -r -t 0.2 -N 1000 -u 3 error
        [[ $error != *C57P03* ]]' "$@" 2>/dev/null
    status=$?
    ((status != 1 && status != 124))
}

# resume TOKEN: release the clients, unless that has happened or somebody else holds them by now.
resume() {
    local now=''
    read -r now 2>/dev/null <"$held"
    [ "$now" = "$1" ] || return
    rm -f "$held"
    is_taken && return
    signal USR2
    # A planned hold that began between the look and the signal paused pgBouncer first.
    if is_taken; then signal USR1; fi
}

# outage: look whether the primary is down, and hold the clients until it is up. Then wait for an end of the outage that
# took longer than the clients were held: the next errors belong to it.
outage() {
    local host port token=$BASHPID-$RANDOM
    ! is_taken && read -r host port < <(primary) || return
    # Twice: on a busy machine half a second may be too short for one question.
    if is_up "$host" "$port" || is_up "$host" "$port"; then nap 0.2; return; fi
    is_taken && return
    echo "pgbouncer-outage: $host does not answer: holding clients for up to $limit s" >&2
    echo "$token" >"$held" || return
    # Start this before the pause, so that no pause exists without it.
    { nap "$limit"; resume "$token"; } &
    signal USR1 || { rm -f "$held"; return; }
    while [ -e "$held" ]; do
        nap 0.1
        if is_up "$host" "$port"; then
            echo "pgbouncer-outage: $host answers again: releasing clients" >&2
            resume "$token"
            return
        fi
    done
    echo "pgbouncer-outage: $host has not answered for $limit s: releasing clients" >&2
    until is_up "$host" "$port" || ! signal 0 2>/dev/null; do nap 1; done
}

# hints: read the log, and look for an outage at each line that may be a sign of one.
hints() {
    local running=''
    grep --line-buffered -E 'server conn crashed|connect failed|connect timeout|server login failed' | while read -r _; do
        if [ -z "$running" ] || ! kill -0 "$running" 2>/dev/null; then outage & running=$!; fi
    done
}

# These programs read the log faster than bash, which reads a pipe byte by byte.
exec tee -p >(hints) >&2
