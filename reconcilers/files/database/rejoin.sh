#!/bin/bash
# rejoin.sh: whether Patroni, which was killed, may be started again beside its server: status 0 if the server runs and
# the next Patroni will recognise it.
#
# Without a server Patroni may have been killed while it copied, rewound or restored data, and the programs that do so
# are still at work: only the end of the container ends them. Patroni does not take a process for its server whose start
# differs by more than 3 s from the time in postmaster.pid, as on a machine where the start was slow. It would then give
# up the lease while the server still runs. Environment: PGDATA.
# shellcheck source=reconcilers/files/database/orphans.sh
. "${0%/*}/orphans.sh"
running_server || exit 1
mapfile -t lines <"$PGDATA/postmaster.pid" && read -r stat <"/proc/$server/stat" || exit 1
# After the name: the state is the first field, the start in ticks since the boot the twentieth.
read -r -a fields <<<"${stat##*) }"
boot=$(sed --quiet 's/^btime //p' /proc/stat)
difference=$((lines[2] - boot - fields[19] / $(getconf CLK_TCK)))
((difference >= -2 && difference <= 2))
