#!/bin/bash
# pgbackrest-delete.sh OWNER REPO:MODE...: delete the stanza, which is every backup and all WAL, from repositories (1 to
# 4), then the mark. A repository of another cluster is left alone. See pgbackrest-mark.sh for OWNER and MODE.
#
# Runs after the cluster's pods are gone. `stanza-delete` requires the stop file that `stop` creates.
set -u
here=${0%/*} owner=$1; shift
# shellcheck source=reconcilers/files/pgbackrest/pgbackrest-mark.sh
. "$here/pgbackrest-mark.sh"

own "$owner"
pgbackrest=(pgbackrest --stanza=db --log-level-console=info --log-level-stderr=off --no-log-timestamp)
refusals=''
for each in "$@"; do
    repo=${each%:*}
    judge "$repo" "${each#*:}"
    if [ -n "$refusal" ]; then refusals+="$refusal"$'\n'; continue; fi
    if [ -n "$stanza" ]; then
        # stanza-delete removes the stop file, so it is created for each repository.
        run "${pgbackrest[@]}" stop || fail 1 "$(complaint)"
        run "${pgbackrest[@]}" "--repo=$repo" stanza-delete --force || fail 1 "repo$repo: $(complaint)"
    fi
    if [ -n "$mark_name" ]; then remove_mark "$repo"; fi
done
if [ -n "$refusals" ]; then fail "$FOREIGN" "$refusals"; fi
