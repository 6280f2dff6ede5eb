#!/bin/bash
# Wrapper of the image's `pg_isready`, which precedes it in Patroni's PATH (`database.sh` links it there).
#
# While a server starts, Patroni runs pg_isready once a second, and would notice up to a second late that the server
# accepts connections. So a negative answer is delayed and the query repeated for most of a second, as long as a server
# process exists; without a server the answer is immediate. Environment: PGDATA.
set -u
PATH=${PATH#"${0%/*}":}

# Whether a postmaster of PGDATA runs or starts; with builtins only.
is_there() {
    local name file words
    for file in /proc/[0-9]*/comm; do
        { read -r name <"$file"; } 2>/dev/null && [ "$name" = postgres ] || continue
        { mapfile -d '' -t words <"${file%comm}cmdline"; } 2>/dev/null
        if [[ " ${words[*]} " == *" -D $PGDATA "* ]]; then return 0; fi
    done
    return 1
}

exec {idle}<> <(:)
for _ in {1..7}; do
    said=$(pg_isready "$@")
    status=$?
    # Repeat after "rejecting" (1) and "no response" (2) only. A frozen server takes longer than a second to time out.
    case $status in 1 | 2) ;; *) break ;; esac
    if ((SECONDS > 1)) || ! is_there; then break; fi
    read -r -t 0.1 -u "$idle"
done
echo "$said"
exit "$status"
