#!/bin/bash
# Entry point of the container `database`: checks and prepares the data volume, then runs Patroni.
#
# Environment: PGDATA (/pgdata/pg17), PGVERSION (17), PGHOST (folder of the socket), WAL_DIRECTORY (see wal.sh).
# Nothing is ever deleted but what has been copied to another volume.
# Whatever is wrong with image or data ends the container with one sentence in the termination log.
set -eu
here=${0%/*} volume=${PGDATA%/*}
if [ -d "/usr/pgsql-$PGVERSION/bin" ]; then PATH=/usr/pgsql-$PGVERSION/bin:$PATH; fi

die() {
    echo "$1" >&2
    echo "$1" >"${TERMINATION_LOG:-/dev/termination-log}" || true
    exit 1
}

version=$(postgres --version) || die "the image has no program postgres that runs"
[[ $version =~ \(PostgreSQL\)\ ([0-9]+) ]] || die "the image's postgres calls itself '$version'"
[ "${BASH_REMATCH[1]}" = "$PGVERSION" ] ||
    die "the image holds PostgreSQL ${BASH_REMATCH[1]}, but spec.postgresVersion is $PGVERSION"

problem=$(mkdir -p "$PGHOST" "$volume/pgbackrest/log" "$volume/pgbackrest-spool" 2>&1) ||
    die "the data volume is not writable: $problem"

# One pod at a time: a pod that was deleted by force may still be shutting the database down when its successor
# starts on the same volume. Whoever is here holds the lock until its last process has ended, and by then it has
# given up its leadership. A file system without locks is taken as it is.
if command -v flock >/dev/null; then
    exec {volume_lock}>>"$volume/.in-use"
    flock --wait 60 "$volume_lock" || die "another pod still uses the data volume after 60 s"
fi

# A restore leaves its result beside; it is taken over where there is nothing yet.
if [ -d "${PGDATA}_bootstrap" ]; then
    if [ -d "$PGDATA" ]; then rmdir "$PGDATA" 2>/dev/null || true; fi
    if [ ! -e "$PGDATA" ]; then mv "${PGDATA}_bootstrap" "$PGDATA"; fi
fi
# A restore that was given up between its two renames: what was there before is there again.
if [ ! -e "$PGDATA" ]; then
    for former in "${PGDATA}"_before_*; do
        if [ -s "$former/PG_VERSION" ]; then mv "$former" "$PGDATA"; break; fi
    done
fi
mkdir -p "$PGDATA"
# PostgreSQL refuses a folder that others may read, which the group of a volume (fsGroup) is given.
chmod 0700 "$PGDATA" || die "$PGDATA belongs to another user than $(id -u)"
if [ -s "$PGDATA/PG_VERSION" ]; then
    read -r found <"$PGDATA/PG_VERSION"
    [ "$found" = "$PGVERSION" ] ||
        die "the data in $PGDATA is of PostgreSQL $found, but spec.postgresVersion is $PGVERSION"
fi
# shellcheck source=reconcilers/files/wal.sh
. "$here/wal.sh"
place_wal
for tablespace in "${TABLESPACES:-/tablespaces}"/*/; do
    if [ -d "$tablespace" ]; then mkdir -p "${tablespace}data"; fi
done
# Without one of them PostgreSQL would start and fail at the first query that needs it.
for tablespace in "$PGDATA"/pg_tblspc/*; do
    if [ -L "$tablespace" ] && [ ! -d "$tablespace" ]; then
        die "the database has a tablespace in $(readlink "$tablespace"), whose volume is not mounted"
    fi
done

# For whoever has to repair the data by hand: no Patroni while this file is there.
if [ -e "$volume/sleep-forever" ]; then
    echo "sleeping until $volume/sleep-forever is removed" >&2
    while [ -e "$volume/sleep-forever" ]; do sleep 3; done
    exit 0
fi

# Patroni finds our own `postgres` first, which leaves out libraries that the image lacks, and our own `pg_isready`,
# which answers as soon as a server has started.
if [ -r "$here/postgres.sh" ]; then
    mkdir -p "$PGHOST.bin"
    ln -sf "$here/postgres.sh" "$PGHOST.bin/postgres"
    ln -sf "$here/isready.sh" "$PGHOST.bin/pg_isready"
    PATH=$PGHOST.bin:$PATH
fi

# Patroni's watchdog reads a pipe, a new one each time, because a former watchdog may still read the former one. We
# hold it open, too: so Patroni never waits for a reader, and the watchdog sees its end only when we have ended.
rm -f "$PGHOST.watchdog"
mkfifo -m 0600 "$PGHOST.watchdog" || die "no named pipe can be made: $PGHOST.watchdog"
exec {watchdog}<>"$PGHOST.watchdog"
bash "$here/watchdog.sh" <"$PGHOST.watchdog" {watchdog}>&- &

# shellcheck source=reconcilers/files/account.sh
if [ -r "$here/account.sh" ]; then . "$here/account.sh"; fi
exec bash "$here/supervise.sh" /pgconf/tls /etc/patroni /etc/postgres -- patroni /etc/patroni
