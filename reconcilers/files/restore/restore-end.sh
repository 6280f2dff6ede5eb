# shellcheck shell=bash disable=SC2154
# To be sourced by restore.sh: whether recovery has reached the end of the archive, or its target.
#
# The caller defines `new`, `log`, `end`, `pick`, `controldata`, `die`, and the functions of restore-retry.sh.

# find_end: set WAL_LAST to the newest segment of the archive to which the fetched backup belongs. The operator does not
# know it for a repository that has no repository host.
find_end() {
    local info head label status number progress=1
    label=$(sed -n 's/.*restore backup set \([0-9]\{8\}-[0-9FDI_-]*\).*/\1/p' "$log" | tail -n 1)
    until info=$(pgbackrest "--stanza=$STANZA" "--repo=$REPO" --output=json info 2>"$log"); status=$?
        ((status == 0)) && [[ -n $label && $info != *'"code":99,'* ]]; do
        printf '%s\n' "$info" >>"$log"
        { [ -n "$label" ] && is_passing "$status" && again "$progress"; } ||
            die "the end of the archive cannot be read: $(pick 'ERROR|HINT|code":99' 3)"
        progress=0
    done
    # The keys of an entry are sorted: the database is before the label.
    head=${info%%"\"label\":\"$label\""*} number=${head##*'"database":{"id":'} number=${number%%[!0-9]*}
    WAL_LAST=$(grep -oE "\{\"id\":$number,\"repo-key\":$REPO\},\"id\":\"[^\"]*\",\"max\":\"[0-9A-F]{24}\"" <<<"$info" |
        grep -oE '[0-9A-F]{24}' | tail -n 1)
    [ -n "$WAL_LAST" ] || die "the repository has no WAL of backup $label"
    echo "the archive goes on to $WAL_LAST" >&2
}

# Recovery to the end must reach the newest segment: PostgreSQL takes a missing segment for the end of the archive.
check_end() {
    local redo high low bytes reached last newest=${end:-${WAL_LAST-}}
    [ -n "$newest" ] || return 0
    redo=$(sed -n 's/.*redo done at \([0-9A-F/]*\).*/\1/p' "$log" | tail -n 1)
    [ -n "$redo" ] || return 0
    bytes=$(controldata 'Bytes per WAL segment')
    high=$((16#${redo%/*})) low=$((16#${redo#*/}))
    reached=$(((high * 0x100000000 + low) / bytes))
    last=$((16#${newest:8:8} * (0x100000000 / bytes) + 16#${newest:16:8}))
    ((reached >= last)) || die "a WAL segment is missing in the archive: recovery ended at $redo, \
$(grep -o 'not in the archive: [0-9A-F]\{24\}' "$log" | head -n 1), but the archive goes on to $newest"
}

# ends_at_target OPTION...: whether the last transaction of the archive is that of the target time, as it is for the
# latest restorable time. PostgreSQL takes such a target for not reached: it waits for a later commit.
ends_at_target() {
    local option type='' target='' last
    for option in "$@"; do
        case $option in
        --type=*) type=${option#*=} ;;
        --target=*) target=${option#*=} ;;
        --target-exclusive | --target-exclusive=y) return 1 ;;
        esac
    done
    [ "$type" = time ] && grep -q 'before configured recovery target was reached' "$log" || return 1
    grep -q '^recovery_target_time' "$new/postgresql.auto.conf" || return 1
    last=$(sed -n 's/.*last completed transaction was at log time //p' "$log" | tail -n 1)
    [ -n "$last" ] && [ "$(date -u -d "$last" +%s.%N)" = "$(date -u -d "$target" +%s.%N)" ]
}

# hold_target: recover to the last record that was replayed instead. The archive of a running source goes on meanwhile,
# and what it gets now is later than the target.
hold_target() {
    local last
    last=$(sed -n 's/.*redo done at \([0-9A-F]*\/[0-9A-F]*\).*/\1/p' "$log" | tail -n 1)
    [ -n "$last" ] || die "PostgreSQL did not report where recovery ended: see the log of this Job"
    echo "the archive ended with the last transaction before the target, at $last" >&2
    sed -i -E '/^recovery_target_(time|inclusive) /d' "$new/postgresql.auto.conf"
    echo "recovery_target_lsn = '$last'" >>"$new/postgresql.auto.conf"
}
