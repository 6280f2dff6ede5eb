#!/bin/bash
# archive-time.sh STATE: tells what pgbackrest-push.sh has left in STATE, by this pod's annotations: the time of the
# last commit in the pushed segments and what the repositories lack by pgv2.percona.com/archived, why no segment can be
# pushed by pgv2.percona.com/archive-failure. One at a time; what comes meanwhile is told by a later round.
set -u
here=${0%/*} state=$1 pause=${ARCHIVE_PAUSE:-10}
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

# tell NAME VALUE: patches one of our annotations; VALUE is JSON. An API server that is away is asked again for some
# minutes.
tell() {
    local try
    for ((try = 0; try < 30; try++)); do
        curl --silent --fail --output /dev/null --max-time 10 --request PATCH --cacert "$account/ca.crt" \
            --header @<(printf 'Authorization: Bearer %s' "$(<"$account/token")") \
            --header 'Content-Type: application/merge-patch+json' \
            --data "{\"metadata\":{\"annotations\":{\"pgv2.percona.com/$1\":$2}}}" \
            "$server/api/v1/namespaces/$(<"$account/namespace")/pods/$HOSTNAME" && return
        sleep "$pause"
    done
    return 1
}

# quoted TEXT: as a string of JSON.
quoted() { printf '"%s"' "${1//\"/\\\"}"; }

# turn: tells that archiving fails, or that it does no more.
turn() {
    local value=null
    rm -f "$state/turned"
    if [ -r "$state/failed" ]; then value=$(quoted "$(<"$state/failed")"); fi
    # The next push that fails begins anew.
    tell archive-failure "$value" || { : >"$state/turned"; exit 0; }
}

# look SEGMENT: what the repositories lack of before this segment's timeline goes into `gaps`. Once for each timeline:
# members push in order, so what is not there by now is not expected any more, and later ones leave nothing out. A
# repository that does not answer is looked at again in the next round.
look() {
    local timeline repos repo said gaps='' unknown=''
    [[ $1 =~ ^[0-9A-F]{24}$ ]] || return
    timeline=$((16#${1:0:8}))
    if ((timeline == 1)) || [ "$(cat "$state/timeline" 2>/dev/null)" = "$timeline" ]; then return; fi
    repos=$(timeout 30 pgbackrest --stanza=db --output=json info | grep --only-matching '"key":[1-4]')
    [ -n "$repos" ] || return
    for repo in ${repos//'"key":'/}; do
        said=$(bash "$here/archive-gap.sh" "$repo" "$timeline")
        case $? in
        1) gaps+=",{\"repo\":$repo,\"wal\":\"${said% *}\",\"after\":\"${said#* }\"}" ;;
        2) unknown=yes ;;
        esac
    done
    printf '%s' "${gaps#,}" >"$state/gaps"
    [ -n "$unknown" ] || echo "$timeline" >"$state/timeline"
}

# round: tells of what was pushed since the last one. From the newest segment back to one with a commit: one read in
# a busy database, and in a quiet one there are few.
round() {
    local paths last found now gaps i
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
    look "${paths[-1]##*/}"
    gaps=$(cat "$state/gaps" 2>/dev/null)
    # The next segment begins anew.
    found="\"wal\":\"${paths[-1]##*/}\",\"commit\":\"$last\",\"pushed\":\"$now\"${gaps:+,\"gaps\":[$gaps]}"
    tell archived "$(quoted "{$found}")"
}

# What is left after the last look and before the lock is free has found the lock taken: so look once more.
exec {lock}>"$state/lock"
while [ -s "$state/pushed" ] || [ -e "$state/turned" ]; do
    flock --nonblock "$lock" || exit 0
    while [ -s "$state/pushed" ] || [ -e "$state/turned" ]; do
        if [ -e "$state/turned" ]; then turn; fi
        if [ -s "$state/pushed" ]; then round; fi
        sleep "$pause"
    done
    flock --unlock "$lock"
done
