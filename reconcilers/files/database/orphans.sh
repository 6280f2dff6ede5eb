# shellcheck shell=bash
# orphans.sh: end processes of PostgreSQL whose postmaster is gone. This file is sourced; it starts no program.
#
# They notice the postmaster's death only when they wait for something: a backend in a long query, or an archiver that
# waits for its command, goes on and can still commit and confirm. Environment: PGDATA.

# running_server: set `server` to the postmaster's process id; status 1 if no server runs in PGDATA.
running_server() {
    local name
    { read -r server <"$PGDATA/postmaster.pid" && read -r name <"/proc/$server/comm"; } 2>/dev/null || return 1
    # The file may be left from a former server, whose process id belongs to another process now.
    [[ $server =~ ^[1-9][0-9]*$ ]] && [ "$name" = postgres ] && [ "/proc/$server/cwd" -ef "$PGDATA" ]
}

# find_orphans: set `orphans` to the process ids. The processes of a server that starts have a parent of its name, and
# only children of a postmaster set their title.
find_orphans() {
    local file process title line parent
    orphans=()
    for file in /proc/[0-9]*/stat; do
        process=${file%/stat}
        [ "$process/cwd" -ef "$PGDATA" ] || continue
        title='' line='' parent=''
        { read -r -d '' title <"$process/cmdline"; read -r line <"$file"; } 2>/dev/null
        [[ $title == 'postgres: '* && $line == *'(postgres) '* ]] || continue
        line=${line##*) } line=${line#* }
        { read -r parent <"/proc/${line%% *}/comm"; } 2>/dev/null
        if [ "$parent" != postgres ]; then orphans+=("${process#/proc/}"); fi
    done
}

# end_orphans: kill the orphans and the programs that they started; nothing if a server runs. Status 1 if one is still
# there after 5 s.
end_orphans() {
    local server orphans orphan idle end=$((SECONDS + 5))
    if running_server; then return 0; fi
    find_orphans
    [ ${#orphans[@]} -gt 0 ] || return 0
    echo "killing processes that have outlived their server: ${orphans[*]}" >&2
    exec {idle}<> <(:)
    while [ ${#orphans[@]} -gt 0 ] && [ "$SECONDS" -le "$end" ]; do
        # Each of PostgreSQL's processes has its own process group.
        for orphan in "${orphans[@]}"; do kill -KILL "$orphan" "-$orphan"; done 2>/dev/null
        read -r -t 0.05 -u "$idle"
        find_orphans
    done
    exec {idle}<&-
    [ ${#orphans[@]} -eq 0 ]
}
