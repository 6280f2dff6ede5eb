#!/bin/bash
# replica-create.sh REPO [--OPTION=VALUE...]: fill the data directory of a new replica from repository REPO (1 to 4).
# Patroni runs it and adds options, of which only --connstring=, the connection to the primary, is used.
#
# After any status but 0 Patroni continues with the next method, a copy from the primary. So this script must fail soon
# if the repository is unreachable, empty or slow, while a restore that makes progress takes the time it needs. It must
# also fail if the repository does not reach the primary's timeline: such a replica would wait indefinitely for a
# segment.
set -u
here=${0%/*} repo=$1 primary=''; shift
for option in "$@"; do case $option in --connstring=*) primary=${option#*=} ;; esac; done
timeline=0
if [ -n "$primary" ]; then
    # If the primary does not answer, a copy from the primary fails as well; Patroni retries.
    answer=$(PGCONNECT_TIMEOUT=5 timeout 12 psql -XAt -c IDENTIFY_SYSTEM "$primary replication=true") || exit 1
    IFS='|' read -r _ timeline _ <<<"$answer"
fi
said=$(bash "$here/archive-gap.sh" "$repo" "$timeline") ||
    { echo "repo$repo cannot be used for this replica: $said" >&2; exit 1; }

mkdir -p "$PGDATA" && chmod 0700 "$PGDATA" || exit 1
# WAL goes to its own volume if one exists, regardless of the layout in the backup.
exec pgbackrest "--repo=$repo" --stanza=db --io-timeout=5 --protocol-timeout=10 \
    ${WAL_DIRECTORY:+"--link-map=pg_wal=$WAL_DIRECTORY"} --delta --type=standby --log-level-console=info restore
