"""Act: create a cluster from copies of the volumes of a former cluster (`dataSource.volumes`).

The former volumes are only read. All instances wait for the copies. The instance that receives the data is
marked (`state.primary_mark`) and starts first.
"""

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import AlreadyExists, NotFound
from pgoperator.kube.manifest import Manifest, labels_of, name_of, owned
from pgoperator.runtime.result import Wait
from reconcilers import jobs, read_events
from reconcilers.jobs import JobStatus
from reconcilers.pgcluster.bootstrap import build_import_job, decide_source
from reconcilers.pgcluster.state import primary_mark
from reconcilers.pgcluster.state.findings import Problem
from reconcilers.pgcluster.state.view import View

RETRY_SECONDS = 10.0
"""Between two checks: no event shows when the volume of another cluster is free."""


async def act(ctx: Context, view: View) -> Wait:
    """Create the Jobs that copy the volumes."""
    if blocking := await _unusable(ctx, view.cluster):
        return Wait(blocking[0].message, RETRY_SECONDS)
    for volume in decide_source.copies(view.cluster):
        name = naming.move_job(view.name, volume)
        if ctx.store.get(kinds.JOB, view.namespace, name) is not None:
            continue
        if volume == decide_source.DATA:
            # The other instances wait until this instance has the data.
            first = view.planned[0].name
            await primary_mark.write(ctx, view.namespace, first, primary_mark.LAST, view.now)
        try:
            await ctx.client.create(owned(build_import_job.manifest(view, volume), view.manifest))
        except AlreadyExists:
            continue
    # No event shows why a Job gets no pod.
    seconds = 600 if all(job.ran for job in _jobs(ctx, view.cluster)) else RETRY_SECONDS
    return Wait("waiting for the volumes of the former cluster to be copied", seconds)


async def obstacles(ctx: Context, cluster: PGCluster) -> list[Problem]:
    """A problem for each volume that cannot be copied now, and for each Job that gets no pod."""
    found = await _unusable(ctx, cluster)
    for one in _jobs(ctx, cluster):
        job = await read_events.with_cause(ctx, cluster.namespace, one, one.uid)
        if not job.ran and not job.ended and job.cause:
            found.append(Problem("BootstrapBlocked", f"Job {job.name} does not start: {job.cause}"))
    return found


async def _unusable(ctx: Context, cluster: PGCluster) -> list[Problem]:
    """A problem for each volume that does not exist or is in use, whose copy would be inconsistent.

    Read live; nothing unless the cluster waits for a copy.
    """
    sources = decide_source.volumes_of(cluster)
    if sources is None or not decide_source.is_copying(ctx.store, cluster):
        return []
    named = (sources.pg_data_volume, sources.pg_wal_volume, sources.pgbackrest_volume)
    pods, _ = await ctx.client.list(kinds.POD, cluster.namespace)
    problems = []
    for claim in [source.pvc_name for source in named if source is not None]:
        subject = f"spec.dataSource.volumes: volume claim {claim!r}"
        try:
            await ctx.client.get(kinds.PVC, cluster.namespace, claim)
        except NotFound:
            problems.append(Problem("VolumeNotFound", f"{subject} does not exist"))
            continue
        users = [name_of(pod) for pod in pods if _uses(pod, claim)]
        if users:
            text = f"{subject} is in use by pod {users[0]}: stop the pod"
            problems.append(Problem("VolumeInUse", text))
    return problems


def _uses(pod: Manifest, claim: str) -> bool:
    """Whether a pod may write to the volume; pods that have ended and those of the copying Jobs do not."""
    claims = [v.get("persistentVolumeClaim", {}).get("claimName") for v in pod["spec"].get("volumes", [])]
    ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return claim in claims and not ended and labels.MOVE_JOB not in labels_of(pod)


def problems(ctx: Context, view: View) -> list[Problem]:
    """A problem for each failed Job; read from the store."""
    return [
        Problem(
            "BootstrapFailed",
            f"Job {job.name} failed: {job.cause}; fix the cause, then delete the Job to retry",
        )
        for job in _jobs(ctx, view.cluster)
        if job.failed
    ]


def _jobs(ctx: Context, cluster: PGCluster) -> list[JobStatus]:
    """The Jobs that exist."""
    found = []
    for volume in decide_source.copies(cluster):
        name = naming.move_job(cluster.name, volume)
        job = ctx.store.get(kinds.JOB, cluster.namespace, name)
        if job is not None:
            pods = ctx.store.select(kinds.POD, cluster.namespace, {labels.JOB: name})
            found.append(jobs.read(job, pods, decide_source.IMPORT_CONTAINER))
    return found
