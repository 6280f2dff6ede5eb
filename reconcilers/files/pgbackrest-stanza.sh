#!/bin/bash
# pgbackrest-stanza.sh HASH: creates the stanza once the configuration with this hash is mounted.
#
# Status 75 (EX_TEMPFAIL): another configuration is mounted. The limits are for the operator, which waits: with
# pgBackRest's own, storage that does not answer would hold it for minutes.
set -eu

[ "$(cat /etc/pgbackrest/conf.d/config-hash)" = "$1" ] || exit 75
limits=(--stanza=db --io-timeout=10 --db-timeout=20 --protocol-timeout=30)
# A stanza of another system or version is there already: after a restore or a major upgrade.
pgbackrest "${limits[@]}" stanza-create || pgbackrest "${limits[@]}" stanza-upgrade
