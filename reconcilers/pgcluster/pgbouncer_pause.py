"""Act: pgBouncer holds queries back while the custom resource says so.

The pods do that themselves, by the first line of their configuration, also after a restart and without the
operator. Here kubelet is made to bring the configuration at once, and the pods are asked until they have done
it: a condition that says "paused" is one that somebody relies on. Each pod is asked once more than it takes.
"""

from pgoperator import labels, naming
from pgoperator.context import Context
from pgoperator.errors import CommandFailed
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound
from pgoperator.kube.manifest import Manifest, annotations_of, name_of, uid_of
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster import pods
from reconcilers.pgcluster.conditions import PAUSED
from reconcilers.pgcluster.memory import Memory
from reconcilers.pgcluster.view import View, is_ready

HELD, FREE = "paused", "running"
SECONDS = 2


async def act(ctx: Context, view: View, memory: Memory) -> Wait | None:
    """Ask the pods that are not known to be as they shall; nothing while nobody ever paused them."""
    wanted = _wanted(view)
    there = {_identity(pod): pod for pod in view.observed.pooler_pods if is_ready(pod)}
    memory.poolers = {one: state for one, state in memory.poolers.items() if one in there}
    if wanted is None:
        return None
    for identity, pod in there.items():
        if memory.poolers.get(identity) != wanted:
            memory.poolers[identity] = await _asked(ctx, view, pod, wanted)
    late = waiting(view, memory)
    return Wait(f"{', '.join(late)} not {wanted} yet", SECONDS) if late else None


def waiting(view: View, memory: Memory) -> tuple[str, ...]:
    """Pods that are not known to be as they shall."""
    wanted = _wanted(view)
    return tuple(
        name_of(pod)
        for pod in view.observed.pooler_pods
        if wanted is not None and memory.poolers.get(_identity(pod)) != wanted
    )


def _wanted(view: View) -> str | None:
    """How the pods shall be; None without pods, and where they never were otherwise."""
    pooler = view.cluster.spec.pg_bouncer
    if pooler is None:
        return None
    if pooler.paused:
        return HELD
    return FREE if view.cluster.status.condition(PAUSED) is not None else None


async def _asked(ctx: Context, view: View, pod: Manifest, wanted: str) -> str:
    """Have kubelet look at the pod, and ask what it does."""
    name = name_of(pod)
    try:
        if annotations_of(pod).get(labels.POOLER, FREE) != wanted:
            patch = {"metadata": {"annotations": {labels.POOLER: wanted}}}
            await ctx.client.merge_patch(kinds.POD, view.namespace, name, patch)
        command = pods.script("pgbouncer-pause.sh")
        said = await ctx.client.exec(view.namespace, name, naming.PGBOUNCER_CONTAINER, command)
    except (NotFound, CommandFailed):
        return ""
    return said.strip()


def _identity(pod: Manifest) -> tuple[str, int]:
    statuses = pod.get("status", {}).get("containerStatuses", [])
    return uid_of(pod), sum(one.get("restartCount", 0) for one in statuses)
