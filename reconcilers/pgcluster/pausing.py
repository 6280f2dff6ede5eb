"""A paused cluster: its pods stop in order and start in order; everything else stays.

pgBouncer first, so that nobody writes any more, then the replicas, then the primary, then the repository
host, which takes the last WAL. The primary's volume is marked: it starts first, and the others once it leads,
because members compare only with members that they see.
"""

from collections.abc import Sequence
from datetime import datetime

import structlog

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest, annotations_of, name_of
from pgoperator.kube.store import Store
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.view import View

log = structlog.get_logger(__name__)

AT_WORK = ("Starting", "Running")
UNMANAGED = "spec.unmanaged is set: the operator leaves the cluster alone"


def is_busy(store: Store, cluster: PGCluster) -> bool:
    """Whether a backup of the cluster runs: it ends before the cluster is paused or left alone."""
    return any(
        backup["spec"].get("pgCluster") == cluster.name and backup.get("status", {}).get("state") in AT_WORK
        for backup in store.select(kinds.PG_BACKUP, cluster.namespace, {})
    )


def marked(volumes: Sequence[Manifest], mark: str = labels.PAUSED_PRIMARY) -> str:
    """The instance that was the primary when the cluster was stopped, by its volume's mark; "" for none."""
    times = {
        naming.instance_of_volume(name_of(claim)): annotations_of(claim).get(mark, "") for claim in volumes
    }
    return max((name for name, time in times.items() if time), key=lambda name: times[name], default="")


def replicas(view: View, name: str) -> int:
    """How many pods the instance's StatefulSet shall have now: 1 or 0."""
    last = marked(view.observed.volumes)
    if not view.paused:
        waits = last and last != name and last in {p.name for p in view.planned}
        return _present(view, name) if waits and view.observed.primary is None else 1
    if view.observed.pooler_pods:
        return _present(view, name)
    primary = view.observed.primary.name if view.observed.primary is not None else last
    if name != primary:
        return 0
    return 0 if last == name and _is_alone(view, name) else _present(view, name)


def pooler_replicas(view: View, wanted: int) -> int:
    """How many pods of pgBouncer there shall be."""
    return 0 if view.paused else wanted


def host_replicas(view: View) -> int:
    """How many repository hosts there shall be: the primary archives until it has stopped."""
    return 0 if view.paused and all(i.pod is None for i in view.observed.instances) else 1


def left(view: View) -> list[str]:
    """Names of the pods that have yet to stop."""
    observed = view.observed
    pods = [*observed.pooler_pods, *(i.pod for i in observed.instances if i.pod is not None)]
    pods += [observed.repo_host_pod] if observed.repo_host_pod is not None else []
    return [name_of(pod) for pod in pods]


async def act(ctx: Context, view: View) -> Wait | None:
    """Mark the volume of the primary before it stops; take the mark off once a primary is there again."""
    primary, observed = view.observed.primary, view.observed
    last = marked(observed.volumes)
    if view.paused:
        if primary is not None and last != primary.name and _is_alone(view, primary.name):
            await mark(ctx, view.namespace, primary.name, view.now)
        return None
    if view.restoring is not None:
        return None  # `restoring` says who starts
    if last and primary is None:
        why = f"{naming.instance_volume(last)} has the annotation {labels.PAUSED_PRIMARY}"
        return Wait(f"{naming.pod(last)} was the last primary and starts first: {why}", 60)
    for claim in observed.volumes:
        if labels.PAUSED_PRIMARY in annotations_of(claim):
            await mark(ctx, view.namespace, naming.instance_of_volume(name_of(claim)), None)
    return None


def _is_alone(view: View, name: str) -> bool:
    """Whether no other pod of a database or of pgBouncer is left."""
    others = (i.pod for i in view.observed.instances if i.name != name)
    return not view.observed.pooler_pods and all(pod is None for pod in others)


async def mark(ctx: Context, namespace: str, instance: str, when: datetime | None) -> None:
    """Have the instance start before all others; None takes the mark off."""
    value = when.isoformat() if when is not None else None
    patch = {"metadata": {"annotations": {labels.PAUSED_PRIMARY: value}}}
    await ctx.client.merge_patch(kinds.PVC, namespace, naming.instance_volume(instance), patch)


def _present(view: View, name: str) -> int:
    """As many as the StatefulSet has now."""
    for instance in view.observed.instances:
        if instance.name == name and instance.stateful_set is not None:
            return int(instance.stateful_set.get("spec", {}).get("replicas", 1))
    return 0
