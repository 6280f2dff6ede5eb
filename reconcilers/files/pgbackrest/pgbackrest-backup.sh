#!/bin/bash
# pgbackrest-backup.sh HASH OWNER REPO UID [OPTION...]: take one backup into repository REPO (1 to 4), at most once.
# Status 77: the repository belongs to another cluster than OWNER (see pgbackrest-mark.sh).
#
# The backup is annotated with UID, the uid of its PerconaPGBackup: a repeated Job finds the backup that an earlier run
# has finished, and only reports it. The report is one line of JSON: `backup`, the entry of `pgbackrest info` without
# its lists; `labels`, the backups that are in the repository now (see `shortened`); and `volume`, the space on the
# repository's volume.
set -u
here=${0%/*} hash=$1 owner=$2 repo=$3 backup_uid=$4; shift 4
# shellcheck source=reconcilers/files/pgbackrest/pgbackrest-mark.sh
. "$here/pgbackrest-mark.sh"
key="percona.com/backup-uid" volumes=${REPOSITORIES:-/pgbackrest}

# entry: print the entry of this backup. The keys are sorted, and each entry with an annotation gets its own line.
entry() {
    local start='{"annotation":{'
    grep --fixed-strings --max-count=1 "\"$key\":\"$backup_uid\"" <<<"${info//"$start"/$'\n'"$start"}"
}

# compact ENTRY: print the entry from "archive" on, without the list of backups on which it depends.
compact() {
    local rest=${1#*'"archive":{"start":'}
    local head=${rest%%',"reference":'*} tail=${rest#*',"timestamp":'}
    local type=${tail#*'},"type":"'}
    printf '{"archive":{"start":%s,"timestamp":%s},"type":"%s"}' "$head" "${tail%%\}*}" "${type%%\"*}"
}

# shortened: print all labels in order. The label of the full backup, which precedes, is left out, and so is a date that
# repeats: 20260101-000000F 20260101-010000I 020000I 20260102-010000I.
shortened() {
    local label own date last='' result=''
    while read -r label; do
        own=${label#*_} date=${label#*_}; date=${date%%-*}
        if [ "$date" = "$last" ]; then result+=" ${own#*-}"; else result+=" $own"; fi
        last=$date
    done < <(grep --only-matching '"label":"[^"]*"' <<<"$info" | cut -d '"' -f 4 | LC_ALL=C sort)
    printf '%s' "${result# }"
}

# space: print size and free space of the repository's volume, if it has one; only pods of repositories mount it.
space() {
    local size free
    [ -d "$volumes/repo$repo" ] || return
    read -r size free < <(df --block-size=1 --output=size,avail "$volumes/repo$repo" 2>/dev/null | tail -n 1)
    [ -z "$free" ] || printf '"volume":{"size":%s,"free":%s},' "$size" "$free"
}

# Whether older backups expire afterwards, which is pgBackRest's default. Not if this backup has pages with invalid
# checksums: the older backups may be the last undamaged ones.
expires=yes options=() retention=()
if grep -Eqs '^[[:space:]]*expire-auto[[:space:]]*=[[:space:]]*n' "$conf"/*.conf; then expires=''; fi
for option in "$@"; do
    case $option in
    --no-expire-auto | --expire-auto=n) expires='' ;;
    --expire-auto | --expire-auto=y | --reset-expire-auto) expires=yes ;;
    --repo[1-4]-retention-*) options+=("$option") retention+=("$option") ;;
    *) options+=("$option") ;;
    esac
done

await_configuration "$hash"
own "$owner"
check "$repo" known
pgbackrest=(pgbackrest --stanza=db "--repo=$repo")
loudly=(--log-level-console=info --log-level-stderr=off --no-log-timestamp)

if [ -z "$(entry)" ]; then
    # Whatever the configuration says: a backup without its WAL, or of a stopped server, cannot be restored.
    run "${pgbackrest[@]}" "${loudly[@]}" "--annotation=$key=$backup_uid" "${options[@]}" --archive-check --online \
        --no-expire-auto backup
    status=$?
    failure=$(complaint)
    inventory "$repo"
    [ -n "$(entry)" ] || fail "$((status ? status : 1))" "${failure:-pgbackrest backup ended with status $status}"
fi
if [ -n "$expires" ] && [[ $(compact "$(entry)") != *'"error":true'* ]]; then
    # The backup is successful even if expiry fails.
    run "${pgbackrest[@]}" "${loudly[@]}" "${retention[@]}" expire && inventory "$repo"
fi
# A truncated report cannot be parsed. If it is too long, leave out the newest labels, which do not expire soon.
backup=$(compact "$(entry)") labels=$(shortened) space=$(space)
room=$((4000 - ${#backup} - ${#space}))
if ((${#labels} > room)); then labels=${labels:0:room}; labels="${labels% *} ..."; fi
printf '{%s"backup":%s,"labels":"%s"}' "$space" "$backup" "$labels" >"$report"
