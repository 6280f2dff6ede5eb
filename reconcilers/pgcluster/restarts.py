"""Parameters that hold only after a restart: which member is restarted next. A pure decision of one step.

PostgreSQL is restarted inside its container, by Patroni; pods stay. Replicas go first. Of five parameters a
replica must have at least what the primary has, so those that shrink are the primary's first: a replica that
is started earlier keeps the larger value (Patroni sees to it) and would wait on.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pgoperator.kube.manifest import uid_of
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.view import Instance, View

# https://www.postgresql.org/docs/current/hot-standby.html#HOT-STANDBY-ADMIN
NOT_LESS_THAN_PRIMARY = frozenset(
    {
        "max_connections",
        "max_locks_per_transaction",
        "max_prepared_transactions",
        "max_wal_senders",
        "max_worker_processes",
    }
)
SECONDS = 60

Pending = tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Reload:
    """Restart PostgreSQL in this instance."""

    instance: str
    uid: str


def next_step(view: View, serving: frozenset[str], tried: Mapping[str, Pending]) -> Reload | Wait | None:
    """The next restart, None when nobody waits for one; `tried` says what did not help, by pod's UID."""
    if view.restoring is not None or view.paused:
        return None
    pending = [i for i in view.observed.instances if i.member.pending_restart]
    if not pending:
        return None
    absent = {p.name for p in view.planned} - serving
    primary = view.observed.primary
    if absent or primary is None:
        return Wait("every instance must serve before PostgreSQL is restarted", SECONDS)
    first = [i for i in pending if i.name != primary.name and not _waits_for(i, primary)]
    last = [i for i in pending if i.name == primary.name]
    for instance in (*first, *last):
        uid = uid_of(instance.pod or {"metadata": {}})
        if instance.name not in serving or (uid in tried and tried[uid] == instance.member.pending):
            # Patroni says so in its next round, or has not heard of it yet.
            return Wait(f"{instance.pod_name} has been restarted", SECONDS)
        return Reload(instance.name, uid)
    return Wait("the primary is to be restarted first", SECONDS)


def _waits_for(replica: Instance, primary: Instance) -> bool:
    """Whether all that a replica waits for is to become less than what the primary runs with."""
    running = {name for name, _, _ in primary.member.pending}
    return bool(replica.member.pending) and all(
        name in NOT_LESS_THAN_PRIMARY and name in running and _shrinks(old, new)
        for name, old, new in replica.member.pending
    )


def _shrinks(old: str, new: str) -> bool:
    try:
        return int(new) < int(old)
    except ValueError:
        return False
