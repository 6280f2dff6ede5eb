#!/bin/bash
# restore-drill.sh [OPTION...]: the first part of a restore drill. Restore a backup into a scratch volume, with all WAL
# of the archive or, with --type=immediate, to its own end. OPTIONs are for `pgbackrest restore`. The second part,
# restore-check.sh, runs in another container, which has no access to the repository.
#
# Environment: that of restore.sh, and SYSTEM_IDENTIFIER of the cluster.
#
# Status 0: the database is in PGDATA, and the file `drill` beside it has the seconds and the last commit. Status 1: the
# backup cannot be restored, and the termination message has the cause. Any other status: the drill was disturbed, and may
# be repeated.
set -u
here=${0%/*} work=${WORK:-/tmp/restore}
log=$work/log new=$PGDATA message=${TERMINATION_LOG:-/dev/termination-log}
# shellcheck source=reconcilers/files/restore/restore-report.sh
. "$here/restore-report.sh"

trap 'exit 143' TERM INT
# shellcheck source=reconcilers/files/restore/restore-server.sh
. "$here/restore-server.sh"

end=yes
for option in "$@"; do
    if [ "$option" = --type=immediate ]; then end=''; fi
done
began=${EPOCHREALTIME/./}
FIND_END=$end RESTORE_ID=drill bash "$here/restore.sh" "$@" & wait $!
status=$?
if ((status == 1)) && grep -q 'raised from' "$message"; then
    # pgBackRest does not name a file of a backup that it cannot decompress. This reads the whole repository.
    timeout "${VERIFY_SECONDS:-600}" pgbackrest "--stanza=$STANZA" "--repo=$REPO" --log-level-console=info verify 2>&1 |
        grep -oE "invalid (checksum|size) '[^']*'" | head -n 3 | tee -a "$message" >&2
fi
((status == 0)) || exit "$status"
restored=$(since "$began")
identifier=$(controldata 'Database system identifier')
[ "$identifier" = "$SYSTEM_IDENTIFIER" ] ||
    die "the backup is of database system $identifier, but the cluster's is $SYSTEM_IDENTIFIER"
# Without a transaction behind the backup there is no such line.
printf '%s\n%s\n' "$restored" "$(sed -n 's/.*last completed transaction was at log time //p' "$log" | tail -n 1)" \
    >"$PGDATA/../drill"
