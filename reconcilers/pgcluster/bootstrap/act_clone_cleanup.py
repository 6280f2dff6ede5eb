"""Act: end the servers that share this cluster's repositories with restores in other namespaces.

The restore ends its server itself. If it was deleted before, or its operator may not, this cluster does: a
restore in another namespace cannot own objects here. No event of the restore wakes the cluster; the resync is
soon enough.
"""

import structlog

from pgoperator import labels
from pgoperator.api.states import FINISHED
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import Conflict, Forbidden, NotFound
from pgoperator.kube.manifest import Manifest, annotations_of, is_deleting, is_name, name_of, owner_of, uid_of
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.view import View

log = structlog.get_logger(__name__)


async def act(ctx: Context, view: View, _cache: ClusterCache) -> None:
    """Delete the Job of each server whose restore has ended; its Secret goes with it."""
    own = labels.of_cluster(view.name) | {labels.CLONE_SERVER: ""}
    for job in ctx.store.select(kinds.JOB, view.namespace, own):
        ours = owner_of(job) == view.cluster.metadata.uid and not is_deleting(job)
        if ours and await _has_ended(ctx, job):
            try:
                where = kinds.JOB, view.namespace, name_of(job)
                await ctx.client.delete(*where, uid=uid_of(job), propagation="Background")
            except Conflict:
                continue  # a new Job has the name
            log.info("ended the server of a clone", job=name_of(job))


async def _has_ended(ctx: Context, job: Manifest) -> bool:
    """Whether the restore does not exist any more, or has ended; read live."""
    namespace, _, rest = annotations_of(job).get(labels.CLONE_FOR, "").partition("/")
    name, _, uid = rest.partition("/")
    if not (is_name(namespace) and is_name(name)):
        return True
    try:
        restore = await ctx.client.get(kinds.PG_RESTORE, namespace, name)
    except NotFound:
        return True
    except Forbidden:
        return False  # until the deadline of the Job
    state = (restore.get("status") or {}).get("state")
    return uid_of(restore) != uid or state in FINISHED
