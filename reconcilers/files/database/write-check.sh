#!/bin/bash
# write-check.sh: check that a write is acknowledged now, and report a change as an annotation of this pod.
#
# While this instance is the primary, it looks every 12 s. A look writes a file to each volume, logs in and tries a
# statement that a read-only server refuses. If anything was written or a standby has come or gone since the last look,
# it also commits a transaction; so an idle server stays idle. Then it runs a query through pgBouncer, if there is one.
# pgv2.percona.com/write-failure has time and cause while writes fail; it is patched only when that changes. After an
# ALTER SYSTEM, pgv2.percona.com/altered-settings has the checksum of its file, which wakes the operator. Standard input
# is a pipe that `database.sh` keeps open: at its end, this script ends.
#
# Environment: PGDATA, PGHOST, PGPORT, WAL_DIRECTORY (if WAL has its own volume), HOSTNAME.
set -u
here=${0%/*} pause=${CHECK_SECONDS:-12} limit=${CHECK_LIMIT:-12} again=${CHECK_AGAIN:-3} grace=${CHECK_GRACE:-60}
pooler=${POOLER_ADDRESS:-$here/pooler} password=${POOLER_PASSWORD:-/etc/patroni/~postgres-operator/pooler-password}
# shellcheck source=reconcilers/files/database/annotate.sh
. "$here/annotate.sh"

# What changes when something is written or a commit may have to wait for something else: transactions that have ended
# and that have not, synchronous replication, and the standbys.
seen="concat_ws(' ', pg_postmaster_start_time(), pg_snapshot_xmax(pg_current_snapshot()),
    (SELECT string_agg(backend_xid::text, ',' ORDER BY pid) FROM pg_stat_activity WHERE backend_xid IS NOT NULL),
    current_setting('synchronous_standby_names'), current_setting('synchronous_commit'),
    (SELECT string_agg(application_name || sync_state, ',' ORDER BY pid) FROM pg_stat_replication))"
# The message, which subscribers of other databases do not see, makes the commit wait for standbys: one without WAL does
# not. A statement in which the commit happens can be cancelled while it waits; a COMMIT cannot.
script="SELECT pg_is_in_recovery() AS standby \gset
\if :standby
\echo standby
\quit
\endif
\echo at trying a write
DELETE FROM pg_catalog.pg_default_acl WHERE false;
SELECT $seen AS present, $seen <> :'last' AS changed \gset
\if :changed
\echo at committing a transaction
DO \$\$ BEGIN PERFORM pg_logical_emit_message(true, 'pgoperator', ''); COMMIT; END \$\$;
SELECT $seen AS present \gset
\endif
\echo last :present
"
# This session is not to be logged, audited or changed by settings of the superuser; its messages are in English.
options="-c statement_timeout=$((limit / 2))s -c search_path=pg_catalog,pg_temp -c role=none -c lc_messages=C \
-c client_min_messages=warning -c log_statement=none -c log_min_duration_statement=-1 -c pgaudit.log=none"
# Answers of a server that starts, stops or is away: Patroni and the pods report these states.
passing='starting up|shutting down|in recovery mode|not yet accepting|No such file|refused$|terminating|closed the conn'

# attempt: print steps and results for `look`. Runs in the background, because any step may hang.
attempt() {
    local folder said host port status
    for folder in "${PGDATA%/*}" ${WAL_DIRECTORY:+"${WAL_DIRECTORY%/*}"}; do
        echo "at writing to the volume $folder"
        # The space is given back at once: in a full volume, this file must not be the only one that can be written.
        said=$(dd if=/dev/zero of="$folder/.write-check" bs=16k count=1 conv=fsync 2>&1) || echo "failed ${said%%$'\n'*}"
        rm -f "$folder/.write-check"
    done
    echo "at logging in"
    PGOPTIONS=$options PGCONNECT_TIMEOUT=$limit PGAPPNAME=write-check \
        psql -XqAtw -v ON_ERROR_STOP=1 -v "last=$last" postgres <<<"$script" 2>&1
    echo "end database $?"
    [ -r "$pooler" ] && [ -r "$password" ] && read -r host port <"$pooler" || return
    # A pooler that cannot be reached shows that itself by its pods, or a network policy lets only applications in.
    # shellcheck disable=SC2016  # for the inner shell
    timeout 3 bash -c ': <>"/dev/tcp/$0/$1"' "$host" "$port" 2>/dev/null || return
    echo "at asking pgBouncer"
    status=0
    # Its account may not exist yet, and pgBouncer would refuse its next client because a login has just failed.
    if [ -z "$worked" ]; then said=$(past_pooler); status=$?; fi
    if ((status == 0)); then
        said=$(as_pooler "$host" "$port" -c "SELECT 'read-only ' || current_setting('transaction_read_only')")
        status=$?
        # pgBouncer lets its clients wait while it cannot log in to the server, or refuses them: the server has the cause.
        if ((status > 0)); then past_pooler; fi
    fi
    echo "$said"
    echo "end pgBouncer $status"
}

# as_pooler HOST PORT ARGUMENT...: run psql with pgBouncer's own account.
as_pooler() {
    PGPASSWORD=$(<"$password") PGUSER=_crunchypgbouncer PGOPTIONS='' PGAPPNAME=write-check \
        timeout $((limit / 2)) psql -XqAtw -h "$1" -p "$2" "${@:3}" postgres </dev/null 2>&1
}

# past_pooler: log in to the server with pgBouncer's own account, as pgBouncer does.
past_pooler() { as_pooler localhost "${PGPORT:-5432}" -c 'SELECT'; }

# plain LINE: print a message of psql or the server without what precedes it.
plain() { sed --regexp-extended 's/^psql: error: //; s/^.*(ERROR|FATAL|PANIC|WARNING): +//' <<<"$1"; }

# is_new: whether pgBouncer has not worked yet, but may soon: its account in the database is made after the first start.
is_new() { [ -z "$worked" ] && ((SECONDS - began < grace)); }

# finish WHAT STATUS: a step has ended.
finish() {
    local cause=''
    if [ -n "$said" ]; then
        cause=$(plain "$said")
    elif [ "$2" = 124 ]; then
        cause="no answer within $((limit / 2)) s"
    elif [ "$2" != 0 ]; then
        cause="psql ended with status $2"
    fi
    if [ "$1" = pgBouncer ]; then
        if [ -z "$cause" ]; then worked=yes; fi
        if [[ $cause =~ $passing|no\ more\ connections ]] || is_new; then return; fi
        if [ -n "$cause" ] && [ "$verdict" = ok ]; then verdict=failed why="through pgBouncer: $cause" through=pgBouncer; fi
    elif [ -z "$cause" ]; then
        verdict=${verdict:-ok}
    elif [ -z "$said" ] && [ "$2" = 2 ]; then
        verdict=${verdict:-away} # the connection was lost
    elif [[ $cause =~ $passing ]]; then
        verdict=${verdict:-away}
    elif [ -z "$verdict" ]; then
        verdict=failed why=$cause
    fi
    said=''
}

# look: set `verdict` to ok, failed (with `why` and `through`), hung, standby, or away, which is no news. An attempt
# that hangs goes on: the next look waits for it, and starts no other.
look() {
    local line status what end=$((SECONDS + limit)) next='' said=''
    verdict='' through=''
    if [ -z "$output" ]; then exec {output}< <(attempt); fi
    while :; do
        read -r -t $((end > SECONDS ? end - SECONDS : 1)) -u "$output" line
        status=$?
        if ((status > 128)); then
            verdict=hung why="no answer within $limit s, while $at"
            return
        fi
        if ((status > 0)); then break; fi
        case $line in
        'at '*) at=${line#at } ;;
        'last '*) next=${line#last } ;;
        'failed '*) if [ -z "$verdict" ]; then verdict=failed why=${line#failed }; fi ;;
        standby) verdict=standby ;;
        'end '*) read -r what status <<<"${line#end }"; finish "$what" "$status" ;;
        'read-only off') ;;
        *) if [ -z "$said" ] && [[ $line =~ ERROR|FATAL|PANIC|psql:\ error|canceling\ wait|read-only ]]; then said=$line; fi ;;
        esac
    done
    exec {output}<&-
    output=''
    if [ "$verdict" = ok ]; then last=$next; fi
}

# report VALUE: patch the annotation if it differs from the last value; without the API server, the next look tries again.
report() {
    if [ "$1" = "$reported" ]; then return; fi
    if [ "$1" != null ]; then echo "write-check: writes fail: $why" >&2; fi
    if [ "$1" = null ] && [ "$reported" != unknown ]; then echo "write-check: writes are acknowledged again" >&2; fi
    if annotate write-failure "$1"; then reported=$1; fi
}

# compare: report a change of the file that ALTER SYSTEM writes. What it had before is for the operator's first check.
compare() {
    local now
    now=$(cksum <"$PGDATA/postgresql.auto.conf") || return
    now=${now// /-}
    if [ -z "$altered" ]; then altered=$now; fi
    if [ "$now" != "$altered" ] && annotate altered-settings "$(json "$now")"; then altered=$now; fi
}

# check: look, and report a change. A failure counts if two looks find it.
check() {
    local value
    if [ -e "$PGDATA/standby.signal" ]; then
        last='' worked='' began=$SECONDS since='' altered=''
        if [ "$reported" != unknown ]; then report null; fi
        return
    fi
    [ -e "$PGDATA/postmaster.pid" ] || [ -n "$output" ] || return
    compare 2>/dev/null
    look
    if [ "$verdict" = failed ] && [ -z "$since" ]; then
        rest "$again"
        look
    fi
    # An error that was reported already says more than an answer that hangs.
    if [ "$verdict" = hung ] && [[ $reported != '"'* ]]; then verdict=failed; fi
    case $verdict in
    ok) since=''; report null ;;
    away) worked='' began=$SECONDS ;; # after a restart, pgBouncer has to log in again
    failed)
        if [ -z "$since" ]; then TZ=UTC printf -v since '%(%Y-%m-%dT%H:%M:%SZ)T' -1; fi
        value="{\"since\":\"$since\",\"cause\":$(json "${why:0:500}"),\"through\":\"$through\"}"
        report "$(json "$value")"
        ;;
    esac
}

# rest SECONDS: sleep; exit at the end of standard input.
rest() { read -r -t "$1" || (($? > 128)) || exit 0; }

output='' altered='' last='' at='' worked='' began=$SECONDS since='' reported=unknown
while :; do
    rest "$pause"
    check
done
