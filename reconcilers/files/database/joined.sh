#!/bin/bash
# joined.sh: let the primary know its new replica at once; started by `wake.sh` for each start of a standby.
#
# The primary's Patroni writes the list of members that may take over once per `loop_wait` (10 s). As soon as this
# standby streams, a request that changes nothing (see wake.sh) makes the primary's Patroni write it now. After 60 s
# without a stream, nothing is sent: a standby that replays old WAL must not take over anyway.
# Environment: PGHOST, PATRONI_RESTAPI_CONNECT_ADDRESS.
set -u
here=${0%/*} own=$PATRONI_RESTAPI_CONNECT_ADDRESS
for _ in {1..120}; do
    host=$(PGCONNECT_TIMEOUT=2 timeout 3 psql --no-psqlrc -qAtw postgres -c \
        "SELECT sender_host FROM pg_stat_wal_receiver WHERE status = 'streaming'" 2>/dev/null)
    if [ -n "$host" ]; then
        # The server of a standby cluster may be somebody else's.
        if [ "${host#*.}" = "$(cut -d : -f 1 <<<"${own#*.}")" ]; then
            PATRONI_METHOD=PATCH PATRONI_SECONDS=5 \
                bash "$here/patroni.sh" "$host:${own##*:}" config '{"wake": null}' >/dev/null
        fi
        exit
    fi
    sleep 0.5
done
