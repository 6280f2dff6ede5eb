#!/bin/bash
# archive-gap.sh REPO TIMELINE: check whether repository REPO (1 to 4) has every WAL segment from its newest backup to
# TIMELINE (such as 2; 0 for any). Print the result in one line.
#
# A primary that could not archive before a failover leaves a gap if the next primary no longer has these segments. WAL
# before the gap cannot be replayed beyond it, neither by a restore nor by a new replica. Exit status:
#   0  no segment is missing, or the timeline has not changed since the backup
#   1  a segment is missing; the output is "SEGMENT LABEL", LABEL being the backup before the segment
#   2  unknown: the repository does not answer in time, its answer cannot be parsed, or it lacks the timeline's history
#   3  the backup is not in this timeline's history
#   4  the repository has no backup
set -u
repo=$1 timeline=$2 seconds=${GAP_SECONDS:-12}
size=${SEGMENT_BYTES:-$((16 << 20))} # of a segment; for another size the result below is 2

ask() { timeout "$seconds" pgbackrest --stanza=db "--repo=$repo" --io-timeout=5 "$@"; }
last() { grep --only-matching --extended-regexp "\"$1\":\"$2\"" <<<"$info" | tail -n 1 | cut -d '"' -f 4; }
say() { local status=$1; shift; echo "$*"; exit "$status"; }
# value LSN: print the position as a number.
value() { echo $(((16#${1%/*} << 32) + 16#${1#*/})); }
# number SEGMENT: print the number of the segment, counted from the beginning of all WAL.
number() { echo $((16#${1:8:8} * ((1 << 32) / size) + 16#${1:16:8})); }

info=$(ask --output=json info 2>&1) || say 2 "repo$repo cannot be read: ${info:0:300}"
# For storage that cannot be read, pgBackRest reports an error with this code, no backups, and ends with 0.
if [[ $info == *'"code":99,'* ]]; then
    say 2 "repo$repo cannot be read: $(grep --only-matching '"code":99,"message":"[^"]*' <<<"$info" | head -n 1)"
fi
label=$(last label '[0-9FDI_-]+') id=$(last id '[0-9]+-[0-9]+')
start=$(last start '[0-9A-F]{24}') begin=$(last start '[0-9A-F]+/[0-9A-F]+')
stop=$(last stop '[0-9A-F]{24}') end=$(last stop '[0-9A-F]+/[0-9A-F]+')
[ -n "$label" ] || say 4 "repo$repo has no backup"
[ -n "$id" ] && [ -n "$stop" ] && [ -n "$begin" ] && [ -n "$end" ] ||
    say 2 "cannot parse pgBackRest's report of the backups in repo$repo"
(($(value "$begin") / size == $(number "$start"))) || say 2 "the size of WAL segments is not 16 MiB"
own=$((16#${stop:0:8})) timeline=$((10#$timeline))
((timeline && own != timeline)) || say 0 "the timeline has not changed since backup $label"
((own < timeline)) || say 3 "backup $label is on timeline $own, not before timeline $timeline"

printf -v name '%08X.history' "$timeline"
history=$(ask --ignore-missing repo-get "archive/db/$id/$name" 2>&1)
case $? in 0) ;; 1) say 2 "$name is not in repo$repo yet" ;; *) say 2 "repo$repo: ${history:0:300}" ;; esac

# expected: print the required segments, from the backup's last segment to the last change of the timeline, each with
# the timeline that completed it.
expected() {
    local from to parent switch _ found=''
    from=$(($(number "$stop") + 1))
    while read -r parent switch _; do
        [[ $parent =~ ^[0-9]+$ ]] || continue
        if [ -z "$found" ]; then
            # A backup that ended after the change contains data that is not in this history.
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

wanted=$(expected) || say 3 "backup $label is not in the history of timeline $timeline"
[ -n "$wanted" ] || say 0 "no segment was completed since backup $label"
# A directory has up to 256 segments. An object store may take minutes to list all of an archive.
mapfile -t folders < <(cut -c 1-16 <<<"$wanted" | uniq)
there=''
if ((${#folders[@]} <= 20)); then
    for folder in "${folders[@]}"; do
        listed=$(ask repo-ls "archive/db/$id/$folder" 2>&1) || say 2 "repo$repo: ${listed:0:300}"
        there+=$listed$'\n'
    done
else
    there=$(ask --recurse repo-ls "archive/db/$id" 2>&1) || say 2 "repo$repo: ${there:0:300}"
fi
missing=$(comm -23 <(echo "$wanted") \
    <(sed --quiet --regexp-extended 's|^(.*/)?([0-9A-F]{24})-.*|\2|p' <<<"$there" | LC_ALL=C sort -u) | head -n 1)
[ -z "$missing" ] || say 1 "$missing $label"
say 0 "no segment is missing since backup $label"
