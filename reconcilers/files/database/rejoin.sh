#!/bin/bash
# rejoin.sh: whether Patroni, which was killed, may be started again beside its server: status 0 if the server runs.
#
# Without a server Patroni may have been killed while it copied, rewound or restored data, and the programs that do so
# are still at work: only the end of the container ends them. Environment: PGDATA.
# shellcheck source=reconcilers/files/database/orphans.sh
. "${0%/*}/orphans.sh"
running_server
