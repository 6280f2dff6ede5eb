#!/bin/bash
# Hold the clients of this pgBouncer during a change of the primary, and release them.
#
#   pgbouncer-hold.sh hold PORT DRAIN LIMIT    pgbouncer-hold.sh release
#
# `hold` lets transactions finish (with session pooling: sessions) and keeps new ones waiting. It prints "drained" when
# no connection to PORT of a server is left, or "busy" after DRAIN seconds. A background process releases the clients
# after LIMIT seconds, even if the caller has died. `release` releases them at once.
#
# If pgBouncer is paused by spec.proxy.pgBouncer.paused, it stays paused.
set -u
# shellcheck source=reconcilers/files/pgbouncer/pgbouncer-signal.sh
. "${0%/*}/pgbouncer-signal.sh"

resume() { [ -e "$paused" ] || signal USR2; }

# connections: print the local addresses of connections to servers that are established (01) or opening (02), in
# hexadecimal. A connection within the pod is a sidecar's to pgBouncer. The table is read at once: `read` from the file
# itself seeks back to the end of each line, and the kernel then skips an entry if others have ended.
connections() {
    local table own remote state
    for table in "${HOLD_NET:-/proc/net}"/tcp "${HOLD_NET:-/proc/net}"/tcp6; do
        [ -r "$table" ] || continue
        while read -r _ own remote state _; do
            [ "${own%:*}" = "${remote%:*}" ] && continue
            case "$remote $state" in *"$port 0"[12]) echo "$own" ;; esac
        done <<<"$(<"$table")"
    done
}

# settle: wait until the connections have not changed for 0.3 s, for a second at most. pgBouncer takes a login to a
# server that the pause interrupts for a failed login, and rejects the next client: "server login has been failing,
# cached error: pause mode" (`check_fast_fail` in its objects.c).
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
    # Start this before the pause, so that no pause exists without it. A later hold or a release replaces the mark.
    {
        sleep "$limit"
        read -r now 2>/dev/null <"$mark"
        if [ "${now-}" = "$token" ]; then resume; rm -f "$mark"; fi
    } </dev/null >/dev/null 2>&1 &
    signal USR1 || { rm -f "$mark"; exit 1; }
    end=$((SECONDS + drain))
    # pgBouncer handles the signal within a moment, and closes its idle connections within a third of a second.
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
