# shellcheck shell=bash
# volume-lock.sh: the two locks of a data volume. This file is sourced.
#
# A pod that was deleted by force may still be shutting down the database when its successor starts on the same volume.
# `.in-use` is held exclusively by the container that works on the volume. Patroni starts PostgreSQL without it, so each
# process of PostgreSQL holds `.in-use-server`, shared: it is free only when no such process can run code any more.
# Without `flock` there is no protection.

# lock_volume DIRECTORY: hold the volume until this process and its children have ended; status 1 if another pod still
# uses it after 60 s.
lock_volume() {
    local server began=$SECONDS
    command -v flock >/dev/null || return 0
    exec {volume_lock}>>"$1/.in-use" {server}>>"$1/.in-use-server" || return 1
    flock --wait 60 "$volume_lock" && flock --wait $((60 - SECONDS + began)) "$server" || return 1
    exec {server}>&-
}

# lock_server DIRECTORY: hold the server's lock in this process and its children; status 1 if a pod that prepares the
# volume keeps it for 5 s.
lock_server() {
    command -v flock >/dev/null || return 0
    exec {server_lock}>>"$1/.in-use-server" || return 1
    flock --shared --wait 5 "$server_lock"
}
