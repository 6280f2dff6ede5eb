#!/bin/bash
# pgbackrest-stanza.sh HASH: creates the stanza once the configuration with this hash is mounted.
#
# Status 75 (EX_TEMPFAIL): another configuration is mounted. The limits are for the operator, which waits: with
# pgBackRest's own, storage that does not answer would hold it for minutes.
# What fails is told on standard error; pgBackRest itself complains on standard output.
set -u
here=${0%/*}
# shellcheck source=reconcilers/files/pgbackrest-job.sh
. "$here/pgbackrest-job.sh"

[ "$(cat "$conf/config-hash")" = "$1" ] || exit 75
pgbackrest=(pgbackrest --stanza=db --no-log-timestamp --io-timeout=10 --db-timeout=20 --protocol-timeout=30)
# A push that begins meanwhile and does not get this container's lock waits a minute for a result that does not come.
pgbackrest+=(--lock-path=/tmp/pgbackrest-stanza)
# A stanza of another system or version is there already: after a restore or a major upgrade.
run "${pgbackrest[@]}" stanza-create || run "${pgbackrest[@]}" stanza-upgrade && exit 0
status=$?
complaint >&2
exit "$status"
