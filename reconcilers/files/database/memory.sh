# shellcheck shell=bash
# memory.sh: whether PostgreSQL's shared buffers fit into the memory. This file is sourced.
#
# With a larger value the kernel kills PostgreSQL, or the node runs out of memory for everything else on it.

# memory_limit: set `limit` to the bytes of memory that this container may use: its limit, else the node's memory.
memory_limit() {
    local name value file
    limit=0
    while read -r name value _; do
        if [ "$name" = MemTotal: ]; then limit=$((value * 1024)); break; fi
    done <"${MEMINFO:-/proc/meminfo}"
    for file in "${CGROUP:-/sys/fs/cgroup}"/{memory.max,memory/memory.limit_in_bytes}; do
        { read -r value <"$file"; } 2>/dev/null || continue
        if [[ $value =~ ^[0-9]{1,18}$ ]] && [ "$value" -lt "$limit" ]; then limit=$value; fi
    done
}

# shared_buffers_fit ARGUMENT...: status 1, and the cause in `cause`, if the server's shared buffers do not fit. The
# arguments are those of `postgres`. What cannot be found out fits: PostgreSQL judges by itself.
shared_buffers_fit() {
    local blocks size huge name pages
    blocks=$(postgres "$@" -C shared_buffers 2>/dev/null) && size=$(postgres "$@" -C block_size 2>/dev/null) || return 0
    [[ $blocks =~ ^[0-9]+$ && $size =~ ^[0-9]+$ ]] || return 0
    while read -r name pages _; do
        if [ "$name" = HugePages_Total: ] && [ "$pages" -gt 0 ]; then
            # They are not part of this memory; if they do not suffice, PostgreSQL reports that at its start.
            huge=$(postgres "$@" -C huge_pages 2>/dev/null) && [ "$huge" != off ] && return 0
        fi
    done <"${MEMINFO:-/proc/meminfo}"
    memory_limit
    [ "$limit" -gt 0 ] && [ "$blocks" -ge $((limit / size)) ] || return 0
    # shellcheck disable=SC2034  # for who sources this file
    cause="shared_buffers is $((blocks / (1048576 / size))) MB, but the memory is only $((limit / 1048576)) MB"
    return 1
}
