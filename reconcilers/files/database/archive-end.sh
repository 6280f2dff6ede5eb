#!/bin/bash
# archive-end.sh REPO ARCHIVE TIMELINE: print when the last transaction of a timeline (a number such as 2) ended, in UTC,
# as far as repository REPO (1 to 4) has the timeline in ARCHIVE (such as 17-1). Nothing, if its newest segments have no
# transaction. Any status but 0: unknown.
#
# Recovery to a later time fails, because PostgreSQL looks for a transaction behind the target. Only the newest segments
# are listed and read, so an archive of any size takes seconds.
set -u -o pipefail
repo=$1 archive=$2 seconds=${END_SECONDS:-12}
printf -v timeline '%08X' "$3"
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
for folder in /usr/pgsql-*/bin; do if [ -d "$folder" ]; then PATH=$folder:$PATH; fi; done

ask() { timeout "$seconds" pgbackrest --stanza=db "--repo=$repo" --io-timeout=5 --log-level-console=off "$@"; }
# names FOLDER PATTERN: print what is in a folder of the archive, newest first.
names() { ask repo-ls "archive/db/$archive$1" | { grep --extended-regexp "$2" || true; } | LC_ALL=C sort -r; }

folders=$(names '' "^${timeline}[0-9A-F]{8}\$") || exit 1
folder=${folders%%$'\n'*}
[ -n "$folder" ] || exit 0
segments=$(names "/$folder" "^${timeline}[0-9A-F]{16}-" | cut -c 1-24 | head -n 4) || exit 1
for segment in $segments; do
    ask --no-archive-async archive-get "$segment" "$work/$segment" >&2 || exit 1
    # The end of a segment that is not full is an error.
    moment=$(TZ=UTC LC_ALL=C pg_waldump --rmgr=Transaction "$work/$segment" 2>/dev/null |
        sed -nE 's/.*desc: (COMMIT|ABORT)[A-Z_ ]*([0-9]+: )?([0-9]{4}-[-0-9]+ [0-9:.]+) UTC.*/\3+00/p' | tail -n 1)
    if [ -n "$moment" ]; then echo "$moment"; exit 0; fi
done
