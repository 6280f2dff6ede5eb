"""Act: change a cluster that runs, one step in a pass: switchovers, rolling changes, restarts for parameters.

The decisions are pure: `switchover`, `rollout`, `restarts`. What cannot be undone is decided again on what
the API server says now, and done only if the answer is the same.
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
from reconcilers.pgcluster import handover, restarts, rollout, switchover
from reconcilers.pgcluster import status as report
from reconcilers.pgcluster.memory import Asked, Change, Memory, Tried
from reconcilers.pgcluster.view import Instance, Member, View

log = structlog.get_logger(__name__)

# After clients have been held back in vain: they shall not be so all the time.
RETRY = timedelta(seconds=60)
# After Patroni had nobody to take over: a replica that has just restarted may be slow to answer.
SOONER = timedelta(seconds=15)
# For a switchover on request: less than a minute in all, in which a person may still watch.
ATTEMPTS, AGAIN = 4, timedelta(seconds=10)
# A replica that has lost its stream asks for it again every five seconds.
REJOIN = timedelta(seconds=6)
# Until the store shows what was done; events are usually sooner.
SOON = 1.0


async def act(ctx: Context, view: View, memory: Memory, *, written: bool) -> Wait | None:
    """Take the next step; `written`: StatefulSets were changed in this pass, the view is of before."""
    known = switchover.state(view)
    memory.change = Change(carried_out=known.switchover, timeline=known.switchover_timeline)
    if written and view.observed.system_identifier:
        memory.change = replace(memory.change, rolling=rollout.NOT_TAKEN_IN)
        return Wait(rollout.NOT_TAKEN_IN, SOON)
    asked = await _asked(ctx, view, memory)
    memory.change = replace(memory.change, rolling=rollout.progress(view))
    if asked is not None:
        return asked
    wait = await _roll(ctx, view, memory)
    if memory.change.rolling:
        return wait
    return await _restart(ctx, view, memory)


def serving(view: View, memory: Memory) -> frozenset[str]:
    """Names of the instances that do what they are there for."""
    return frozenset(i.name for i in view.observed.instances if report.serves(i, memory))


async def _asked(ctx: Context, view: View, memory: Memory) -> Wait | None:
    """A switchover that a person asks for."""
    change, last = memory.change, memory.asked
    if last is not None and last.value == switchover.wanted(view):
        # The store may not show yet what the status has been told.
        memory.change = replace(change, carried_out=last.value, timeline=None, asked=last)
        return None
    step = switchover.decide(view, serving(view, memory), memory.former)
    if step is None:
        return None
    if isinstance(step, switchover.Begin):
        primary = view.observed.primary
        memory.former = primary.name if primary is not None else ""
        asked = Asked(step.value, False, "Beginning", "the switchover begins")
        memory.change = replace(change, timeline=step.timeline, asked=asked)
        return Wait("the switchover begins", SOON)
    if isinstance(step, Asked):
        memory.change = replace(change, asked=step)
        if step.status:
            memory.change = replace(memory.change, carried_out=step.value, timeline=None)
        return None
    return await _carry_out(ctx, view, memory, step)


async def _carry_out(ctx: Context, view: View, memory: Memory, step: switchover.Go) -> Wait:
    """Switch over; a moment in which it cannot be gets a few more, and then it is done with."""
    change = memory.change
    if view.now < (due := memory.retry_at.get("asked", view.now)):
        asked = Asked(step.value, False, "Retrying", memory.held_up)
        memory.change = replace(change, asked=asked)
        return Wait(asked.message, (due - view.now).total_seconds())
    memory.asked = Asked(step.value, True, "Done", f"{step.candidate.pod_name} is the primary")
    try:
        await (handover.fail_over if step.failover else handover.switch)(ctx, view, step.candidate)
    except OperatorError as error:
        log.warning("no switchover", error=str(error))
        memory.attempts += 1
        if memory.attempts < ATTEMPTS:
            memory.asked, memory.held_up = None, str(error)
            memory.retry_at["asked"] = ctx.clock() + AGAIN
            memory.change = replace(change, asked=Asked(step.value, False, "Retrying", str(error)))
            return Wait(str(error), AGAIN.total_seconds())
        memory.asked = Asked(
            step.value, False, "Failed", f"{error}; a new value of the annotation tries again"
        )
    memory.attempts = 0
    memory.change = replace(change, carried_out=step.value, timeline=None, asked=memory.asked)
    return Wait("the switchover settles", SOON)


async def _roll(ctx: Context, view: View, memory: Memory) -> Wait | None:
    """Bring a pod to its new template."""
    step = rollout.next_step(view, serving(view, memory))
    if step is None:
        return None
    wait = step if isinstance(step, Wait) else await _roll_on(ctx, view, memory, step)
    memory.change = replace(memory.change, rolling=f"{memory.change.rolling}: {wait.reason}")
    return wait


async def _roll_on(
    ctx: Context, view: View, memory: Memory, step: rollout.Restart | rollout.HandOver
) -> Wait:
    if isinstance(step, rollout.HandOver) and (wait := _not_yet(memory, view)):
        return wait
    live = await _live(ctx, view)
    if rollout.next_step(live, serving(live, memory)) != step:
        return Wait("the cluster has changed meanwhile", SOON)
    if isinstance(step, rollout.HandOver):
        work = partial(handover.switch, ctx, live, _named(live, step.candidate))
        done = Wait(f"{step.candidate} takes over from {step.primary}", SOON)
        return await _with_clients(ctx, memory, work, done)
    if step.is_primary:
        await handover.checkpoint(ctx, live, _named(live, step.instance))
    pod = naming.pod(step.instance)
    try:
        await ctx.client.delete(kinds.POD, view.namespace, pod, uid=step.uid)
    except Conflict:
        return Wait(f"another {pod} has taken its place", SOON)
    log.info("restarted a pod, because its template has changed", pod=pod)
    return Wait(f"{pod} restarts", rollout.SECONDS)


async def _restart(ctx: Context, view: View, memory: Memory) -> Wait | None:
    """Restart PostgreSQL where parameters wait for it."""
    present = {uid_of(i.pod) for i in view.observed.instances if i.pod is not None}
    memory.tried = {uid: tried for uid, tried in memory.tried.items() if uid in present}
    step = restarts.next_step(view, serving(view, memory), _lately(view, memory))
    if step is None:
        memory.retry_at.pop("restarts", None)
        return None
    # Members say so one after the other; which of them is first depends on all of them.
    since = memory.retry_at.setdefault("restarts", view.now + _round(view))
    if view.now < since:
        wait = Wait("every member has to say first what waits", (since - view.now).total_seconds())
    elif isinstance(step, Wait):
        wait = step
    else:
        wait = await _restart_on(ctx, view, memory, step)
    memory.change = replace(memory.change, restarting=wait.reason)
    return wait


async def _restart_on(ctx: Context, view: View, memory: Memory, step: restarts.Reload) -> Wait:
    if wait := _not_yet(memory, view):
        return wait
    live = await _live(ctx, view)
    if restarts.next_step(live, serving(live, memory), _lately(live, memory)) != step:
        return Wait("the cluster has changed meanwhile", SOON)
    instance = _named(live, step.instance)
    done = Wait(f"{instance.pod_name} has been restarted", rollout.SECONDS)
    wait = await _with_clients(ctx, memory, partial(handover.restart, ctx, live, instance), done)
    if wait is done:
        before, pending, now = memory.tried.get(step.uid), instance.member.pending, ctx.clock()
        times = before.times + 1 if before is not None and before.pending == pending else 1
        memory.tried[step.uid] = Tried(pending, times, now + RETRY * 4 ** min(times - 1, 3))
        if instance.is_primary:
            # The replicas come back to it, and must have heard from it what they may have less of.
            memory.retry_at["restarts"] = now + _round(view) + REJOIN
    return wait


def _lately(view: View, memory: Memory) -> dict[str, restarts.Pending]:
    """What PostgreSQL has been restarted for in vain, so far; by UID of the pod."""
    return {uid: tried.pending for uid, tried in memory.tried.items() if view.now < tried.until}


def _round(view: View) -> timedelta:
    """After this time every member of Patroni has looked again."""
    return timedelta(seconds=view.cluster.spec.patroni.sync_period_seconds)


def _not_yet(memory: Memory, view: View) -> Wait | None:
    """What was refused is tried again after a while, and why is said until then."""
    due = memory.retry_at.get("primary", view.now)
    return Wait(memory.held_up, (due - view.now).total_seconds()) if view.now < due else None


async def _with_clients(
    ctx: Context, memory: Memory, work: Callable[[], Awaitable[None]], done: Wait
) -> Wait:
    """Do what clients notice."""
    try:
        await work()
    except OperatorError as error:
        log.warning("the primary stays as it is", error=str(error))
        pause = RETRY if isinstance(error, handover.Busy) else SOONER
        memory.held_up = f"{error}; tried again every {pause.total_seconds():.0f} s"
        memory.retry_at["primary"] = ctx.clock() + pause
        return Wait(memory.held_up, pause.total_seconds())
    memory.retry_at.pop("primary", None)
    return done


async def _live(ctx: Context, view: View) -> View:
    """The view with instances and lock as the API server has them now."""
    selector = f"{labels.CLUSTER}={view.name},{labels.DATA}={labels.DATA_POSTGRES}"
    pods = await _listed(ctx, view, kinds.POD, selector)
    stateful_sets = await _listed(ctx, view, kinds.STATEFUL_SET, selector)
    leader: Manifest | None = None
    with suppress(NotFound):
        leader = await ctx.client.get(kinds.ENDPOINTS, view.namespace, naming.patroni_scope(view.name))
    instances = tuple(
        replace(
            i,
            stateful_set=stateful_sets.get(i.name),
            pod=(pod := pods.get(i.pod_name)),
            member=Member.of(pod) if pod is not None else Member(),
        )
        for i in view.observed.instances
    )
    return replace(view, observed=replace(view.observed, instances=instances, leader=leader))


async def _listed(ctx: Context, view: View, kind: Kind, selector: str) -> dict[str, Manifest]:
    found, _ = await ctx.client.list(kind, view.namespace, labels=selector)
    return {name_of(manifest): manifest for manifest in found}


def _named(view: View, name: str) -> Instance:
    return next(i for i in view.observed.instances if i.name == name)
