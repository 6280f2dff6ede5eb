#!/bin/bash
# before-stop.sh [COMMAND ARGUMENT...]: Patroni's before_stop. Run the user's own command, and end a server whose stop is
# planned without the pauses of Patroni.
#
# Patroni looks once a second whether the server has ended, while nothing accepts writes. If there is a mark of at most
# 30 s ($PGHOST.planned: written by the operator before a switchover or restart, and by hand-over.sh), this script sends
# the signal that Patroni would send next, and returns as soon as the server has ended. Then it has sent all WAL to its
# replicas, and no client can get a commit confirmed. After 3 s, or 0.7 s after the shutdown checkpoint if the archiver
# still works, Patroni goes on as without this script.
#
# Each mark is for one stop. Without one, nothing happens here: a stop because the lease was lost never waits.
# Environment: PGDATA, PGHOST.
set -u
here=${0%/*} mark=$PGHOST.planned status=0

# shellcheck source=reconcilers/files/database/orphans.sh
. "$here/orphans.sh"

# is_planned: use up the mark.
is_planned() {
    local at now
    at=$(stat --format=%Y "$mark" 2>/dev/null) || return 1
    rm -f "$mark"
    printf -v now '%(%s)T' -1
    ((at <= now && now - at <= 30))
}

# milliseconds: set `now`.
milliseconds() { now=${EPOCHREALTIME/[.,]/} now=${now%???}; }

is_shut_down() { LC_ALL=C pg_controldata "$PGDATA" 2>/dev/null | grep --quiet 'cluster state: *shut down$'; }

if [ $# -gt 0 ]; then "$@"; status=$?; fi
is_planned && running_server || exit "$status"
# shellcheck disable=SC2154  # set by running_server
former=$server
kill -INT "$former" 2>/dev/null
exec {idle}<> <(:)
milliseconds
end=$((now + 3000)) checked=$now down=''
while running_server && [ "$server" = "$former" ] && ((now < end)); do
    read -r -t 0.02 -u "$idle"
    milliseconds
    if [ -z "$down" ] && ((now - checked >= 200)); then
        checked=$now
        if is_shut_down; then down=yes end=$((now + 700 < end ? now + 700 : end)); fi
    fi
done
exit "$status"
