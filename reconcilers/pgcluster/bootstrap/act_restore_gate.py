"""Act: stop the instances that must not run during a restore.

Only this action stops them: no two actions may write the same StatefulSet.
"""

from collections.abc import Sequence

import structlog

from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.manifest import annotations_of, is_deleting, uid_of
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.bootstrap.decide_restore_gate import may_run
from reconcilers.pgcluster.rollout import decide_rolling_update
from reconcilers.pgcluster.state import primary_mark
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.view import Instance, View

log = structlog.get_logger(__name__)


async def act(ctx: Context, view: View, _cache: ClusterCache) -> Wait | None:
    """Stop replicas first, so that no replica is promoted, then the primary.

    The last instance has every commit: it gets the primary's mark (`state.primary_mark`), so that it starts
    first if the restore fails. The replica with the most data gets an earlier mark, for the case that the
    restore loses the data of the last instance.
    """
    restoring = view.restoring
    if restoring is None:
        return None
    waiting = Wait(f"restore {restoring.name} is in phase {restoring.phase}", 600)
    stopping = [i for i in view.observed.instances if not may_run(restoring, i.name)]
    replicas = [i for i in stopping if not _leads(view, i)]
    second = next_in_line(view, replicas) if restoring.phase == "Stopping" else None
    if second is not None and primary_mark.marked(view.observed) != second.name:
        await primary_mark.write(ctx, view.namespace, second.name, primary_mark.PAUSED, view.now)
    for instance in replicas or stopping:
        if instance.stateful_set is not None and not is_deleting(instance.stateful_set):
            if not replicas and restoring.phase == "Stopping":
                await primary_mark.write(ctx, view.namespace, instance.name, primary_mark.PAUSED, view.now)
            uid = uid_of(instance.stateful_set)
            await ctx.client.delete(kinds.STATEFUL_SET, view.namespace, instance.name, uid=uid)
            log.info("stopped an instance for a restore", instance=instance.name, restore=restoring.name)
        elif instance.stateful_set is None and instance.pod is not None and not is_deleting(instance.pod):
            # Kubernetes' garbage collector may delete the pod much later.
            uid = uid_of(instance.pod)
            await ctx.client.delete(kinds.POD, view.namespace, instance.pod_name, uid=uid)
    return waiting


def next_in_line(view: View, replicas: Sequence[Instance]) -> Instance | None:
    """The replica that leads if the primary's data is lost; None once a replica is already stopping."""
    primary = view.observed.primary
    if primary is None or any(i.stateful_set is None or is_deleting(i.stateful_set) for i in replicas):
        return None
    able = [i for i in replicas if i.pod is not None and i.member.location]
    return decide_rolling_update.best_candidate(view, able, primary)


def _leads(view: View, instance: Instance) -> bool:
    """Whether the instance holds Patroni's leader lock or has the label of the primary."""
    leader = annotations_of(view.observed.leader).get("leader") if view.observed.leader else None
    return instance.is_primary or instance.pod_name == leader
