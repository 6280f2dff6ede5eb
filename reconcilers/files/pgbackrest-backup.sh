#!/bin/bash
# pgbackrest-backup.sh HASH REPO UID [OPTION...]: takes one backup into repository REPO (1 to 4), at most once.
#
# The backup is marked with UID, that of the object that asked for it: a Job that is repeated finds what an earlier
# one has finished, and only reports it. The report is one line of JSON: `backup`, the entry of `pgbackrest info`
# without its lists, `labels`, the backups that are in the repository now (see `shortened`), and `volume`, the space on
# the repository's volume.
set -u
here=${0%/*} hash=$1 repo=$2 uid=$3; shift 3
# shellcheck source=reconcilers/files/pgbackrest-job.sh
. "$here/pgbackrest-job.sh"
mark="percona.com/backup-uid" volumes=${REPOSITORIES:-/pgbackrest}

# The entry of our backup: keys are in order, and no other entry with an annotation is on its line.
entry() {
    local key='{"annotation":{'
    grep --fixed-strings --max-count=1 "\"$mark\":\"$uid\"" <<<"${info//"$key"/$'\n'"$key"}"
}

# compact ENTRY: from "archive" on, without the list of backups that it builds on.
compact() {
    local rest=${1#*'"archive":{"start":'}
    local head=${rest%%',"reference":'*} tail=${rest#*',"timestamp":'}
    local type=${tail#*'},"type":"'}
    printf '{"archive":{"start":%s,"timestamp":%s},"type":"%s"}' "$head" "${tail%%\}*}" "${type%%\"*}"
}

# shortened: every label in order, each without its full backup's (it follows that one) and, where it is the same as
# before, without its date: 20260101-000000F 20260101-010000I 020000I 20260102-010000I.
shortened() {
    local label own date last='' result=''
    while read -r label; do
        own=${label#*_} date=${label#*_}; date=${date%%-*}
        if [ "$date" = "$last" ]; then result+=" ${own#*-}"; else result+=" $own"; fi
        last=$date
    done < <(grep --only-matching '"label":"[^"]*"' <<<"$info" | cut -d '"' -f 4 | LC_ALL=C sort)
    printf '%s' "${result# }"
}

# space: of the volume, where the repository is on one; nobody else of the cluster sees it.
space() {
    local size free
    [ -d "$volumes/repo$repo" ] || return
    read -r size free < <(df --block-size=1 --output=size,avail "$volumes/repo$repo" 2>/dev/null | tail -n 1)
    [ -z "$free" ] || printf '"volume":{"size":%s,"free":%s},' "$size" "$free"
}

await_configuration "$hash"
pgbackrest=(pgbackrest --stanza=db "--repo=$repo")
loudly=(--log-level-console=info --log-level-stderr=off --no-log-timestamp)

inventory "$repo"
if [ -z "$(entry)" ]; then
    run "${pgbackrest[@]}" "${loudly[@]}" "--annotation=$mark=$uid" "$@" backup
    status=$?
    # A failure to expire old backups comes after the backup is complete: the backup counts.
    failure=$(complaint)
    inventory "$repo"
    [ -n "$(entry)" ] || fail "$((status ? status : 1))" "${failure:-pgbackrest backup ended with status $status}"
fi
# A report that is cut off cannot be read: better without the newest labels, which nobody would miss soon.
backup=$(compact "$(entry)") labels=$(shortened) space=$(space)
room=$((4000 - ${#backup} - ${#space}))
if ((${#labels} > room)); then labels=${labels:0:room}; labels="${labels% *} ..."; fi
printf '{%s"backup":%s,"labels":"%s"}' "$space" "$backup" "$labels" >"$report"
