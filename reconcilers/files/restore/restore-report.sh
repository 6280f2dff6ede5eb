# shellcheck shell=bash disable=SC2154
# To be sourced by the two parts of a restore drill. The caller defines `here` and `message`.
if [ -d "/usr/pgsql-$PGVERSION/bin" ]; then PATH=/usr/pgsql-$PGVERSION/bin:$PATH; fi
export LC_ALL=C
# shellcheck source=reconcilers/files/common/account.sh
if [ -r "$here/account.sh" ]; then . "$here/account.sh"; fi

die() { echo "$1" >&2; echo "${1:0:3000}" >"$message" || true; exit 1; }
# since MICROSECONDS: print the seconds since then, with one decimal place.
since() { local tenths=$(((${EPOCHREALTIME/./} - $1) / 100000)); echo "$((tenths / 10)).$((tenths % 10))"; }
