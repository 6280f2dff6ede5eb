"""Act: clean up backups and Jobs when their cluster is deleted.

Backups stay, unless the user has set the finalizer `percona.com/delete-backups`: then a Job removes them from
every repository. The Job mounts the repositories itself, so it also works for a paused or broken cluster. It
has a deadline: an unreachable repository must not block the deletion.
"""

import structlog

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.api.states import FINISHED, SUCCEEDED
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import AlreadyExists, Forbidden, NotFound
from pgoperator.kube.manifest import Manifest, annotations_of, controller_of, name_of, owned, uid_of
from pgoperator.runtime.result import Wait
from reconcilers import jobs
from reconcilers.pgcluster.backups import build_jobs
from reconcilers.pgcluster.pods import build_pod
from reconcilers.pgcluster.state import observe, repositories
from reconcilers.pgcluster.state.observe import observe_for_job
from reconcilers.pgcluster.state.view import ClusterView

log = structlog.get_logger(__name__)

SECONDS, SPEED = 180, 16 * 1024 * 1024
"""Least seconds, and bytes of the data a second, for the deadline of the Job that removes everything.

pgBackRest itself ends when a repository does not answer: the deadline is for what hangs.
"""


async def delete_backups(ctx: Context, cluster: PGCluster) -> Wait | None:
    """Remove all backups from all repositories, then the PerconaPGBackup objects; None when done.

    If the Job fails, the backups stay and an event reports the cause.
    """
    repos = cluster.spec.backups.repos
    manifest = ctx.store.get(kinds.PG_CLUSTER, cluster.namespace, cluster.name)
    if manifest is not None and not repos and any(map(_has_data, _backups(ctx, cluster))):
        _report_kept(ctx, manifest, "spec.backups names no repository, or is disabled")
        return None
    if manifest is not None and repos:
        job = await _job(ctx, cluster, manifest)
        status = jobs.read(job, _pods(ctx, job), naming.PGBACKREST_CONTAINER) if job is not None else None
        if status is not None and not status.ended:
            return Wait("waiting for the backups to be removed from the repositories", 30)
        if status is None or status.failed:
            _report_kept(ctx, manifest, status.cause if status is not None else "")
            return None
    for backup in _backups(ctx, cluster):
        # Marks the backup as already removed, so that its own finalizer removes nothing.
        mark = {"metadata": {"annotations": {labels.BACKUP_EXPIRED: "true"}}}
        await _patch(ctx, backup, mark)
        await ctx.client.delete(kinds.PG_BACKUP, cluster.namespace, name_of(backup), uid=uid_of(backup))
    return None


async def release_backups(ctx: Context, cluster: PGCluster) -> None:
    """Remove the finalizer of finished backups: without the cluster, their data cannot be deleted."""
    for backup in _backups(ctx, cluster):
        finalizers = backup["metadata"].get("finalizers") or []
        ended = (backup.get("status") or {}).get("state") in FINISHED
        if ended and labels.FINALIZER_BACKUP in finalizers:
            rest = [f for f in finalizers if f != labels.FINALIZER_BACKUP]
            await _patch(ctx, backup, {"metadata": {"finalizers": rest}})


async def remove_jobs(ctx: Context, cluster: PGCluster) -> None:
    """Remove finished Jobs whose result is recorded: their pods would block the deletion of volumes."""
    for job in ctx.store.select(kinds.JOB, cluster.namespace, labels.of_cluster(cluster.name)):
        owner = controller_of(job)
        is_backup = owner is not None and owner["kind"] == kinds.PG_BACKUP.kind
        # The reconciler of backups sets a TTL on a Job once it has recorded the result.
        ended = jobs.read(job, (), naming.PGBACKREST_CONTAINER).ended
        if ended and (not is_backup or job["spec"].get("ttlSecondsAfterFinished") is not None):
            await ctx.client.delete(kinds.JOB, cluster.namespace, name_of(job), uid=uid_of(job))


def _backups(ctx: Context, cluster: PGCluster) -> list[Manifest]:
    return observe.backups(ctx.store, cluster.namespace, cluster.name)


async def _patch(ctx: Context, backup: Manifest, patch: Manifest) -> None:
    try:
        await ctx.client.merge_patch(kinds.PG_BACKUP, backup["metadata"]["namespace"], name_of(backup), patch)
    except NotFound:
        return  # already deleted


async def _job(ctx: Context, cluster: PGCluster, manifest: Manifest) -> Manifest | None:
    """The Job that removes the backups; None when the namespace is being deleted and refuses new objects."""
    name = naming.backup_job(cluster.name, "delete", cluster.metadata.uid)
    existing = ctx.store.get(kinds.JOB, cluster.namespace, name)
    if existing is not None:
        return existing
    view = observe_for_job(ctx, cluster, manifest)
    seconds = build_jobs.deadline(view, SECONDS, SPEED) * len(cluster.spec.backups.repos)
    job = build_jobs.job(view, name, {labels.PGBACKREST: ""}, {}, _command(view), seconds=seconds)
    try:
        return await ctx.client.create(owned(job, manifest))
    except AlreadyExists:
        return await ctx.client.get(kinds.JOB, cluster.namespace, name)
    except Forbidden:
        return None


def _command(view: ClusterView) -> list[str]:
    repos = (
        f"{repo.number}:{repositories.history(view, repo.name)}" for repo in view.cluster.spec.backups.repos
    )
    return build_pod.script("pgbackrest-delete.sh", repositories.owner(view), *repos)


def _pods(ctx: Context, job: Manifest) -> list[Manifest]:
    return ctx.store.select(kinds.POD, job["metadata"]["namespace"], {labels.JOB: name_of(job)})


def _has_data(backup: Manifest) -> bool:
    succeeded = (backup.get("status") or {}).get("state") == SUCCEEDED
    return succeeded and labels.BACKUP_EXPIRED not in annotations_of(backup)


def _report_kept(ctx: Context, manifest: Manifest, cause: str) -> None:
    """Log and emit an event that backups stay in their repositories; `cause` may be pgBackRest's error."""
    cause = cause or "the Job that removes backups did not finish in time"
    log.warning("could not remove backups", cause=cause, annotations=sorted(annotations_of(manifest)))
    ctx.events.event(
        manifest, type="Warning", reason="BackupsKept", message=f"backups stay in their repositories: {cause}"
    )
