# shellcheck shell=bash
# To be sourced: `place_wal` moves the WAL directory of PGDATA to its volume while no server runs.
#
# Environment: WAL_DIRECTORY (/pgwal/pg17_wal) if WAL has its own volume; without it WAL is in the data volume. The
# script may be killed at any point: PGDATA/pg_wal or its link target is complete at all times, and if it is missing, a
# complete directory exists next to it. The caller defines `die MESSAGE`.

# copy_wal FROM TO: afterwards the copy is complete and synced, or does not exist.
copy_wal() {
    local problem
    rm -rf "$2"
    if problem=$({ mkdir -p "$2" && cp -a "$1/." "$2/" && sync -f "$2"; } 2>&1); then return 0; fi
    rm -rf "$2"
    die "could not move the WAL directory from $1 to ${2%.part}: ${problem##*$'\n'}"
}

# put_aside DIRECTORY: rename a directory that nothing refers to; it may hold data, so it is not deleted.
put_aside() {
    [ -e "$1" ] || return 0
    if rmdir "$1" 2>/dev/null; then return 0; fi
    echo "$1 belongs to no database on this volume: renamed to $1_left_$EPOCHSECONDS" >&2
    mv -T "$1" "$1_left_$EPOCHSECONDS"
}

# link_wal: replace PGDATA/pg_wal by a link to WAL_DIRECTORY, atomically.
link_wal() {
    ln -sfn "$WAL_DIRECTORY" "$PGDATA/pg_wal_link"
    mv -T "$PGDATA/pg_wal_link" "$PGDATA/pg_wal"
}

# After a kill between two renames one of these directories is complete.
resume_wal() {
    if [ -L "$PGDATA/pg_wal" ] || [ -e "$PGDATA/pg_wal" ]; then return 0; fi
    if [ -d "$PGDATA/pg_wal_back" ]; then
        mv -T "$PGDATA/pg_wal_back" "$PGDATA/pg_wal"
    elif [ -d "$PGDATA/pg_wal_moved" ] && [ -n "${WAL_DIRECTORY-}" ] && [ -d "$WAL_DIRECTORY" ]; then
        link_wal
    elif [ -d "$PGDATA/pg_wal_moved" ]; then
        mv -T "$PGDATA/pg_wal_moved" "$PGDATA/pg_wal"
    fi
}

place_wal() {
    local wal=$PGDATA/pg_wal wanted=${WAL_DIRECTORY-} volume present
    if [ ! -s "$PGDATA/PG_VERSION" ]; then
        # initdb and a new copy of a database need an empty directory.
        if [ -n "$wanted" ]; then put_aside "$wanted"; fi
        return 0
    fi
    resume_wal
    present=$wal volume=${wanted:-$PGDATA}
    if [ -L "$wal" ]; then
        present=$(readlink "$wal")
        [ -d "$present" ] || die "the WAL directory is in $present, whose volume is not mounted"
        rm -rf "${wal}_moved" "${wal}_back" "${wal}_back.part"
    fi
    case $present in "${volume%/*}"/*) return 0 ;; esac
    echo "moving the WAL directory from $present to ${wanted:-$wal}" >&2
    if [ -z "$wanted" ]; then
        copy_wal "$present" "${wal}_back.part"
        mv -T "${wal}_back.part" "${wal}_back"
        rm "$wal"
        mv -T "${wal}_back" "$wal"
    else
        put_aside "$wanted"
        copy_wal "$present" "$wanted.part"
        if [ "$present" = "$wal" ]; then mv -T "$wal" "${wal}_moved"; present=${wal}_moved; fi
        mv -T "$wanted.part" "$wanted"
        link_wal
    fi
    rm -rf "$present"
}
