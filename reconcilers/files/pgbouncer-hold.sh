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

# Whether a connection to the servers is open (01) or on its way (02); the addresses are hexadecimal. In one go:
# `read` goes back to the end of each line, for which the kernel counts anew and skips one when others have ended.
connected() {
    local port table
    printf -v port ':%04X' "$1"
    for table in "${HOLD_NET:-/proc/net}"/tcp "${HOLD_NET:-/proc/net}"/tcp6; do
        [ -r "$table" ] || continue
        # The local address is followed by eight digits or more, the remote one by the state.
        if [[ $(<"$table") == *"$port 0"[12]" "* ]]; then return 0; fi
    done
    return 1
}

case ${1-} in
hold)
    if [ -e "$paused" ]; then echo drained; exit 0; fi
    port=$2 drain=$3 limit=$4 token=$BASHPID-$RANDOM
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
    while connected "$port"; do
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
