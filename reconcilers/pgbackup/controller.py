"""Reconcile one PerconaPGBackup: observe, decide, act, write the status.

A reconciliation may be interrupted after any write, and every step can be repeated: names derive from the
object's uid, and the Job first checks whether pgBackRest already has the backup.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from pgoperator import labels, naming
from pgoperator.api import states
from pgoperator.api.cluster import PGCluster
from pgoperator.api.pgbackup import PGBackup, PGBackupStatus
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.errors import Forbidden, Invalid, ServerError
from pgoperator.kube.manifest import Key, Manifest, annotations_of, name_of
from pgoperator.postgres import pgbackrest_options
from pgoperator.runtime.result import Done, Result, Wait
from reconcilers.pgbackup import (
    act_backup_jobs,
    act_deletion,
    act_import,
    act_retention,
    build_backup_jobs,
    decide_state,
    lease,
    read_clones,
)
from reconcilers.pgbackup.decide_state import Act, Step
from reconcilers.pgbackup.observe import Snapshot, is_ours

log = structlog.get_logger(__name__)

# TTL of a finished Job and its log, unless the custom resource sets another one.
TTL_SECONDS = 24 * 3600
# Events wake a waiting backup; this interval covers a lost event.
SAFETY_SECONDS = 60
SIDECAR_PATIENCE = timedelta(minutes=1)
"""How long the pod of a finished backup may have other containers that run."""


@dataclass(slots=True)
class PGBackups:
    """The reconciler of PerconaPGBackup."""

    waiting: dict[tuple[str, str], set[Key]] = field(default_factory=dict)
    """Backups by namespace and cluster that wait, or that are not this operator's yet."""

    def woken(self, namespace: str, cluster: str) -> Iterable[Key]:
        """The backups of a cluster that a change of the cluster wakes."""
        return tuple(self.waiting.get((namespace, cluster), ()))

    async def reconcile(self, ctx: Context, key: Key) -> Result:
        """Take the next step of one backup."""
        manifest = ctx.store.get(kinds.PG_BACKUP, key.namespace, key.name)
        if manifest is None:
            self._forget(key)
            return Done()
        waiting = self.waiting.setdefault((key.namespace, str(manifest["spec"].get("pgCluster"))), set())
        if not await is_ours(ctx, manifest):
            waiting.add(key)
            return Done()
        try:
            backup = PGBackup.parse(manifest)
        except InvalidSpec as error:
            await _refuse(ctx, manifest, str(error))
            raise
        result = await self._step(ctx, backup, manifest)
        if isinstance(result, Wait):
            waiting.add(key)
        else:
            self._forget(key)
        return result

    def _forget(self, key: Key) -> None:
        for keys in self.waiting.values():
            keys.discard(key)

    async def _step(self, ctx: Context, backup: PGBackup, manifest: Manifest) -> Result:
        snapshot = await Snapshot.of(ctx, backup)
        if backup.metadata.is_deleting:
            return await act_deletion.delete(ctx, backup, manifest, snapshot)
        if backup.status.state in states.FINISHED:
            return await _finish(ctx, backup, snapshot)
        if snapshot.invalid:
            return await _hold(ctx, backup, manifest, snapshot.invalid)
        if cause := decide_state.refusal(backup, snapshot.cluster):
            return await _give_up(ctx, backup, manifest, snapshot, cause)
        assert snapshot.cluster is not None
        if not backup.status.state:
            begin = _import if act_import.is_wanted(backup) else _queue
            return await begin(ctx, backup, manifest, snapshot)
        return await _advance(ctx, backup, manifest, snapshot, snapshot.cluster)


async def _give_up(
    ctx: Context, backup: PGBackup, manifest: Manifest, snapshot: Snapshot, cause: str
) -> Result:
    """End a backup that can never be taken; a new one without a cluster waits for it first."""
    now = ctx.clock()
    if left := decide_state.awaits_cluster(backup, snapshot.cluster, now):
        await _write(ctx, backup, manifest, decide_state.queued(backup, "ClusterNotFound", cause, now))
        return Wait(cause, left.total_seconds() + 0.5)
    if snapshot.job is not None:
        await act_backup_jobs.remove(ctx, snapshot)
    return await _write(ctx, backup, manifest, decide_state.failed(backup, cause, now))


async def _hold(ctx: Context, backup: PGBackup, manifest: Manifest, cause: str) -> Result:
    """Wait until the spec of the cluster is valid again; a Job that runs goes on."""
    now = ctx.clock()
    if not backup.status.state:
        await _write(ctx, backup, manifest, decide_state.queued(backup, "InvalidSpec", cause, now))
    elif backup.status.state == states.STARTING:
        step = Step(backup.status, cause=cause)
        await _write(ctx, backup, manifest, decide_state.with_waiting(step, now))
    return Wait(cause, SAFETY_SECONDS)


async def _import(ctx: Context, backup: PGBackup, manifest: Manifest, snapshot: Snapshot) -> Result:
    """Show a backup that exists in the repository."""
    assert snapshot.cluster is not None
    return await _take(ctx, backup, manifest, await act_import.step(ctx, backup, snapshot, snapshot.cluster))


async def _queue(ctx: Context, backup: PGBackup, manifest: Manifest, snapshot: Snapshot) -> Result:
    """Wait in the order of creation, then take the Lease."""
    now = ctx.clock()
    reason, message = snapshot.suspension()
    if not reason:
        other = snapshot.queued_before or await lease.acquire(
            ctx, backup.namespace, backup.spec.pg_cluster, lease.holder_of(backup)
        )
        if not other:
            await _mark(ctx, backup, snapshot.reason(backup))
            return await _write(ctx, backup, manifest, decide_state.started(backup, now))
        reason, message = "LeaseAlreadyHeld", f"waiting for {other.partition('|')[0]}"
    await _write(ctx, backup, manifest, decide_state.queued(backup, reason, message, now))
    return Wait(message, SAFETY_SECONDS)


async def _mark(ctx: Context, backup: PGBackup, reason: str) -> None:
    """Record the Job's name and add the finalizer before the Job exists, so that nothing is left behind."""
    annotations = {
        labels.BACKUP_JOB_NAME: naming.backup_job(backup.spec.pg_cluster, "backup", backup.metadata.uid),
        labels.BACKUP_JOB_TYPE: reason,
    }
    patch: Manifest = {"metadata": {"annotations": annotations}}
    if labels.FINALIZER_BACKUP not in backup.metadata.finalizers:
        patch["metadata"]["finalizers"] = [*backup.metadata.finalizers, labels.FINALIZER_BACKUP]
        patch["metadata"]["resourceVersion"] = backup.metadata.resource_version
    await ctx.client.merge_patch(kinds.PG_BACKUP, backup.namespace, backup.name, patch)


async def _advance(
    ctx: Context, backup: PGBackup, manifest: Manifest, snapshot: Snapshot, cluster: PGCluster
) -> Result:
    """Take the next step of a backup in Starting or Running."""
    now = ctx.clock()
    if backup.status.state == states.STARTING:
        step = decide_state.starting(backup, snapshot.obstacle(backup), snapshot.job, now)
    else:
        step = decide_state.running(
            backup, cluster, await act_backup_jobs.with_event_cause(ctx, snapshot), now
        )
    if step.act is Act.CREATE:
        step = await _create(ctx, backup, manifest, snapshot, cluster)
    elif step.act is Act.REMOVE:
        await act_backup_jobs.remove(ctx, snapshot)
    return await _take(ctx, backup, manifest, step)


async def _take(ctx: Context, backup: PGBackup, manifest: Manifest, step: Step) -> Result:
    """Write the status of a step whose action has been taken."""
    await _write(ctx, backup, manifest, decide_state.with_waiting(step, ctx.clock()))
    return Wait(step.wait, step.seconds) if step.wait else Done()


async def _create(
    ctx: Context, backup: PGBackup, manifest: Manifest, snapshot: Snapshot, cluster: PGCluster
) -> Step:
    view, repo = snapshot.view, decide_state.find_repo(backup, cluster)
    assert view is not None
    assert repo is not None
    arguments = pgbackrest_options.backup(backup.spec.options)
    if snapshot.job is None and (clone := read_clones.reader(ctx.store, cluster)):
        log.info("the backup expires nothing: a new cluster reads the repositories", restore=clone)
        arguments = [*arguments, "--no-expire-auto"]
    wanted = build_backup_jobs.backup(view, backup, repo, arguments, snapshot.reason(backup))
    image = wanted["spec"]["template"]["spec"]["containers"][0]["image"]
    if snapshot.job is None:
        try:
            await act_backup_jobs.create(ctx, wanted, manifest)
        except (Forbidden, Invalid, ServerError) as error:
            # A quota or an admission webhook: the cause may go away, so this is retried until the deadline.
            cause = f"the API server rejected the Job: {error.message}"
            return decide_state.starting(backup, cause, None, ctx.clock())
        log.info("created the Job of the backup", job=name_of(wanted), repo=repo.name, options=arguments)
    update = decide_state.destination_fields(backup, cluster) | {
        "state": states.RUNNING,
        "job_name": name_of(wanted),
        "image": image,
        "cr_version": view.cr_version,
    }
    status = backup.status.model_copy(update=update)
    return Step(status, wait=decide_state.WAITING_FOR_POD, seconds=decide_state.RETRY_SECONDS)


async def _finish(ctx: Context, backup: PGBackup, snapshot: Snapshot) -> Result:
    """After the end: release the Lease, set the TTL of the Job, and delete the objects of expired backups."""
    if snapshot.job is not None and not snapshot.job.ended:
        await act_backup_jobs.remove(ctx, snapshot)
        return Wait("waiting for the Job's pod to stop", SAFETY_SECONDS)
    if snapshot.has_active_pods:
        return await _end_sidecars(ctx, backup, snapshot)
    await lease.release(ctx, backup.namespace, backup.spec.pg_cluster, lease.holder_of(backup))
    await act_deletion.sync_finalizer(ctx, backup, snapshot)
    ttl = (
        snapshot.cluster.spec.backups.pgbackrest.jobs.ttl_seconds_after_finished if snapshot.cluster else None
    )
    ttl = TTL_SECONDS if ttl is None else ttl
    if snapshot.job is not None and snapshot.ttl is None:
        # Only once the status has the result: the deletion of the Job deletes its report.
        patch = {"spec": {"ttlSecondsAfterFinished": ttl}}
        await ctx.client.merge_patch(kinds.JOB, backup.namespace, snapshot.job.name, patch)
    if snapshot.job is not None and snapshot.job.report and backup.status.state == states.SUCCEEDED:
        await act_retention.sync(ctx, backup, snapshot.job.report)
    return Done()


async def _end_sidecars(ctx: Context, backup: PGBackup, snapshot: Snapshot) -> Result:
    """Wait for the pod; delete it with its Job if another container, such as a mesh's, goes on and on."""
    job = snapshot.job
    since = job.idle_since if job is not None and job.idle_since is not None else ctx.clock()
    left = (since + SIDECAR_PATIENCE - ctx.clock()).total_seconds()
    if left > 0 or job is None or not job.succeeded:
        return Wait("waiting for the Job's pod to stop", min(max(left, 1), SAFETY_SECONDS))
    if job.report and backup.status.state == states.SUCCEEDED:
        await act_retention.sync(ctx, backup, job.report)
    log.info("deleting the Job of a finished backup: another container of its pod still runs", job=job.name)
    await act_backup_jobs.remove(ctx, snapshot)
    return Wait("waiting for the Job's pod to stop", SAFETY_SECONDS)


async def _write(ctx: Context, backup: PGBackup, manifest: Manifest, status: PGBackupStatus) -> Result:
    """Write the status if it differs, and emit an event when the backup has finished."""
    body = status.to_manifest()
    if body == (manifest.get("status") or {}):
        return Done()
    document = {
        "apiVersion": kinds.PG_BACKUP.api_version,
        "kind": kinds.PG_BACKUP.kind,
        "metadata": {"name": backup.name, "namespace": backup.namespace},
        "status": body,
    }
    await ctx.client.apply_status(document)
    if status.state != backup.status.state:
        log.info(
            "the backup's state changed", state=status.state, error=status.error, label=status.backup_name
        )
        _emit_event(ctx, manifest, status)
    return Done()


async def _refuse(ctx: Context, manifest: Manifest, cause: str) -> None:
    """Show in the status why the object is not reconciled; a backup that has begun keeps its state."""
    status = manifest.get("status") or {}
    state = status.get("state") or states.FAILED
    if (status.get("state"), status.get("error")) != (state, cause):
        patch = {"status": {"state": state, "error": cause}}
        where = manifest["metadata"]["namespace"], name_of(manifest)
        await ctx.client.merge_patch(kinds.PG_BACKUP, *where, patch, subresource="status")


def _emit_event(ctx: Context, manifest: Manifest, status: PGBackupStatus) -> None:
    if status.state == states.SUCCEEDED and labels.IMPORTED_BACKUP in annotations_of(manifest):
        message = f"{status.backup_type} backup {status.backup_name} was found in the repository"
        ctx.events.event(manifest, type="Normal", reason="BackupImported", message=message)
    elif status.state == states.SUCCEEDED:
        message = f"{status.backup_type} backup {status.backup_name} is complete, {status.size} bytes"
        ctx.events.event(manifest, type="Normal", reason="BackupSucceeded", message=message)
    elif status.state == states.FAILED:
        message = status.error or "the backup failed"
        ctx.events.event(manifest, type="Warning", reason="BackupFailed", message=message)
