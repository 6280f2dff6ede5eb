#!/bin/bash
# pgbouncer.sh CONFIG: entry point of the container `pgbouncer`; new files are read without a restart.
set -eu

exec bash "${0%/*}/supervise.sh" /etc/pgbouncer -- pgbouncer "$1"
