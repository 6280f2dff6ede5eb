#!/bin/bash
# restore-drill.sh [OPTION...]: prove that a backup can be restored. Restore it with all WAL of the archive into a scratch
# volume, start a server that nobody reaches, and check all tables and indexes. OPTIONs are for `pgbackrest restore`.
#
# Environment: that of restore.sh, and SYSTEM_IDENTIFIER of the cluster.
#
# Status 0: the termination message is a JSON object with what was reached, checked and measured. Status 1: the backup
# cannot be restored, and the message has the cause. Any other status: the drill was disturbed, and may be repeated.
set -u
here=${0%/*} work=${WORK:-/tmp/restore}
socket=$work log=$work/log new=$PGDATA message=${TERMINATION_LOG:-/dev/termination-log}
if [ -d "/usr/pgsql-$PGVERSION/bin" ]; then PATH=/usr/pgsql-$PGVERSION/bin:$PATH; fi
export PGHOST=$socket PGPORT=5432 PGDATABASE=postgres LC_ALL=C
# shellcheck source=reconcilers/files/common/account.sh
if [ -r "$here/account.sh" ]; then . "$here/account.sh"; fi

die() { echo "$1" >&2; echo "${1:0:3000}" >"$message" || true; exit 1; }
# since MICROSECONDS: print the seconds since then, with one decimal place.
since() { local tenths=$(((${EPOCHREALTIME/./} - $1) / 100000)); echo "$((tenths / 10)).$((tenths % 10))"; }

server=''
trap 'if [ -n "$server" ]; then kill -QUIT "$server"; fi; exit 143' TERM INT
# shellcheck source=reconcilers/files/restore/restore-server.sh
. "$here/restore-server.sh"

began=${EPOCHREALTIME/./}
FIND_END=yes RESTORE_ID=drill bash "$here/restore.sh" "$@" & wait $!
status=$?
if ((status == 1)) && grep -q 'raised from' "$message"; then
    # pgBackRest does not name a file of a backup that it cannot decompress. This reads the whole repository.
    timeout "${VERIFY_SECONDS:-600}" pgbackrest "--stanza=$STANZA" "--repo=$REPO" --log-level-console=info verify 2>&1 |
        grep -oE "invalid (checksum|size) '[^']*'" | head -n 3 | tee -a "$message" >&2
fi
((status == 0)) || exit "$status"
restored=$(since "$began")
# Without a transaction behind the backup there is no such line.
moment=$(sed -n 's/.*last completed transaction was at log time //p' "$log" | tail -n 1)
identifier=$(controldata 'Database system identifier')
[ "$identifier" = "$SYSTEM_IDENTIFIER" ] ||
    die "the backup is of database system $identifier, but the cluster's is $SYSTEM_IDENTIFIER"

launch "$PGDATA" '' || die "the restored database does not start: $(pick 'FATAL|PANIC' 2)"
began=${EPOCHREALTIME/./} checked=''
# Event triggers, such as those of pgAudit, would refuse the extension that the checks need.
psql -XqAt -c 'SELECT datname FROM pg_database WHERE datallowconn' >"$work/databases" ||
    die "the restored database cannot be read: $(pick 'FATAL|PANIC|ERROR' 2)"
while IFS= read -r database; do
    PGDATABASE=$database psql -Xq >&2 <<'SQL'
SELECT format('ALTER EVENT TRIGGER %I DISABLE', evtname) FROM pg_event_trigger \gexec
SQL
done <"$work/databases"
# PostgreSQL 13 has no such program.
if command -v pg_amcheck >/dev/null; then
    pg_amcheck --all --install-missing --no-password >"$work/amcheck" 2>&1 & wait $!
    status=$?
    cat "$work/amcheck" >&2
    ((status == 0)) || die "pg_amcheck: $(head -n 8 "$work/amcheck" | tr '\n' ' ')"
    checked='tables and B-tree indexes'
fi
printf '{"systemIdentifier":"%s","timeline":%s,"moment":"%s","bytes":%s,"restoreSeconds":%s,' \
    "$identifier" "$(controldata "Latest checkpoint's TimeLineID")" "$moment" \
    "$(du --summarize --block-size=1 "$PGDATA" | cut -f 1)" "$restored" >"$message"
printf '"checkSeconds":%s,"checked":"%s"}\n' "$(since "$began")" "$checked" >>"$message"
cat "$message" >&2
kill -INT "$server"
wait "$server"
