# shellcheck shell=bash
# To be sourced by restore.sh: the directories on the data volume, and the restore to which they belong.
#
# While PGDATA may be absent, ${PGDATA}_unfinished names the restore. Its content is `ID beside FORMER`, FORMER being
# `kept`, `none` (the volume was empty) or `lost`; or `ID over SUM LOG`, SUM being the checksum of the former data (see
# `sum`) or `lost`, and LOG the former WAL directory on another volume. A last word is the segment that recovery has to
# reach (see restore-archive.sh), or `-`; LOG is `-` before it if there is none. A directory ${PGDATA}_restore belongs to this
# restore only if that file names it. The caller defines `say` and `remove`.
new=${PGDATA}_restore before=${PGDATA}_before_$RESTORE_ID mark=pgoperator-restore unfinished=${PGDATA}_unfinished
volume=${PGDATA%/*}

# park_log DIRECTORY: rename the former data's WAL directory, so that the restored data can use the usual name.
park_log() {
    local present parked=${WAL_DIRECTORY-}_before_$RESTORE_ID
    [ -n "${WAL_DIRECTORY-}" ] && [ -L "$1/pg_wal" ] || return 0
    present=$(readlink "$1/pg_wal")
    [ "$present" != "$parked" ] || return 0
    if [ -d "$present" ]; then mv -T "$present" "$parked" || { say "could not rename $present to $parked"; exit 2; }; fi
    if [ -d "$parked" ]; then ln -sfn "$parked" "$1/pg_wal"; fi
}

is_marked() { [ -r "$1/$mark" ] && [ "$(<"$1/$mark")" = "$RESTORE_ID $2" ]; }

is_ours() { [ "$owner $kind" = "$RESTORE_ID beside" ] || is_marked "$1" fetched || is_marked "$1" recovered; }

# note KIND FORMER [LOG]: record the plan for the former data before the restore changes it.
note() {
    owner=$RESTORE_ID kind=$1 former=$2 parked=${3:--}
    { echo "$owner $kind $former $parked ${end:--}" >"$unfinished.part" && mv -T "$unfinished.part" "$unfinished"; } ||
        { say "the data volume is not writable"; exit 2; }
    sync -f "$volume" 2>/dev/null || sync
}

# sum DIRECTORY: print a checksum of the names, sizes and times of all files in it, links followed to other volumes.
# pgBackRest removes pg_control before it changes anything else, so an equal checksum means unchanged data.
sum() {
    { cd "$1" && ls -ALRn --time-style=+%s.%N . 2>&1; } |
        sed -E 's/^[^ ]+ +[0-9]+ +[0-9]+ +[0-9]+ +//; /^total /d' | sha256sum | cut -c 1-64
}

# put_aside DIRECTORY: rename a directory of unknown origin, which may be the only remaining data.
put_aside() {
    [ -e "$1" ] || return 0
    echo "$1 belongs to no known restore: renamed to $1_left_$EPOCHSECONDS" >&2
    mv -T "$1" "$1_left_$EPOCHSECONDS" || { say "could not rename $1, which belongs to no known restore"; exit 2; }
}

# prepare_over: rename PGDATA to the directory to restore into. Fast, and needs no space for a second copy.
prepare_over() {
    local log
    if [ "$owner $kind" != "$RESTORE_ID over" ]; then
        if [ -s "$PGDATA/PG_VERSION" ]; then
            put_aside "$new"
            rm -f "$PGDATA/postmaster.pid"
            log=$(readlink "$PGDATA/pg_wal") || log=-
            note over "$(sum "$PGDATA")" "$log"
        else
            note over lost "$parked"
        fi
    fi
    if [ -d "$PGDATA" ] && [ -e "$new" ]; then rmdir "$PGDATA" 2>/dev/null; fi
    if [ ! -e "$new" ] && [ -e "$PGDATA" ]; then
        mv -T "$PGDATA" "$new" || { say "could not rename $PGDATA to $new"; exit 2; }
    fi
    # Left by a killed recovery; its server has ended, because it would hold the volume's lock otherwise.
    rm -f "$new/postmaster.pid"
}

# prepare_beside: make room for a new directory next to PGDATA.
prepare_beside() {
    if [ "$owner $kind" != "$RESTORE_ID beside" ]; then
        if [ "$kind" != over ]; then put_aside "$new"; fi
        if [ -s "$PGDATA/PG_VERSION" ]; then note beside kept; elif [ "$former" = lost ]; then note beside lost
        else note beside none; fi
    fi
    remove "$new"
}

# unpark_log: give the former data's WAL directory its name back. After a kill between rename and link, fix the link.
unpark_log() {
    local parked=${WAL_DIRECTORY-}_before_$RESTORE_ID
    [ -n "${WAL_DIRECTORY-}" ] && [ -L "$PGDATA/pg_wal" ] || return 0
    if [ -d "$parked" ] && [ ! -e "$WAL_DIRECTORY" ]; then mv -T "$parked" "$WAL_DIRECTORY"; fi
    if [ ! -d "$PGDATA/pg_wal" ] && [ -d "$WAL_DIRECTORY" ]; then ln -sfn "$WAL_DIRECTORY" "$PGDATA/pg_wal"; fi
}

# drop_log DIRECTORY: remove its WAL directory on another volume and the link to it, unless PGDATA uses it.
drop_log() {
    if [ -L "$1/pg_wal" ] && [ ! "$1/pg_wal" -ef "$PGDATA/pg_wal" ]; then rm -rf "$(readlink "$1/pg_wal")" "$1/pg_wal"; fi
}

# put_back ID: undo the changes of restore ID to the volume. Status 3: the former data is lost; 1: a rename failed.
put_back() {
    local RESTORE_ID=$1 before=${PGDATA}_before_$1
    if [ "$owner $kind" = "$1 over" ]; then put_back_over; return; fi
    if [ -e "$before" ]; then
        if is_marked "$PGDATA" recovered; then
            if is_ours "$new"; then remove "$new"; else put_aside "$new"; fi
            mv -T "$PGDATA" "$new"
        fi
        if [ -d "$PGDATA" ]; then rmdir "$PGDATA" 2>/dev/null; fi
        [ -e "$PGDATA" ] || mv -T "$before" "$PGDATA" || { say "could not rename $before to $PGDATA"; return 1; }
    fi
    if is_ours "$new"; then drop_log "$new"; remove "$new"; fi
    if [ -e "$PGDATA" ]; then unpark_log; fi
    [ "$owner" = "$1" ] || return 0
    if [ ! -s "$PGDATA/PG_VERSION" ] && [ "$former" != none ]; then former=lost; return 3; fi
    forget
}

put_back_over() {
    if [ -s "$PGDATA/PG_VERSION" ]; then
        # Killed before the first rename or after the last rename.
        if is_marked "$PGDATA" recovered; then drop_former_log; return 3; fi
        forget
        return 0
    fi
    if [ -e "$new" ] && [ "$former" != lost ] && [ "$(sum "$new")" = "$former" ]; then
        if [ -d "$PGDATA" ]; then rmdir "$PGDATA" 2>/dev/null; fi
        mv -T "$new" "$PGDATA" || { say "could not rename $new to $PGDATA"; return 1; }
        forget
        return 0
    fi
    former=lost
    return 3
}

# drop_former_log: remove the former WAL directory, which is unused once pgBackRest has restored pg_wal into PGDATA.
drop_former_log() {
    if [[ $parked = /* ]] && [ -d "$PGDATA/pg_wal" ] && [ ! -L "$PGDATA/pg_wal" ]; then rm -rf "$parked"; fi
}

# forget: PGDATA is complete, so remove the record of the restore.
forget() {
    sync -f "$volume" 2>/dev/null || sync
    rm -f "$unfinished"
    owner='' kind='' former='' parked='' end=''
}

# One pod at a time: a container that should have stopped may still use the volume. `database.sh` holds the lock already
# when it runs this script.
volume_lock=''
if [ -z "${VOLUME_LOCKED-}" ]; then
    # shellcheck source=reconcilers/files/common/volume-lock.sh disable=SC2154  # `here` is set by restore.sh
    . "$here/volume-lock.sh"
    lock_volume "$volume" || { say "another pod still uses the data volume after 60 s"; exit 2; }
fi
if [ -z "$volume_lock" ]; then exec {volume_lock}>/dev/null; fi
owner='' kind='' former='' parked='' end=''
if [ -r "$unfinished" ]; then read -r owner kind former parked end <"$unfinished"; fi
if [ "$owner" != "$RESTORE_ID" ] || [ "$end" = - ]; then end=''; fi
