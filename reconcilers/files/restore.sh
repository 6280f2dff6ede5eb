#!/bin/bash
# restore.sh [OPTION...]: the Job of a restore. OPTIONs are the user's, for `pgbackrest restore`.
#
# Environment: PGDATA (/pgdata/pg17), PGVERSION (17), RESTORE_ID, REPO (1), STANZA (db), WAL_DIRECTORY (the log's place
# on a volume of its own, if there is one), and for a recovery to the end of the archive WAL_LAST, the newest segment
# that the archive is known to hold.
#
# A fresh folder is filled and recovered beside the present data; a rename at the end makes it PGDATA and keeps
# the former one as ${PGDATA}_before_$RESTORE_ID. So a failure at any point before harms nothing. The script may be
# killed and started again at any point: a file in the folder says how far it is. Tablespaces have one place only: with
# their volumes the restore is made over the present data, as with --delta, and there is no former data to go back to.
#
# The log is restored into the data volume; `database.sh` moves it when the instance starts.
#
# `restore.sh --undo` puts the former data back.
#
# It may take as long as the database is large, but not stand still: after STALL_SECONDS (3600, more than pgBackRest's
# own protocol-timeout) in which neither pgBackRest nor PostgreSQL has used any CPU, it ends.
#
# Status 1: it cannot succeed, and the termination message says why. Any other: worth another try.
set -u
here=${0%/*} volume=${PGDATA%/*} work=${WORK:-/tmp/restore}
new=${PGDATA}_restore before=${PGDATA}_before_$RESTORE_ID mark=pgoperator-restore
socket=$work log=$work/log message=${TERMINATION_LOG:-/dev/termination-log}
if [ -d "/usr/pgsql-$PGVERSION/bin" ]; then PATH=/usr/pgsql-$PGVERSION/bin:$PATH; fi
export PGHOST=$socket PGPORT=5432 LC_ALL=C
mkdir -p "$work"
# shellcheck source=reconcilers/files/account.sh
if [ -r "$here/account.sh" ]; then . "$here/account.sh"; fi

# Of a server that gave up while it started the checkpointer may be left, and write its statistics before it ends.
remove() {
    local _
    for _ in {1..10}; do rm -rf "$1" && return; sleep 0.5; done
}
say() { echo "$1" >&2; echo "${1:0:3000}" >"$message" || true; }
die() {
    say "$1"
    # Nobody needs half of a restore; a delta restore has nothing else to go on from.
    if [ -z "$delta" ]; then remove "$new"; fi
    exit 1
}
pick() { grep -E "$1" "$log" | tail -n "$2" | tr '\n' ' '; }
controldata() { pg_controldata "$new" | sed -n "s/^$1: *//p"; }

delta=''
for option in "$@"; do if [ "$option" = --delta ]; then delta=yes; fi; done
for tablespace in "${TABLESPACES:-/tablespaces}"/*/; do
    if [ -d "$tablespace" ] && [ -z "$delta" ] && [ "${1-}" != --undo ]; then delta=yes; set -- --delta "$@"; fi
done
# The CPU time of pgBackRest and PostgreSQL below this script, in ticks.
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
            say "the restore stands still: neither pgBackRest nor PostgreSQL has worked for $limit s; \
$(tail -n 1 "$log" 2>/dev/null)"
            kill -TERM $$
            return
        fi
    done
}

server=''
# The wait below ends at once with a signal; what is half done is begun anew.
trap 'if [ -n "$server" ]; then kill -QUIT "$server"; fi; exit 143' TERM INT

# drop_log FOLDER: the link to a log on another volume, and the log.
drop_log() {
    if [ -L "$1/pg_wal" ]; then rm -rf "$(readlink "$1/pg_wal")" "$1/pg_wal"; fi
}

# park_log FOLDER: the former data keep their log, under a name that leaves the usual one to the restored data.
park_log() {
    local present parked=${WAL_DIRECTORY-}_before_$RESTORE_ID
    [ -n "${WAL_DIRECTORY-}" ] && [ -L "$1/pg_wal" ] || return 0
    present=$(readlink "$1/pg_wal")
    [ "$present" != "$parked" ] || return 0
    if [ -d "$present" ]; then mv -T "$present" "$parked" || { say "could not rename $present"; exit 2; }; fi
    if [ -d "$parked" ]; then ln -sfn "$parked" "$1/pg_wal"; fi
}

is_marked() { [ -r "$1/$mark" ] && [ "$(<"$1/$mark")" = "$RESTORE_ID $2" ]; }

fetch() {
    # Files that pgBackRest fetched ahead or pushed belong to the timeline that ends here.
    rm -rf "$volume/pgbackrest-spool/archive/$STANZA"
    mkdir -p "$volume/pgbackrest/log" "$volume/pgbackrest-spool"
    if [ -n "$delta" ]; then
        # Asked for by the user: fast and without room for two, but with no way back.
        if [ ! -e "$new" ] && [ -e "$PGDATA" ]; then mv "$PGDATA" "$new"; fi
        rm -f "$new/postmaster.pid"
        # pgBackRest empties the log's folder: on its own volume it would be left, and be of no database.
        if [ -L "$new/pg_wal" ]; then drop_log "$new"; mkdir -m 0700 "$new/pg_wal"; fi
    else
        remove "$new"
    fi
    mkdir -p "$new" || die "the data volume is not writable"
    chmod 0700 "$new"
    echo "fetching the backup" >&2
    pgbackrest restore "--stanza=$STANZA" "--repo=$REPO" "--pg1-path=$new" --log-level-console=info "$@" \
        >"$log" 2>&1 & wait $!
    local status=$?
    cat "$log" >&2
    [ "$status" = 0 ] || die "pgbackrest restore: $(pick 'ERROR|HINT|WARN' 8)"
    [ -s "$new/PG_VERSION" ] || die "the backup holds no data directory"
    [ "$(<"$new/PG_VERSION")" = "$PGVERSION" ] ||
        die "the backup is of PostgreSQL $(<"$new/PG_VERSION"), but spec.postgresVersion is $PGVERSION"
    rm -f "$new/patroni.dynamic.json"
    echo "$RESTORE_ID fetched" >"$new/$mark"
}

configure() {
    # Absence is an answer, a failure is not: PostgreSQL takes any status up to 125 for "no such file" and ends
    # recovery there, with data missing; a greater one stops it.
    cat >"$work/get" <<GET
#!/bin/bash
pgbackrest "--stanza=$STANZA" "--repo=$REPO" "--pg1-path=$new" archive-get "\$1" "\$2" && exit 0
status=\$?
if [ \$status = 1 ]; then echo "not in the archive: \$1" >&2; exit 1; fi
exit 126
GET
    echo "local all all peer" >"$work/hba.conf"
    cat >"$work/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$socket'
port = 5432
hba_file = '$work/hba.conf'
ident_file = '$work/ident.conf'
ssl = off
logging_collector = off
log_destination = stderr
shared_preload_libraries = ''
restore_command = 'bash $work/get %f "%p"'
recovery_target_action = promote
log_timezone = UTC
# Nobody asks anything during recovery; then limits that grow on the way do not stop it.
hot_standby = off
# As they are: a change would be written into WAL, and stop replicas that have the cluster's own settings.
max_connections = $(controldata 'max_connections setting')
max_worker_processes = $(controldata 'max_worker_processes setting')
max_wal_senders = $(controldata 'max_wal_senders setting')
max_prepared_transactions = $(controldata 'max_prepared_xacts setting')
max_locks_per_transaction = $(controldata 'max_locks_per_xact setting')
wal_level = $(controldata 'wal_level setting')
wal_log_hints = $(controldata 'wal_log_hints setting')
track_commit_timestamp = $(controldata 'track_commit_timestamp setting')
huge_pages = off
# On with an empty command: what has to be archived is kept until the cluster's own settings are back.
archive_mode = on
archive_command = ''
archive_library = ''
CONF
    : >"$work/ident.conf"
}

# Whether the server has ended recovery and accepts connections (line 8 of its file).
is_up() {
    local lines=()
    [ -r "$new/postmaster.pid" ] && mapfile -t lines <"$new/postmaster.pid" && [[ ${lines[7]-} == ready* ]]
}

recover() {
    local options=() line
    rm -f "$new/postmaster.pid"
    configure
    # On the command line they win over what ALTER SYSTEM left in postgresql.auto.conf.
    while read -r line; do
        [[ $line =~ ^([a-z_]+)\ =\ (.*)$ ]] || continue
        line=${BASH_REMATCH[2]} && line=${line#\'} && line=${line%\'}
        options+=(-c "${BASH_REMATCH[1]}=$line")
    done <"$work/postgresql.conf"
    echo "recovering" >&2
    postgres -D "$new" -c "config_file=$work/postgresql.conf" "${options[@]}" >"$log" 2>&1 & server=$!
    tail -n +1 -f --pid="$server" "$log" >&2 &
    until is_up; do
        if ! kill -0 "$server" 2>/dev/null; then
            wait "$server"
            server=''
            return 1
        fi
        sleep 0.1 & wait $!
    done
    kill -INT "$server"
    wait "$server" || { server=''; die "the recovered database did not stop cleanly: $(pick 'PANIC|FATAL|ERROR' 3)"; }
    server=''
    check_end
    # Where recovery went to was for once.
    sed -i -E '/^(# Recovery settings generated by pgBackRest|restore_command|recovery_target)/d' \
        "$new/postgresql.auto.conf"
    rm -f "$new/backup_label.old" "$new/tablespace_map.old"
    echo "$RESTORE_ID recovered" >"$new/$mark"
    sync -f "$new" 2>/dev/null || sync
}

# Limits that were raised after the backup are known only when recovery has met them: once more with those.
recover_with_limits() {
    local former limits
    limits=$(controldata 'max_.* setting')
    until recover; do
        former=$limits limits=$(controldata 'max_.* setting')
        [ "$limits" != "$former" ] || die "recovery: $(reason)"
    done
}

# PostgreSQL's own words, and which file the archive lacked or which backup would do.
reason() {
    local text more
    text=$(pick 'FATAL|PANIC' 2)
    case $text in
    *'before consistent recovery point'*)
        # For a transaction or a name pgBackRest takes the newest backup.
        more='the backup it began with ends after the target; name an earlier one with --set' ;;
    *) more=$(grep -o 'not in the archive: [0-9A-F]\{24\}' "$log" | tail -n 1) ;;
    esac
    echo "${text:-$(tail -n 3 "$log" | tr '\n' ' ')}${more:+ ($more)}"
}

# Recovery to the end must reach the end: PostgreSQL takes a segment that is missing for it.
check_end() {
    local redo high low bytes reached last
    [ -n "${WAL_LAST-}" ] || return 0
    redo=$(sed -n 's/.*redo done at \([0-9A-F/]*\).*/\1/p' "$log" | tail -n 1)
    [ -n "$redo" ] || return 0
    bytes=$(controldata 'Bytes per WAL segment')
    high=$((16#${redo%/*})) low=$((16#${redo#*/}))
    reached=$(((high * 0x100000000 + low) / bytes))
    last=$((16#${WAL_LAST:8:8} * (0x100000000 / bytes) + 16#${WAL_LAST:16:8}))
    ((reached >= last)) || die "a WAL segment is missing in the archive: recovery ended at $redo, \
$(grep -o 'not in the archive: [0-9A-F]\{24\}' "$log" | head -n 1), but the archive goes on to $WAL_LAST"
}

swap() {
    if [ -e "$PGDATA" ] && [ ! -e "$before" ]; then mv "$PGDATA" "$before"; fi
    park_log "$before"
    # Left by a container that started between the two renames and found nothing.
    if [ -d "$PGDATA" ]; then rmdir "$PGDATA" 2>/dev/null; fi
    mv -T "$new" "$PGDATA" || { say "could not rename $new to $PGDATA"; exit 1; }
    sync -f "$volume" 2>/dev/null || sync
}

# The log of the former data gets its name back. Killed between rename and link, the link leads nowhere.
unpark_log() {
    local parked=${WAL_DIRECTORY-}_before_$RESTORE_ID
    [ -n "${WAL_DIRECTORY-}" ] && [ -L "$PGDATA/pg_wal" ] || return 0
    if [ -d "$parked" ] && [ ! -e "$WAL_DIRECTORY" ]; then mv -T "$parked" "$WAL_DIRECTORY"; fi
    if [ ! -d "$PGDATA/pg_wal" ] && [ -d "$WAL_DIRECTORY" ]; then ln -sfn "$WAL_DIRECTORY" "$PGDATA/pg_wal"; fi
}

# restore.sh --undo: the restore was given up at a moment that nobody knows.
undo() {
    if [ -e "$before" ]; then
        if is_marked "$PGDATA" recovered; then rm -rf "$new"; mv "$PGDATA" "$new"; fi
        if [ -d "$PGDATA" ]; then rmdir "$PGDATA" 2>/dev/null; fi
        [ -e "$PGDATA" ] || mv "$before" "$PGDATA" || { say "could not rename $before to $PGDATA"; exit 1; }
    fi
    if [ -e "$PGDATA" ] && [ -e "$new" ]; then drop_log "$new"; rm -rf "$new"; fi
    if [ -e "$PGDATA" ]; then unpark_log; fi
    say "the former data is in place"
    exit 0
}
if [ "${1-}" = --undo ]; then undo; fi

if ! is_marked "$PGDATA" recovered; then
    guard & guardian=$!
    if ! is_marked "$new" recovered; then
        fetch "$@"
        recover_with_limits
    fi
    kill "$guardian"
    swap
fi
say "restored: $(pg_controldata "$PGDATA" | sed -n "s/^Latest checkpoint's TimeLineID: */timeline /p"), \
position $(pg_controldata "$PGDATA" | sed -n 's/^Latest checkpoint location: *//p')"
