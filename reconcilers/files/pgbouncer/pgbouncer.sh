#!/bin/bash
# pgbouncer.sh CONFIG: entry point of the container `pgbouncer`; changed files are reloaded without a restart.
set -eu
here=${0%/*}

export PGBOUNCER_CONFIG=$1
rm -f "${TMPDIR:-/tmp}/pgbouncer-paused"
exec bash "$here/supervise.sh" -c "$here/pgbouncer-pause.sh" /etc/pgbouncer -- pgbouncer "$1"
