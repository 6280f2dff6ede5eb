#!/bin/bash
# wake.sh: let Patroni start a server again as soon as it has been killed; started by `database.sh`. For each start of a
# standby, it starts `joined.sh`.
#
# Patroni looks for its server once per `loop_wait` (10 s). A request that changes nothing makes it look now: it renews
# its lease and starts the server, or gives up as it would have done later. A server that ended by itself has removed
# its postmaster.pid: that may be Patroni's own doing, and is left to it.
#
# One request in $WAKE_SECONDS (10) at most, so that a server which dies at each start is not started without a pause.
# Standard input is a pipe that `database.sh` keeps open: at its end, this script ends.
# Environment: PGDATA, PATRONI_RESTAPI_CONNECT_ADDRESS.
set -u
here=${0%/*} server='' known='' joined='' next=0

# shellcheck source=reconcilers/files/database/orphans.sh
. "$here/orphans.sh"

# Nothing here starts a program while the same server runs: a look costs about 50 microseconds.
while :; do
    read -r -t 0.2 || (($? > 128)) || exit 0
    if running_server; then
        if [ "$server" != "$joined" ]; then
            joined=$server
            if [ -e "$PGDATA/standby.signal" ]; then bash "$here/joined.sh" </dev/null & fi
        fi
        known=$server
    elif [ -n "$known" ] && [ "$server" = "$known" ] && [ -e "$PGDATA/postmaster.pid" ]; then
        echo "the server $known was killed: Patroni is asked to start it" >&2
        known=''
        end_orphans
        if [ "$SECONDS" -lt "$next" ]; then continue; fi
        next=$((SECONDS + ${WAKE_SECONDS:-10}))
        # Patroni removes a key that does not exist from its configuration: nothing is written.
        PATRONI_METHOD=PATCH PATRONI_SECONDS=5 \
            bash "$here/patroni.sh" "$PATRONI_RESTAPI_CONNECT_ADDRESS" config '{"wake": null}' </dev/null >/dev/null
    else
        known=''
    fi
done
