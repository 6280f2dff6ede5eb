"""Act: ask for the backups that nobody else asks for, and say until when one can restore.

The first backup of a cluster, from which replicas can be made, the scheduled ones, and those that an
annotation asks for are PerconaPGBackups like those of a user; their own reconciler takes them. They belong to
no one: a backup outlives its cluster.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import structlog

from pgoperator import labels, metrics
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import AlreadyExists, NotFound
from pgoperator.kube.manifest import Manifest, annotations_of, name_of
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster import archive, archiving, gaps, on_demand
from reconcilers.pgcluster.archive import Book
from reconcilers.pgcluster.schedules import Turn
from reconcilers.pgcluster.view import View

log = structlog.get_logger(__name__)

RETRY = timedelta(minutes=1)
"""From the failure of a backup that the operator takes by itself to the next one."""


def look(ctx: Context, view: View) -> Book:
    """What there is of the cluster's backups."""
    return archive.book(view, ctx.store.select(kinds.PG_BACKUP, view.namespace, {}))


async def act(
    ctx: Context, view: View, known: Book, *, stanza_hash: str | None, ready: bool
) -> tuple[Book, list[Wait]]:
    """Create what is due; the Book that comes back has the schedules that were dealt with."""
    if not view.cluster.spec.backups.enabled:
        await _supersede(ctx, view)
        return known, []
    if view.restoring is not None:
        await _supersede(ctx, view)
    _measure(view, known)
    await _tell_restorable(ctx, view, known)
    waits: list[Wait] = []
    if stanza_hash is not None and ready and view.restoring is None and not view.cluster.spec.pause:
        waits += await _first(ctx, view, known, stanza_hash)
        waits += await _behind_gaps(ctx, view, known, stanza_hash)
        known = await _scheduled(ctx, view, known)
        if (spec := on_demand.spec(view, known)) is not None:
            await _create(ctx, view, on_demand.name(view), spec, reason="manual", also={})
    if (left := archive.settling(view)) > timedelta():
        waits.append(Wait("WAL of before the stanza is archived", left.total_seconds() + 0.1))
    for turn in known.turns.turns:
        moments = (turn.next, archive.overdue_from(known, turn))
        seconds = min((moment - view.now).total_seconds() for moment in moments if moment >= view.now)
        waits.append(Wait("the next scheduled backup", seconds + 0.1))
    return known, waits


async def _supersede(ctx: Context, view: View) -> None:
    """See to a new first backup: no replica can start from the former.

    So when backups go off, because WAL will be missing in between, and when a restore begins.
    """
    for manifest in ctx.store.select(kinds.PG_BACKUP, view.namespace, labels.of_cluster(view.name)):
        found = annotations_of(manifest)
        if found.get(labels.BACKUP_JOB_TYPE) != "replica-create" or archive.SUPERSEDED in found:
            continue
        mark = {"metadata": {"annotations": {archive.SUPERSEDED: "true"}}}
        with suppress(NotFound):
            await ctx.client.merge_patch(kinds.PG_BACKUP, view.namespace, name_of(manifest), mark)


async def _first(ctx: Context, view: View, known: Book, stanza_hash: str) -> list[Wait]:
    """The first backup."""
    if archive.first_is_complete(view, known, stanza_hash):
        return []
    repo = view.cluster.spec.backups.repos[0].name
    spec = {"repoName": repo, "options": ["--type=full"]}
    return await _ensure(ctx, view, known, archive.first_name(view, known), spec, reason="replica-create")


async def _behind_gaps(ctx: Context, view: View, known: Book, stanza_hash: str) -> list[Wait]:
    """A backup behind each gap in the archive; a first backup that is awaited is one."""
    waits: list[Wait] = []
    if archive.first_is_complete(view, known, stanza_hash):
        for gap in gaps.due(view, known):
            spec = {"repoName": gap.repo, "options": ["--type=incr"]}
            waits += await _ensure(ctx, view, known, gaps.backup_name(view, gap), spec, reason=gaps.REASON)
    return waits


async def _ensure(
    ctx: Context, view: View, known: Book, name: str, spec: Manifest, *, reason: str
) -> list[Wait]:
    """Create a backup's object unless it is there; one that failed is asked for again after a while."""
    found = known.find(name)
    if found is None:
        await _create(ctx, view, name, spec, reason=reason, also={})
        return []
    if found.status.state != archive.FAILED or found.metadata.is_deleting:
        return []
    again = f"backup {name} ({reason}) is tried again"
    left = (found.status.completed or view.now) + RETRY - view.now
    if left > timedelta():
        return [Wait(again, left.total_seconds() + 1)]
    await ctx.client.delete(kinds.PG_BACKUP, view.namespace, name, uid=found.metadata.uid)
    return [Wait(again, 2)]


async def _scheduled(ctx: Context, view: View, known: Book) -> Book:
    """One backup for each schedule that is due; while its former one is not done, it stays due."""
    records = {record.cron_job_name: record for record in known.records}
    for turn in known.turns.turns:
        name = turn.schedule.name
        if not turn.is_due or any(archive.lasts(backup) for backup in known.of_schedule(name)):
            continue
        own = {labels.PGBACKREST_CRONJOB: name}
        spec = {"repoName": turn.schedule.repo, "options": [turn.schedule.option]}
        await _create(ctx, view, f"{name}-{int(turn.last.timestamp())}", spec, reason="scheduled", also=own)
        await _forget_failed(ctx, view, known, turn)
        records[name] = records[name].model_copy(update={"start_time": turn.last})
    return replace(known, records=tuple(records.values()))


async def _forget_failed(ctx: Context, view: View, known: Book, turn: Turn, keep: int = 3) -> None:
    """Of a schedule that fails again and again, the last failures are enough."""
    own = known.of_schedule(turn.schedule.name)
    for backup in [b for b in own if b.status.state == archive.FAILED][:-keep]:
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
    """Create a backup's object; `also` are annotations."""
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
        return  # by a pass that was cut off, or whose write has not come back yet
    log.info("asked for a backup", backup=name, reason=reason)


async def _tell_restorable(ctx: Context, view: View, known: Book) -> None:
    """Write to the newest backup until when one can restore: the last commit that is in the archive."""
    if not view.cluster.spec.backups.track_latest_restorable_time:
        return
    primary, newest = view.observed.primary, known.newest()
    found = archiving.archived(primary.pod if primary else None)
    if found is None or found.commit is None:
        return
    if newest is not None and any(gap.repo == newest.spec.repo_name for gap in gaps.known(view, known)):
        return  # nothing leads there from any backup
    metrics.show_restorable(
        view.namespace, view.name, commit=found.commit.timestamp(), pushed=found.pushed.timestamp()
    )
    begun = newest.metadata.creation_timestamp if newest else None
    if newest is None or begun is None or found.commit <= begun:
        return
    text = found.commit.strftime("%Y-%m-%d %H:%M:%S.%f%z")
    if newest.status.latest_restorable_time == text:
        return
    patch = {"status": {"latestRestorableTime": text}}
    where = kinds.PG_BACKUP, view.namespace, newest.name
    try:
        await ctx.client.merge_patch(*where, patch, subresource="status")
    except NotFound:
        return  # deleted meanwhile


def _measure(view: View, known: Book) -> None:
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
            for repo in view.cluster.spec.backups.repos
            if (newest := known.newest(repo.name)) and newest.status.completed
        },
    )
