"""Parameters that need a restart: in which instance PostgreSQL restarts next. A pure decision of one step.

Patroni restarts PostgreSQL inside its container; pods stay. Replicas restart first. For five parameters, a
replica's value must not be below the primary's, so when they are lowered, the primary restarts first: a
replica that restarts earlier keeps the larger value (Patroni ensures that) and its restart stays pending.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from pgoperator import naming
from pgoperator.kube.manifest import uid_of
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.state.view import Instance, View

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
"""Delay of a Wait; watch events are usually faster."""

Pending = tuple[tuple[str, str, str], ...]
"""Parameters: name, old value, new value."""


@dataclass(frozen=True, slots=True)
class RestartPostgres:
    """Restart PostgreSQL in this instance; `uid` is that of its pod."""

    instance: str
    uid: str


def next_step(
    view: View, serving: frozenset[str], restarted: Mapping[str, Pending]
) -> RestartPostgres | Wait | None:
    """The next restart; None when no restart is pending.

    `serving` are names of instances; `restarted` are the parameters of recent restarts, by UID of the pod.
    """
    if view.restoring is not None or view.paused:
        return None
    pending = [i for i in view.observed.instances if i.member.pending_restart]
    if not pending:
        return None
    absent = [naming.pod(p.name) for p in view.planned if p.name not in serving]
    primary = view.observed.primary
    if absent or primary is None:
        names = ", ".join(absent) or "a primary"
        return Wait(f"waiting for {names} to be ready before PostgreSQL is restarted", SECONDS)
    first = [i for i in pending if i.name != primary.name and not _waits_for(i, primary)]
    last = [i for i in pending if i.name == primary.name]
    for instance in (*first, *last):
        uid = uid_of(instance.pod or {"metadata": {}})
        if instance.name not in serving or (uid in restarted and restarted[uid] == instance.member.pending):
            # Patroni reports the result in its next loop.
            return Wait(f"{instance.pod_name} was restarted; waiting for Patroni to report it", SECONDS)
        return RestartPostgres(instance.name, uid)
    return Wait("the primary must be restarted first", SECONDS)


def patroni_loop(view: View) -> timedelta:
    """The time after which every Patroni has run its loop again."""
    return timedelta(seconds=view.cluster.spec.patroni.sync_period_seconds)


def _waits_for(replica: Instance, primary: Instance) -> bool:
    """Whether all of a replica's pending parameters are lowered and also pending on the primary."""
    pending = {name for name, _, _ in primary.member.pending}
    return bool(replica.member.pending) and all(
        name in NOT_LESS_THAN_PRIMARY and name in pending and _shrinks(old, new)
        for name, old, new in replica.member.pending
    )


def _shrinks(old: str, new: str) -> bool:
    try:
        return int(new) < int(old)
    except ValueError:
        return False
