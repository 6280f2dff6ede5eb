"""Volumes whose data a restore has superseded: no instance uses them again.

The data of an instance that did not exist during a restore is older than the restore, although its timeline
and position may be ahead of it. PostgreSQL's history does not always show that, so such a replica may never
follow. Therefore the claims of volumes without an instance are marked before a restore stops anything, and
new instances get new volumes. The data stays until a person deletes the claim.
"""

from collections.abc import Container

from pgoperator import labels, naming
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest, annotations_of, name_of
from reconcilers.pgcluster.state.view import Observed


def is_superseded(claim: Manifest) -> bool:
    """Whether the data of a volume is from before a restore."""
    return labels.SUPERSEDED in annotations_of(claim)


async def mark(ctx: Context, namespace: str, observed: Observed, used: Container[str], restore: str) -> None:
    """Mark the volumes of all instances but those of `used`; `restore` is the name of the restore."""
    for claim in observed.volumes:
        if naming.instance_of_volume(name_of(claim)) not in used and not is_superseded(claim):
            patch = {"metadata": {"annotations": {labels.SUPERSEDED: restore}}}
            await ctx.client.merge_patch(kinds.PVC, namespace, name_of(claim), patch)


async def clear(ctx: Context, namespace: str, observed: Observed, instance: str) -> None:
    """Remove the mark of an instance whose data is authoritative."""
    claim = naming.instance_volume(instance)
    if any(name_of(c) == claim and is_superseded(c) for c in observed.volumes):
        patch = {"metadata": {"annotations": {labels.SUPERSEDED: None}}}
        await ctx.client.merge_patch(kinds.PVC, namespace, claim, patch)
