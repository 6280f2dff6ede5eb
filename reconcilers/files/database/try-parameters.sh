#!/bin/bash
# try-parameters.sh NAME...: start another server with new parameters, before PostgreSQL restarts with them.
#
# NAME: parameters that change. Standard input: lines of postgresql.conf with all parameters that Patroni gets. Unless
# one of the names needs a restart, nothing is tried. The server has an empty data directory and no address, and is
# removed. Status 0: it started. 3: it did not, and standard error has the cause. Other: it could not be tried.
# Environment: PGDATA and PGHOST of the running server.
set -u
here=${0%/*}
# shellcheck source=reconcilers/files/database/memory.sh
. "$here/memory.sh"
# shellcheck source=reconcilers/files/database/libraries.sh
. "$here/libraries.sh"
if [ -d "/usr/pgsql-${PGVERSION-}/bin" ]; then PATH=/usr/pgsql-$PGVERSION/bin:$PATH; fi

changed=$(IFS=,; echo "$*")
restart=$(psql --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1 --set=names="$changed" postgres <<'SQL'
SELECT count(*) FROM pg_settings WHERE context = 'postmaster' AND name = ANY (string_to_array(:'names', ','));
SQL
) || exit 1
[ "$restart" != 0 ] || exit 0

# One at a time; what an interrupted one has left goes.
temporary=${TMPDIR:-/tmp}
exec {lock}>"$temporary/.try-parameters.lock" || exit 1
flock --wait 20 "$lock" || { echo "another trial of parameters still runs" >&2; exit 1; }
rm -rf "$temporary"/try-parameters.*
place=$(mktemp -d "$temporary/try-parameters.XXXXXX") || exit 1
data=$place/data
# shellcheck disable=SC2329  # called by the trap
end() { pg_ctl stop --silent --mode=immediate --pgdata="$data" >/dev/null 2>&1; rm -rf "$place"; }
trap end EXIT
# If the memory does not suffice, this process and its children end, and not the database.
{ echo 1000 >/proc/self/oom_score_adj; } 2>/dev/null
initdb --no-sync --auth=reject --locale=C --encoding=UTF8 --pgdata="$data" >"$place/log" 2>&1 ||
    { tail -n 3 "$place/log" >&2; exit 1; }
{
    echo
    cat
    echo "include_if_exists '$PGDATA/postgresql.auto.conf'"
    cat <<EOT
listen_addresses = ''
unix_socket_directories = '$place'
archive_command = ''
restore_command = ''
primary_conninfo = ''
hba_file = '$data/pg_hba.conf'
ident_file = '$data/pg_ident.conf'
log_destination = 'stderr'
logging_collector = off
lc_messages = 'C'
fsync = off
EOT
} >>"$data/postgresql.conf" || exit 1
# refuse [CAUSE]: without a cause, the last error in the log.
refuse() {
    local hint cause=${1-}
    if [ -z "$cause" ]; then
        cause=$(grep -E '(FATAL|PANIC|ERROR): ' "$place/log" | grep -v 'contains errors$' | tail -n 1)
        [ -n "$cause" ] || cause=$(grep 'LOG: ' "$place/log" | tail -n 1)
        hint=$(grep 'HINT: ' "$place/log" | tail -n 1)
        cause=$(sed -E 's/^.*(FATAL|PANIC|ERROR|LOG): +//' <<<"${cause:-$(tail -n 1 "$place/log")}")
        cause=$cause${hint:+ (${hint#*HINT:  })}
    fi
    echo "$cause" >&2
    exit 3
}
postgres -D "$data" -C huge_pages >"$place/log" 2>&1 || refuse
# The running server may hold all huge pages of the pod.
if [ "$(<"$place/log")" = on ]; then echo 'huge_pages = try' >>"$data/postgresql.conf"; fi
shared_buffers_fit -D "$data" || refuse "$cause"
find_libraries -D "$data"
if [ -n "$missing" ]; then echo "shared_preload_libraries = '$kept'" >>"$data/postgresql.conf"; fi

# Without the lock: the server must not keep it.
pg_ctl start --silent --wait --timeout=15 --pgdata="$data" --log="$place/log" {lock}>&- >/dev/null 2>&1 && exit 0
refuse
