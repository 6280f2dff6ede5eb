#!/bin/bash
# pgbackrest-expire.sh HASH REPO LABEL: removes one backup from repository REPO; one that is not there is fine.
#
# Status 76: pgBackRest keeps it, as the last full backup or as one that others build on.
set -u
here=${0%/*} hash=$1 repo=$2 label=$3
# shellcheck source=reconcilers/files/pgbackrest-job.sh
. "$here/pgbackrest-job.sh"

await_configuration "$hash"
pgbackrest=(pgbackrest --stanza=db "--repo=$repo")
inventory "$repo"
# pgBackRest would remove those that build on it as well.
if grep --quiet --fixed-strings "\"label\":\"${label}_" <<<"$info"; then
    fail 76 "other backups in the repository build on $label"
fi
run "${pgbackrest[@]}" --log-level-console=info --log-level-stderr=off --no-log-timestamp "--set=$label" expire && exit 0
status=$?
if grep --quiet 'cannot be expired until' "$output"; then fail 76 "$(complaint)"; fi
fail "$status" "$(complaint)"
