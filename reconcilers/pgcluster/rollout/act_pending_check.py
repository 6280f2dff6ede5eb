"""Act: let every Patroni compute again which parameters need a restart, when it is due."""

import structlog

from pgoperator.context import Context
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.rollout import act_handover, decide_pending_check
from reconcilers.pgcluster.state.cache import ChangeCache
from reconcilers.pgcluster.state.view import View

log = structlog.get_logger(__name__)


async def act(ctx: Context, view: View, serving: frozenset[str], changes: ChangeCache) -> Wait | None:
    """Ask the members to reload if a check is due; `serving` are names of instances. Raises Refused."""
    check = changes.pending_check = decide_pending_check.updated(view, changes.pending_check)
    if check.due is None:
        return None
    if wait := decide_pending_check.obstacle(view, serving, check):
        return wait
    for instance in view.observed.instances:
        if instance.name in serving:
            await act_handover.reload(ctx, view, instance)
    changes.pending_check = check._replace(due=None)
    log.info("asked every Patroni to compute its pending parameters again")
    return None
