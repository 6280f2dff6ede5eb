#!/bin/bash
# Run a command as a child, and send it a signal when the files of a projected volume have changed.
#
#   supervise.sh [-s SIGNAL] [-c SCRIPT] [-t SCRIPT] [-r SCRIPT] DIRECTORY... -- COMMAND [ARGUMENT...]
#
# kubelet replaces the link ..data of a ConfigMap or Secret volume by a link to a new directory. Within 5 s, or
# SUPERVISE_SECONDS, the child gets SIGNAL (default HUP). Signals are forwarded to the child, and its exit status
# becomes the exit status of this script. SCRIPT is a file for bash:
#   -c  is run with the child's process id at the start and after each change
#   -t  is run when the first TERM arrives, which is forwarded after it, or after 15 s
#   -r  is run when a signal has killed the child that nobody wanted to end: the child is started again if SCRIPT
#       succeeds, at most three times in a minute
set -u

signal=HUP script='' before_term='' may_restart=''
while getopts s:c:t:r: option; do
    case $option in
    s) signal=$OPTARG ;;
    c) script=$OPTARG ;;
    t) before_term=$OPTARG ;;
    r) may_restart=$OPTARG ;;
    *) exit 64 ;;
    esac
done
shift $((OPTIND - 1))
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

child='' early=() ending='' asked='' restarts=()
forward() { if [ -n "$child" ]; then kill -s "$1" "$child" 2>/dev/null; else early+=("$1"); fi; }
end() {
    ending=yes
    if [ "$1" = TERM ] && [ -n "$before_term" ] && [ -z "$asked" ] && [ -n "$child" ]; then
        asked=yes
        # In the background, so that this process notices the end of the child.
        { timeout --kill-after=1 15 bash "$before_term"; forward TERM; } &
    else
        forward "$1"
    fi
}
# shellcheck disable=SC2064  # the name must be expanded now
for name in TERM INT QUIT; do trap "end $name" "$name"; done
# shellcheck disable=SC2064
for name in HUP USR1; do trap "forward $name" "$name"; done

start() {
    local i name
    for i in "${!directories[@]}"; do remember "$i"; done
    # A subshell comes first: it closes the descriptors and resets INT and QUIT, which bash ignores in background
    # commands.
    (
        trap - TERM INT QUIT HUP USR1
        for descriptor in "${descriptors[@]}"; do [ -z "$descriptor" ] || exec {descriptor}<&-; done
        exec "$@"
    ) & child=$!
    for name in "${early[@]}"; do forward "$name"; done
    early=()
    watch & watcher=$!
}

# start_again STATUS: whether a child that ended with this status is to be started again.
start_again() {
    local now time recent=()
    [ -n "$may_restart" ] && [ -z "$ending" ] && (($1 > 128)) && bash "$may_restart" || return 1
    printf -v now '%(%s)T' -1
    for time in "${restarts[@]}"; do if ((now - time < 60)); then recent+=("$time"); fi; done
    restarts=("${recent[@]}" "$now")
    [ -z "$ending" ] && ((${#restarts[@]} <= 3))
}

while :; do
    start "$@"
    # A signal interrupts `wait`; only the wait for an ended child returns its status.
    while kill -0 "$child" 2>/dev/null; do wait "$child"; done
    wait "$child"; status=$?
    child=''
    kill "$watcher" 2>/dev/null
    start_again "$status" || exit "$status"
    echo "$1 was killed (status $status): starting it again" >&2
done
