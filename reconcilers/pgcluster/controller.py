"""A pass over one cluster: observe, build, apply, prune, act, report.

A pass reads the whole state; the cache only saves queries. It may be interrupted after any write: the next
pass observes what exists and continues.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import structlog

from pgoperator import labels, metrics, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.api.status import PGClusterStatus, ScheduledBackupStatus
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec, OperatorError
from pgoperator.kube import kinds
from pgoperator.kube.apply import ForeignOwner
from pgoperator.kube.errors import Forbidden, Invalid
from pgoperator.kube.manifest import Key, Manifest, key_of, name_of
from pgoperator.runtime.result import Done, Result, Wait
from reconcilers.pgcluster import apply, pipeline, read_view
from reconcilers.pgcluster.backups import act_backups, act_stanza
from reconcilers.pgcluster.bootstrap import (
    act_bootstrap,
    act_volume_import,
    decide_restore_gate,
    decide_source,
)
from reconcilers.pgcluster.credentials import act_secrets, read_references
from reconcilers.pgcluster.database import act_init_sql, act_sql, decide_extensions
from reconcilers.pgcluster.database import conditions as database_conditions
from reconcilers.pgcluster.drill import act_drill
from reconcilers.pgcluster.lifecycle import act_deletion, act_hands_off, read_other_owner
from reconcilers.pgcluster.pipeline import Built
from reconcilers.pgcluster.pooler import act_pooler_pause
from reconcilers.pgcluster.state import diagnostics, replication, repositories
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.findings import Problem
from reconcilers.pgcluster.state.view import View
from reconcilers.pgcluster.status import build_status, conditions, decide_writes, events
from reconcilers.pgcluster.status.conditions import PassResult

log = structlog.get_logger(__name__)

REFUSALS = (InvalidSpec, Invalid, Forbidden, ForeignOwner)
"""Errors that end a pass, and that the user must fix."""


@dataclass(slots=True)
class PGClusters:
    """The reconciler of PerconaPGCluster."""

    caches: dict[Key, ClusterCache] = field(default_factory=dict)

    async def reconcile(self, ctx: Context, key: Key) -> Result:
        """Run one pass; return Done, or the shortest Wait."""
        manifest = ctx.store.get(kinds.PG_CLUSTER, key.namespace, key.name)
        if manifest is None:
            self.caches.pop(key, None)
            metrics.forget_cluster(key.namespace, key.name)
            return Done()
        # First of all: not even an error in the spec is this operator's to report.
        if other := await read_other_owner.find(ctx, manifest):
            return await self._leave(ctx, manifest, other)
        return await self._reconcile(ctx, manifest)

    async def _reconcile(self, ctx: Context, manifest: Manifest) -> Result:
        """Run one pass over a cluster of this operator.

        Errors that the user must fix are shown in the status before they are raised.
        """
        try:
            cluster = PGCluster.parse(manifest)
            if cluster.metadata.is_deleting:
                own = cluster.metadata.namespace, labels.of_cluster(cluster.metadata.name)
                pods = ctx.store.select(kinds.POD, *own)
                await _write(ctx, manifest, conditions.deleting(cluster, ctx.clock(), pods))
                return await act_deletion.delete(ctx, cluster)
            if cluster.spec.unmanaged and not decide_restore_gate.is_busy(ctx.store, cluster):
                await _write(ctx, manifest, conditions.unmanaged(cluster, ctx.clock()))
                return Done()
            naming.check_names(cluster.metadata.name, [s.name for s in cluster.spec.instance_sets()])
            done = await self._pass(ctx, cluster, manifest)
        except REFUSALS as error:
            await _refuse(ctx, manifest, _problem(error))
            raise
        except OperatorError:
            raise
        except Exception as error:
            message = (
                f"the reconciliation failed with {type(error).__name__}; the operator's log has the details"
            )
            await _refuse(ctx, manifest, Problem("InternalError", message))
            raise
        if isinstance(done, OperatorError):
            # The report of this pass has it. A second status would contradict the first, in every pass.
            raise done
        return done

    async def _leave(self, ctx: Context, manifest: Manifest, other: str) -> Result:
        # The Secret of the CA can be evidence and has no label: its deletion wakes the clusters that read it.
        cache = self.caches.setdefault(key_of(manifest), ClusterCache())
        cache.secrets = frozenset({naming.cluster_ca(name_of(manifest))})
        await act_hands_off.leave(ctx, manifest, other)
        return Done()

    async def _pass(self, ctx: Context, cluster: PGCluster, manifest: Manifest) -> Result | OperatorError:
        """The result, or the first error that came after the view: the report has it already."""
        cache = self.caches.setdefault(key_of(manifest), ClusterCache())
        if labels.FINALIZER not in cluster.metadata.finalizers:
            await _add_finalizer(ctx, cluster)
        view = await read_view.observe(ctx, cluster, manifest)
        try:
            view, built, applied = await _apply(ctx, view, cache)
        except REFUSALS as error:
            return await _refuse_but_back_up(ctx, view, error)
        acted = await pipeline.act(ctx, view, cache)
        waits = [*built.waits, *read_references.awaited(view), *applied.waits, *acted.waits]
        problems = [*view.unusable, *built.problems, *applied.problems, *acted.problems]
        problems += [*await _problems(ctx, view, cache), *cache.backups_refused]
        waits += [Wait(p.message, read_references.SECONDS) for p in problems if p.reason.endswith("Missing")]
        reasons = (*(wait.reason for wait in waits), *map(str, acted.errors))
        result = _result(ctx, view, cache, reasons, tuple(problems))
        ready = await _report(ctx, view, result, cache)
        # A failed action does not keep backups from being taken.
        more, errors = await _try_backup(ctx, view, result, cache, ready=ready)
        if errors := [*acted.errors, *errors]:
            return errors[0]
        others = self.caches.values()
        waits += more + await act_drill.act(ctx, view, result.drill, result.backups, cache, others)
        if (next_look := act_sql.next_look(view, cache)) is not None:
            waits.append(next_look)
        return min(waits, key=lambda wait: wait.seconds) if waits else Done()


async def _apply(ctx: Context, view: View, cache: ClusterCache) -> tuple[View, Built, apply.ApplyResult]:
    """Complete the view, build all objects from it and write them."""
    view = await read_view.with_secrets(ctx, view, cache)
    replication.review(view, cache)
    built = pipeline.build(view)
    return view, built, await apply.apply(ctx, view, built, cache)


async def _problems(ctx: Context, view: View, cache: ClusterCache) -> list[Problem]:
    """Problems of the cluster that neither builders nor writes of this pass reported."""
    problems = decide_writes.problems(view) + database_conditions.problems(view, cache.sql)
    problems += act_bootstrap.problems(ctx, view)
    problems += [cache.init_sql.problem] if cache.init_sql.problem else []
    if decide_source.is_waiting(view):
        problems += await act_volume_import.obstacles(ctx, view.cluster)
    if not view.paused and not build_status.all_ready(view):
        problems += await read_references.missing(ctx, view.cluster, backups_enabled=view.backups_enabled)
    own = view.namespace, labels.of_cluster(view.name)
    of_pods = diagnostics.of_pods(ctx.store.select(kinds.POD, *own))
    if diagnostics.lacks_image(of_pods):
        problems += await read_references.missing_pull_secrets(ctx, view.cluster)
    problems += of_pods
    return problems + diagnostics.of_volumes(ctx.store.select(kinds.PVC, *own))


def _result(
    ctx: Context, view: View, cache: ClusterCache, waits: tuple[str, ...], problems: tuple[Problem, ...]
) -> PassResult:
    report = cache.sql.facts
    return PassResult(
        waits=waits,
        problems=problems,
        access_is_current=act_sql.is_current(view, cache.sql),
        extensions=decide_extensions.verdict(view, report) if report else None,
        report=report,
        stanza_hash=repositories.known(view),
        stanza_checked=repositories.is_checked(view),
        poolers=act_pooler_pause.waiting(view, cache),
        init_sql=act_init_sql.done(view, cache),
        backups=act_backups.look(ctx, view),
        change=cache.changes.change,
        drill=act_drill.status(ctx, view),
        drill_blocked=cache.drill.blocked,
        imported=cache.imports.finding,
    )


async def _try_backup(
    ctx: Context, view: View, result: PassResult, cache: ClusterCache, *, ready: bool
) -> tuple[list[Wait], list[OperatorError]]:
    """Create the stanza and backups; the status shows a refusal from the next pass on, until it ends."""
    try:
        waits = await _back_up(ctx, view, result, cache, ready=ready)
    except OperatorError as error:
        cache.backups_refused = tuple(pipeline.refusals(error)) or cache.backups_refused
        return [], [error]
    if cache.backups_refused:
        cache.backups_refused = ()
        waits.append(Wait("the API server accepts backups again", 1))
    return waits, []


async def _back_up(
    ctx: Context, view: View, result: PassResult, cache: ClusterCache, *, ready: bool
) -> list[Wait]:
    """Create the stanza, then the backups that are due; after the status, because both may take long."""
    waits: list[Wait] = []
    if not result.stanza_checked:
        stanza = await act_stanza.act(ctx, view, ready=ready)
        if stanza.tried:
            # Before the status records the stanza: until then the next pass finds the same.
            await act_backups.replace_lost(ctx, view, result.backups, stanza.empty)
            result = replace(
                result,
                stanza_hash=stanza.digest,
                stanza_checked=stanza.checked,
                stanza_problem=stanza.problem,
            )
            await _report(ctx, view, result, cache)
        waits += stanza.waits
    backups, more = await act_backups.act(
        ctx, view, result.backups, stanza_hash=result.stanza_hash, ready=ready
    )
    if backups != result.backups:
        await _report(ctx, view, replace(result, backups=backups), cache)
    return waits + more


async def _add_finalizer(ctx: Context, cluster: PGCluster) -> None:
    """Add the finalizer, which keeps the custom resource until its pods have stopped in order."""
    metadata = {
        "finalizers": [*cluster.metadata.finalizers, labels.FINALIZER],
        "resourceVersion": cluster.metadata.resource_version,
    }
    place = cluster.metadata.namespace, cluster.metadata.name
    await ctx.client.merge_patch(kinds.PG_CLUSTER, *place, {"metadata": metadata})


async def _refuse_but_back_up(ctx: Context, view: View, error: OperatorError) -> OperatorError:
    """Show the problem that ends the pass; backups need nothing of what is wrong, so they continue."""
    known = act_backups.look(ctx, view)
    try:
        known, _ = await act_backups.act(ctx, view, known, stanza_hash=repositories.known(view), ready=False)
    except OperatorError as failure:
        log.warning("cannot request backups", error=str(failure))
    await _refuse(ctx, view.manifest, _problem(error), known.records)
    return error


async def _report(ctx: Context, view: View, result: PassResult, cache: ClusterCache) -> bool:
    """Write the status if it differs, with metrics and events; return whether the cluster is ready."""
    volumes = ctx.store.select(kinds.PVC, view.namespace, labels.of_cluster(view.name))
    new = build_status.status(view, result, cache, volumes)
    await _write(ctx, view.manifest, new)
    primary = view.observed.primary
    serving = len(replication.serving(view, cache))
    metrics.show_cluster(
        view.namespace,
        view.name,
        primary=primary.pod_name if primary else None,
        replicas={"serving": serving, "wanted": view.cluster.spec.replicas},
        reason="" if new.state == "ready" else str(new.conditions[0].reason),
    )
    metrics.show_certificates(view.namespace, view.name, act_secrets.ends(view.secrets))
    if new.state != view.cluster.status.state:
        log.info("cluster state changed", state=new.state, message=new.conditions[0].message)
    return new.state == "ready"


def _problem(error: OperatorError) -> Problem:
    """Why a pass has ended, as a problem that the user must fix."""
    if isinstance(error, ForeignOwner):
        return Problem("NameTaken", str(error))
    return Problem(getattr(error, "reason", "") or "Refused", str(error))


async def _refuse(
    ctx: Context, manifest: Manifest, problem: Problem, scheduled: Sequence[ScheduledBackupStatus] = ()
) -> None:
    """Show in the status why the cluster cannot be reconciled; `scheduled` are new records of schedules."""
    previous = PGClusterStatus.readable(manifest.get("status") or {})
    if scheduled and previous.pgbackrest is not None:
        records = previous.pgbackrest.model_copy(update={"scheduled_backups": tuple(scheduled)})
        previous = previous.model_copy(update={"pgbackrest": records})
    new = conditions.refused(previous, manifest["metadata"].get("generation", 0), problem, ctx.clock())
    await _write(ctx, manifest, new)


async def _write(ctx: Context, manifest: Manifest, new: PGClusterStatus) -> None:
    """Set metrics; write the status if it differs from the stored status, and emit events."""
    place = manifest["metadata"]["namespace"], name_of(manifest)
    metrics.show_conditions(*place, {c.type: c.status == "True" for c in new.conditions})
    body = new.to_manifest()
    if body == (manifest.get("status") or {}):
        return
    metadata = {"name": name_of(manifest), "namespace": manifest["metadata"]["namespace"]}
    document = {
        "apiVersion": kinds.PG_CLUSTER.api_version,
        "kind": kinds.PG_CLUSTER.kind,
        "metadata": metadata,
        "status": body,
    }
    await ctx.client.apply_status(document)
    events.emit(ctx, manifest, new)
