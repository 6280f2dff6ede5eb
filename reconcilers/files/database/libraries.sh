# shellcheck shell=bash
# libraries.sh: which of the preloaded libraries the image has. This file is sourced.

# find_libraries ARGUMENT...: sets `missing` to the libraries in shared_preload_libraries that the image does not have,
# separated by commas, and `kept` to the others. The arguments are those of `postgres`. If it cannot be found out,
# `missing` is empty.
find_libraries() {
    local program libraries listed name names
    # shellcheck disable=SC2034  # for who sources this file
    kept='' missing=''
    program=$(readlink -f "$(command -v postgres)") || return 0
    libraries=$("${program%/*}/pg_config" --pkglibdir 2>/dev/null) || libraries=${program%/*}/../lib
    listed=$(postgres "$@" -C shared_preload_libraries 2>/dev/null) || listed=''
    # If PL/pgSQL is not found, the libraries are in another directory and cannot be checked.
    [ -n "$listed" ] && [ -e "$libraries/plpgsql.so" ] || return 0
    IFS=', ' read -r -a names <<<"${listed//\"/}"
    for name in "${names[@]}"; do
        if [[ ! $name =~ ^[A-Za-z0-9_-]+$ ]] || [ -e "$libraries/$name.so" ]; then
            kept=${kept:+$kept,}$name
        else
            missing=${missing:+$missing, }$name
        fi
    done
    # shellcheck disable=SC2016  # PostgreSQL's own placeholder for its library directory
    if [ -n "$missing" ] && [ "$(postgres "$@" -C dynamic_library_path 2>/dev/null)" != '$libdir' ]; then missing=''; fi
}
