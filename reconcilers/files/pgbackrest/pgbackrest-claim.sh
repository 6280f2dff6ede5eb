#!/bin/bash
# pgbackrest-claim.sh HASH OWNER REPO:MODE...: create or upgrade the stanza if the configuration with this hash is
# mounted and every repository (1 to 4) belongs to this cluster or to no cluster. See pgbackrest-mark.sh for OWNER and
# MODE.
#
# After success the last line lists the repositories that have no backup: `without-backup: 1 2`.
#
# Status 75 (EX_TEMPFAIL): another configuration is mounted. Status 77: a repository belongs to another cluster. The
# operator waits for this script, so its timeouts are short: with pgBackRest's defaults, storage that does not answer
# would block it for minutes.
# Errors are printed on standard error; pgBackRest itself prints them on standard output.
set -u
here=${0%/*} hash=$1 owner=$2; shift 2
# shellcheck source=reconcilers/files/pgbackrest/pgbackrest-mark.sh
. "$here/pgbackrest-mark.sh"
report=/dev/null # this is no Job
limits=(--io-timeout=10)
INVENTORY_PAUSE=${INVENTORY_PAUSE:-1}

[ "$(cat "$conf/config-hash")" = "$hash" ] || exit 75
own "$owner"
pgbackrest=(pgbackrest --stanza=db --no-log-timestamp "${limits[@]}" --db-timeout=20 --protocol-timeout=30)
# With a shared lock path, a push at the same time would wait a minute for a result of this container that never comes.
pgbackrest+=(--lock-path=/tmp/pgbackrest-stanza)

# Nothing is written before all repositories have been judged.
refusals='' free='' empty='' claimed=() outdated=()
for each in "$@"; do
    repo=${each%:*}
    judge "$repo" "${each#*:}"
    [ -n "$backups" ] || empty+=" $repo"
    if [ -n "$refusal" ]; then
        refusals+="$refusal"$'\n'
    elif { [ -z "$mark_name" ] && [ -z "$stanza" ]; } || { [ -n "$mark_name" ] && ! is_ours; }; then
        claimed+=("$repo")
        if [ -z "$mark_name" ]; then free=yes; fi
    elif ! is_current; then
        outdated+=("$repo")
    fi
done
if [ -n "$refusals" ]; then printf '%s' "$refusals" >&2; exit "$FOREIGN"; fi

# A free repository is marked before the stanza is created: a script that ends between the two leaves a repository that
# is still this cluster's. Two clusters that find it free at the same time both write a mark; the second one stays.
for repo in "${claimed[@]}"; do write_mark "$repo"; done
if [ -n "$free" ]; then sleep "${SETTLE_SECONDS:-3}"; fi
for repo in "${claimed[@]}"; do
    read_mark "$repo"
    is_current || fail "$FOREIGN" "repo$repo is the repository of cluster $mark_namespace/$mark_name since a moment ago"
done

# After a restore or a major upgrade the stanza exists for another database system or version: upgrade it. A stanza in a
# repository that was free a moment ago is another cluster's.
run "${pgbackrest[@]}" stanza-create || { [ -z "$free" ] && run "${pgbackrest[@]}" stanza-upgrade; }
status=$?
if ((status)); then complaint >&2; exit "$status"; fi
# Only now: the former system identifier in a mark shows that the stanza may be upgraded.
for repo in "${outdated[@]}"; do write_mark "$repo"; done
echo "without-backup:$empty"
