#!/bin/bash
# Stands before the image's `postgres` in Patroni's PATH (`database.sh` links it there) and starts it.
#
# A library in shared_preload_libraries that the image does not have would keep PostgreSQL from starting at all.
# It is left out here, at each start and for each image anew; the operator sees it missing and tells of it.
# With nothing missing the configuration file alone decides. Environment: PGDATA.
set -u
PATH=${PATH#"${0%/*}":}
case ${1-} in -D | --single) ;; *) exec postgres "$@" ;; esac

program=$(readlink -f "$(command -v postgres)") || exec postgres "$@"
libraries=$("${program%/*}/pg_config" --pkglibdir 2>/dev/null) || libraries=${program%/*}/../lib
listed=$(postgres -C shared_preload_libraries 2>/dev/null) || listed=''
# Where not even PL/pgSQL is found, the libraries are elsewhere, and nothing can be said of them.
[ -n "$listed" ] && [ -e "$libraries/plpgsql.so" ] || exec postgres "$@"

kept='' missing=''
IFS=', ' read -r -a names <<<"${listed//\"/}"
for name in "${names[@]}"; do
    if [[ ! $name =~ ^[A-Za-z0-9_-]+$ ]] || [ -e "$libraries/$name.so" ]; then
        kept=${kept:+$kept,}$name
    else
        missing=${missing:+$missing, }$name
    fi
done
# shellcheck disable=SC2016  # PostgreSQL's own word for its folder of libraries
[ -n "$missing" ] && [ "$(postgres -C dynamic_library_path 2>/dev/null)" = '$libdir' ] || exec postgres "$@"

echo "not preloaded, because the image does not have them: $missing" >&2
option=shared_preload_libraries=$kept
if [ "$1" = --single ]; then
    shift
    exec postgres --single -c "$option" "$@"
fi
exec postgres -c "$option" "$@"
