"""Act: report that a cluster belongs to another operator, and let go of it. Nothing else is written."""

from contextlib import suppress

import structlog

from pgoperator import labels, metrics
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound
from pgoperator.kube.manifest import Manifest, is_deleting, name_of
from reconcilers.pgcluster.lifecycle import decide_hands_off

log = structlog.get_logger(__name__)


async def leave(ctx: Context, cluster: Manifest, found: str) -> None:
    """Write the condition if it differs; release a cluster under deletion from this operator's finalizer.

    `found` is the evidence (`decide_hands_off`). The user's finalizers stay: the other operator has the same.
    """
    with suppress(NotFound):  # the other operator has finished the deletion; the watch is late
        version = await _report(ctx, cluster, found)
        if is_deleting(cluster) and decide_hands_off.is_accepted(cluster):
            rest = [f for f in cluster["metadata"]["finalizers"] if f != labels.FINALIZER]
            patch = {"metadata": {"resourceVersion": version, "finalizers": rest}}
            await ctx.client.merge_patch(kinds.PG_CLUSTER, *_place(cluster), patch)


def _place(cluster: Manifest) -> tuple[str, str]:
    return cluster["metadata"]["namespace"], name_of(cluster)


async def _report(ctx: Context, cluster: Manifest, found: str) -> str:
    """Write the conditions if they differ; return the resourceVersion.

    A patch of the conditions alone, with a precondition: the rest of the status is the other operator's.
    """
    version = str(cluster["metadata"]["resourceVersion"])
    wanted = decide_hands_off.conditions(cluster, found, ctx.clock())
    metrics.show_conditions(*_place(cluster), {c["type"]: c["status"] == "True" for c in wanted})
    if wanted == decide_hands_off.stored_conditions(cluster):
        return version
    patch = {"metadata": {"resourceVersion": version}, "status": {"conditions": wanted}}
    written = await ctx.client.merge_patch(kinds.PG_CLUSTER, *_place(cluster), patch, subresource="status")
    text = decide_hands_off.message(cluster, found)
    ctx.events.event(cluster, type="Warning", reason=decide_hands_off.REASON, message=text)
    log.warning("a cluster of another operator is left alone", evidence=found)
    return str(written["metadata"]["resourceVersion"])
