#!/bin/bash
# adopt.sh data|repository TARGET [FOLDER]: copy a volume of a former cluster, mounted at /source, into a volume of a
# new cluster. The source is only read. `data`: FOLDER (pg17) becomes the data directory TARGET, and the WAL volume at
# /source-wal becomes its pg_wal. `repository`: the content of FOLDER becomes the repository TARGET, with a mark of the
# new cluster (see pgbackrest-mark.sh), $NAMESPACE/$NAME with the uid $UID_OF_CLUSTER.
#
# The script may be killed and started again at any point: the copy is valid only after a rename at the end. Status 1:
# it cannot succeed, and the termination message has the cause.
set -u
what=$1 target=$2 folder=${3-} from=${SOURCE:-/source} wal=${SOURCE_WAL:-/source-wal}
message=${TERMINATION_LOG:-/dev/termination-log}
source=$from/$folder

die() {
    echo "$1" >&2
    echo "${1:0:3000}" >"$message"
    exit 1
}

# copy FROM TO: after a failure, report the error message of cp.
copy() {
    local said
    said=$(cp --recursive --preserve=mode,timestamps,links --no-dereference "$1" "$2" 2>&1) ||
        die "could not copy ${1#"$from"/}: ${said:0:1000}"
}

data() {
    if [ -s "$target/PG_VERSION" ]; then exit 0; fi
    [ -s "$source/PG_VERSION" ] || die "the volume has no data directory '$folder': it holds $(ls -m "$from" 2>&1)"
    [ "$(<"$source/PG_VERSION")" = "$PGVERSION" ] ||
        die "the data is of PostgreSQL $(<"$source/PG_VERSION"), but spec.postgresVersion is $PGVERSION"
    if [ -n "$(ls -A "$source/pg_tblspc" 2>/dev/null)" ]; then
        die "the data has tablespaces on other volumes, which is not supported"
    fi
    local new=${target}_adopted
    rm -rf "$new"
    copy "$source" "$new"
    if [ -L "$source/pg_wal" ]; then
        local folder_of_wal
        folder_of_wal=${WAL_FOLDER:-$(basename "$(readlink "$source/pg_wal")")}
        [ -d "$wal/$folder_of_wal" ] || die "the WAL directory is on another volume: name it in pgWALVolume"
        rm "$new/pg_wal"
        copy "$wal/$folder_of_wal" "$new/pg_wal"
    fi
    # These files describe processes and members of the former cluster.
    rm -f "$new/postmaster.pid" "$new/patroni.dynamic.json"
    chmod 0700 "$new"
    sync
    if [ -d "$target" ]; then rmdir "$target" || die "$target exists and is not empty"; fi
    mv -T "$new" "$target" || die "could not rename $new to $target"
}

repository() {
    local part mark=$target/owner/db
    [ -d "$source/archive" ] && [ -d "$source/backup" ] ||
        die "the volume has no repository at '$folder': it holds $(ls -m "$from" 2>&1)"
    for part in archive backup; do
        if [ -e "$target/$part" ]; then continue; fi
        rm -rf "$target/.adopted-$part"
        copy "$source/$part" "$target/.adopted-$part"
        sync
        mv -T "$target/.adopted-$part" "$target/$part" || die "could not rename the copy of $part"
    done
    if [ -e "$mark" ]; then return; fi
    # Without a system identifier, which only a running server knows.
    { mkdir -p "${mark%/*}" && printf 'namespace=%s\nname=%s\nuid=%s\nsystem-identifier=\n' \
        "$NAMESPACE" "$NAME" "$UID_OF_CLUSTER" >"$mark.new" && mv "$mark.new" "$mark"; } ||
        die "could not mark the repository as that of this cluster"
}

"$what"
sync
