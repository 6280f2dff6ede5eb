#!/bin/bash
# Succeed if pgBouncer answers a client's first message within 2 s, which proves that its event loop runs.
# Fail if spec.proxy.pgBouncer.paused is set and pgBouncer is not paused yet, unless the argument is `answers`:
#
#   pgbouncer-check.sh [answers]
#
# The message requests GSSAPI encryption, which pgBouncer declines with the byte N. A TLS request would work as well,
# but pgBouncer would log a failed handshake at every probe.
# https://www.postgresql.org/docs/current/protocol-message-formats.html (GSSENCRequest)
config=${PGBOUNCER_CONFIG:-/etc/pgbouncer/~postgres-operator.ini} first=''
if [ "${1-}" != answers ] && [ -r "$config" ] && read -r first <"$config" && [ "$first" = ";; paused" ]; then
    [ -e "${TMPDIR:-/tmp}/pgbouncer-paused" ] || exit 1
fi
exec 3<>"/dev/tcp/127.0.0.1/${PGBOUNCER_PORT:-5432}" || exit 1
printf '\0\0\0\x08\x04\xd2\x16\x30' >&3
read -r -N 1 -t 2 -u 3 answer
[[ $answer == [GNS] ]]
