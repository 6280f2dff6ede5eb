#!/bin/bash
# replica-create.sh REPO: fills a new replica's data folder from repository REPO (1 to 4), for Patroni.
#
# Any status but 0 makes Patroni go on to the next method, a copy from the primary: so a repository that is gone,
# empty or slow to answer must say so soon, while a restore that moves takes the time it needs.
set -u
limits=("--repo=$1" --stanza=db --io-timeout=5 --protocol-timeout=10)

answer=$(timeout 12 pgbackrest "${limits[@]}" --output=json info) || { echo "$answer" >&2; exit 1; }
case $answer in *'"label":"'*) ;; *) echo "repo$1 holds no backup" >&2; exit 1 ;; esac

mkdir -p "$PGDATA" && chmod 0700 "$PGDATA" || exit 1
# The log goes to its own volume, if there is one, whatever the backup had.
exec pgbackrest "${limits[@]}" ${WAL_DIRECTORY:+"--link-map=pg_wal=$WAL_DIRECTORY"} --delta --type=standby --log-level-console=info restore
