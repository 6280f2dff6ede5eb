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
from reconcilers import jobs
from reconcilers.pgcluster.bootstrap import build_import_job, decide_source
from reconcilers.pgcluster.state import primary_mark
from reconcilers.pgcluster.state.findings import Problem
from reconcilers.pgcluster.state.view import View

RETRY_SECONDS = 10.0
"""Between two checks: no event shows when the volume of another cluster is free."""


async def act(ctx: Context, view: View) -> Wait:
    """Create the Jobs that copy the volumes."""
    if blocking := await obstacles(ctx, view.cluster):
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
    return Wait("waiting for the volumes of the former cluster to be copied", 600)


async def obstacles(ctx: Context, cluster: PGCluster) -> list[Problem]:
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
    failed = []
    for volume in decide_source.copies(view.cluster):
        name = naming.move_job(view.name, volume)
        job = ctx.store.get(kinds.JOB, view.namespace, name)
        if job is None:
            continue
        pods = ctx.store.select(kinds.POD, view.namespace, {labels.JOB: name})
        status = jobs.read(job, pods, decide_source.IMPORT_CONTAINER)
        if status.failed:
            text = f"Job {name} failed: {status.cause}; fix the cause, then delete the Job to retry"
            failed.append(Problem("BootstrapFailed", text))
    return failed
