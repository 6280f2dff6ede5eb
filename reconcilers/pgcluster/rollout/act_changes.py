"""Act: change a running cluster, one step per pass: switchovers, rolling updates, restarts for parameters.

The decisions are pure: `decide_switchover`, `decide_rolling_update`, `decide_restarts`. A step that cannot be
undone is decided again on live objects from the API server, and taken only if the decision is the same.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial

import structlog

from pgoperator import labels, naming
from pgoperator.context import Context
from pgoperator.errors import OperatorError
from pgoperator.kube import kinds
from pgoperator.kube.errors import Conflict, NotFound
from pgoperator.kube.manifest import Kind, Manifest, name_of, uid_of
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.rollout import (
    act_handover,
    act_pending_check,
    decide_pending_check,
    decide_restarts,
    decide_rolling_update,
    decide_switchover,
    read_backups,
)
from reconcilers.pgcluster.rollout.decide_rolling_update import HandOver, Restart
from reconcilers.pgcluster.state.cache import (
    Change,
    ChangeCache,
    ClusterCache,
    RestartAttempt,
    SwitchoverOutcome,
)
from reconcilers.pgcluster.state.replication import serving
from reconcilers.pgcluster.state.view import Instance, Member, View

log = structlog.get_logger(__name__)

# After transactions did not end in time: clients must not be paused too often.
RETRY_BUSY = timedelta(seconds=60)
# After Patroni refused: a replica that has just restarted may be slow to answer.
RETRY_REFUSED = timedelta(seconds=15)
# For a requested switchover: less than a minute in total, while the user is likely still watching.
ATTEMPTS, RETRY_SWITCHOVER = 4, timedelta(seconds=10)
# A replica retries a lost replication connection every five seconds.
REJOIN = timedelta(seconds=6)
# Seconds until the store shows the change; watch events are usually faster.
SOON = 1.0

CHANGED = "the cluster has changed since the decision; deciding again"
STARTING = "the switchover is starting"
PATRONI_PAUSED = "waiting until Patroni is resumed (patronictl resume)"


async def act(ctx: Context, view: View, cache: ClusterCache) -> Wait | None:
    """Take the next step of a switchover, a rolling update or a restart, in this order."""
    changes, recorded = cache.changes, decide_switchover.recorded(view)
    changes.change = Change(carried_out=recorded.switchover, timeline=recorded.switchover_timeline)
    if cache.templates_written and view.observed.system_identifier:
        changes.change = replace(changes.change, rolling=decide_rolling_update.NOT_OBSERVED)
        return Wait(decide_rolling_update.NOT_OBSERVED, SOON)
    requested = await _requested(ctx, view, cache)
    changes.change = replace(changes.change, rolling=decide_rolling_update.progress(view))
    if requested is not None:
        return requested
    if view.observed.is_patroni_paused:
        return _paused(changes)
    if (leaving := await _leave(ctx, view, cache)) is not None:
        return leaving
    wait = await _roll(ctx, view, cache)
    if changes.change.rolling:
        return wait
    return await _restart(ctx, view, cache)


def _paused(changes: ChangeCache) -> Wait | None:
    """Leave every instance as it is: without Patroni, a stopped primary would have no successor."""
    rolling = changes.change.rolling
    if not rolling:
        return None
    changes.change = replace(changes.change, rolling=f"{rolling}: {PATRONI_PAUSED}")
    return Wait(PATRONI_PAUSED, decide_rolling_update.SECONDS)


async def _requested(ctx: Context, view: View, cache: ClusterCache) -> Wait | None:
    """Carry out the switchover that the user requests; None when there is nothing to do."""
    changes = cache.changes
    last, change = changes.switchover, changes.change
    if last is not None and last.value == decide_switchover.requested(view):
        # The store may not contain the written status yet.
        changes.change = replace(change, carried_out=last.value, timeline=None, switchover=last)
        return None
    step = decide_switchover.decide(view, serving(view, cache), changes.former)
    if step is None:
        return None
    if isinstance(step, decide_switchover.RecordTimeline):
        primary = view.observed.primary
        changes.former = primary.name if primary is not None else ""
        outcome = SwitchoverOutcome(step.value, False, "Beginning", STARTING)
        changes.change = replace(change, timeline=step.timeline, switchover=outcome)
        return Wait(STARTING, SOON)
    if isinstance(step, SwitchoverOutcome):
        changes.change = replace(change, switchover=step)
        if step.status:
            changes.change = replace(changes.change, carried_out=step.value, timeline=None)
        return None
    return await _switch_over(ctx, view, changes, step)


async def _switch_over(
    ctx: Context, view: View, changes: ChangeCache, step: decide_switchover.Promote
) -> Wait:
    """Switch over; after ATTEMPTS failed attempts the request is final."""
    change = changes.change
    if changes.switchover_after is not None and view.now < changes.switchover_after:
        outcome = SwitchoverOutcome(step.value, False, "Retrying", changes.switchover_error)
        changes.change = replace(change, switchover=outcome)
        return Wait(outcome.message, (changes.switchover_after - view.now).total_seconds())
    try:
        await (act_handover.fail_over if step.failover else act_handover.switch)(ctx, view, step.candidate)
    except OperatorError as error:
        log.warning("switchover failed", error=str(error))
        changes.attempts += 1
        if changes.attempts < ATTEMPTS:
            changes.switchover_error = str(error)
            changes.switchover_after = ctx.clock() + RETRY_SWITCHOVER
            outcome = SwitchoverOutcome(step.value, False, "Retrying", str(error))
            changes.change = replace(change, switchover=outcome)
            return Wait(str(error), RETRY_SWITCHOVER.total_seconds())
        changes.switchover = SwitchoverOutcome(
            step.value, False, "Failed", f"{error}; to retry, set the annotation to a new value"
        )
    else:
        # Recorded only here: a pass that is cancelled at its deadline may or may not have switched over.
        done = f"{step.candidate.pod_name} is the primary"
        changes.switchover = SwitchoverOutcome(step.value, True, "Done", done)
    changes.attempts, changes.switchover_after = 0, None
    changes.change = replace(change, carried_out=step.value, timeline=None, switchover=changes.switchover)
    return Wait("waiting for the cluster's state after the switchover", SOON)


async def _leave(ctx: Context, view: View, cache: ClusterCache) -> Wait | None:
    """Switch over from a primary that is not planned."""
    step = decide_rolling_update.leave(view, serving(view, cache))
    if not isinstance(step, HandOver):
        return step
    if wait := _hold(ctx, view, cache.changes):
        return wait
    live = await _live(ctx, view)
    if decide_rolling_update.leave(live, serving(live, cache)) != step:
        return Wait(CHANGED, SOON)
    work = partial(act_handover.switch, ctx, live, _instance(live, step.candidate))
    done = Wait(f"switched over from {step.primary} to {step.candidate}", SOON)
    return await _attempt(ctx, cache.changes, work, done)


async def _roll(ctx: Context, view: View, cache: ClusterCache) -> Wait | None:
    """Take the next step of the rolling update."""
    changes = cache.changes
    step = decide_rolling_update.next_step(view, serving(view, cache))
    if step is None:
        return None
    wait = step if isinstance(step, Wait) else await _take_roll_step(ctx, view, cache, step)
    changes.change = replace(changes.change, rolling=f"{changes.change.rolling}: {wait.reason}")
    return wait


async def _take_roll_step(ctx: Context, view: View, cache: ClusterCache, step: Restart | HandOver) -> Wait:
    if (isinstance(step, HandOver) or step.is_primary) and (wait := _hold(ctx, view, cache.changes)):
        return wait
    live = await _live(ctx, view)
    if decide_rolling_update.next_step(live, serving(live, cache)) != step:
        return Wait(CHANGED, SOON)
    if isinstance(step, HandOver):
        work = partial(act_handover.switch, ctx, live, _instance(live, step.candidate))
        done = Wait(f"switched over from {step.primary} to {step.candidate}", SOON)
        return await _attempt(ctx, cache.changes, work, done)
    if step.is_primary:
        await act_handover.checkpoint(ctx, live, _instance(live, step.instance))
    pod = naming.pod(step.instance)
    try:
        await ctx.client.delete(kinds.POD, view.namespace, pod, uid=step.uid)
    except Conflict:
        return Wait(f"pod {pod} was replaced since the decision; deciding again", SOON)
    log.info("deleted a pod, so that it gets its new template or token", pod=pod)
    return Wait(f"{pod} is restarting", decide_rolling_update.SECONDS)


async def _restart(ctx: Context, view: View, cache: ClusterCache) -> Wait | None:
    """Restart PostgreSQL in the next instance with pending parameters."""
    changes = cache.changes
    present = {uid_of(i.pod) for i in view.observed.instances if i.pod is not None}
    changes.restarts = {uid: attempt for uid, attempt in changes.restarts.items() if uid in present}
    step = decide_restarts.next_step(view, serving(view, cache), _recent_restarts(view, changes))
    if step is None:
        changes.restart_after = None
        return await act_pending_check.act(ctx, view, serving(view, cache), changes)
    # Members report one after another; the order of restarts depends on all of them.
    since = changes.restart_after = changes.restart_after or view.now + decide_restarts.patroni_loop(view)
    if view.now < since:
        wait = Wait(
            "waiting for all members to report their pending parameters", (since - view.now).total_seconds()
        )
    elif isinstance(step, Wait):
        wait = step
    else:
        wait = await _take_restart_step(ctx, view, cache, step)
    changes.change = replace(changes.change, restarting=wait.reason)
    return wait


async def _take_restart_step(
    ctx: Context, view: View, cache: ClusterCache, step: decide_restarts.RestartPostgres
) -> Wait:
    changes = cache.changes
    if wait := _hold(ctx, view, changes):
        return wait
    live = await _live(ctx, view)
    if decide_restarts.next_step(live, serving(live, cache), _recent_restarts(live, changes)) != step:
        return Wait(CHANGED, SOON)
    instance = _instance(live, step.instance)
    done = Wait(f"{instance.pod_name} has been restarted", decide_rolling_update.SECONDS)
    wait = await _attempt(ctx, changes, partial(act_handover.restart, ctx, live, instance), done)
    if wait is done:
        before, pending, now = changes.restarts.get(step.uid), instance.member.pending, ctx.clock()
        times = before.times + 1 if before is not None and before.pending == pending else 1
        changes.restarts[step.uid] = RestartAttempt(pending, times, now + RETRY_BUSY * 4 ** min(times - 1, 3))
        changes.pending_check = decide_pending_check.after_restart(view)
        if instance.is_primary:
            # The replicas must reconnect and receive the primary's new values before they may lower theirs.
            changes.restart_after = now + decide_restarts.patroni_loop(view) + REJOIN
    return wait


def _recent_restarts(view: View, changes: ChangeCache) -> dict[str, decide_restarts.Pending]:
    """By UID of the pod: parameters that a recent restart was for; they cause no further restart for now."""
    return {uid: attempt.pending for uid, attempt in changes.restarts.items() if view.now < attempt.until}


def _hold(ctx: Context, view: View, changes: ChangeCache) -> Wait | None:
    """Why the primary stays as it is for now: the last attempt failed, or a backup runs; else None."""
    due = changes.primary_after
    if due is not None and view.now < due:
        return Wait(changes.primary_error, (due - view.now).total_seconds())
    return read_backups.awaited(ctx, view)


async def _attempt(
    ctx: Context, changes: ChangeCache, work: Callable[[], Awaitable[None]], done: Wait
) -> Wait:
    """Run a switchover or restart; return `done`, or a Wait with the error until the next attempt."""
    try:
        await work()
    except OperatorError as error:
        log.warning("switchover or restart failed", error=str(error))
        pause = RETRY_BUSY if isinstance(error, act_handover.Busy) else RETRY_REFUSED
        changes.primary_error = f"{error}; the operator retries every {pause.total_seconds():.0f} s"
        changes.primary_after = ctx.clock() + pause
        return Wait(changes.primary_error, pause.total_seconds())
    changes.primary_after = None
    return done


async def _live(ctx: Context, view: View) -> View:
    """The view with instances, their account and Patroni's lock read live from the API server."""
    selector = f"{labels.CLUSTER}={view.name},{labels.DATA}={labels.DATA_POSTGRES}"
    pods = await _list_by_name(ctx, view, kinds.POD, selector)
    stateful_sets = await _list_by_name(ctx, view, kinds.STATEFUL_SET, selector)
    leader = await _find(ctx, view, kinds.ENDPOINTS, naming.patroni_scope(view.name))
    account = await _find(ctx, view, kinds.SERVICE_ACCOUNT, naming.instance_account(view.name))
    instances = []
    for i in view.observed.instances:
        pod = pods.get(i.pod_name)
        member = Member.of(pod) if pod is not None else Member()
        instances.append(replace(i, stateful_set=stateful_sets.get(i.name), pod=pod, member=member))
    observed = replace(view.observed, instances=tuple(instances), leader=leader, account=account)
    return replace(view, observed=observed)


async def _find(ctx: Context, view: View, kind: Kind, name: str) -> Manifest | None:
    with suppress(NotFound):
        return await ctx.client.get(kind, view.namespace, name)
    return None


async def _list_by_name(ctx: Context, view: View, kind: Kind, selector: str) -> dict[str, Manifest]:
    manifests, _ = await ctx.client.list(kind, view.namespace, labels=selector)
    return {name_of(manifest): manifest for manifest in manifests}


def _instance(view: View, name: str) -> Instance:
    return next(i for i in view.observed.instances if i.name == name)
