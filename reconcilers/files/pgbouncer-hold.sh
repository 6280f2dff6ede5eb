#!/bin/bash
# Hold the clients of this pgBouncer while its server changes, and let them go on.
#
#   pgbouncer-hold.sh hold PORT DRAIN LIMIT    pgbouncer-hold.sh release
#
# `hold` lets transactions end (with session pooling: sessions) and keeps new ones waiting. It says "drained" when no
# connection to PORT of a server is left, or "busy" after DRAIN seconds. Whatever becomes of the caller, the clients
# go on after LIMIT seconds: a process that stays behind sees to it. `release` does so now.
#
# By signals, because they need neither psql nor a password (https://www.pgbouncer.org/usage.html#signals).
set -u
# Where spec.proxy.pgBouncer.paused holds it, it is paused already and stays so.
mark=${HOLD_MARK:-/tmp/pgbouncer-hold} paused=${HOLD_PAUSED:-/tmp/pgbouncer-paused}

# signal NAME: to pgBouncer, which shares the pod's processes with its supervisor.
signal() {
    local directory name
    for directory in /proc/[0-9]*; do
        read -r name 2>/dev/null <"$directory/comm" || continue
        if [ "$name" = "${HOLD_PROCESS:-pgbouncer}" ]; then kill -s "$1" "${directory##*/}" && found=1; fi
    done
    [ -n "${found-}" ] || { echo "there is no process pgbouncer" >&2; return 1; }
}

resume() { [ -e "$paused" ] || signal USR2; }

# Where the connections to the servers begin that are open (01) or on their way (02); the addresses are hexadecimal. The
# table is read in one go: `read` from the file itself goes back to the end of each line, for which the kernel counts anew
# and skips one when others have ended.
connections() {
    local table own remote state
    for table in "${HOLD_NET:-/proc/net}"/tcp "${HOLD_NET:-/proc/net}"/tcp6; do
        [ -r "$table" ] || continue
        while read -r _ own remote state _; do
            case "$remote $state" in *"$port 0"[12]) echo "$own" ;; esac
        done <<<"$(<"$table")"
    done
}

# Wait until none of them has come or gone for 0.3 s; after a second it is as it is. To pgBouncer a login that the pause
# cuts off has failed, and who comes first afterwards is turned away: "server login has been failing, cached error:
# pause mode" (`check_fast_fail` in its objects.c).
settle() {
    local before now calm=0 looks
    now=$(connections)
    for ((looks = 0; looks < 10 && calm < 3; looks++)); do
        sleep 0.1
        before=$now now=$(connections)
        if [ "$now" = "$before" ]; then calm=$((calm + 1)); else calm=0; fi
    done
}

case ${1-} in
hold)
    if [ -e "$paused" ]; then echo drained; exit 0; fi
    printf -v port ':%04X' "$2"
    drain=$3 limit=$4 token=$BASHPID-$RANDOM
    settle
    echo "$token" >"$mark" || exit 1
    # Before the pause begins: nothing may come between them. A later hold, or a release, takes the mark away.
    {
        sleep "$limit"
        read -r now 2>/dev/null <"$mark"
        if [ "${now-}" = "$token" ]; then resume; rm -f "$mark"; fi
    } </dev/null >/dev/null 2>&1 &
    signal USR1 || { rm -f "$mark"; exit 1; }
    end=$((SECONDS + drain))
    # It heeds the signal in a moment, and gives up its idle connections within a third of a second.
    sleep 0.1
    while [ -n "$(connections)" ]; do
        if [ "$SECONDS" -ge "$end" ]; then echo busy; exit 0; fi
        sleep 0.05
    done
    echo drained
    ;;
release)
    rm -f "$mark"
    resume
    ;;
*)
    echo "usage: pgbouncer-hold.sh hold PORT DRAIN LIMIT | release" >&2
    exit 64
    ;;
esac
