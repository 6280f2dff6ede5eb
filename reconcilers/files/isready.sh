#!/bin/bash
# Stands before the image's `pg_isready` in Patroni's PATH (`database.sh` links it there).
#
# While a server starts, Patroni asks once a second, and would learn up to a second late that it accepts connections.
# So a "no" is held back for most of a second and asked again, as long as there is a server; without one it is given
# at once. Environment: PGDATA.
set -u
PATH=${PATH#"${0%/*}":}

# Whether somebody is PostgreSQL's first process, or is about to be; with builtins only.
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
    # Neither "rejects" nor "no response": it accepts, or nobody can say. One that is frozen takes long to say so.
    case $status in 1 | 2) ;; *) break ;; esac
    if ((SECONDS > 1)) || ! is_there; then break; fi
    read -r -t 0.1 -u "$idle"
done
echo "$said"
exit "$status"
