"""Act: pause and resume pgBouncer as `spec.proxy.pgBouncer.paused` asks.

The pods pause by themselves, by the first line of their configuration, also after a restart and without the
operator. This action makes kubelet update the configuration at once, and polls the pods until they report the
desired state, because users rely on the condition `PGBouncerPaused`.
"""

from pgoperator import labels, naming
from pgoperator.context import Context
from pgoperator.errors import CommandFailed
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound
from pgoperator.kube.manifest import Manifest, annotations_of, name_of, uid_of
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.pods import build_pod
from reconcilers.pgcluster.pooler.conditions import PAUSED
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.view import View, is_ready

PAUSED_STATE, RUNNING_STATE = "paused", "running"
SECONDS = 2


async def act(ctx: Context, view: View, cache: ClusterCache) -> Wait | None:
    """Bring every ready pod to the desired state; does nothing if pgBouncer was never paused."""
    desired = _desired_state(view)
    pods = {_identity(pod): pod for pod in view.observed.pooler_pods if is_ready(pod)}
    cache.poolers = {identity: state for identity, state in cache.poolers.items() if identity in pods}
    if desired is None:
        return None
    for identity, pod in pods.items():
        if cache.poolers.get(identity) != desired:
            cache.poolers[identity] = await _request_state(ctx, view, pod, desired)
    late = waiting(view, cache)
    return Wait(f"waiting for {', '.join(late)} to be {desired}", SECONDS) if late else None


def waiting(view: View, cache: ClusterCache) -> tuple[str, ...]:
    """Names of the pods that have not reported the desired state."""
    desired = _desired_state(view)
    return tuple(
        name_of(pod)
        for pod in view.observed.pooler_pods
        if desired is not None and cache.poolers.get(_identity(pod)) != desired
    )


def _desired_state(view: View) -> str | None:
    """The state that the pods should report; None without pgBouncer, and if it was never paused."""
    pooler = view.cluster.spec.pg_bouncer
    if pooler is None:
        return None
    if pooler.paused:
        return PAUSED_STATE
    return RUNNING_STATE if view.cluster.status.condition(PAUSED) is not None else None


async def _request_state(ctx: Context, view: View, pod: Manifest, desired: str) -> str:
    """Make kubelet sync the pod's configuration, and return the state that the pod reports; "" on failure."""
    name = name_of(pod)
    try:
        if annotations_of(pod).get(labels.POOLER, RUNNING_STATE) != desired:
            patch = {"metadata": {"annotations": {labels.POOLER: desired}}}
            await ctx.client.merge_patch(kinds.POD, view.namespace, name, patch)
        command = build_pod.script("pgbouncer-pause.sh")
        output = await ctx.client.exec(view.namespace, name, naming.PGBOUNCER_CONTAINER, command)
    except (NotFound, CommandFailed):
        return ""
    return output.strip()


def _identity(pod: Manifest) -> tuple[str, int]:
    """UID and restarts: a restarted pod has to report its state again."""
    statuses = pod.get("status", {}).get("containerStatuses", [])
    return uid_of(pod), sum(status.get("restartCount", 0) for status in statuses)
