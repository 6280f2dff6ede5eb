"""Which replicas follow: they stream, and have replayed the WAL that the primary had when they began.

Streaming alone is not enough: a replica that was made from a backup streams while it still replays old WAL,
and may not have its users' tables yet. So the first query that finds a replica streaming sets a goal: the
primary's WAL position at that time. A replica that has replayed up to its goal follows. A goal does not move,
so a replica can reach it under any load of the primary.
"""

from pgoperator.postgres.sql_report import ServerReport
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.view import Instance, View


def follows(instance: Instance, cache: ClusterCache) -> bool:
    """Whether a replica is up to date, except for WAL in transit."""
    return _uid(instance) in cache.replication.following


def serves(instance: Instance, cache: ClusterCache) -> bool:
    """Whether an instance is the ready primary, or a ready replica that follows."""
    return instance.is_ready and (instance.is_primary or follows(instance, cache))


def serving(view: View, cache: ClusterCache) -> frozenset[str]:
    """Names of the instances that serve."""
    return frozenset(i.name for i in view.observed.instances if serves(i, cache))


def not_following(view: View, cache: ClusterCache) -> list[Instance]:
    """Ready replicas that are not known to follow."""
    return [i for i in _ready_replicas(view) if not follows(i, cache)]


def review(view: View, cache: ClusterCache) -> None:
    """Drop replicas that no longer follow: the pod is not ready, or Patroni reports that streaming ended.

    Patroni writes the state of a member once per loop. A missing `streaming` counts as an end only after
    Patroni has reported streaming for that pod: before that, Patroni has not updated the state yet.
    """
    follow = cache.replication
    ready = {_uid(i): i for i in _ready_replicas(view)}
    streaming = {uid for uid, i in ready.items() if i.member.streams}
    if cache.sql.at is None and view.cluster.status.state == "ready":
        # After a restart of the operator: the status already counted these replicas.
        follow.following |= streaming
    broken = follow.streaming & (ready.keys() - streaming)
    kept = ready.keys() - broken
    follow.streaming = streaming
    follow.following &= kept
    follow.goals = {uid: goal for uid, goal in follow.goals.items() if uid in kept}


def learn(view: View, cache: ClusterCache, report: ServerReport) -> None:
    """Take in pg_stat_replication of the primary: set the goals of replicas, and mark goals as reached."""
    streams = {row.application_name: row for row in report.replication if row.state == "streaming"}
    for instance in not_following(view, cache):
        row = streams.get(instance.pod_name)
        if row is None:
            continue
        goal = cache.replication.goals.setdefault(_uid(instance), report.location)
        if row.replayed is not None and row.replayed >= goal:
            cache.replication.following.add(_uid(instance))
            del cache.replication.goals[_uid(instance)]


def _ready_replicas(view: View) -> list[Instance]:
    return [i for i in view.observed.instances if i.is_ready and not i.is_primary]


def _uid(instance: Instance) -> str:
    return str(instance.pod["metadata"]["uid"]) if instance.pod is not None else ""
