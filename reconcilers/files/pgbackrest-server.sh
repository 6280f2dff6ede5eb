#!/bin/bash
# Entry point of the containers `pgbackrest`: pgBackRest's TLS server, which reads new certificates on SIGHUP.
set -eu
here=${0%/*}

# The folders of the logs, on the volumes that this pod has: the image has mount points for all of them.
for volume in /pgdata/pgbackrest /pgbackrest/repo[1-4]; do
    if [ -w "${volume%/pgbackrest}" ]; then mkdir -p "$volume/log"; fi
done

# shellcheck source=reconcilers/files/account.sh
if [ -r "$here/account.sh" ]; then . "$here/account.sh"; fi
exec bash "$here/supervise.sh" /etc/pgbackrest/conf.d /etc/pgbackrest/server -- pgbackrest server
