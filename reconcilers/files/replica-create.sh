#!/bin/bash
# replica-create.sh REPO [--OPTION=VALUE...]: fills a new replica's data folder from repository REPO (1 to 4), for
# Patroni, which adds options: of them --connstring=, the way to the primary, is read.
#
# Any status but 0 makes Patroni go on to the next method, a copy from the primary: so a repository that is gone,
# empty or slow to answer must say so soon, while a restore that moves takes the time it needs. And so must one that
# does not lead to the primary's timeline: a replica from it would wait for ever for a segment that nobody has.
set -u
here=${0%/*} repo=$1 primary=''; shift
for option in "$@"; do case $option in --connstring=*) primary=${option#*=} ;; esac; done
timeline=0
if [ -n "$primary" ]; then
    # As long as it answers nobody, there is no other copy either: Patroni comes again.
    answer=$(PGCONNECT_TIMEOUT=5 timeout 12 psql -XAt -c IDENTIFY_SYSTEM "$primary replication=true") || exit 1
    IFS='|' read -r _ timeline _ <<<"$answer"
fi
said=$(bash "$here/archive-gap.sh" "$repo" "$timeline") || { echo "repo$repo is of no use: $said" >&2; exit 1; }

mkdir -p "$PGDATA" && chmod 0700 "$PGDATA" || exit 1
# The log goes to its own volume, if there is one, whatever the backup had.
exec pgbackrest "--repo=$repo" --stanza=db --io-timeout=5 --protocol-timeout=10 \
    ${WAL_DIRECTORY:+"--link-map=pg_wal=$WAL_DIRECTORY"} --delta --type=standby --log-level-console=info restore
