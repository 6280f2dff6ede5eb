#!/bin/bash
# former-slots.sh ACTION ROLE CLUSTER: on a replica, drop the failover slots from the time when it was the primary.
#
# PostgreSQL does not synchronize a slot while the replica has a slot of its own with the same name, and those of a
# former primary also hold WAL back. Only a slot that the present primary has as well is dropped: any other slot is the
# last of its name. Patroni calls this script (on_start, on_role_change) and ends it when the role changes again.
#
# Environment: PGHOST. For tests: FORMER_SLOTS_TRIES.
set -u
[ "${2-}" = replica ] || exit 0
query() { PGCONNECT_TIMEOUT=5 psql --no-psqlrc -qAtw "$1" -c "$2"; }

# A server that becomes the primary begins as a replica, too: nothing is certain until it streams from a primary.
tries=${FORMER_SLOTS_TRIES:-150} source=''
while [ -z "$source" ]; do
    source=$(query postgres "SELECT current_setting('primary_conninfo') FROM pg_stat_wal_receiver
        WHERE status = 'streaming' AND pg_is_in_recovery()" 2>/dev/null)
    if [ -z "$source" ]; then
        ((--tries > 0)) || exit 0
        sleep 2
    fi
done
names=$(query "$source" "SELECT string_agg(slot_name, ',') FROM pg_replication_slots
    WHERE failover AND NOT pg_is_in_recovery()") || exit 1
query postgres "SELECT 'dropped slot ' || slot_name || ', which is on the primary now', pg_drop_replication_slot(slot_name)
    FROM pg_replication_slots
    WHERE failover AND NOT synced AND NOT active AND pg_is_in_recovery()
        AND slot_name = ANY (string_to_array('$names', ','))"
