#!/bin/bash
# archive-gap.sh REPO TIMELINE: whether repository REPO (1 to 4) leads from its newest backup to TIMELINE (2; 0: whatever
# it is) without a segment missing. Says so in one line.
#
# A primary that could not archive and lost its office leaves a gap where the next one does not have its segments any
# more. From there on nothing can be replayed that begins before it: no restore, no new replica.
#   0  whole, or there is no change of the timeline since the backup
#   1  a segment is missing: "SEGMENT LABEL", the label of the backup before it
#   2  not known: the repository does not answer in time, or not as expected
#   3  the backup is not of this timeline's history, or the archive does not reach the timeline
#   4  there is no backup
set -u
repo=$1 timeline=$2 seconds=${GAP_SECONDS:-12}
size=$((16 << 20)) # bytes of a segment; another size is found out below, and nothing is said then

ask() { timeout "$seconds" pgbackrest --stanza=db "--repo=$repo" --io-timeout=5 "$@"; }
last() { grep --only-matching --extended-regexp "\"$1\":\"$2\"" <<<"$info" | tail -n 1 | cut -d '"' -f 4; }
say() { local status=$1; shift; echo "$*"; exit "$status"; }
# value LSN: as a number.
value() { echo $(((16#${1%/*} << 32) + 16#${1#*/})); }
# number SEGMENT: counted from the beginning of all WAL.
number() { echo $((16#${1:8:8} * ((1 << 32) / size) + 16#${1:16:8})); }

info=$(ask --output=json info 2>&1) || say 2 "repo$repo does not answer: ${info:0:300}"
label=$(last label '[0-9FDI_-]+') id=$(last id '[0-9]+-[0-9]+')
start=$(last start '[0-9A-F]{24}') begin=$(last start '[0-9A-F]+/[0-9A-F]+')
stop=$(last stop '[0-9A-F]{24}') end=$(last stop '[0-9A-F]+/[0-9A-F]+')
[ -n "$label" ] || say 4 "repo$repo holds no backup"
[ -n "$id" ] && [ -n "$stop" ] && [ -n "$begin" ] && [ -n "$end" ] || say 2 "what repo$repo says of its backups cannot be read"
(($(value "$begin") / size == $(number "$start"))) || say 2 "segments are not of 16 MiB"
own=$((16#${stop:0:8})) timeline=$((10#$timeline))
((timeline && own != timeline)) || say 0 "no change of the timeline since $label"
((own < timeline)) || say 3 "$label is of timeline $own"

printf -v name '%08X.history' "$timeline"
history=$(ask --ignore-missing repo-get "archive/db/$id/$name" 2>&1)
case $? in 0) ;; 1) say 3 "$name is not in repo$repo yet" ;; *) say 2 "repo$repo: ${history:0:300}" ;; esac

# expected: what must be there: from the backup's last segment to the last change of the timeline, each under the
# timeline that completed it.
expected() {
    local from to parent switch _ found=''
    from=$(($(number "$stop") + 1))
    while read -r parent switch _; do
        [[ $parent =~ ^[0-9]+$ ]] || continue
        if [ -z "$found" ]; then
            # One that ended after the change has what is no part of this history.
            ((parent == own && $(value "$switch") >= $(value "$end"))) || continue
            found=yes
        fi
        to=$(($(value "$switch") / size))
        for ((; from < to; from++)); do
            printf '%08X%08X%08X\n' "$parent" $((from / ((1 << 32) / size))) $((from % ((1 << 32) / size)))
        done
    done <<<"$history"
    [ -n "$found" ]
}

wanted=$(expected) || say 3 "$label is not of the history of timeline $timeline"
[ -n "$wanted" ] || say 0 "no whole segment since $label"
there=$(ask --recurse repo-ls "archive/db/$id" 2>&1) || say 2 "repo$repo: ${there:0:300}"
missing=$(comm -23 <(echo "$wanted") <(sed --quiet 's|.*/\([0-9A-F]\{24\}\)-.*|\1|p' <<<"$there" | LC_ALL=C sort -u) |
    head -n 1)
[ -z "$missing" ] || say 1 "$missing $label"
say 0 "whole since $label"
