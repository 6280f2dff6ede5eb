# shellcheck shell=bash disable=SC2154
# To be sourced by restore.sh: a private PostgreSQL server that no client reaches.
#
# The caller defines `new`, `work`, `socket`, `log`, `server` (the process id of the server, "" while none runs) and `die`;
# `own_hba` is a line for pg_hba.conf, if it needs one.

# pick PATTERN COUNT: print the last lines of the log that match, as one line.
pick() { grep -E "$1" "$log" | tail -n "$2" | tr '\n' ' '; }
# controldata NAME [DIRECTORY]: print a value of pg_control.
controldata() { pg_controldata "${2-$new}" | sed -n "s/^$1: *//p"; }

# configure DIRECTORY COMMAND: write the configuration for this data; COMMAND is its archive_command.
configure() {
    # Distinguish a missing file from a failure: PostgreSQL takes any status up to 125 for "file not found" and ends
    # recovery there, with data missing. A greater status stops recovery. What the user names comes from the environment,
    # not from the text of the script.
    cat >"$work/get" <<GET
#!/bin/bash
pgbackrest "--stanza=\$STANZA" "--repo=\$REPO" "--pg1-path=$1" archive-get "\$1" "\$2" && exit 0
status=\$?
if [ \$status = 1 ]; then echo "not in the archive: \$1" >&2; exit 1; fi
echo \$status >"$work/failed"
exit 126
GET
    printf '%s\n' ${own_hba:+"$own_hba"} "local all all peer" >"$work/hba.conf"
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
# The time zone of a target without a zone, and the language of the messages that this script searches.
timezone = UTC
lc_messages = C
# The database's own value may exceed the memory of this container.
shared_buffers = 128MB
# Without hot standby, limits that increase in WAL during recovery do not stop it.
hot_standby = off
# Unchanged values: a change would be written to WAL, and stop replicas that have the cluster's own settings.
max_connections = $(controldata 'max_connections setting' "$1")
max_worker_processes = $(controldata 'max_worker_processes setting' "$1")
max_wal_senders = $(controldata 'max_wal_senders setting' "$1")
max_prepared_transactions = $(controldata 'max_prepared_xacts setting' "$1")
max_locks_per_transaction = $(controldata 'max_locks_per_xact setting' "$1")
wal_level = $(controldata 'wal_level setting' "$1")
wal_log_hints = $(controldata 'wal_log_hints setting' "$1")
track_commit_timestamp = $(controldata 'track_commit_timestamp setting' "$1")
huge_pages = off
archive_mode = on
archive_command = '$2'
# The subscriptions in this data belong to the cluster: here they would take changes from its publishers.
max_logical_replication_workers = 0
CONF
    # PostgreSQL before 15 does not start with this unknown parameter.
    if ((PGVERSION >= 15)); then echo "archive_library = ''" >>"$work/postgresql.conf"; fi
    : >"$work/ident.conf"
}

# is_up DIRECTORY: whether its server has ended recovery and accepts connections (line 8 of postmaster.pid).
is_up() {
    local lines=()
    [ -r "$1/postmaster.pid" ] && mapfile -t lines <"$1/postmaster.pid" && [[ ${lines[7]-} == ready* ]]
}

# launch DIRECTORY COMMAND: start the server and wait until recovery has ended. Status 1: recovery has failed.
launch() {
    local options=() line
    rm -f "$1/postmaster.pid" "$socket/.s.PGSQL.$PGPORT.lock"
    configure "$1" "$2"
    # Command-line options override values of ALTER SYSTEM in postgresql.auto.conf.
    while read -r line; do
        [[ $line =~ ^([a-z_]+)\ =\ (.*)$ ]] || continue
        line=${BASH_REMATCH[2]} && line=${line#\'} && line=${line%\'}
        options+=(-c "${BASH_REMATCH[1]}=$line")
    done <"$work/postgresql.conf"
    postgres -D "$1" -c "config_file=$work/postgresql.conf" "${options[@]}" >"$log" 2>&1 & server=$!
    tail -n +1 -f --pid="$server" "$log" >&2 &
    until is_up "$1"; do
        if ! kill -0 "$server" 2>/dev/null; then
            wait "$server"
            server=''
            return 1
        fi
        sleep 0.1 & wait $!
    done
}

# serve DIRECTORY COMMAND: the same, then stop the server.
serve() {
    launch "$1" "$2" || return 1
    kill -INT "$server"
    wait "$server" || { server=''; die "the recovered database did not stop cleanly: $(pick 'PANIC|FATAL|ERROR' 3)"; }
    server=''
}
