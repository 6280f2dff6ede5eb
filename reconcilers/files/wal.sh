# shellcheck shell=bash
# To be sourced: `place_wal` puts the write-ahead log of PGDATA where it belongs, while no server runs.
#
# Environment: WAL_DIRECTORY (/pgwal/pg17_wal) when there is a volume for it, else it belongs into the data volume.
# It may be killed at any point: what PGDATA/pg_wal is or leads to is whole at all times, and if it is not there, a
# whole one stands beside it. `die SENTENCE` is the caller's.

# copy_wal FROM TO: whole and on the disk, or not there.
copy_wal() {
    local problem
    rm -rf "$2"
    if problem=$({ mkdir -p "$2" && cp -a "$1/." "$2/" && sync -f "$2"; } 2>&1); then return 0; fi
    rm -rf "$2"
    die "the write-ahead log cannot be moved from $1 to ${2%.part}: ${problem##*$'\n'}"
}

# put_aside FOLDER: what nobody refers to is in the way, and not ours to delete.
put_aside() {
    [ -e "$1" ] || return 0
    if rmdir "$1" 2>/dev/null; then return 0; fi
    echo "$1 is of no database here: renamed to $1_left_$EPOCHSECONDS" >&2
    mv -T "$1" "$1_left_$EPOCHSECONDS"
}

# link_wal: PGDATA/pg_wal leads to WAL_DIRECTORY from now on, in one step.
link_wal() {
    ln -sfn "$WAL_DIRECTORY" "$PGDATA/pg_wal_link"
    mv -T "$PGDATA/pg_wal_link" "$PGDATA/pg_wal"
}

# Killed between two renames: one of them is whole.
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
        # A new database, or a new copy of one, wants an empty folder.
        if [ -n "$wanted" ]; then put_aside "$wanted"; fi
        return 0
    fi
    resume_wal
    present=$wal volume=${wanted:-$PGDATA}
    if [ -L "$wal" ]; then
        present=$(readlink "$wal")
        [ -d "$present" ] || die "the write-ahead log is in $present, whose volume is not mounted"
        rm -rf "${wal}_moved" "${wal}_back" "${wal}_back.part"
    fi
    case $present in "${volume%/*}"/*) return 0 ;; esac
    echo "moving the write-ahead log from $present to ${wanted:-$wal}" >&2
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
