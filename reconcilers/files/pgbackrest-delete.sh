#!/bin/bash
# pgbackrest-delete.sh REPO...: removes the stanza, that is every backup and all WAL, from repositories (1 to 4).
#
# Runs when the cluster's pods are gone: the mark of `stop` tells pgBackRest that nobody archives any more.
set -u
here=${0%/*}
# shellcheck source=reconcilers/files/pgbackrest-job.sh
. "$here/pgbackrest-job.sh"

pgbackrest=(pgbackrest --stanza=db --log-level-console=info --log-level-stderr=off --no-log-timestamp)
for repo in "$@"; do
    # The end of a stanza takes the mark with it.
    run "${pgbackrest[@]}" stop || fail 1 "$(complaint)"
    run "${pgbackrest[@]}" "--repo=$repo" stanza-delete --force || fail 1 "repo$repo: $(complaint)"
done
