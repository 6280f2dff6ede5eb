#!/bin/bash
# archive-time.sh STATE: report the files that pgbackrest-push.sh has written to STATE as annotations of this pod.
# pgv2.percona.com/archived has the time of the last commit in the pushed segments, the segments that the repositories
# lack (`gaps`), and repositories of which that is not known (`unknown`); pgv2.percona.com/archive-failure has the cause
# why no segment can be pushed. Only one process at a time; a later round reports changes that arrive during a round.
set -u
here=${0%/*} state=$1 pause=${ARCHIVE_PAUSE:-10}
# shellcheck source=reconcilers/files/database/annotate.sh
. "$here/annotate.sh"
repos=$(cat "${PGBACKREST_CONF:-/etc/pgbackrest/conf.d}"/*.conf 2>/dev/null |
    sed --quiet 's/^repo\([1-4]\)-path *=.*/\1/p' | sort -u)
repos=${repos:-1}
bytes=$((16 << 20)) # of a segment

# commit PATH: print the time of the last commit in a segment; nothing without a commit.
commit() {
    case ${1##*/} in *.*) return ;; esac # a timeline's history, a backup's label
    # pg_waldump fails if the segment ends in the middle of a record; the output before that is valid.
    TZ=UTC pg_waldump --rmgr=Transaction "$1" 2>/dev/null |
        sed --quiet 's/.*desc: COMMIT[A-Z_]* .*\([0-9]\{4\}-[0-9-]*\) \([0-9:.]*\) UTC.*/\1T\2+00:00/p' | tail -n 1
}

# report NAME VALUE: annotate this pod. While the API server is unreachable, retry for some minutes.
report() {
    local try
    for ((try = 0; try < 30; try++)); do
        annotate "$@" && return
        sleep "$pause"
    done
    return 1
}

# turn: report that archiving fails, or that it works again.
turn() {
    local value=null
    rm -f "$state/turned"
    if [ -r "$state/failed" ]; then value=$(json "$(<"$state/failed")"); fi
    # If the API server stays unreachable, the next failed push starts this script again.
    report archive-failure "$value" || { : >"$state/turned"; exit 0; }
}

# number SEGMENT: print the number of the segment, counted from the beginning of all WAL.
number() { echo $((16#${1:8:8} * (0x100000000 / bytes) + 16#${1:16:8})); }

# follow PATH...: write a hole in the pushed segments of one timeline to `hole`: the first missing segment, and the time
# at which it was found. Members push in order, so such a segment was dropped (archive-push-queue-max) or left to another
# archive_command. Only a backup that begins after this time leads to what follows the hole.
follow() {
    local path name last now next each=$((0x100000000 / bytes))
    last=$(cat "$state/last" 2>/dev/null)
    for path; do
        name=${path##*/}
        # A segment may be pushed again, and the rest of a former timeline late.
        [[ $name =~ ^[0-9A-F]{24}$ && $name > $last ]] || continue
        if [ "${name:0:8}" = "${last:0:8}" ]; then
            next=$(($(number "$last") + 1))
            if (($(number "$name") > next)); then
                TZ=UTC printf -v now '%(%Y%m%d-%H%M%S)T' -1
                printf '%s%08X%08X %s\n' "${name:0:8}" $((next / each)) $((next % each)) "$now" >"$state/hole"
            fi
        fi
        last=$name
    done
    echo "$last" >"$state/last"
}

# look PATH: write the segments before this segment's timeline that the repositories lack to `gaps`, and backups that
# are not in its history. Once for each timeline: members push in order, so a segment that is missing now will not
# arrive, and `follow` finds later ones. A repository that does not answer is in `unknown`, and is queried again in the
# next round. A new primary first pushes what the former could not (pre-promote.sh): a segment of an earlier timeline,
# of which newer backups may know nothing, is no reason to look.
look() {
    local timeline repo said name=${1##*/} history gaps='' unknown=''
    [[ $name =~ ^[0-9A-F]{24}$ ]] || return
    for history in "${1%/*}"/????????.history; do
        if [ -e "$history" ] && [[ ${history##*/} > ${name:0:8}.history ]]; then return; fi
    done
    timeline=$((16#${name:0:8}))
    if ((timeline == 1)) || [ "$(cat "$state/timeline" 2>/dev/null)" = "$timeline" ]; then return; fi
    for repo in $repos; do
        said=$(SEGMENT_BYTES=$bytes bash "$here/archive-gap.sh" "$repo" "$timeline")
        case $? in
        0 | 4) ;;
        1) gaps+=",{\"repo\":$repo,\"wal\":\"${said% *}\",\"after\":\"${said#* }\"}" ;;
        3) said=${said#backup } gaps+=",{\"repo\":$repo,\"wal\":\"\",\"after\":\"${said%% *}\"}" ;;
        *) unknown+=",$repo" ;;
        esac
    done
    printf '%s' "${gaps#,}" >"$state/gaps"
    printf '%s' "${unknown#,}" >"$state/unknown"
    [ -n "$unknown" ] || echo "$timeline" >"$state/timeline"
}

# missing: print everything that is known to be missing, as JSON without brackets.
missing() {
    local gaps wal='' at='' repo
    gaps=$(cat "$state/gaps" 2>/dev/null)
    read -r wal at 2>/dev/null <"$state/hole"
    for repo in ${wal:+$repos}; do
        gaps+=${gaps:+,}"{\"repo\":$repo,\"wal\":\"$wal\",\"after\":\"$at\"}"
    done
    printf '%s' "$gaps"
}

# round: report the segments pushed since the last round. The search for a commit starts with the newest segment: in a
# busy database the first read finds one, and in a quiet database there are few segments.
round() {
    local paths last found now gaps unknown i
    # A round that was interrupted is repeated: a segment that is forgotten would be taken for a missing one.
    [ -s "$state/reporting" ] || mv "$state/pushed" "$state/reporting"
    mapfile -t paths <"$state/reporting"
    found=$(stat --format=%s "${paths[-1]}" 2>/dev/null)
    if [[ ${paths[-1]##*/} =~ ^[0-9A-F]{24}$ && ${found:-0} -ge $((1 << 20)) ]]; then bytes=$found; fi
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
    follow "${paths[@]}"
    look "${paths[-1]}"
    gaps=$(missing) unknown=$(cat "$state/unknown" 2>/dev/null)
    # If this fails, the report of the next segment has the same information.
    found="\"wal\":\"${paths[-1]##*/}\",\"commit\":\"$last\",\"pushed\":\"$now\""
    report archived "$(json "{$found${gaps:+,\"gaps\":[$gaps]}${unknown:+,\"unknown\":[$unknown]}}")"
    rm -f "$state/reporting"
}

# A file that is written after the last check and before the lock is released finds the lock taken: check once more.
exec {lock}>"$state/lock"
work() { [ -s "$state/pushed" ] || [ -s "$state/reporting" ] || [ -e "$state/turned" ]; }
while work; do
    flock --nonblock "$lock" || exit 0
    while work; do
        if [ -e "$state/turned" ]; then turn; fi
        if [ -s "$state/pushed" ] || [ -s "$state/reporting" ]; then round; fi
        sleep "$pause"
    done
    flock --unlock "$lock"
done
