"""What becomes of the backups when their cluster is deleted.

They stay, unless the user's finalizer `percona.com/delete-backups` asks for their end: then a Job removes
them from every repository. It mounts the repositories itself, so that it does not matter whether the cluster
was paused or broken, and it has a deadline: what cannot be reached must not keep the cluster from going.
"""

from collections.abc import Sequence

import structlog

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import AlreadyExists, Forbidden, NotFound
from pgoperator.kube.manifest import Manifest, annotations_of, controller_of, name_of, uid_of
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster import jobs
from reconcilers.pgcluster.observe import observe
from reconcilers.pgcluster.view import View

log = structlog.get_logger(__name__)

SECONDS = 180


async def delete_backups(ctx: Context, cluster: PGCluster) -> Wait | None:
    """Remove every backup from every repository, then the objects; None when that is done."""
    repos = cluster.spec.backups.repos
    manifest = ctx.store.get(kinds.PG_CLUSTER, cluster.namespace, cluster.name)
    if repos and manifest is not None:
        job = await _job(ctx, cluster, manifest, [str(repo.number) for repo in repos])
        ended = _ended(job) if job is not None else "Failed"
        if not ended:
            return Wait("waiting for the backups to be removed from the repositories", 30)
        if ended == "Failed":
            _say(ctx, manifest, job)
            return None
    for backup in _backups(ctx, cluster):
        # Nothing is left that the end of the object could remove.
        mark = {"metadata": {"annotations": {labels.BACKUP_EXPIRED: "true"}}}
        await _patch(ctx, backup, mark)
        await ctx.client.delete(kinds.PG_BACKUP, cluster.namespace, name_of(backup), uid=uid_of(backup))
    return None


async def release_backups(ctx: Context, cluster: PGCluster) -> None:
    """Hold the objects no longer: without the cluster, nobody can remove what they stand for."""
    for backup in _backups(ctx, cluster):
        finalizers = backup["metadata"].get("finalizers") or []
        ended = (backup.get("status") or {}).get("state") in ("Succeeded", "Failed")
        if ended and labels.FINALIZER_BACKUP in finalizers:
            rest = [f for f in finalizers if f != labels.FINALIZER_BACKUP]
            await _patch(ctx, backup, {"metadata": {"finalizers": rest}})


async def remove_jobs(ctx: Context, cluster: PGCluster) -> None:
    """Remove Jobs whose result is known: their pods have ended, and yet keep volumes from being deleted."""
    for job in ctx.store.select(kinds.JOB, cluster.namespace, labels.of_cluster(cluster.name)):
        owner = controller_of(job)
        is_backup = owner is not None and owner["kind"] == kinds.PG_BACKUP.kind
        # A backup's Job gets a time to live when its result has been taken in.
        if _ended(job) and (not is_backup or job["spec"].get("ttlSecondsAfterFinished") is not None):
            await ctx.client.delete(kinds.JOB, cluster.namespace, name_of(job), uid=uid_of(job))


def _backups(ctx: Context, cluster: PGCluster) -> list[Manifest]:
    found = ctx.store.select(kinds.PG_BACKUP, cluster.namespace, {})
    return [m for m in found if m["spec"].get("pgCluster") == cluster.name]


async def _patch(ctx: Context, backup: Manifest, patch: Manifest) -> None:
    try:
        await ctx.client.merge_patch(kinds.PG_BACKUP, backup["metadata"]["namespace"], name_of(backup), patch)
    except NotFound:
        return  # it has gone meanwhile


async def _job(ctx: Context, cluster: PGCluster, manifest: Manifest, repos: Sequence[str]) -> Manifest | None:
    """The Job that removes the backups; None in a namespace that is going itself and takes no new objects."""
    name = naming.backup_job(cluster.name, "delete", cluster.metadata.uid)
    found = ctx.store.get(kinds.JOB, cluster.namespace, name)
    if found is not None:
        return found
    observed = observe(ctx.store, cluster.namespace, cluster.name)
    view = View(cluster, manifest, observed, (), ctx.settings, ctx.clock(), {}, {})
    wanted = jobs.job(view, name, {labels.PGBACKREST: ""}, {}, _command(repos), seconds=SECONDS)
    try:
        return await ctx.client.create(jobs.owned(wanted, manifest))
    except AlreadyExists:
        return await ctx.client.get(kinds.JOB, cluster.namespace, name)
    except Forbidden:
        return None


def _command(repos: Sequence[str]) -> list[str]:
    return ["bash", f"{naming.SCRIPTS_PATH}/pgbackrest-delete.sh", *repos]


def _ended(job: Manifest) -> str:
    """Complete or Failed; "" while the Job works."""
    found = job.get("status", {}).get("conditions", [])
    conditions = [c for c in found if c["status"] == "True"]
    return next(
        (c["type"] for c in conditions if c["type"] in ("Complete", "Failed") and c["status"] == "True"), ""
    )


def _say(ctx: Context, manifest: Manifest, job: Manifest | None) -> None:
    """Tell that backups stay behind, in pgBackRest's words where there are any."""
    pods = (
        ctx.store.select(kinds.POD, manifest["metadata"]["namespace"], {labels.JOB: name_of(job)})
        if job
        else []
    )
    ends = [
        c.get("state", {}).get("terminated", {}).get("message", "")
        for pod in pods
        for c in pod.get("status", {}).get("containerStatuses", [])
    ]
    cause = next(filter(None, ends), "the Job that removes them did not end in time")
    log.warning("backups were not removed", cause=cause, annotations=sorted(annotations_of(manifest)))
    ctx.events.event(
        manifest, type="Warning", reason="BackupsKept", message=f"backups stay in their repositories: {cause}"
    )
