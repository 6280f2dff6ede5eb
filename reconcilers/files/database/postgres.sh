#!/bin/bash
# Wrapper of the image's `postgres`, which precedes it in Patroni's PATH (`database.sh` links it there) and starts it.
#
# Before a server starts, processes of a former one end, and the server takes its lock on the volume (volume-lock.sh).
#
# PostgreSQL does not start if a library in shared_preload_libraries is missing in the image. This script checks the
# libraries at each start and leaves out missing ones; the operator detects that and reports it. If no library is
# missing, shared_preload_libraries is not overridden. Environment: PGDATA.
set -u
PATH=${PATH#"${0%/*}":}
case ${1-} in -D | --single) ;; *) exec postgres "$@" ;; esac

here=$(readlink -f "$0") here=${here%/*}
# shellcheck source=reconcilers/files/common/volume-lock.sh
. "$here/volume-lock.sh"
# shellcheck source=reconcilers/files/database/orphans.sh
. "$here/orphans.sh"
lock_server "${PGDATA%/*}" || { echo "not started: another pod is preparing the data volume" >&2; exit 1; }
end_orphans || { echo "not started: processes of the former server do not end" >&2; exit 1; }

# shellcheck source=reconcilers/files/database/memory.sh
. "$here/memory.sh"
shared_buffers_fit -D "$PGDATA" || { echo "not started: $cause" >&2; exit 1; }

# shellcheck source=reconcilers/files/database/libraries.sh
. "$here/libraries.sh"
find_libraries -D "$PGDATA"
[ -n "$missing" ] || exec postgres "$@"

echo "libraries not preloaded, because the image does not have them: $missing" >&2
option=shared_preload_libraries=$kept
if [ "$1" = --single ]; then
    shift
    exec postgres --single -c "$option" "$@"
fi
exec postgres -c "$option" "$@"
