"""Act: hand over from a primary whose pod is being deleted, while clients of pgBouncer wait.

The pod itself waits 1.5 s for this (`hand-over.sh`), and then hands over without holding clients: nothing
depends on the operator. So there is one attempt for each pod, decided on the store: Patroni refuses a
switchover from a member that does not lead, or to one that cannot take over.
"""

import structlog

from pgoperator.context import Context
from pgoperator.errors import OperatorError
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.rollout import act_handover, decide_departure
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.replication import serving
from reconcilers.pgcluster.state.view import View

log = structlog.get_logger(__name__)


async def act(ctx: Context, view: View, cache: ClusterCache) -> Wait | None:
    """Switch over once from a primary whose pod is being deleted."""
    step = decide_departure.decide(view, serving(view, cache))
    if step is None or step.uid == cache.changes.departed:
        return None
    cache.changes.departed = step.uid
    old, new = step.primary.pod_name, step.candidate.pod_name
    try:
        await act_handover.switch(ctx, view, step.candidate, step.primary)
    except OperatorError as error:
        log.warning("the deleted primary hands over by itself", pod=old, error=str(error))
        return None
    return Wait(f"switched over from {old}, which is being deleted, to {new}", 1.0)
