"""The end of a backup's object: what it stands for leaves the repository, where that can be.

Deletion never hangs: where a backup has to stay, because others build on it or nobody can reach the
repository, the object goes all the same, and an event says what stays.
"""

from contextlib import suppress
from datetime import timedelta

import structlog

from pgoperator import labels, naming
from pgoperator.api.pgbackup import PGBackup
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import Forbidden, Invalid, NotFound, ServerError
from pgoperator.kube.manifest import Manifest, annotations_of, name_of, owner_of
from pgoperator.runtime.result import Done, Result, Wait
from reconcilers.pgbackup import job, jobs, lease, states
from reconcilers.pgbackup.look import Look

log = structlog.get_logger(__name__)

SAFETY_SECONDS = 60


async def delete(ctx: Context, backup: PGBackup, manifest: Manifest, look: Look) -> Result:
    """Take the next step towards the object's end."""
    if labels.FINALIZER_BACKUP not in backup.metadata.finalizers:
        return Done()
    if look.job is not None and not look.job.ended:
        await jobs.remove(ctx, look)
        return Wait("the backup's Job ends", SAFETY_SECONDS)
    expiring = _expire_job(ctx, backup)
    if backup.status.state not in states.FINISHED and look.pods_work and expiring is None:
        return Wait("the backup's pod ends", SAFETY_SECONDS)
    kept = _kept(ctx, backup, look)
    if kept is None and expiring is None and (younger := _dependents(ctx, backup, deleting=True)):
        return Wait(f"{younger[0]} goes first", SAFETY_SECONDS)
    if kept is None:
        return await _expire(ctx, backup, manifest, look, expiring)
    if kept:
        _say(ctx, manifest, look, kept)
    return await _let_go(ctx, backup)


def _kept(ctx: Context, backup: PGBackup, look: Look) -> str | None:
    """None when the backup can be removed; else why it stays, "" when there is nothing to remove."""
    if backup.status.state != states.SUCCEEDED or labels.BACKUP_EXPIRED in backup.metadata.annotations:
        return ""
    cluster = look.cluster
    if cluster is None or cluster.metadata.is_deleting:
        return f"there is no cluster {backup.spec.pg_cluster} any more that could remove it"
    if states.find_repo(backup, cluster) is None or cluster.spec.pause:
        return f"cluster {backup.spec.pg_cluster} does not use {backup.spec.repo_name} now"
    if dependents := _dependents(ctx, backup, deleting=False):
        return f"{len(dependents)} other backup(s) build on it, such as {dependents[0]}"
    host = look.view.observed.repo_host_pod if look.view else None
    if host is None:
        return "there is no repository host"
    return None


def _dependents(ctx: Context, backup: PGBackup, *, deleting: bool) -> list[str]:
    """Names of the backups that cannot be restored without this one, and are being deleted or are not."""
    label, found = f"{backup.status.backup_name}_", []
    for other in ctx.store.select(kinds.PG_BACKUP, backup.namespace, {}):
        spec, status = other["spec"], other.get("status") or {}
        same = (spec.get("pgCluster"), spec.get("repoName")) == (
            backup.spec.pg_cluster,
            backup.spec.repo_name,
        )
        if not same or not str(status.get("backupName", "")).startswith(label):
            continue
        gone = labels.BACKUP_EXPIRED in annotations_of(other)
        if not gone and ("deletionTimestamp" in other["metadata"]) is deleting:
            found.append(name_of(other))
    return found


def _expire_job(ctx: Context, backup: PGBackup) -> Manifest | None:
    name = naming.backup_job(backup.spec.pg_cluster, "expire", backup.metadata.uid)
    found = ctx.store.get(kinds.JOB, backup.namespace, name)
    return found if found is not None and owner_of(found) == backup.metadata.uid else None


async def _expire(
    ctx: Context, backup: PGBackup, manifest: Manifest, look: Look, expiring: Manifest | None
) -> Result:
    """Remove the backup by a Job, while no other works on the repository."""
    if expiring is None:
        other = await lease.acquire(ctx, backup.namespace, backup.spec.pg_cluster, lease.holder_of(backup))
        if other:
            return Wait(f"waiting for {other.partition('|')[0]}", SAFETY_SECONDS)
        assert look.view is not None
        assert look.cluster is not None
        repo = states.find_repo(backup, look.cluster)
        assert repo is not None
        wanted = job.expire(look.view, backup, repo)
        try:
            await jobs.create(ctx, wanted, manifest)
        except (Forbidden, Invalid, ServerError) as error:
            return await _refused(ctx, backup, manifest, look, error.message)
        log.info("removing a backup from its repository", label=backup.status.backup_name, repo=repo.name)
        return Wait("pgBackRest removes the backup", SAFETY_SECONDS)
    owned = [
        pod
        for pod in ctx.store.select(kinds.POD, backup.namespace, labels.of_cluster(backup.spec.pg_cluster))
        if owner_of(pod) == expiring["metadata"]["uid"]
    ]
    seen = job.look(expiring, owned)
    if not seen.ended:
        return Wait(seen.cause or "pgBackRest removes the backup", SAFETY_SECONDS)
    if seen.failed:
        _say(ctx, manifest, look, seen.cause)
    else:
        message = f"backup {backup.status.backup_name} was removed from {backup.spec.repo_name}"
        ctx.events.event(manifest, type="Normal", reason="BackupRemoved", message=message)
    return await _let_go(ctx, backup)


async def _refused(ctx: Context, backup: PGBackup, manifest: Manifest, look: Look, why: str) -> Result:
    """No Job can be made: others may mend that, but not for ever."""
    since = backup.metadata.deletion_timestamp or ctx.clock()
    if ctx.clock() - since < timedelta(seconds=job.EXPIRE_SECONDS):
        return Wait(f"the Job is refused: {why}", states.RETRY_SECONDS)
    _say(ctx, manifest, look, f"the Job that would remove it is refused: {why}")
    return await _let_go(ctx, backup)


def _say(ctx: Context, manifest: Manifest, look: Look, why: str) -> None:
    """Tell that the data stays, on the object and on what is left after it."""
    status = manifest.get("status") or {}
    message = f"backup {status.get('backupName')} stays in {manifest['spec'].get('repoName')}: {why}"
    log.warning("backup kept", backup=status.get("backupName"), cause=why)
    for regarding in (manifest, look.view.manifest if look.view else None):
        if regarding is not None:
            ctx.events.event(regarding, type="Warning", reason="BackupKept", message=message)


async def _let_go(ctx: Context, backup: PGBackup) -> Result:
    await lease.release(ctx, backup.namespace, backup.spec.pg_cluster, lease.holder_of(backup))
    await _finalizers(ctx, backup, [f for f in backup.metadata.finalizers if f != labels.FINALIZER_BACKUP])
    return Done()


async def settle_finalizer(ctx: Context, backup: PGBackup, look: Look) -> None:
    """Hold the object of a finished backup just as long as its deletion means something to the repository."""
    cluster = look.cluster
    wanted = (
        backup.status.state == states.SUCCEEDED
        and cluster is not None
        and not cluster.metadata.is_deleting
        and labels.BACKUP_EXPIRED not in backup.metadata.annotations
    )
    if wanted is (labels.FINALIZER_BACKUP in backup.metadata.finalizers):
        return
    others = [f for f in backup.metadata.finalizers if f != labels.FINALIZER_BACKUP]
    await _finalizers(ctx, backup, [*others, labels.FINALIZER_BACKUP] if wanted else others)


async def _finalizers(ctx: Context, backup: PGBackup, wanted: list[str]) -> None:
    metadata = {"finalizers": wanted, "resourceVersion": backup.metadata.resource_version}
    with suppress(NotFound):  # it has gone already
        await ctx.client.merge_patch(kinds.PG_BACKUP, backup.namespace, backup.name, {"metadata": metadata})
