"""Write the builders' objects where they differ, and prune the cluster's objects that no builder returned."""

from dataclasses import dataclass

from pgoperator import labels
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import ApiError
from pgoperator.kube.manifest import Manifest, key_of, labels_of, owner_of
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.instances import act_claims
from reconcilers.pgcluster.pipeline import Built
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.findings import Problem
from reconcilers.pgcluster.state.view import View


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """The result of the writes."""

    problems: tuple[Problem, ...]
    """Objects that the API server refused, with the cause; all others are up to date."""
    waits: tuple[Wait, ...]
    """When to retry refused objects."""


async def apply(ctx: Context, view: View, built: Built, cache: ClusterCache) -> ApplyResult:
    """Write claims, then objects, then StatefulSets of instances; prune when `built` is complete.

    StatefulSets of instances come last, because they need the other objects. Raises ForeignOwner when an
    object of another owner has the name of one of the cluster's.
    """
    claims = [m for m in built.manifests if m["kind"] == kinds.PVC.kind]
    claim_problems = await act_claims.apply(ctx, claims)
    objects = [m for m in built.manifests if m["kind"] != kinds.PVC.kind]
    instances = [m for m in objects if m["kind"] == kinds.STATEFUL_SET.kind and _is_of_instance(m, view)]
    others = await ctx.applier.apply_all([m for m in objects if m not in instances], view.manifest)
    last = await ctx.applier.apply_all(instances, view.manifest)
    if built.complete and not claim_problems:
        await _prune(ctx, view, built)
    cache.templates_written = last.writes > 0
    refused = [*others.refused, *last.refused]
    return ApplyResult((*claim_problems, *map(_problem, refused)), _retry(cache, refused))


async def _prune(ctx: Context, view: View, built: Built) -> None:
    owned = [
        manifest
        for kind in kinds.PRUNABLE
        for manifest in ctx.store.select(kind, view.namespace, labels.of_cluster(view.name))
        if owner_of(manifest) == view.cluster.metadata.uid and not _is_of_instance(manifest, view)
    ]
    await ctx.applier.prune(owned, {key_of(m) for m in built.manifests})


def _retry(cache: ClusterCache, refused: list[ApiError]) -> tuple[Wait, ...]:
    """When to retry refused objects: no watch event shows that, for example, a quota was raised."""
    if not refused:
        cache.refusals.reset()
        return ()
    return (Wait("the API server refused an object", cache.refusals.next()),)


def _problem(error: ApiError) -> Problem:
    return Problem(error.reason or "Refused", f"the API server refused {error}")


def _is_of_instance(manifest: Manifest, view: View) -> bool:
    """Whether the object belongs to an instance: only `act_scale_down` removes instances."""
    instance = labels_of(manifest).get(labels.INSTANCE)
    if manifest["kind"] == kinds.STATEFUL_SET.kind:
        return instance is not None
    return instance in {i.name for i in view.observed.instances}
