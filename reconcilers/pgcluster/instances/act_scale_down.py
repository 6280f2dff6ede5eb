"""Act: remove instances that are no longer planned. Their volumes stay."""

from datetime import timedelta

import structlog

from pgoperator import labels, naming
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound
from pgoperator.kube.manifest import labels_of, uid_of
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.instances import decide_membership
from reconcilers.pgcluster.state import replication
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.view import PRIMARY_ROLES, View

log = structlog.get_logger(__name__)

# Long enough for a replica that has nearly caught up; a broken replica blocks the removal no longer than
# this.
CATCH_UP = timedelta(minutes=5)


async def act(ctx: Context, view: View, cache: ClusterCache) -> Wait | None:
    """Remove surplus instances, never the primary, once no replica is still catching up.

    A ready instance stays until every planned instance serves, however long its copy takes: after a renamed
    instance set, the surplus replicas are the only ones beside the primary that have the data.
    """
    planned = {p.name for p in view.planned}
    surplus = decide_membership.surplus(view.observed, planned)
    if not surplus:
        cache.catch_up_until = None
        return None
    if view.observed.primary is None:
        return Wait("waiting for a primary before surplus instances are removed", 60)
    absent = [naming.pod(name) for name in sorted(planned - replication.serving(view, cache))]
    if absent:
        surplus = [instance for instance in surplus if not instance.is_ready]
    behind = [pod for pod in decide_membership.catching_up(view.observed) if pod not in absent]
    deadline = cache.catch_up_until = cache.catch_up_until or view.now + CATCH_UP
    if behind and view.now < deadline:
        return Wait(f"waiting for {', '.join(behind)} to catch up before instances are removed", 10)
    for instance in surplus:
        if instance.name == view.observed.primary.name or await _is_primary(ctx, view, instance.pod_name):
            continue
        if instance.stateful_set is None:
            continue  # the garbage collector deletes its pod
        uid = uid_of(instance.stateful_set)
        await ctx.client.delete(kinds.STATEFUL_SET, view.namespace, instance.name, uid=uid)
        log.info("removed an instance", instance=instance.name)
    if absent:
        return Wait(f"waiting for {', '.join(absent)} to be ready before instances are removed", 10)
    return None


async def _is_primary(ctx: Context, view: View, pod: str) -> bool:
    """Read the pod live, not from the watches: a removal cannot be undone."""
    try:
        live = await ctx.client.get(kinds.POD, view.namespace, pod)
    except NotFound:
        return False
    return labels_of(live).get(labels.ROLE) in PRIMARY_ROLES
