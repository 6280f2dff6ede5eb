#!/bin/bash
# Run a command as a child, and send it a signal when the files of a projected volume have changed.
#
#   supervise.sh [-s SIGNAL] [-c SCRIPT] DIRECTORY... -- COMMAND [ARGUMENT...]
#
# kubelet replaces the link ..data of a ConfigMap or Secret volume by a link to a new directory. Within 5 s, or
# SUPERVISE_SECONDS, the child gets SIGNAL (default HUP). Signals are forwarded to the child, and its exit status
# becomes the exit status of this script. SCRIPT, a file for bash, is run with the child's process id at the start and
# after each change.
set -u

signal=HUP script=''
if [ "${1-}" = -s ]; then signal=$2; shift 2; fi
if [ "${1-}" = -c ]; then script=$2; shift 2; fi
directories=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do directories+=("$1/..data"); shift; done
[ $# -gt 1 ] || { echo "usage: supervise.sh [-s SIGNAL] DIRECTORY... -- COMMAND..." >&2; exit 64; }
shift

descriptors=()
# Keep the present directory open: until it is closed, no new directory can get its inode number.
remember() {
    local descriptor=${descriptors[$1]-}
    [ -z "$descriptor" ] || exec {descriptor}<&-
    descriptors[$1]=
    if [ -d "${directories[$1]}" ]; then exec {descriptor}<"${directories[$1]}"; descriptors[$1]=$descriptor; fi
}

# Runs in the background, with builtins only, so that an idle container stays idle: reading a pipe without a writer is a
# sleep without a process.
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
# shellcheck disable=SC2064  # the name must be expanded now
for name in TERM INT QUIT HUP USR1; do trap "forward $name" "$name"; done
for i in "${!directories[@]}"; do remember "$i"; done
# A subshell comes first: it closes the descriptors and resets INT and QUIT, which bash ignores in background commands.
(
    trap - TERM INT QUIT HUP USR1
    for descriptor in "${descriptors[@]}"; do [ -z "$descriptor" ] || exec {descriptor}<&-; done
    exec "$@"
) & child=$!
for name in "${early[@]}"; do forward "$name"; done
watch & watcher=$!
# A signal interrupts `wait`; only the wait for an ended child returns its status.
while kill -0 "$child" 2>/dev/null; do wait "$child"; done
wait "$child"; status=$?
kill "$watcher" 2>/dev/null; exit "$status"
