#!/bin/bash
# Entry point of the containers `pgbackrest`: run pgBackRest's TLS server, which reloads its certificates on SIGHUP.
set -eu
here=${0%/*}

# Create log directories on the mounted volumes only: the image has mount points for all of them.
for volume in /pgdata/pgbackrest /pgbackrest/repo[1-4]; do
    if [ -w "${volume%/pgbackrest}" ]; then mkdir -p "$volume/log"; fi
done

# shellcheck source=reconcilers/files/common/account.sh
if [ -r "$here/account.sh" ]; then . "$here/account.sh"; fi
exec bash "$here/supervise.sh" /etc/pgbackrest/conf.d /etc/pgbackrest/server -- pgbackrest server
