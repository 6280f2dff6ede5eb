#!/bin/bash
# restore-check.sh: the second part of a restore drill, after restore-drill.sh. Start a server that nobody reaches on the
# restored database, check all tables and indexes, and run the SQL of the user.
#
# This container has neither the configuration nor the variables of pgBackRest: SQL could be made to read them.
#
# Environment: PGDATA, PGVERSION, and DRILL_SQL, a directory with a file of SQL for each database, named after it.
#
# Status 0: the termination message is a JSON object with what was reached, checked and measured. Status 1: a check has
# failed, and the message has the cause. Any other status: the drill was disturbed, and may be repeated.
set -u
here=${0%/*} work=${WORK:-/tmp/restore}
socket=$work log=$work/log new=$PGDATA message=${TERMINATION_LOG:-/dev/termination-log}
role=_pgoperator_drill
export PGHOST=$socket PGPORT=5432 PGDATABASE=postgres STANZA='' REPO=''
mkdir -p "$work"
# shellcheck source=reconcilers/files/restore/restore-report.sh
. "$here/restore-report.sh"

server=''
trap 'exit 143' TERM INT
trap 'if [ -n "$server" ]; then kill -QUIT "$server"; wait "$server"; fi' EXIT
# shellcheck source=reconcilers/files/restore/restore-server.sh
. "$here/restore-server.sh"

# judge DATABASE FILE: run SQL of the user; a statement that fails, or a result that is false, ends the drill. Messages of
# PostgreSQL may contain data: only their codes are reported.
judge() {
    local text status what
    text=$(<"$2")
    what=$(tr -s '[:space:]' ' ' <<<"${text:0:200}")
    what="the SQL for database $1 (${what% })"
    ((${#text} <= 100000)) || die "$what is longer than 100000 characters"
    psql -XqAt -c "GRANT CONNECT ON DATABASE \"$1\" TO $role" || die "$what: there is no such database in the backup"
    # A text that begins with a backslash would be a command of psql, which may be one that runs programs.
    PGDATABASE=$1 PGUSER=$role timeout "${SQL_SECONDS:-600}" \
        psql -XqAt -v VERBOSITY=sqlstate -c "/* drill */ $text" >"$work/result" 2>"$work/failure" & wait $!
    status=$?
    ((status != 124)) || die "$what did not end within ${SQL_SECONDS:-600} s"
    ((status == 0)) || die "$what failed: SQLSTATE $(sed -nE 's/.*(ERROR|FATAL): +([0-9A-Z]{5})$/\2/p' "$work/failure" |
        head -n 1)"
    if grep --quiet --line-regexp f "$work/result"; then die "$what is false"; fi
}

{ read -r restored && IFS= read -r moment; } <"$PGDATA/../drill" || die "the restored database is not complete"
# shellcheck disable=SC2034  # for configure
own_hba="local all $role trust"
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
files=("${DRILL_SQL:-/none}"/*)
if [ -e "${files[0]}" ]; then
    # It reads all data and writes none. It is no superuser: neither files nor programs are in its reach.
    ((PGVERSION >= 14)) || die "the SQL of a drill needs PostgreSQL 14 or later: it has no role that reads all data"
    psql -XqAt -c "CREATE ROLE $role LOGIN BYPASSRLS; GRANT pg_read_all_data TO $role;
        ALTER ROLE $role SET default_transaction_read_only = on;
        ALTER ROLE $role SET log_min_messages = fatal" 2>"$work/failure" ||
        die "cannot create role $role for the SQL of the drill: $(tail -n 3 "$work/failure" | tr '\n' ' ')"
    for file in "${files[@]}"; do judge "${file##*/}" "$file"; done
    checked+="${checked:+, }SQL for ${#files[@]} database(s)"
fi
printf '{"systemIdentifier":"%s","timeline":%s,"moment":"%s","bytes":%s,"restoreSeconds":%s,' \
    "$(controldata 'Database system identifier')" "$(controldata "Latest checkpoint's TimeLineID")" "$moment" \
    "$(du --summarize --block-size=1 "$PGDATA" | cut -f 1)" "$restored" >"$message"
printf '"checkSeconds":%s,"checked":"%s"}\n' "$(since "$began")" "$checked" >>"$message"
cat "$message" >&2
kill -INT "$server"
wait "$server"
server=''
