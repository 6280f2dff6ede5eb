"""Reconcile one PerconaPGRestore: read it live, observe, decide, act, write; repeat until it must wait."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import structlog

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.api.pgrestore import PGRestore
from pgoperator.api.states import FAILED, FINISHED, RUNNING, STARTING, SUCCEEDED
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound
from pgoperator.kube.manifest import Key, Manifest
from pgoperator.runtime.result import Done, Result, Wait
from reconcilers.pgbackup import lease
from reconcilers.pgcluster.bootstrap.decide_restore_gate import is_bootstrap
from reconcilers.pgcluster.state import primary_mark
from reconcilers.pgcluster.state.observe import InvalidCluster, observe_for_job, read_cluster
from reconcilers.pgcluster.state.view import Observed
from reconcilers.pgrestore import act_archive, act_check, act_restore
from reconcilers.pgrestore.act_archive import Switched
from reconcilers.pgrestore.build_plan import DryRun
from reconcilers.pgrestore.decide_phase import (
    ABORTING,
    CHECKING,
    PROMOTING,
    REPLICAS,
    RESTORING,
    STOPPING,
    UNDOING,
    Action,
    Decision,
    End,
    Move,
    Pause,
    Snapshot,
    decide,
    overdue,
)
from reconcilers.pgrestore.observe import is_ours, observe_with_cause

log = structlog.get_logger(__name__)

STEPS = 12
"""Steps of one reconciliation; more would be an endless loop."""
SAFETY_SECONDS = 60
"""Events wake a waiting restore; this interval covers a lost event."""


@dataclass(slots=True)
class PGRestores:
    """The reconciler of PerconaPGRestore."""

    by_cluster: dict[Key, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Restores that may not have ended, woken by changes of their cluster."""

    def of_cluster(self, cluster: Key) -> list[Key]:
        """The restores to wake."""
        names = self.by_cluster.get(cluster, ())
        return [Key(kinds.PG_RESTORE.kind, cluster.namespace, name) for name in names]

    async def reconcile(self, ctx: Context, key: Key) -> Result:
        """Take steps of one restore until it must wait."""
        for _ in range(STEPS):
            # Read live, and written with its resourceVersion: a restore must never act on an outdated status.
            try:
                manifest = await ctx.client.get(kinds.PG_RESTORE, key.namespace, key.name)
            except NotFound:
                self._forget(key)
                return Done()
            if _has_ended(manifest):
                self._forget(key)
                return Done()
            cluster = Key(kinds.PG_CLUSTER.kind, key.namespace, str(manifest["spec"].get("pgCluster")))
            self.by_cluster[cluster].add(key.name)
            if not await is_ours(ctx, manifest):
                return Done()
            try:
                restore = PGRestore.parse(manifest)
            except InvalidSpec as error:
                await _refuse(ctx, manifest, str(error))
                raise
            result = await _Step(ctx, manifest, restore).take()
            if result is not None:
                return result
        return Wait("step limit of one reconciliation reached", 1)

    def _forget(self, key: Key) -> None:
        for names in self.by_cluster.values():
            names.discard(key.name)


async def _refuse(ctx: Context, manifest: Manifest, cause: str) -> None:
    """Show in the status why the object is not reconciled; a restore that has begun keeps its state."""
    status = manifest.get("status") or {}
    state = status.get("state") or FAILED
    if (status.get("state"), status.get("error")) != (state, cause):
        where = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        patch = {"status": {"state": state, "error": cause}}
        await ctx.client.merge_patch(kinds.PG_RESTORE, *where, patch, subresource="status")


def _has_ended(manifest: Manifest) -> bool:
    held = labels.FINALIZER_RESTORE in (manifest["metadata"].get("finalizers") or ())
    return (manifest.get("status") or {}).get("state") in FINISHED and not held


def _result(snapshot: Snapshot) -> str:
    """The last message of the restore's own Job; "" if it is not known any more."""
    job = snapshot.job
    return job.message if job is not None and job.owner == snapshot.uid and job.succeeded else ""


def _is_held(restore: PGRestore) -> bool:
    return labels.FINALIZER_RESTORE in restore.metadata.finalizers


class _Step:
    """One step of one restore."""

    def __init__(self, ctx: Context, manifest: Manifest, restore: PGRestore) -> None:
        self.ctx, self.manifest, self.restore = ctx, manifest, restore

    async def take(self) -> Result | None:
        """Take one step; return None if the next step can follow at once."""
        if not _is_held(self.restore) and not is_bootstrap(self.restore):
            if self.restore.metadata.is_deleting:
                return Done()
            await self._finalizers([*self.restore.metadata.finalizers, labels.FINALIZER_RESTORE])
            return None
        snapshot, observed = await observe_with_cause(self.ctx, self.restore)
        try:
            return await self._apply(decide(self.restore.status, snapshot), snapshot, observed)
        except InvalidCluster as error:
            if self.restore.status.state == SUCCEEDED:
                return await self._pause(str(error), SAFETY_SECONDS)
            return await self._wait(Wait(str(error), SAFETY_SECONDS), snapshot, observed)

    def _cluster(self) -> tuple[PGCluster, Manifest] | None:
        return read_cluster(self.ctx.store, self.restore.namespace, self.restore.spec.pg_cluster)

    async def _apply(self, decision: Decision, snapshot: Snapshot, observed: Observed) -> Result | None:
        match decision:
            case Move(phase, message, error, untouched):
                more = {"jobName": None} if untouched else {}
                await self._move(phase, message=message, error=error or self.restore.status.error, **more)
            case Pause(message, seconds):
                return await self._pause(message, seconds)
            case End(state, message, error, lost):
                if lost:
                    await act_restore.yield_leadership(self.ctx, self.restore)
                # The result of the Job has the position, and whether WAL was lost.
                result = _result(snapshot) if state == SUCCEEDED else ""
                await self._end(state, f"{message} ({result})" if result else message, error)
            case Action(act):
                return await self._act(act, snapshot, observed)
        return None

    async def _act(self, act: str, snapshot: Snapshot, observed: Observed) -> Result | None:
        ctx, restore = self.ctx, self.restore
        namespace, name = restore.namespace, restore.spec.pg_cluster
        match act:
            case "check":
                return await self._check(snapshot, observed)
            case "delete-job":
                assert snapshot.job is not None
                await act_restore.delete_job(ctx, namespace, name, snapshot.job.uid)
                return Wait("waiting for the Job to be deleted", 5)
            case "create-job" | "undo-job":
                return await self._job(snapshot, observed, undo=act == "undo-job")
            case "forget-leader":
                await act_restore.forget_leader(ctx, namespace, name)
                await primary_mark.write(
                    ctx, namespace, restore.status.instance or "", primary_mark.PAUSED, snapshot.now
                )
                done = _result(snapshot) or "the data is restored"
                await self._move(PROMOTING, message=f"{done}; starting the first instance")
            case "clean":
                if (found := self._cluster()) and (
                    wait := await act_restore.clean(ctx, restore, self.manifest, found[0], observed)
                ):
                    return wait
                await self._release()
            case "release":
                if restore.status.state == FAILED and restore.status.message:
                    # It says what the restore waits for; the next step releases.
                    await self._patch({"message": None})
                    return None
                await self._release()
        return None

    async def _check(self, snapshot: Snapshot, observed: Observed) -> Result | None:
        if self.restore.status.phase is None:
            await self._move(CHECKING, message="checking the request and the repository")
            return None
        try:
            found = await act_check.check(self.ctx, self.restore, snapshot, observed)
        except InvalidSpec as error:
            await self._end(FAILED, "", f"{error}")
            return None
        match found:
            case Wait():
                return await self._wait(found, snapshot, observed)
            case Switched(segment):
                message = f"waiting until WAL segment {segment} is archived"
                await self._move(CHECKING, message=message, walLast=segment)
            case DryRun(plan, message):
                await self._end(SUCCEEDED, message, "", plan=plan)
            case _:
                await act_check.supersede(self.ctx, self.restore, observed, found["instance"])
                await self._move(STOPPING, **{"message": "stopping the instances"} | found)
        return None

    async def _wait(self, wait: Wait, snapshot: Snapshot, observed: Observed) -> Result | None:
        """Report why an act has to wait, until the deadline of the phase."""
        late = overdue(self.restore.status, snapshot, wait.reason)
        if late is not None:
            return await self._apply(late, snapshot, observed)
        return await self._pause(wait.reason, wait.seconds)

    async def _job(self, snapshot: Snapshot, observed: Observed, *, undo: bool) -> Result | None:
        found = self._cluster()
        if found is None:
            return Wait("the cluster was deleted", 1)
        view = observe_for_job(self.ctx, *found, observed)
        if not undo and (cause := await act_archive.primary_changed(self.ctx, self.restore, view)):
            await self._move(ABORTING, message="", error=cause)
            return None
        try:
            reason = await act_restore.create_job(self.ctx, self.restore, view, undo=undo)
        except InvalidSpec as refusal:
            if undo:
                return await self._wait(Wait(str(refusal), SAFETY_SECONDS), snapshot, observed)
            await self._move(ABORTING, message="", error=str(refusal))
            return None
        if reason is not None:
            return await self._wait(Wait(reason, 2), snapshot, observed)
        phase = UNDOING if undo else RESTORING
        if self.restore.status.phase != phase:
            job = naming.restore_job(self.restore.spec.pg_cluster)
            error = self.restore.status.error
            await self._move(phase, message="the Job is created", error=error, jobName=job)
        return Wait("the Job is created", 5)

    async def _move(self, phase: str, *, message: str, error: str | None = None, **more: Any) -> None:
        runs = phase in (RESTORING, PROMOTING, REPLICAS) or self.restore.status.state == RUNNING
        state = RUNNING if runs else STARTING
        since = self.restore.status.phase_since
        now = self.ctx.clock()
        seconds = round((now - since).total_seconds(), 1) if since else 0
        log.info(
            "the restore's phase changed", phase=phase, former=self.restore.status.phase, seconds=seconds
        )
        stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        status = {"state": state, "phase": phase, "phaseSince": stamp, "message": message, "error": error}
        await self._patch(status | more)
        self._emit_event("Normal", f"Restore{phase}", message or phase)

    async def _pause(self, message: str, seconds: float) -> Result:
        if self.restore.status.message != message:
            await self._patch({"message": message})
        return Wait(message, seconds)

    async def _end(self, state: str, message: str, error: str, **more: Any) -> None:
        stamp = self.ctx.clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        since = self.restore.metadata.creation_timestamp
        seconds = round((self.ctx.clock() - since).total_seconds(), 1) if since else 0
        if is_bootstrap(self.restore):
            await act_restore.release_source(self.ctx, self.restore)
        log.info("restore ended", state=state, error=error, seconds=seconds)
        status = {"state": state, "completed": stamp, "message": message or None, "error": error or None}
        await self._patch(status | more)
        self._emit_event("Normal" if state == SUCCEEDED else "Warning", f"Restore{state}", message or error)

    async def _release(self) -> None:
        """Release the Lease and remove the finalizer."""
        where = self.restore.namespace, self.restore.spec.pg_cluster
        await lease.release(self.ctx, *where, lease.holder_of(self.restore))
        others = [f for f in self.restore.metadata.finalizers if f != labels.FINALIZER_RESTORE]
        await self._finalizers(others)

    async def _finalizers(self, finalizers: list[str]) -> None:
        version = self.restore.metadata.resource_version
        patch = {"metadata": {"resourceVersion": version, "finalizers": finalizers}}
        await self.ctx.client.merge_patch(kinds.PG_RESTORE, self.restore.namespace, self.restore.name, patch)

    async def _patch(self, status: Manifest) -> None:
        version = self.restore.metadata.resource_version
        patch = {"metadata": {"resourceVersion": version}, "status": status}
        await self.ctx.client.merge_patch(
            kinds.PG_RESTORE, self.restore.namespace, self.restore.name, patch, subresource="status"
        )

    def _emit_event(self, kind: Any, reason: str, message: str) -> None:
        self.ctx.events.event(self.manifest, type=kind, reason=reason, message=message)
