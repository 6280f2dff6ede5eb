"""Act: the deletion of a PerconaPGBackup, which keeps its backup, or removes it if the user asks for that.

Deletion never blocks: if the backup has to stay, because other backups depend on it or the repository cannot
be reached, the object is deleted nevertheless, and the event `BackupKept` reports the backup and the cause.
"""

from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from itertools import takewhile
from typing import Literal

import structlog

from pgoperator import labels, naming
from pgoperator.api import states
from pgoperator.api.pgbackup import PGBackup
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import Forbidden, Invalid, NotFound, ServerError
from pgoperator.kube.manifest import Manifest, annotations_of, name_of, owner_of
from pgoperator.runtime.result import Done, Result, Wait
from reconcilers import jobs
from reconcilers.pgbackup import act_backup_jobs, build_backup_jobs, decide_state, lease
from reconcilers.pgbackup.observe import Snapshot

log = structlog.get_logger(__name__)

SAFETY_SECONDS = 60


async def delete(ctx: Context, backup: PGBackup, manifest: Manifest, snapshot: Snapshot) -> Result:
    """Take the next step of the deletion."""
    if labels.FINALIZER_BACKUP not in backup.metadata.finalizers:
        return Done()
    if snapshot.job is not None and not snapshot.job.ended:
        await act_backup_jobs.remove(ctx, snapshot)
        return Wait("waiting for the backup's Job to stop", SAFETY_SECONDS)
    expiring = _expire_job(ctx, backup)
    if backup.status.state not in states.FINISHED and snapshot.has_active_pods and expiring is None:
        return Wait("waiting for the backup's pod to stop", SAFETY_SECONDS)
    kept = _keep_reason(ctx, backup, snapshot, is_expiring=expiring is not None)
    if kept is None and expiring is None and (younger := _dependents(ctx, backup, deleting=True)):
        return Wait(f"waiting for the deletion of {younger[0]}, which depends on this backup", SAFETY_SECONDS)
    if kept is None:
        return await _expire(ctx, backup, manifest, snapshot, expiring)
    if kept:
        _report_kept(ctx, manifest, snapshot, kept, asked=_is_asked(backup))
    return await _release(ctx, backup)


def _keep_reason(  # noqa: PLR0911 - a list of causes
    ctx: Context, backup: PGBackup, snapshot: Snapshot, *, is_expiring: bool
) -> str | None:
    """None if the backup can be removed; else why it stays, "" if there is nothing to remove.

    `is_expiring`: a Job that removes it exists. An operator that removed every backup may have created it.
    """
    if backup.status.state != states.SUCCEEDED or labels.BACKUP_EXPIRED in backup.metadata.annotations:
        return ""
    if not _is_asked(backup) and not is_expiring:
        return f'only with the annotation {labels.DELETE_FROM_REPOSITORY}: "true" the deletion removes it'
    cluster = snapshot.cluster
    name = backup.spec.pg_cluster
    if snapshot.invalid:
        return snapshot.invalid
    if cluster is None or cluster.metadata.is_deleting:
        return f"cluster {name} does not exist or is being deleted"
    if decide_state.find_repo(backup, cluster) is None:
        return f"cluster {name} has no repository {backup.spec.repo_name}"
    if cluster.spec.pause:
        return f"cluster {name} is paused"
    if dependents := _dependents(ctx, backup, deleting=False):
        return f"{len(dependents)} other backup(s) depend on it, such as {dependents[0]}"
    host = snapshot.view.observed.repo_host_pod if snapshot.view else None
    if host is None:
        return f"cluster {name} has no repository host pod"
    return None


def _is_asked(backup: PGBackup) -> bool:
    """Whether the user wants the backup to be removed with its object."""
    return backup.metadata.annotations.get(labels.DELETE_FROM_REPOSITORY) == "true"


def _dependents(ctx: Context, backup: PGBackup, *, deleting: bool) -> list[str]:
    """Names of the backups that depend on this backup: those under deletion, or the others."""
    by_label: dict[str, Manifest] = {}
    for other in ctx.store.owned_by(kinds.PG_BACKUP, backup.namespace, backup.spec.pg_cluster):
        spec, status = other["spec"], other.get("status") or {}
        if spec.get("repoName") == backup.spec.repo_name and status.get("backupName"):
            by_label[str(status["backupName"])] = other
    return [
        name_of(other)
        for label in building_on(backup.status.backup_name or "", by_label)
        if labels.BACKUP_EXPIRED not in annotations_of(other := by_label[label])
        and ("deletionTimestamp" in other["metadata"]) is deleting
    ]


def building_on(label: str, others: Iterable[str]) -> list[str]:
    """Return the labels of the backups that depend on `label`, as far as labels show it. Pure.

    All backups with its prefix depend on a full backup. On other backups depend the incremental backups that
    follow, up to the next differential backup, which depends on the full backup only.
    """
    full, _, _ = label.partition("_")
    later = sorted(other for other in others if other.startswith(f"{full}_") and other > label)
    if label == full:
        return later
    return list(takewhile(lambda other: other.endswith("I"), later))


def _expire_job(ctx: Context, backup: PGBackup) -> Manifest | None:
    name = naming.backup_job(backup.spec.pg_cluster, "expire", backup.metadata.uid)
    found = ctx.store.get(kinds.JOB, backup.namespace, name)
    return found if found is not None and owner_of(found) == backup.metadata.uid else None


async def _expire(
    ctx: Context, backup: PGBackup, manifest: Manifest, snapshot: Snapshot, expiring: Manifest | None
) -> Result:
    """Remove the backup with a Job, under the Lease of the repositories."""
    if expiring is None:
        other = await lease.acquire(ctx, backup.namespace, backup.spec.pg_cluster, lease.holder_of(backup))
        if other:
            return Wait(f"waiting for {other.partition('|')[0]}", SAFETY_SECONDS)
        assert snapshot.view is not None
        assert snapshot.cluster is not None
        repo = decide_state.find_repo(backup, snapshot.cluster)
        assert repo is not None
        wanted = build_backup_jobs.expire(snapshot.view, backup, repo)
        try:
            await act_backup_jobs.create(ctx, wanted, manifest)
        except (Forbidden, Invalid, ServerError) as error:
            return await _rejected(ctx, backup, manifest, snapshot, error.message)
        log.info("removing a backup from its repository", label=backup.status.backup_name, repo=repo.name)
        return Wait("waiting for pgBackRest to remove the backup", SAFETY_SECONDS)
    owned = [
        pod
        for pod in ctx.store.select(kinds.POD, backup.namespace, labels.of_cluster(backup.spec.pg_cluster))
        if owner_of(pod) == expiring["metadata"]["uid"]
    ]
    seen = jobs.read(expiring, owned, build_backup_jobs.CONTAINER)
    if not seen.ended:
        return Wait(seen.cause or "waiting for pgBackRest to remove the backup", SAFETY_SECONDS)
    if seen.failed:
        _report_kept(ctx, manifest, snapshot, seen.cause)
    else:
        message = f"backup {backup.status.backup_name} was removed from {backup.spec.repo_name}"
        ctx.events.event(manifest, type="Normal", reason="BackupRemoved", message=message)
    return await _release(ctx, backup)


async def _rejected(
    ctx: Context, backup: PGBackup, manifest: Manifest, snapshot: Snapshot, why: str
) -> Result:
    """The Job was rejected: retry until the deadline of the Job, then give up and report the kept backup."""
    since = backup.metadata.deletion_timestamp or ctx.clock()
    if ctx.clock() - since < timedelta(seconds=build_backup_jobs.EXPIRE_SECONDS):
        return Wait(
            f"the API server rejected the Job that removes the backup: {why}", decide_state.RETRY_SECONDS
        )
    _report_kept(ctx, manifest, snapshot, f"the API server rejected the Job that removes it: {why}")
    return await _release(ctx, backup)


def _report_kept(
    ctx: Context, manifest: Manifest, snapshot: Snapshot, why: str, *, asked: bool = True
) -> None:
    """Emit events about the kept backup, on its object and on its cluster; `asked`: it was to be removed."""
    status = manifest.get("status") or {}
    message = (
        f"backup {status.get('backupName')} was not removed from {manifest['spec'].get('repoName')}: {why}"
    )
    write = log.warning if asked else log.info
    write("backup not removed from its repository", backup=status.get("backupName"), cause=why)
    for regarding in (manifest, snapshot.view.manifest if snapshot.view else None):
        if regarding is not None:
            kind: Literal["Normal", "Warning"] = "Warning" if asked else "Normal"
            ctx.events.event(regarding, type=kind, reason="BackupKept", message=message)


async def _release(ctx: Context, backup: PGBackup) -> Result:
    await lease.release(ctx, backup.namespace, backup.spec.pg_cluster, lease.holder_of(backup))
    await _finalizers(ctx, backup, [f for f in backup.metadata.finalizers if f != labels.FINALIZER_BACKUP])
    return Done()


async def sync_finalizer(ctx: Context, backup: PGBackup, snapshot: Snapshot) -> None:
    """Keep the finalizer of a finished backup as long as the deletion of the object can remove the backup."""
    if snapshot.invalid:
        return
    cluster = snapshot.cluster
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
    with suppress(NotFound):  # already deleted
        await ctx.client.merge_patch(kinds.PG_BACKUP, backup.namespace, backup.name, {"metadata": metadata})
