#!/bin/bash
# archive-time.sh STATE: tells the time of the last commit in the segments that STATE/pushed names, by this pod's
# annotation pgv2.percona.com/archived. One at a time; what is pushed meanwhile is told by a later round.
set -u
state=$1 pause=${ARCHIVE_PAUSE:-10}
account=${SERVICE_ACCOUNT:-/var/run/secrets/kubernetes.io/serviceaccount}
# Patroni keeps Kubernetes' variables from PostgreSQL, and so from us.
server=${API_SERVER:-https://kubernetes.default.svc}

# commit PATH: time of the last commit in a segment; nothing when there is none.
commit() {
    case ${1##*/} in *.*) return ;; esac # a timeline's history, a backup's label
    # It ends with an error where the segment ends in the middle of a record: what it said until then holds.
    TZ=UTC pg_waldump --rmgr=Transaction "$1" 2>/dev/null |
        sed --quiet 's/.*desc: COMMIT[A-Z_]* .*\([0-9]\{4\}-[0-9-]*\) \([0-9:.]*\) UTC.*/\1T\2+00:00/p' | tail -n 1
}

# tell JSON: patches the annotation; the value is a string, so its quotes are escaped.
tell() {
    curl --silent --fail --output /dev/null --max-time 10 --request PATCH --cacert "$account/ca.crt" \
        --header @<(printf 'Authorization: Bearer %s' "$(<"$account/token")") \
        --header 'Content-Type: application/merge-patch+json' \
        --data "{\"metadata\":{\"annotations\":{\"pgv2.percona.com/archived\":\"${1//\"/\\\"}\"}}}" \
        "$server/api/v1/namespaces/$(<"$account/namespace")/pods/$HOSTNAME"
}

# round: tells of what was pushed since the last one. From the newest segment back to one with a commit: one read in
# a busy database, and in a quiet one there are few.
round() {
    local paths last found now i try
    mv "$state/pushed" "$state/telling"
    mapfile -t paths <"$state/telling"
    last=$(cat "$state/commit" 2>/dev/null)
    for ((i = ${#paths[@]} - 1; i >= 0; i--)); do
        found=$(commit "${paths[i]}")
        if [ -n "$found" ]; then
            last=$found
            printf '%s\n' "$last" >"$state/commit"
            break
        fi
    done
    TZ=UTC printf -v now '%(%Y-%m-%dT%H:%M:%SZ)T' -1
    # An API server that is away is asked again for some minutes; the next segment begins anew.
    for ((try = 0; try < 30; try++)); do
        tell "{\"wal\":\"${paths[-1]##*/}\",\"commit\":\"$last\",\"pushed\":\"$now\"}" && break
        sleep "$pause"
    done
}

# What is pushed after the last look and before the lock is free has found the lock taken: so look once more.
exec {lock}>"$state/lock"
while [ -s "$state/pushed" ]; do
    flock --nonblock "$lock" || exit 0
    while [ -s "$state/pushed" ]; do
        round
        sleep "$pause"
    done
    flock --unlock "$lock"
done
