#!/bin/bash
# init-sql.sh LENGTH DIGEST [again]: runs the SQL of spec.databaseInitSQL once. It arrives on standard input, LENGTH
# bytes long; DIGEST identifies it.
#
# It never runs beside itself and never a second time after a success. The connection of the operator may end before the
# SQL does: psql then goes on, and the next call reports what became of it. The success is recorded in the database, as
# a setting that belongs to the role and the database `postgres`.
#
# Status 75: an earlier call still runs SQL. Status 74: the SQL did not arrive completely. With `again`, SQL whose
# failure has been reported already runs once more.
set -u
length=$1 digest=$2 again=${3-}
lock=${LOCK:-/tmp/pgoperator-init-sql.lock} result=${RESULT:-/tmp/pgoperator-init-sql.failed}
# The SQL may contain passwords. An error does not quote its line, and no session logs or counts what it runs; the options
# also apply to a session that the SQL begins by \connect.
export PGOPTIONS='-c log_statement=none -c log_duration=off -c log_min_duration_statement=-1
    -c log_min_error_statement=panic -c track_activities=off -c auto_explain.log_min_duration=-1 -c pgaudit.log=none
    -c pg_stat_statements.track=none -c pg_stat_statements.track_utility=off -c pg_stat_monitor.pgsm_track=none'
run() {
    psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --set=VERBOSITY=terse --set=SHOW_CONTEXT=never \
        "$@" postgres
}
# Nothing below may end because nobody reads its output any more.
trap '' HUP PIPE

sql=$(cat; printf .) sql=${sql%.}
if [ "$(printf %s "$sql" | wc -c)" != "$length" ]; then
    echo "the SQL did not arrive completely" >&2
    exit 74
fi
# psql inherits the lock and holds it as long as it runs, whatever becomes of this script.
exec 9>"$lock" || exit 1
if command -v flock >/dev/null && ! flock --nonblock 9; then exit 75; fi

ran=$(run --command="SELECT 1 FROM pg_catalog.pg_db_role_setting AS s, pg_catalog.pg_database AS d, pg_catalog.pg_roles AS r
    WHERE d.oid = s.setdatabase AND d.datname = 'postgres' AND r.oid = s.setrole AND r.rolname = 'postgres'
    AND 'pgoperator.init_sql=$digest' = ANY (s.setconfig)") || exit 1
if [ -n "$ran" ]; then exit 0; fi
if [ -z "$again" ] && [ -r "$result" ] && [ "$(head -n 1 "$result")" = "$digest" ]; then
    tail -n +2 "$result" >&2
    exit 1
fi
rm -f "$result"

errors=$(printf %s "$sql" | run --file=- 2>&1 >/dev/null)
status=$?
if [ "$status" = 0 ]; then
    # In a session of its own: the SQL may have connected to another database, or left a transaction open.
    run --command="SET synchronous_commit = local" \
        --command="ALTER ROLE postgres IN DATABASE postgres SET pgoperator.init_sql = '$digest'"
    exit 0
fi
printf '%s\n%s\n' "$digest" "$errors" >"$result"
printf '%s\n' "$errors" >&2
exit "$status"
