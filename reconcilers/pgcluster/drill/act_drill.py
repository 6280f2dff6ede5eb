"""Act: start the restore drill that is due, record its result, and remove its Job."""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress

import structlog

from pgoperator import labels, metrics, naming
from pgoperator.api.states import SUCCEEDED
from pgoperator.api.status import RestoreDrillStatus
from pgoperator.context import Context
from pgoperator.errors import OperatorError
from pgoperator.kube import kinds
from pgoperator.kube.errors import AlreadyExists, NotFound
from pgoperator.kube.manifest import Manifest, labels_of, name_of, owned, uid_of
from pgoperator.runtime.result import Wait
from reconcilers import jobs
from reconcilers.pgcluster.backups.inventory import BackupInventory
from reconcilers.pgcluster.drill import build_drill_job, decide_drill
from reconcilers.pgcluster.drill.decide_drill import Drill
from reconcilers.pgcluster.state.cache import ClusterCache, DrillCache
from reconcilers.pgcluster.state.view import View

log = structlog.get_logger(__name__)

_NAME = re.compile("[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
TURN_SECONDS = 60.0
"""Between two looks whether another cluster's drill has ended: no event of that cluster wakes this one."""


def status(ctx: Context, view: View) -> RestoreDrillStatus | None:
    """The status of drills, with the Job that runs or has ended; None if nobody asked for drills."""
    present = decide_drill.status(view)
    job = _job(ctx, view)
    if present is None or job is None:
        return present
    present = decide_drill.with_start(present, Drill.of(job))
    ended = _read(ctx, view, job)
    if not ended.ended or decide_drill.is_recorded(view, job):
        return present
    return decide_drill.with_result(present, job, ended, view.now)


async def act(  # noqa: PLR0917 - what `status` returned, and what a pass has
    ctx: Context,
    view: View,
    present: RestoreDrillStatus | None,
    known: BackupInventory,
    cache: ClusterCache,
    others: Iterable[ClusterCache],
) -> list[Wait]:
    """Start the drill that is due, or remove the Job of one whose result the status has.

    `present` is from `status`. `others` are the caches of all clusters: one drill runs at a time, because it
    reads a whole repository.
    """
    _measure(view, present)
    if (job := _job(ctx, view)) is not None:
        running = _read(ctx, view, job)
        cache.drill = DrillCache(blocked=decide_drill.pending(running, view.now))
        if running.ended:
            return await _finish(ctx, view, job)
        return [Wait("a restore drill runs", TURN_SECONDS)]
    if present is None:
        return []
    if (drill := decide_drill.due(view, present, known)) is None:
        cache.drill = DrillCache()
        return _next(view, present)
    if _one_runs(ctx) or any(other.drill.starts for other in others if other is not cache):
        return [Wait("a restore drill waits for that of another cluster", TURN_SECONDS)]
    return await _start(ctx, view, drill, cache)


async def _start(ctx: Context, view: View, drill: Drill, cache: ClusterCache) -> list[Wait]:
    cache.drill = DrillCache(starts=True)  # until the store has the Job
    if drill.sql and (missing := await _missing_sql(ctx, view, drill.sql)):
        cache.drill = DrillCache(blocked=missing)
        return [Wait(missing, TURN_SECONDS)]
    try:
        await ctx.client.create(owned(build_drill_job.manifest(view, drill), view.manifest))
    except AlreadyExists:
        return []
    except OperatorError as error:
        # A drill is not worth a cluster that is not reconciled.
        cache.drill = DrillCache(blocked=f"the Job of a restore drill cannot be created: {error}")
        log.warning("cannot start a restore drill", error=str(error))
        return [Wait(cache.drill.blocked, TURN_SECONDS)]
    log.info("started a restore drill", repo=drill.repo, backup=drill.backup)
    return []


async def _missing_sql(ctx: Context, view: View, name: str) -> str:
    """Why there is no SQL to run; "" if there is. A pod whose ConfigMap is missing would wait without end."""
    subject = f"ConfigMap {name} of the annotation {labels.RESTORE_DRILL_SQL}"
    if not _NAME.fullmatch(name):
        return f"{subject[:200]} has no valid name"
    try:
        found = await ctx.client.get(kinds.CONFIG_MAP, view.namespace, name)
    except NotFound:
        return f"{subject} does not exist: create it, with a key for each database"
    return "" if found.get("data") else f"{subject} is empty: it needs a key for each database"


async def _finish(ctx: Context, view: View, job: Manifest) -> list[Wait]:
    """Delete a Job whose result the status has, its pod, and with it the scratch volume."""
    if not decide_drill.is_recorded(view, job):
        return [Wait("the status gets the result of a restore drill", 1)]
    with suppress(NotFound):
        await ctx.client.delete(kinds.JOB, view.namespace, name_of(job), uid=uid_of(job))
    return []


def _job(ctx: Context, view: View) -> Manifest | None:
    job = ctx.store.get(kinds.JOB, view.namespace, naming.restore_drill(view.name))
    return job if job is not None and labels.RESTORE_DRILL in labels_of(job) else None


def _read(ctx: Context, view: View, job: Manifest) -> jobs.JobStatus:
    pods = ctx.store.select(kinds.POD, view.namespace, {labels.JOB: name_of(job)})
    own = [pod for pod in pods if uid_of(job) in _owners(pod)]
    return jobs.read(job, own, build_drill_job.CONTAINER, before=build_drill_job.RESTORE)


def _owners(pod: Manifest) -> Sequence[str]:
    return [str(owner.get("uid")) for owner in pod["metadata"].get("ownerReferences", [])]


def _one_runs(ctx: Context) -> bool:
    """Whether the drill of any cluster runs."""
    for key in ctx.store.keys(kinds.JOB):
        job = ctx.store.get(kinds.JOB, key.namespace, key.name)
        if job is None or labels.RESTORE_DRILL not in labels_of(job):
            continue
        if not jobs.read(job, (), build_drill_job.CONTAINER).ended:
            return True
    return False


def _next(view: View, present: RestoreDrillStatus) -> list[Wait]:
    overdue = decide_drill.overdue_from(view, present)
    moments = [at for at in (present.next_run, overdue) if at is not None and at > view.now]
    if not moments:
        return []
    return [Wait("the next restore drill", (min(moments) - view.now).total_seconds() + 0.1)]


def _measure(view: View, present: RestoreDrillStatus | None) -> None:
    proven = present.last_proven_restore if present else None
    last = next((one for one in present.drills if one.state == SUCCEEDED), None) if present else None
    metrics.show_drills(
        view.namespace,
        view.name,
        proven=proven.timestamp() if proven else None,
        seconds=last.restore_seconds if last else None,
    )
