#!/bin/bash
# Entry point of the container `database`: check and prepare the data volume, then run Patroni.
#
# Environment: PGDATA (/pgdata/pg17), PGVERSION (17), PGHOST (directory of the socket), WAL_DIRECTORY (see wal.sh).
# Only data that has been copied to another volume is deleted.
# Any problem of the image or the data ends the container, with the cause in the termination log.
set -eu
here=${0%/*} volume=${PGDATA%/*}
if [ -d "/usr/pgsql-$PGVERSION/bin" ]; then PATH=/usr/pgsql-$PGVERSION/bin:$PATH; fi

die() {
    echo "$1" >&2
    echo "$1" >"${TERMINATION_LOG:-/dev/termination-log}" || true
    exit 1
}

version=$(postgres --version) || die "the image has no program postgres that runs: check spec.image"
[[ $version =~ \(PostgreSQL\)\ ([0-9]+) ]] ||
    die "the version of the image's postgres is unknown: it calls itself '$version'"
[ "${BASH_REMATCH[1]}" = "$PGVERSION" ] ||
    die "the image holds PostgreSQL ${BASH_REMATCH[1]}, but spec.postgresVersion is $PGVERSION"

problem=$(mkdir -p "$PGHOST" "$volume/pgbackrest/log" "$volume/pgbackrest-spool" 2>&1) ||
    die "the data volume is not writable: $problem"

# One pod at a time.
# shellcheck source=reconcilers/files/common/volume-lock.sh
. "$here/volume-lock.sh"
lock_volume "$volume" || die "another pod still uses the data volume after 60 s"

# A restore may leave its result in ${PGDATA}_bootstrap; it becomes PGDATA if that does not exist.
if [ -d "${PGDATA}_bootstrap" ]; then
    if [ -d "$PGDATA" ]; then rmdir "$PGDATA" 2>/dev/null || true; fi
    if [ ! -e "$PGDATA" ]; then mv "${PGDATA}_bootstrap" "$PGDATA"; fi
fi
# A restore was aborted at an unknown point: put the former data back, or end with the cause.
if [ -e "${PGDATA}_unfinished" ]; then
    read -r restore kind _ <"${PGDATA}_unfinished"
    if [ ! -s "$PGDATA/PG_VERSION" ]; then
        VOLUME_LOCKED=yes RESTORE_ID=$restore bash "$here/restore.sh" --undo || exit 1
    elif [ "$kind" = beside ]; then
        rm -rf "${PGDATA}_restore"
    fi
    rm -f "${PGDATA}_unfinished"
fi
# Without this check an empty PGDATA would become a new instance, although data exists in another directory.
if [ ! -e "$PGDATA" ] || { [ ! -e "$PGDATA/PG_VERSION" ] && rmdir "$PGDATA" 2>/dev/null; }; then
    for former in "$volume"/pg[0-9]*; do
        if [ -s "$former/PG_VERSION" ]; then
            [[ ${former##*/} =~ ^pg([0-9]+)$ ]] && die "$former holds data of PostgreSQL ${BASH_REMATCH[1]}, but \
spec.postgresVersion is $PGVERSION: set it to ${BASH_REMATCH[1]}, or remove the directory if you do not need the data"
            die "$PGDATA is missing, but $former holds a data directory: rename it to $PGDATA to start from this data, \
or remove it"
        fi
    done
fi
mkdir -p "$PGDATA"
# PostgreSQL refuses a data directory that the group can read; fsGroup grants that on volumes.
chmod 0700 "$PGDATA" || die "$PGDATA does not belong to user id $(id -u): change its owner"
if [ -s "$PGDATA/PG_VERSION" ]; then
    read -r found <"$PGDATA/PG_VERSION"
    [ "$found" = "$PGVERSION" ] ||
        die "the data in $PGDATA is of PostgreSQL $found, but spec.postgresVersion is $PGVERSION"
fi
# shellcheck source=reconcilers/files/database/wal.sh
. "$here/wal.sh"
place_wal
for tablespace in "${TABLESPACES:-/tablespaces}"/*/; do
    if [ -d "$tablespace" ]; then mkdir -p "${tablespace}data"; fi
done
# Without the volume of a tablespace PostgreSQL would start, and fail at the first query that needs it.
for tablespace in "$PGDATA"/pg_tblspc/*; do
    if [ -L "$tablespace" ] && [ ! -d "$tablespace" ]; then
        die "the database has a tablespace in $(readlink "$tablespace"), whose volume is not mounted"
    fi
done

# For manual repair of the data: Patroni does not start while this file exists.
if [ -e "$volume/sleep-forever" ]; then
    echo "sleeping until $volume/sleep-forever is removed" >&2
    while [ -e "$volume/sleep-forever" ]; do sleep 3; done
    exit 0
fi

# Patroni finds two wrappers first: `postgres` leaves out libraries that the image lacks, and `pg_isready` answers as
# soon as a server has started.
if [ -r "$here/postgres.sh" ]; then
    mkdir -p "$PGHOST.bin"
    ln -sf "$here/postgres.sh" "$PGHOST.bin/postgres"
    ln -sf "$here/isready.sh" "$PGHOST.bin/pg_isready"
    PATH=$PGHOST.bin:$PATH
fi

# The watchdog reads a named pipe. It is created at each start, because a former watchdog may still read the former
# pipe. This process keeps the pipe open: Patroni never waits for a reader, and the watchdog gets end-of-file only after
# this process, which becomes Patroni's supervisor, has ended.
rm -f "$PGHOST.watchdog"
mkfifo -m 0600 "$PGHOST.watchdog" || die "could not create the named pipe $PGHOST.watchdog"
exec {watchdog}<>"$PGHOST.watchdog"
bash "$here/watchdog.sh" <"$PGHOST.watchdog" {watchdog}>&- &

# shellcheck source=reconcilers/files/common/account.sh
if [ -r "$here/account.sh" ]; then . "$here/account.sh"; fi
# Like the pipe of the watchdog, these end with Patroni's supervisor.
exec {woken}> >(exec {watchdog}>&-; exec bash "$here/wake.sh")
if [ -r "$here/write-check.sh" ]; then
    # shellcheck disable=SC2034  # held open
    exec {checked}> >(exec {watchdog}>&- {woken}>&-; exec bash "$here/write-check.sh")
fi
exec bash "$here/supervise.sh" -t "$here/hand-over.sh" -r "$here/rejoin.sh" \
    /pgconf/tls /etc/patroni /etc/postgres -- patroni /etc/patroni
