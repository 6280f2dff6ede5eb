"""Act: remove instances that the plan has no place for. Volumes stay."""

from datetime import timedelta

import structlog

from pgoperator import labels
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound
from pgoperator.kube.manifest import labels_of
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster import plan
from reconcilers.pgcluster.memory import Memory
from reconcilers.pgcluster.view import PRIMARY_ROLES, View

log = structlog.get_logger(__name__)

# Long enough for a copy that is nearly there, short enough not to keep a broken member for ever.
CATCH_UP = timedelta(minutes=5)


async def act(ctx: Context, view: View, memory: Memory) -> Wait | None:
    """Remove surplus instances, never the primary, once no replica is in the middle of catching up."""
    surplus = plan.surplus(view.observed, {p.name for p in view.planned})
    if not surplus:
        memory.retry_at.pop("scaling", None)
        return None
    if view.observed.primary is None:
        return Wait("no primary: instances are removed when there is one", 60)
    behind = plan.catching_up(view.observed)
    deadline = memory.retry_at.setdefault("scaling", view.now + CATCH_UP)
    if behind and view.now < deadline:
        return Wait(f"{', '.join(behind)} is catching up: instances are removed after that", 10)
    for instance in surplus:
        if instance.name == view.observed.primary.name or await _is_primary(ctx, view, instance.pod_name):
            continue
        await ctx.client.delete(kinds.STATEFUL_SET, view.namespace, instance.name)
        log.info("removed an instance", instance=instance.name)
    return None


async def _is_primary(ctx: Context, view: View, pod: str) -> bool:
    """Ask the API server, not the watches: a removal cannot be taken back."""
    try:
        live = await ctx.client.get(kinds.POD, view.namespace, pod)
    except NotFound:
        return False
    return labels_of(live).get(labels.ROLE) in PRIMARY_ROLES
