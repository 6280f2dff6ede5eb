#!/bin/bash
# pgbackrest-expire.sh HASH OWNER REPO LABEL: remove one backup from repository REPO; a missing backup is no error.
#
# Status 76: the backup is kept, because it is the last full backup or because other backups depend on it. Status 77:
# the repository belongs to another cluster than OWNER (see pgbackrest-mark.sh).
set -u
here=${0%/*} hash=$1 owner=$2 repo=$3 label=$4
# shellcheck source=reconcilers/files/pgbackrest/pgbackrest-mark.sh
. "$here/pgbackrest-mark.sh"

await_configuration "$hash"
own "$owner"
check "$repo" known
pgbackrest=(pgbackrest --stanza=db "--repo=$repo")
# pgBackRest would also remove the backups that depend on it: for a full backup all backups with its label as a prefix,
# for others the backups that name it as `prior` or `reference`.
built_on=$(grep --only-matching --extended-regexp '"(prior":"[^"]*"|reference":\[[^]]*\])' <<<"$info")
if grep --quiet --fixed-strings "\"label\":\"${label}_" <<<"$info" || [[ $built_on == *"\"$label\""* ]]; then
    fail 76 "other backups in repo$repo depend on backup $label: delete them first"
fi
run "${pgbackrest[@]}" --log-level-console=info --log-level-stderr=off --no-log-timestamp "--set=$label" expire && exit 0
status=$?
if grep --quiet 'cannot be expired until' "$output"; then fail 76 "$(complaint)"; fi
fail "$status" "$(complaint)"
