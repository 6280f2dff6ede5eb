#!/bin/bash
# Run a command as a child, and tell it when the files of a projected volume have changed.
#
#   supervise.sh [-s SIGNAL] [-c SCRIPT] DIRECTORY... -- COMMAND [ARGUMENT...]
#
# kubelet swaps the link ..data of a ConfigMap or Secret volume for one to a new directory. Within 5 s, or
# SUPERVISE_SECONDS, the child gets SIGNAL (default HUP). Signals for us go to it; its exit status is ours.
# SCRIPT, a file for bash, is run with the child's process id at the start and after each change.
set -u

signal=HUP script=''
if [ "${1-}" = -s ]; then signal=$2; shift 2; fi
if [ "${1-}" = -c ]; then script=$2; shift 2; fi
directories=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do directories+=("$1/..data"); shift; done
[ $# -gt 1 ] || { echo "usage: supervise.sh [-s SIGNAL] DIRECTORY... -- COMMAND..." >&2; exit 64; }
shift

descriptors=()
# Hold the present directory open: while it is, no new one can get its inode number.
remember() {
    local descriptor=${descriptors[$1]-}
    [ -z "$descriptor" ] || exec {descriptor}<&-
    descriptors[$1]=
    if [ -d "${directories[$1]}" ]; then exec {descriptor}<"${directories[$1]}"; descriptors[$1]=$descriptor; fi
}

# Runs beside the child, in builtins only, so that an idle container stays idle: reading a pipe that nobody
# writes to is a sleep without a process.
watch() {
    local idle i
    trap - TERM HUP USR1
    exec {idle}<> <(:)
    [ -z "$script" ] || bash "$script" "$child"
    while kill -0 "$child" 2>/dev/null; do
        read -r -t "${SUPERVISE_SECONDS:-5}" -u "$idle"
        for i in "${!directories[@]}"; do
            [ -d "${directories[$i]}" ] || continue
            [ "/proc/self/fd/${descriptors[$i]:-none}" -ef "${directories[$i]}" ] && continue
            remember "$i"
            kill -s "$signal" "$child" 2>/dev/null
            [ -z "$script" ] || bash "$script" "$child"
        done
    done
}

child='' early=()
forward() { if [ -n "$child" ]; then kill -s "$1" "$child" 2>/dev/null; else early+=("$1"); fi; }
# shellcheck disable=SC2064  # the name is meant to be put in now
for name in TERM INT QUIT HUP USR1; do trap "forward $name" "$name"; done
for i in "${!directories[@]}"; do remember "$i"; done
# Its own shell first: to give up our descriptors, and to heed INT and QUIT, which bash has commands in the
# background ignore.
(
    trap - TERM INT QUIT HUP USR1
    for descriptor in "${descriptors[@]}"; do [ -z "$descriptor" ] || exec {descriptor}<&-; done
    exec "$@"
) & child=$!
for name in "${early[@]}"; do forward "$name"; done
watch & watcher=$!
# A signal ends a wait early; only the wait for a child that is gone tells its status.
while kill -0 "$child" 2>/dev/null; do wait "$child"; done
wait "$child"; status=$?
kill "$watcher" 2>/dev/null; exit "$status"
