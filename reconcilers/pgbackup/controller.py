"""One pass over one backup: look, decide, do, write.

A pass may be cut off after any write. What it does can be repeated: names come from the object's uid, and
pgBackRest is asked whether it has the backup already.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import structlog

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.api.pgbackup import PGBackup, PGBackupStatus
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.errors import Forbidden, Invalid, ServerError
from pgoperator.kube.manifest import Key, Manifest, name_of
from pgoperator.postgres import pgbackrest_options
from pgoperator.runtime.result import Done, Result, Wait
from reconcilers.pgbackup import deletion, job, jobs, lease, retention, states
from reconcilers.pgbackup.look import Look
from reconcilers.pgbackup.states import Act, Step

log = structlog.get_logger(__name__)

# Of a finished Job with its log, unless the custom resource says otherwise.
TTL_SECONDS = 24 * 3600
# Events bring a waiting backup back; this is for the one that is lost.
SAFETY_SECONDS = 60


@dataclass(slots=True)
class PGBackups:
    """The reconciler of PerconaPGBackup."""

    waiting: dict[tuple[str, str], set[Key]] = field(default_factory=dict)
    """By namespace and cluster: the backups that wait for something of it."""

    def woken(self, namespace: str, cluster: str) -> Iterable[Key]:
        """Which backups a change of a cluster concerns."""
        return tuple(self.waiting.get((namespace, cluster), ()))

    async def reconcile(self, ctx: Context, key: Key) -> Result:
        """Bring one backup a step further."""
        manifest = ctx.store.get(kinds.PG_BACKUP, key.namespace, key.name)
        if manifest is None:
            self._forget(key)
            return Done()
        try:
            backup = PGBackup.parse(manifest)
        except InvalidSpec as error:
            log.error("not a backup", error=str(error))  # noqa: TRY400 - the message says it all
            return Done()
        result = await self._pass(ctx, backup, manifest)
        if isinstance(result, Wait):
            self.waiting.setdefault((key.namespace, backup.spec.pg_cluster), set()).add(key)
        else:
            self._forget(key)
        return result

    def _forget(self, key: Key) -> None:
        for keys in self.waiting.values():
            keys.discard(key)

    async def _pass(self, ctx: Context, backup: PGBackup, manifest: Manifest) -> Result:
        look = await Look.of(ctx, backup)
        if backup.metadata.is_deleting:
            return await deletion.delete(ctx, backup, manifest, look)
        if backup.status.state in states.FINISHED:
            return await _finish(ctx, backup, look)
        cause = states.refusal(backup, look.cluster)
        if cause:
            if look.job is not None:
                await jobs.remove(ctx, look)
            return await _write(ctx, backup, manifest, states.failed(backup, cause, ctx.clock()))
        assert look.cluster is not None
        if not backup.status.state:
            return await _queue(ctx, backup, manifest, look)
        return await _advance(ctx, backup, manifest, look, look.cluster)


async def _queue(ctx: Context, backup: PGBackup, manifest: Manifest, look: Look) -> Result:
    """Wait for the turn, in the order of creation; then take the Lease."""
    now = ctx.clock()
    reason, message = look.pause()
    if not reason:
        other = look.ahead or await lease.acquire(
            ctx, backup.namespace, backup.spec.pg_cluster, lease.holder_of(backup)
        )
        if not other:
            await _mark(ctx, backup, look.reason(backup))
            return await _write(ctx, backup, manifest, states.started(backup, now))
        reason, message = "LeaseAlreadyHeld", f"waiting for {other.partition('|')[0]}"
    await _write(ctx, backup, manifest, states.queued(backup, reason, message, now))
    return Wait(message, SAFETY_SECONDS)


async def _mark(ctx: Context, backup: PGBackup, reason: str) -> None:
    """Tie the Job to the object, and the object to us: nothing of it shall be left behind."""
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
    ctx: Context, backup: PGBackup, manifest: Manifest, look: Look, cluster: PGCluster
) -> Result:
    """Starting and Running."""
    now = ctx.clock()
    if backup.status.state == states.STARTING:
        step = states.starting(backup, look.obstacle(backup), look.job, now)
    else:
        step = states.running(backup, cluster, await jobs.explained(ctx, look), now)
    if step.act is Act.CREATE:
        step = await _create(ctx, backup, manifest, look, cluster)
    elif step.act is Act.REMOVE:
        await jobs.remove(ctx, look)
    await _write(ctx, backup, manifest, states.told(step, now))
    return Wait(step.wait, step.seconds) if step.wait else Done()


async def _create(ctx: Context, backup: PGBackup, manifest: Manifest, look: Look, cluster: PGCluster) -> Step:
    view, repo = look.view, states.find_repo(backup, cluster)
    assert view is not None
    assert repo is not None
    words = pgbackrest_options.backup(backup.spec.options)
    wanted = job.backup(view, backup, repo, words, look.reason(backup))
    image = wanted["spec"]["template"]["spec"]["containers"][0]["image"]
    if look.job is None:
        try:
            await jobs.create(ctx, wanted, manifest)
        except (Forbidden, Invalid, ServerError) as error:
            # A quota, or an admission webhook: others may mend it meanwhile.
            return states.starting(backup, f"the Job is refused: {error.message}", None, ctx.clock())
        log.info("backup begins", job=name_of(wanted), repo=repo.name, options=words)
    update = states.facts(backup, cluster) | {
        "state": states.RUNNING,
        "job_name": name_of(wanted),
        "image": image,
        "cr_version": view.cr_version,
    }
    status = backup.status.model_copy(update=update)
    return Step(status, wait=states.BEGINS, seconds=states.RETRY_SECONDS)


async def _finish(ctx: Context, backup: PGBackup, look: Look) -> Result:
    """After the end: let the next one work, and keep nothing that is of no use."""
    if look.job is not None and not look.job.ended:
        await jobs.remove(ctx, look)
        return Wait("the Job's pod ends", SAFETY_SECONDS)
    if look.pods_work:
        return Wait("the Job's pod ends", SAFETY_SECONDS)
    await lease.release(ctx, backup.namespace, backup.spec.pg_cluster, lease.holder_of(backup))
    await deletion.settle_finalizer(ctx, backup, look)
    ttl = look.cluster.spec.backups.pgbackrest.jobs.ttl_seconds_after_finished if look.cluster else None
    ttl = TTL_SECONDS if ttl is None else ttl
    if look.job is not None and look.ttl is None:
        # Not before the result is in the status: with the Job goes its report.
        patch = {"spec": {"ttlSecondsAfterFinished": ttl}}
        await ctx.client.merge_patch(kinds.JOB, backup.namespace, look.job.name, patch)
    if look.job is not None and look.job.report and backup.status.state == states.SUCCEEDED:
        await retention.sync(ctx, backup, look.job.report)
    return Done()


async def _write(ctx: Context, backup: PGBackup, manifest: Manifest, status: PGBackupStatus) -> Result:
    """Write the status where it differs, and tell of an end."""
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
        _tell(ctx, manifest, status)
    return Done()


def _tell(ctx: Context, manifest: Manifest, status: PGBackupStatus) -> None:
    if status.state == states.SUCCEEDED:
        message = f"{status.backup_type} backup {status.backup_name} is complete, {status.size} bytes"
        ctx.events.event(manifest, type="Normal", reason="BackupSucceeded", message=message)
    elif status.state == states.FAILED:
        message = status.error or "failed"
        ctx.events.event(manifest, type="Warning", reason="BackupFailed", message=message)
