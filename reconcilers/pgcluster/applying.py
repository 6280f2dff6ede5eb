"""Act: what the steps ask for is written where it differs, and what is ours and no longer wanted goes."""

from dataclasses import dataclass

from pgoperator import labels
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.apply import Applied
from pgoperator.kube.errors import ApiError
from pgoperator.kube.manifest import Kind, Manifest, key_of, labels_of, owner_of
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster import claims
from reconcilers.pgcluster.memory import Memory
from reconcilers.pgcluster.problems import Problem
from reconcilers.pgcluster.steps import Answers
from reconcilers.pgcluster.view import View

# Kinds whose objects go when they are no longer wanted. Volumes and Secrets never do.
PRUNABLE: tuple[Kind, ...] = (
    kinds.CONFIG_MAP,
    kinds.SERVICE,
    kinds.ENDPOINTS,
    kinds.SERVICE_ACCOUNT,
    kinds.ROLE,
    kinds.ROLE_BINDING,
    kinds.POD_DISRUPTION_BUDGET,
    kinds.DEPLOYMENT,
    kinds.STATEFUL_SET,
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    instances: bool
    """Whether instances were written."""
    refused: tuple[Problem, ...]
    """Objects that the API server does not take, and why; all others are as they shall be."""


async def apply(ctx: Context, view: View, answers: Answers) -> Outcome:
    """Write what differs, remove what is not wanted; refusals of claims are added to the steps' problems."""
    answers.problems += await claims.apply(ctx, (m for m in answers.manifests if m["kind"] == kinds.PVC.kind))
    rest = [m for m in answers.manifests if m["kind"] != kinds.PVC.kind]
    instances = [m for m in rest if m["kind"] == kinds.STATEFUL_SET.kind and _is_of_instance(m, view)]
    others = Applied()
    try:
        others = await ctx.applier.apply_all([m for m in rest if m not in instances], view.manifest)
    finally:
        last = await ctx.applier.apply_all(instances, view.manifest)
    if answers.complete:
        owned = [
            found
            for kind in PRUNABLE
            for found in ctx.store.select(kind, view.namespace, labels.of_cluster(view.name))
            if owner_of(found) == view.cluster.metadata.uid and not _is_of_instance(found, view)
        ]
        await ctx.applier.prune(owned, {key_of(m) for m in answers.manifests})
    return Outcome(last.writes > 0, tuple(map(_problem, (*others.refused, *last.refused))))


def again(outcome: Outcome, memory: Memory) -> list[Wait]:
    """When to try once more what was refused: a quota is raised without an event of ours."""
    if not outcome.refused:
        memory.refusals.reset()
        return []
    return [Wait("the API server refuses an object", memory.refusals.next())]


def _problem(error: ApiError) -> Problem:
    return Problem(error.reason or "Refused", f"the API server refuses {error}")


def _is_of_instance(found: Manifest, view: View) -> bool:
    """Instances are removed by `scaling`, which spares the primary; until then they need their files."""
    instance = labels_of(found).get(labels.INSTANCE)
    if found["kind"] == kinds.STATEFUL_SET.kind:
        return instance is not None
    return instance in {one.name for one in view.observed.instances}
