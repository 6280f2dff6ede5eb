#!/bin/bash
# Succeeds if pgBouncer answers a client's first message within 2 s: only an event loop that turns does.
# While queries shall be held back and are not yet, it fails, unless only the answer is asked for:
#
#   pgbouncer-check.sh [answers]
#
# The message asks for GSSAPI encryption, which pgBouncer declines with one byte, N. Asking for TLS would do as
# well, but to close after its S is logged as a failed handshake, at every probe.
# https://www.postgresql.org/docs/current/protocol-message-formats.html (GSSENCRequest)
config=${PGBOUNCER_CONFIG:-/etc/pgbouncer/~postgres-operator.ini} first=''
if [ "${1-}" != answers ] && [ -r "$config" ] && read -r first <"$config" && [ "$first" = ";; paused" ]; then
    [ -e "${TMPDIR:-/tmp}/pgbouncer-paused" ] || exit 1
fi
exec 3<>"/dev/tcp/127.0.0.1/${PGBOUNCER_PORT:-5432}" || exit 1
printf '\0\0\0\x08\x04\xd2\x16\x30' >&3
read -r -N 1 -t 2 -u 3 answer
[[ $answer == [GNS] ]]
