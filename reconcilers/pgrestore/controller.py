"""One pass over a PerconaPGRestore: read it live, observe, decide, act, write; until it must wait."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import structlog

from pgoperator import labels
from pgoperator.api.cluster import PGCluster
from pgoperator.api.pgrestore import PGRestore
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound
from pgoperator.kube.manifest import Key, Manifest
from pgoperator.runtime.result import Done, Result, Wait
from reconcilers.pgbackup import lease
from reconcilers.pgcluster import pausing
from reconcilers.pgcluster.view import Observed
from reconcilers.pgrestore import acts
from reconcilers.pgrestore.observe import facts as look
from reconcilers.pgrestore.plan import (
    CHECKING,
    FAILED,
    PROMOTING,
    REPLICAS,
    RESTORING,
    RUNNING,
    STARTING,
    STOPPING,
    SUCCEEDED,
    UNDOING,
    Decision,
    Do,
    End,
    Facts,
    Hold,
    Move,
    decide,
    overdue,
)

log = structlog.get_logger(__name__)

STEPS = 12
"""In one pass; more would be a circle."""


@dataclass(slots=True)
class PGRestores:
    """The reconciler of PerconaPGRestore."""

    by_cluster: dict[Key, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Restores that may not have ended, to be woken by what happens to their cluster."""

    def of_cluster(self, cluster: Key) -> list[Key]:
        """The restores to wake."""
        names = self.by_cluster.get(cluster, ())
        return [Key(kinds.PG_RESTORE.kind, cluster.namespace, name) for name in names]

    async def reconcile(self, ctx: Context, key: Key) -> Result:
        """Bring one restore as far as it can go now."""
        for _ in range(STEPS):
            # Live, and written with its version: a restore must never act on what it was.
            try:
                manifest = await ctx.client.get(kinds.PG_RESTORE, key.namespace, key.name)
            except NotFound:
                self._forget(key)
                return Done()
            restore = PGRestore.parse(manifest)
            if restore.status.state in (SUCCEEDED, FAILED) and not _is_held(restore):
                self._forget(key)
                return Done()
            cluster = Key(kinds.PG_CLUSTER.kind, key.namespace, restore.spec.pg_cluster)
            self.by_cluster[cluster].add(key.name)
            result = await _Pass(ctx, manifest, restore).step()
            if result is not None:
                return result
        return Wait("many steps at once", 1)

    def _forget(self, key: Key) -> None:
        for names in self.by_cluster.values():
            names.discard(key.name)


def _is_held(restore: PGRestore) -> bool:
    return labels.FINALIZER_RESTORE in restore.metadata.finalizers


class _Pass:
    """One step of one restore."""

    def __init__(self, ctx: Context, manifest: Manifest, restore: PGRestore) -> None:
        self.ctx, self.manifest, self.restore = ctx, manifest, restore

    async def step(self) -> Result | None:
        """Take one step; None when the next can follow at once."""
        if not _is_held(self.restore) and not acts.is_bootstrap(self.restore):
            if self.restore.metadata.is_deleting:
                return Done()
            await self._finalizers([*self.restore.metadata.finalizers, labels.FINALIZER_RESTORE])
            return None
        facts, observed = look(self.ctx, self.restore)
        return await self._follow(decide(self.restore.status, facts), facts, observed)

    async def _follow(self, decision: Decision, facts: Facts, observed: Observed) -> Result | None:
        match decision:
            case Move(phase, message, error):
                await self._move(phase, message=message, error=error or self.restore.status.error)
            case Hold(message, seconds):
                return await self._hold(message, seconds)
            case End(state, message, error):
                await self._end(state, message, error)
            case Do(act):
                return await self._do(act, facts, observed)
        return None

    async def _do(self, act: str, facts: Facts, observed: Observed) -> Result | None:
        ctx, restore = self.ctx, self.restore
        namespace, name = restore.namespace, restore.spec.pg_cluster
        match act:
            case "check":
                return await self._check(facts, observed)
            case "delete-job":
                assert facts.job is not None
                await acts.delete_job(ctx, namespace, name, facts.job.uid)
                return Wait("waiting for the Job to go", 5)
            case "create-job" | "undo-job":
                return await self._job(facts, observed, undo=act == "undo-job")
            case "forget-leader":
                await acts.forget_leader(ctx, namespace, name)
                await pausing.mark(ctx, namespace, restore.status.instance or "", facts.now)
                await self._move(PROMOTING, message="the data is restored; the first instance starts")
            case "clean":
                cluster = ctx.store.get(kinds.PG_CLUSTER, namespace, name)
                if cluster is not None:
                    await acts.clean(ctx, restore, PGCluster.parse(cluster), observed)
                await self._release()
            case "release":
                await self._release()
        return None

    async def _check(self, facts: Facts, observed: Observed) -> Result | None:
        if self.restore.status.phase is None:
            await self._move(CHECKING, message="checking the request and the repository")
            return None
        try:
            found = await acts.examine(self.ctx, self.restore, facts, observed)
        except InvalidSpec as error:
            await self._end(FAILED, "", f"{error}")
            return None
        if isinstance(found, Wait):
            return await self._wait(found, facts, observed)
        await self._move(STOPPING, message="stopping the instances", **found)
        return None

    async def _wait(self, wait: Wait, facts: Facts, observed: Observed) -> Result | None:
        """An act could not be done yet: tell it, until the phase has lasted for too long."""
        late = overdue(self.restore.status, facts, wait.reason)
        if late is not None:
            return await self._follow(late, facts, observed)
        return await self._hold(wait.reason, wait.seconds)

    async def _job(self, facts: Facts, observed: Observed, *, undo: bool) -> Result | None:
        manifest = self.ctx.store.get(kinds.PG_CLUSTER, self.restore.namespace, self.restore.spec.pg_cluster)
        if manifest is None:
            return Wait("the cluster has gone", 1)
        view = acts.view_of(self.ctx, PGCluster.parse(manifest), manifest, observed)
        reason = await acts.create_job(self.ctx, self.restore, view, undo=undo)
        if reason is not None:
            return await self._wait(Wait(reason, 2), facts, observed)
        phase = UNDOING if undo else RESTORING
        if self.restore.status.phase != phase:
            job = f"{self.restore.spec.pg_cluster}-pgbackrest-restore"
            error = self.restore.status.error
            await self._move(phase, message="the Job is created", error=error, jobName=job)
        return Wait("the Job is created", 5)

    async def _move(self, phase: str, *, message: str, error: str | None = None, **more: Any) -> None:
        runs = phase in (RESTORING, PROMOTING, REPLICAS) or self.restore.status.state == RUNNING
        state = RUNNING if runs else STARTING
        since = self.restore.status.phase_since
        now = self.ctx.clock()
        seconds = round((now - since).total_seconds(), 1) if since else 0
        log.info("phase", phase=phase, former=self.restore.status.phase, seconds=seconds)
        stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        status = {"state": state, "phase": phase, "phaseSince": stamp, "message": message, "error": error}
        await self._patch(status | more)
        self._tell("Normal", f"Restore{phase}", message or phase)

    async def _hold(self, message: str, seconds: float) -> Result:
        if self.restore.status.message != message:
            await self._patch({"message": message})
        return Wait(message, seconds)

    async def _end(self, state: str, message: str, error: str) -> None:
        stamp = self.ctx.clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        since = self.restore.metadata.creation_timestamp
        seconds = round((self.ctx.clock() - since).total_seconds(), 1) if since else 0
        log.info("restore ended", state=state, error=error, seconds=seconds)
        status = {"state": state, "completed": stamp, "message": message or None, "error": error or None}
        await self._patch(status)
        self._tell("Normal" if state == SUCCEEDED else "Warning", f"Restore{state}", message or error)

    async def _release(self) -> None:
        """The end: the Lease and the object are let go."""
        where = self.restore.namespace, self.restore.spec.pg_cluster
        await lease.release(self.ctx, *where, lease.holder_of(self.restore))
        kept = [f for f in self.restore.metadata.finalizers if f != labels.FINALIZER_RESTORE]
        await self._finalizers(kept)

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

    def _tell(self, kind: Any, reason: str, message: str) -> None:
        self.ctx.events.event(self.manifest, type=kind, reason=reason, message=message)
