# shellcheck shell=bash disable=SC2154
# To be sourced by restore.sh: which errors of pgBackRest may pass, and how long they are retried.
#
# Environment: RETRY_SECONDS (600): how long faults may last without progress; 0 for no retry.
retries=0 faulty_since='' delay=2

# is_passing STATUS: whether the error, whose output is in the log, may pass: the repository was not reached, or did not
# answer. The statuses are ProtocolError, FileReadError, HostConnectError, ProtocolTimeoutError and ServiceError.
is_passing() {
    case $1 in
    39 | 42 | 49 | 66 | 101) ;;
    *) grep -qE '(Protocol|ProtocolTimeout|FileRead|HostConnect|Service)Error' "$log" || return 1 ;;
    esac
    # What an object store refuses (but 408 and 429) it refuses again; a broken file stays broken, although archive-get
    # reports it as FileReadError.
    ! grep -qE 'HTTP request failed with 4(0[0-79]|2[0-8]|[13-9][0-9])|(Checksum|Crypto|FileInvalid|Format)Error' "$log"
}

# again PROGRESS: wait before the next attempt. Status 1: faults have lasted too long. PROGRESS is 1 if there was progress
# since the last fault, else 0.
again() {
    if [ "$1" = 1 ]; then faulty_since='' delay=2; fi
    [ -n "$faulty_since" ] || faulty_since=$SECONDS
    retries=$((retries + 1))
    # Progress may be an illusion, if every attempt fails late at the same file.
    ((retries <= 100 && SECONDS - faulty_since < ${RETRY_SECONDS:-600})) || return 1
    echo "the repository has failed ($retries times): trying again in $delay s" >&2
    sleep "$delay" & wait $!
    delay=$((delay < 60 ? delay * 2 : delay))
}
