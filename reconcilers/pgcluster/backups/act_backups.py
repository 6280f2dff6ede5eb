"""Act: request the operator's own backups, and report the latest restorable time.

The first backup of a cluster, from which replicas are created, scheduled backups and backups requested by an
annotation are PerconaPGBackups like those of a user; `reconcilers.pgbackup` takes them. They have no owner: a
backup outlives its cluster.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import structlog

from pgoperator import labels, metrics
from pgoperator.api import states
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import AlreadyExists, NotFound
from pgoperator.kube.manifest import Manifest, annotations_of, name_of
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.backups import (
    decide_backup_request,
    decide_readiness,
    decide_wal_gaps,
    inventory,
)
from reconcilers.pgcluster.backups.decide_schedules import ScheduleState
from reconcilers.pgcluster.backups.inventory import BackupInventory
from reconcilers.pgcluster.state import archiver
from reconcilers.pgcluster.state.view import View

log = structlog.get_logger(__name__)

RETRY = timedelta(minutes=1)
"""From the failure of a backup that the operator requested by itself to the next attempt."""


def look(ctx: Context, view: View) -> BackupInventory:
    """Return the cluster's backups, read from the store."""
    return inventory.book(view, ctx.store.owned_by(kinds.PG_BACKUP, view.namespace, view.name))


async def act(
    ctx: Context, view: View, known: BackupInventory, *, stanza_hash: str | None, ready: bool
) -> tuple[BackupInventory, list[Wait]]:
    """Create the PerconaPGBackups that are due; the returned inventory has updated records of schedules.

    `ready`: whether the whole cluster is ready; only the first backup waits for that, for a limited time.
    """
    if not view.backups_enabled:
        await _supersede(ctx, view)
        return known, []
    if inventory.is_restored(view):
        await _supersede(ctx, view)
    _measure(view, known)
    await _show_restorable(ctx, view, known)
    waits: list[Wait] = []
    if stanza_hash is not None and decide_readiness.can_begin(view, stanza_hash):
        waits += await _first(ctx, view, known, stanza_hash, ready=ready)
        waits += await _behind_gaps(ctx, view, known, stanza_hash)
        known = await _scheduled(ctx, view, known)
        if (spec := decide_backup_request.spec(view, known)) is not None:
            await _create(ctx, view, decide_backup_request.name(view), spec, reason="manual", also={})
    if (left := inventory.settling(view)) > timedelta():
        waits.append(Wait("waiting for WAL from before the stanza", left.total_seconds() + 0.1))
    for turn in known.turns.turns:
        again = inventory.retry(known, turn, view.now)
        moments = (turn.next, inventory.overdue_from(known, turn), *(again[1:] if again else ()))
        seconds = min((moment - view.now).total_seconds() for moment in moments if moment >= view.now)
        waits.append(Wait("next scheduled backup", seconds + 0.1))
    return known, waits


async def replace_lost(ctx: Context, view: View, known: BackupInventory, empty: Collection[str]) -> None:
    """Report the backups that `empty` repositories have lost, and request a new first backup."""
    if not view.repos:
        return
    if view.repos[0].name in empty:
        await _supersede(ctx, view)
    for repo in empty:
        names = [
            backup.name
            for backup in known.backups
            if backup.spec.repo_name == repo
            and backup.status.state == states.SUCCEEDED
            and labels.BACKUP_EXPIRED not in backup.metadata.annotations
        ]
        if not names:
            continue
        message = (
            f"{repo} has no backup: {len(names)} backup(s), such as {names[-1]}, are lost, or at a former "
            "path of the repository. WAL is archived again; nothing can be restored before a full backup"
        )
        log.warning("a repository has lost its backups", repo=repo, backups=len(names))
        ctx.events.event(view.manifest, type="Warning", reason="BackupsLost", message=message)


async def _supersede(ctx: Context, view: View) -> None:
    """Mark first backups as superseded, so that a new first backup is requested.

    No replica can be created from the old backup once backups are disabled, because WAL will be missing, or
    once a restore has replaced the data. A restore that fails before that changes nothing: the backups from
    before it stay, and lead to the present.
    """
    for manifest in ctx.store.select(kinds.PG_BACKUP, view.namespace, labels.of_cluster(view.name)):
        found = annotations_of(manifest)
        if found.get(labels.BACKUP_JOB_TYPE) != "replica-create" or labels.SUPERSEDED in found:
            continue
        mark = {"metadata": {"annotations": {labels.SUPERSEDED: "true"}}}
        with suppress(NotFound):
            await ctx.client.merge_patch(kinds.PG_BACKUP, view.namespace, name_of(manifest), mark)


async def _first(
    ctx: Context, view: View, known: BackupInventory, stanza_hash: str, *, ready: bool
) -> list[Wait]:
    """Request the first backup.

    It expires no older backup: after a restore to the wrong moment they are what the next restore needs.
    """
    if inventory.first_is_complete(view, known, stanza_hash):
        return []
    if (delay := decide_readiness.first_delay(view, ready=ready)) > timedelta():
        return [Wait("the first backup waits for the replicas", delay.total_seconds() + 0.1)]
    repo = view.repos[0].name
    spec = {"repoName": repo, "options": ["--type=full", "--no-expire-auto"]}
    return await _ensure(ctx, view, known, inventory.first_name(view, known), spec, reason="replica-create")


async def _behind_gaps(ctx: Context, view: View, known: BackupInventory, stanza_hash: str) -> list[Wait]:
    """Request a backup behind each gap in the archive, once the first backup is complete."""
    waits: list[Wait] = []
    if inventory.first_is_complete(view, known, stanza_hash):
        for gap in decide_wal_gaps.due(view, known):
            spec = {"repoName": gap.repo, "options": ["--type=incr"]}
            waits += await _ensure(
                ctx, view, known, decide_wal_gaps.backup_name(view, gap), spec, reason=decide_wal_gaps.REASON
            )
        if (left := decide_wal_gaps.pause(view, known)) is not None:
            waits.append(Wait("the next backup behind a gap waits", left.total_seconds() + 1))
    return waits


async def _ensure(
    ctx: Context, view: View, known: BackupInventory, name: str, spec: Manifest, *, reason: str
) -> list[Wait]:
    """Create a PerconaPGBackup unless it exists; delete a failed one after `RETRY`, to create it again."""
    found = known.find(name)
    if found is None:
        await _create(ctx, view, name, spec, reason=reason, also={})
        return []
    if found.status.state != states.FAILED or found.metadata.is_deleting:
        return []
    again = f"retrying backup {name} ({reason}), which failed"
    left = (found.status.completed or view.now) + RETRY - view.now
    if left > timedelta():
        return [Wait(again, left.total_seconds() + 1)]
    await ctx.client.delete(kinds.PG_BACKUP, view.namespace, name, uid=found.metadata.uid)
    return [Wait(again, 2)]


async def _scheduled(ctx: Context, view: View, known: BackupInventory) -> BackupInventory:
    """Request a backup for each due schedule, and again after a failure.

    A schedule whose previous backup still runs stays due.
    """
    records = {record.cron_job_name: record for record in known.records}
    for turn in known.turns.turns:
        name, again = turn.schedule.name, inventory.retry(known, turn, view.now)
        if any(inventory.lasts(backup) for backup in known.of_schedule(name)):
            continue
        if not turn.is_due and (again is None or again[1] > view.now):
            continue
        number = 0 if turn.is_due or again is None else again[0]
        own = {labels.PGBACKREST_CRONJOB: name}
        spec = {"repoName": turn.schedule.repo, "options": [turn.schedule.option]}
        await _create(ctx, view, inventory.attempt_name(turn, number), spec, reason="scheduled", also=own)
        await _forget_failed(ctx, view, known, turn)
        records[name] = records[name].model_copy(update={"start_time": turn.last})
    return replace(known, records=tuple(records.values()))


async def _forget_failed(
    ctx: Context, view: View, known: BackupInventory, turn: ScheduleState, keep: int = 3
) -> None:
    """Delete the failed backups of a schedule except the last `keep`."""
    own = known.of_schedule(turn.schedule.name)
    for backup in [b for b in own if b.status.state == states.FAILED][:-keep]:
        await ctx.client.delete(kinds.PG_BACKUP, view.namespace, backup.name, uid=backup.metadata.uid)


async def _create(
    ctx: Context,
    view: View,
    name: str,
    spec: Manifest,
    *,
    reason: str,
    also: Mapping[str, str],
) -> None:
    """Create a PerconaPGBackup; `also` are additional annotations."""
    extra = view.cluster.spec.metadata
    manifest: Manifest = {
        "apiVersion": kinds.PG_BACKUP.api_version,
        "kind": kinds.PG_BACKUP.kind,
        "metadata": {
            "name": name,
            "namespace": view.namespace,
            "labels": {**extra.labels, labels.CLUSTER: view.name, labels.PGBACKREST_BACKUP: reason},
            "annotations": {**extra.annotations, labels.BACKUP_JOB_TYPE: reason, **also},
        },
        "spec": {"pgCluster": view.name, **spec},
    }
    try:
        await ctx.client.create(manifest)
    except AlreadyExists:
        return  # created by an interrupted reconciliation, or not in the store yet
    log.info("requested a backup", backup=name, reason=reason)


async def _show_restorable(ctx: Context, view: View, known: BackupInventory) -> None:
    """Write the time of the last archived commit, the latest restorable time, to the newest backup."""
    if not view.cluster.spec.backups.track_latest_restorable_time:
        return
    primary, newest = view.observed.primary, known.newest()
    found = archiver.archived(primary.pod if primary else None)
    if found is None or found.commit is None:
        return
    if newest is not None and decide_wal_gaps.holds(view, known, newest.spec.repo_name):
        return  # maybe no backup can be restored to that time
    metrics.show_restorable(
        view.namespace, view.name, commit=found.commit.timestamp(), pushed=found.pushed.timestamp()
    )
    ended = newest.status.completed if newest else None
    if newest is None or ended is None or found.commit <= ended:
        return  # a backup can be restored to no time before its own end
    text = found.commit.strftime("%Y-%m-%d %H:%M:%S.%f%z")
    if newest.status.latest_restorable_time == text:
        return
    patch = {"status": {"latestRestorableTime": text}}
    where = kinds.PG_BACKUP, view.namespace, newest.name
    try:
        await ctx.client.merge_patch(*where, patch, subresource="status")
    except NotFound:
        return  # deleted since it was listed


def _measure(view: View, known: BackupInventory) -> None:
    metrics.show_backups(
        view.namespace,
        view.name,
        next_runs={(t.schedule.repo, t.schedule.type): t.next.timestamp() for t in known.turns.turns},
        successes={
            (t.schedule.repo, t.schedule.type): success.timestamp()
            for t in known.turns.turns
            if (success := known.success(t.schedule.name))
        },
        newest={
            repo.name: newest.status.completed.timestamp()
            for repo in view.repos
            if (newest := known.newest(repo.name)) and newest.status.completed
        },
    )
