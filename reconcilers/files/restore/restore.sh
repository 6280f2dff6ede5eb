#!/bin/bash
# restore.sh [OPTION...]: the Job of a restore. OPTIONs are the user's options for `pgbackrest restore`.
#
# Environment: PGDATA (/pgdata/pg17), PGVERSION (17), RESTORE_ID, REPO (1), STANZA (db), WAL_DIRECTORY (the WAL
# directory, if WAL has its own volume), and for a recovery to the end of the archive WAL_LAST, the newest segment in
# the archive, or FIND_END=yes if that is not known yet, and FORMER_WAL (see restore-archive.sh).
#
# The backup is restored and recovered in a new directory next to the present data. A rename at the end makes it PGDATA
# and keeps the former data as ${PGDATA}_before_$RESTORE_ID. So an earlier failure changes nothing. The script may be
# killed and started again at any point: a file in the directory records the progress. Tablespaces have one location
# only: with tablespace volumes, as with --delta, the restore works in the former data. PGDATA is renamed to the restore
# directory, and renamed back if pgBackRest has not changed it. See restore-volume.sh.
#
# WAL is restored into the data volume; `database.sh` moves it when the instance starts.
#
# `restore.sh --undo` puts the former data back. Status 3: the data is lost, because pgBackRest has changed it.
#
# The duration is not limited, but a stalled restore ends: after STALL_SECONDS (3600, more than pgBackRest's own
# protocol-timeout) in which neither pgBackRest nor PostgreSQL has used CPU. Passing faults of the repository are retried
# in place, see restore-retry.sh.
#
# Status 1: the restore cannot succeed, the termination message has the cause, and the former data is in place.
# Status 3: the restore cannot succeed, and the former data is lost. Any other status: the Job retries it.
set -u
here=${0%/*} work=${WORK:-/tmp/restore}
socket=$work log=$work/log message=${TERMINATION_LOG:-/dev/termination-log}
if [ -d "/usr/pgsql-$PGVERSION/bin" ]; then PATH=/usr/pgsql-$PGVERSION/bin:$PATH; fi
export PGHOST=$socket PGPORT=5432 LC_ALL=C
mkdir -p "$work"
# shellcheck source=reconcilers/files/common/account.sh
if [ -r "$here/account.sh" ]; then . "$here/account.sh"; fi

# Retries, because the checkpointer of a server that failed to start may still write its statistics before it ends.
remove() {
    local _
    for _ in {1..10}; do rm -rf "$1" && return; sleep 0.5; done
}
say() { echo "$1" >&2; echo "${1:0:3000}" >"$message" || true; }
# die MESSAGE [STATUS]: remove the incomplete restore and end. STATUS, if the former data is lost: 3, or 2 if a retry
# may help.
die() {
    say "$1"
    [ "$owner" = "$RESTORE_ID" ] || exit 1
    put_back "$RESTORE_ID"
    case $? in 0) exit 1 ;; 3) say "$1; pgBackRest has overwritten part of the former data"; exit "${2:-3}" ;; esac
    exit 2
}

# shellcheck source=reconcilers/files/restore/restore-volume.sh
. "$here/restore-volume.sh"
# shellcheck source=reconcilers/files/restore/restore-server.sh
. "$here/restore-server.sh"
# shellcheck source=reconcilers/files/restore/restore-archive.sh
. "$here/restore-archive.sh"
# shellcheck source=reconcilers/files/restore/restore-retry.sh
. "$here/restore-retry.sh"
# shellcheck source=reconcilers/files/restore/restore-end.sh
. "$here/restore-end.sh"

delta=''
for option in "$@"; do
    case $option in --delta | --delta=y) delta=yes ;; --delta=n | --no-delta) delta='' ;; esac
done
for tablespace in "${TABLESPACES:-/tablespaces}"/*/; do
    if [ -d "$tablespace" ] && [ -z "$delta" ] && [ "${1-}" != --undo ]; then delta=yes; set -- --delta "$@"; fi
done
mine=beside
if [ -n "$delta" ]; then mine=over; fi
# work: print the CPU time of pgBackRest and PostgreSQL among the descendants of this script, in ticks.
work() {
    local stat line fields pid sum=0
    local -A parent=() ticks=()
    for stat in /proc/[0-9]*/stat; do
        { read -r line <"$stat"; } 2>/dev/null || continue
        read -r -a fields <<<"${line##*) }"
        pid=${line%% *} parent[$pid]=${fields[1]}
        if [[ $line == *"(pgbackrest"* || $line == *"(postgres"* ]]; then
            ticks[$pid]=$((fields[11] + fields[12] + 1))
        fi
    done
    for stat in "${!ticks[@]}"; do
        pid=$stat
        while [ -n "${parent[$pid]-}" ] && [ "$pid" != $$ ]; do pid=${parent[$pid]}; done
        if [ "$pid" = $$ ]; then sum=$((sum + ticks[$stat])); fi
    done
    echo "$sum"
}

guard() {
    local last='' now since=$SECONDS limit=${STALL_SECONDS:-3600}
    while kill -0 $$ 2>/dev/null; do
        sleep $((limit > 20 ? 10 : 1))
        now=$(work)
        if [ "$now" != "$last" ]; then last=$now since=$SECONDS; fi
        if ((SECONDS - since > limit)); then
            say "the restore has stalled: neither pgBackRest nor PostgreSQL has used CPU for $limit s; last log line: \
$(tail -n 1 "$log" 2>/dev/null)"
            kill -TERM $$
            return
        fi
    done
}

server=''
# A signal interrupts the `wait` below; the next run repeats an incomplete step.
trap 'if [ -n "$server" ]; then kill -QUIT "$server"; fi; exit 143' TERM INT

fetch() {
    # Files that pgBackRest prefetched or spooled belong to the former timeline.
    rm -rf "$volume/pgbackrest-spool/archive/$STANZA"
    mkdir -p "$volume/pgbackrest/log" "$volume/pgbackrest-spool"
    if [ -n "$delta" ]; then prepare_over; else prepare_beside; fi
    mkdir -p "$new" || die "the data volume is not writable"
    chmod 0700 "$new"
    until fetch_files "$@"; do
        # The next attempt fetches only what is missing or differs.
        if [ -z "$delta" ]; then set_delta "$@"; set -- "${options[@]}"; fi
    done
    [ -s "$new/PG_VERSION" ] || die "the backup contains no data directory"
    [ "$(<"$new/PG_VERSION")" = "$PGVERSION" ] ||
        die "the backup is of PostgreSQL $(<"$new/PG_VERSION"), but spec.postgresVersion is $PGVERSION"
    if [ "${FIND_END-}" = yes ]; then find_end; fi
    rm -f "$new/patroni.dynamic.json"
    echo "$RESTORE_ID fetched" >"$new/$mark"
}

# fetch_files OPTION...: fetch the backup. Status 1: it failed, and may be tried again.
fetch_files() {
    local began=$SECONDS status
    echo "fetching the backup" >&2
    pgbackrest restore "--stanza=$STANZA" "--repo=$REPO" "--pg1-path=$new" --log-level-console=info "$@" \
        >"$log" 2>&1 & wait $!
    status=$?
    cat "$log" >&2
    [ "$status" != 0 ] || return 0
    { is_passing "$status" && again $((SECONDS - began > 60)); } ||
        die "pgbackrest restore: $(pick 'ERROR|HINT|WARN' 8)" 2
    return 1
}

# set_delta OPTION...: set `options` to these with --delta.
set_delta() {
    local option
    options=(--delta)
    for option in "$@"; do
        case $option in --delta | --delta=* | --no-delta) ;; *) options+=("$option") ;; esac
    done
}

recover() {
    echo "recovering" >&2
    rm -f "$work/failed"
    # With an empty archive_command segments are kept until they are archived with the cluster's own settings.
    serve "$new" '' || return 1
    check_end
    # Remove the recovery target, which must not apply again.
    sed -i -E '/^(# Recovery settings generated by pgBackRest|restore_command|recovery_target)/d' \
        "$new/postgresql.auto.conf"
    rm -f "$new/backup_label.old" "$new/tablespace_map.old"
    echo "$RESTORE_ID recovered" >"$new/$mark"
    sync -f "$new" 2>/dev/null || sync
}

# Limits that were raised after the backup are known only after recovery has reached that WAL: repeat with these limits.
# After a passing fault of the repository PostgreSQL continues from its last restart point.
recover_repeatedly() { # OPTION...
    # Not `former`: put_back, which `die` calls, reads the variable of that name.
    local earlier limits last='' reached=''
    limits=$(controldata 'max_.* setting')
    until recover; do
        if ends_at_target "$@"; then hold_target; continue; fi
        earlier=$limits limits=$(controldata 'max_.* setting')
        [ "$limits" = "$earlier" ] || continue
        last=$reached reached=$(grep -o 'restored log file "[0-9A-F]*"' "$log" | tail -n 1)
        { [ -s "$work/failed" ] && is_passing "$(<"$work/failed")" && again "$([ "$last" = "$reached" ]; echo $?)"; } ||
            die "recovery: $(reason)"
    done
}

# reason: print PostgreSQL's message, and the missing or damaged file or a hint about the backup.
reason() {
    local text more
    text=$(pick 'FATAL|PANIC' 2)
    case $text in
    *'before consistent recovery point'*)
        # For --type=xid and --type=name pgBackRest uses the newest backup.
        more='the backup ends after the target; name an earlier one with --set' ;;
    *)
        more=$(grep -oE '^ +repo[1-4]: .*\[[A-Za-z]+Error\].*' "$log" | tail -n 1)
        more=${more:-$(grep -o 'not in the archive: [0-9A-F]\{24\}' "$log" | tail -n 1)} ;;
    esac
    echo "${text:-$(tail -n 3 "$log" | tr '\n' ' ')}${more:+ ($more)}"
}

swap() {
    if [ -e "$PGDATA" ] && [ ! -e "$before" ] && [ "$kind" != over ]; then mv "$PGDATA" "$before"; fi
    park_log "$before"
    # Left by a container that started between the two renames and created an empty directory.
    if [ -d "$PGDATA" ]; then rmdir "$PGDATA" 2>/dev/null; fi
    mv -T "$new" "$PGDATA" || { say "could not rename $new to $PGDATA"; exit 2; }
    sync -f "$volume" 2>/dev/null || sync
}

if [ "${1-}" = --undo ]; then
    put_back "$RESTORE_ID"
    case $? in
    0) say "the former data is in place"; exit 0 ;;
    3)
        say "a restore over the former data (--delta, or with tablespace volumes) has changed it before it failed: \
this volume has no data to start from. Restore again, or delete the instance's volume claim and pod to create it again \
from the primary"
        exit 3 ;;
    *) exit 1 ;;
    esac
fi

# Undo an unfinished restore with another id or of another kind.
if [ -n "$owner" ] && [ "$owner $kind" != "$RESTORE_ID $mine" ]; then
    put_back "$owner"
    [ $? != 1 ] || exit 2
fi

if ! is_marked "$PGDATA" recovered; then
    guard {volume_lock}>&- & guardian=$!
    if ! is_marked "$new" recovered; then
        if [ "$owner" != "$RESTORE_ID" ]; then complete_archive; fi
        fetch "$@"
        recover_repeatedly "$@"
    fi
    kill "$guardian"
    swap
fi
# A former run of this Job knew how much, and was killed.
if [ "${FORMER_WAL-}" = optional ] && [ -z "$end$lost" ]; then lost='WAL may be lost, as accepted'; fi
# After a restore over the former data the record stays until the instance starts: that data cannot be put back.
case $kind in over) drop_former_log ;; beside) forget ;; esac
say "restored: $(pg_controldata "$PGDATA" | sed -n "s/^Latest checkpoint's TimeLineID: */timeline /p"), \
position $(pg_controldata "$PGDATA" | sed -n 's/^Latest checkpoint location: *//p')${lost:+; $lost}"
