"""Act: mark the primary before a paused cluster stops; remove the marks once a primary exists again."""

from pgoperator import naming
from pgoperator.context import Context
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.lifecycle import decide_pause
from reconcilers.pgcluster.state import primary_mark, superseded
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.view import View


async def act(ctx: Context, view: View, _cache: ClusterCache) -> Wait | None:
    """Mark the last instance before it stops; clear the marks once a primary exists."""
    observed = view.observed
    marked = primary_mark.marked(observed)
    if view.paused:
        last = decide_pause.last_to_stop(view)
        if not last:
            return Wait(decide_pause.NO_PRIMARY, 60) if decide_pause.left(view) else None
        runs = any(i.name == last and i.pod is not None for i in observed.instances)
        if runs and marked != last and decide_pause.is_alone(view, last):
            await primary_mark.write(ctx, view.namespace, last, primary_mark.PAUSED, view.now)
        return None
    if view.restoring is not None:
        return None  # the restore decides which instance starts
    if marked and observed.primary is None:
        claim = naming.instance_volume(marked)
        return Wait(
            f"waiting for {naming.pod(marked)} to start first: it was the last primary "
            f"(volume claim {claim} is marked)",
            60,
        )
    if observed.primary is not None:
        await primary_mark.clear(ctx, view.namespace, observed)
        await superseded.clear(ctx, view.namespace, observed, observed.primary.name)
    return None
