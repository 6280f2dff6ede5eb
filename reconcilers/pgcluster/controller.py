"""One pass over one cluster: observe, ask the steps, apply, prune, act, report.

A pass reads everything and remembers nothing that it could not find out again. It may be cut off after any
write: the next one sees what is there and goes on from that.
"""

from collections.abc import Awaitable
from dataclasses import dataclass, field, replace

import structlog

from pgoperator import labels, metrics, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.api.status import PGClusterStatus
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec, OperatorError
from pgoperator.kube import kinds
from pgoperator.kube.apply import ForeignOwner
from pgoperator.kube.errors import Forbidden, Invalid
from pgoperator.kube.manifest import Key, Manifest, key_of, name_of
from pgoperator.runtime.result import Done, Result, Wait
from reconcilers.pgcluster import (
    adoption,
    applying,
    backups,
    bootstrap,
    certificates,
    changing,
    conditions,
    consent,
    databases,
    deletion,
    extensions,
    followers,
    init_sql,
    leavers,
    patroni,
    pausing,
    pgbouncer_pause,
    plan,
    problems,
    references,
    requested,
    restoring,
    scaling,
    secrets,
    stanza,
    steps,
    telling,
)
from reconcilers.pgcluster import status as report
from reconcilers.pgcluster.memory import Memory
from reconcilers.pgcluster.observe import observe
from reconcilers.pgcluster.problems import Problem
from reconcilers.pgcluster.view import View

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class PGClusters:
    """The reconciler of PerconaPGCluster."""

    memories: dict[Key, Memory] = field(default_factory=dict)

    async def reconcile(self, ctx: Context, key: Key) -> Result:
        """Bring one cluster a pass nearer to what its custom resource says."""
        manifest = ctx.store.get(kinds.PG_CLUSTER, key.namespace, key.name)
        if manifest is None:
            self.memories.pop(key, None)
            metrics.forget_cluster(key.namespace, key.name)
            return Done()
        try:
            cluster = PGCluster.parse(manifest)
            if cluster.metadata.is_deleting:
                await _write(ctx, manifest, conditions.stopping(cluster, ctx.clock()))
                return await deletion.delete(ctx, cluster)
            if cluster.spec.unmanaged and not restoring.is_busy(ctx.store, cluster):
                await _write(ctx, manifest, conditions.left_alone(cluster, ctx.clock()))
                return Done()
            naming.check(cluster.metadata.name, [one.name for one in cluster.spec.instance_sets()])
            return await self._pass(ctx, cluster, manifest)
        except InvalidSpec as error:
            await _refuse(ctx, manifest, Problem(error.reason, str(error)))
            raise
        except (Invalid, Forbidden) as error:
            await _refuse(ctx, manifest, Problem(error.reason or "ApiError", str(error)))
            raise
        except ForeignOwner as error:
            await _refuse(ctx, manifest, Problem("NameTaken", str(error)))
            raise

    async def _pass(self, ctx: Context, cluster: PGCluster, manifest: Manifest) -> Result:
        memory = self.memories.setdefault(key_of(manifest), Memory())
        if labels.FINALIZER not in cluster.metadata.finalizers:
            await _hold(ctx, cluster)
        view = await _view(ctx, cluster, manifest, memory)
        followers.review(view, memory)
        answers = steps.ask_all(view)
        applied = await applying.apply(ctx, view, answers)
        waits = [*answers.waits, *references.awaited(view), *applying.again(applied, memory)]
        found = [*view.unusable, *answers.problems, *applied.refused]
        errors = [
            await _attempt(bootstrap.act(ctx, view), waits, found),
            await _attempt(restoring.act(ctx, view), waits, found),
            await _attempt(requested.act(ctx, view, memory), waits, found),
            await _attempt(pausing.act(ctx, view), waits, found),
            await _attempt(patroni.act(ctx, view), waits, found),
            await _attempt(databases.act(ctx, view, memory), waits, found),
            await _attempt(pgbouncer_pause.act(ctx, view, memory), waits, found),
            await _attempt(leavers.act(ctx, view), waits, found),
            await _attempt(init_sql.act(ctx, view, memory), waits, found),
            await _attempt(scaling.act(ctx, view, memory), waits, found),
            await _attempt(changing.act(ctx, view, memory, written=applied.instances), waits, found),
        ]
        found += databases.found(view, memory) + bootstrap.found(ctx, view)
        found += [memory.init_problem] if memory.init_problem else []
        found += await adoption.obstacles(ctx, cluster) if bootstrap.is_waiting(view) else []
        if not view.paused and not report.all_ready(view):
            found += (absent := await references.missing(ctx, cluster))
            waits += [Wait(problem.message, references.SECONDS) for problem in absent]
        ours = view.namespace, labels.of_cluster(view.name)
        found += problems.of_pods(ctx.store.select(kinds.POD, *ours))
        found += problems.of_volumes(ctx.store.select(kinds.PVC, *ours))
        outcome = conditions.Outcome(
            waits=(*(wait.reason for wait in waits), *(str(error) for error in errors if error)),
            problems=tuple(found),
            access_is_current=databases.is_current(view, memory),
            extensions=extensions.verdict(view, memory.facts) if memory.facts else None,
            stanza_hash=stanza.known(view),
            poolers=pgbouncer_pause.waiting(view, memory),
            init_sql=init_sql.known(view, memory),
            book=backups.look(ctx, view),
            change=memory.change,
        )
        ready = await _report(ctx, view, outcome, memory)
        if error := next(filter(None, errors), None):
            raise error
        if outcome.stanza_hash is None and stanza.is_due(view, ready=ready):
            made = await stanza.act(ctx, view)
            outcome = replace(outcome, stanza_hash=made.digest, stanza_error=made.error)
            await _report(ctx, view, outcome, memory)
            waits += made.waits
        done, more = await backups.act(ctx, view, outcome.book, stanza_hash=outcome.stanza_hash, ready=ready)
        waits += more
        if done != outcome.book:
            await _report(ctx, view, replace(outcome, book=done), memory)
        if (look := databases.next_look(view, memory)) is not None:
            waits.append(look)
        return min(waits, key=lambda wait: wait.seconds) if waits else Done()


async def _attempt(
    act: Awaitable[Wait | None], waits: list[Wait], found: list[Problem]
) -> OperatorError | None:
    """Carry out one act; what fails keeps nothing else from being done and the status from being told.

    What the user must mend is noted; any other error is returned, to be raised at the end of the pass.
    """
    try:
        wait = await act
    except InvalidSpec as error:
        found.append(Problem(error.reason, str(error)))
    except OperatorError as error:
        return error
    else:
        if wait is not None:
            waits.append(wait)
    return None


async def _hold(ctx: Context, cluster: PGCluster) -> None:
    """Keep the object until its pods have been stopped in order."""
    metadata = {
        "finalizers": [*cluster.metadata.finalizers, labels.FINALIZER],
        "resourceVersion": cluster.metadata.resource_version,
    }
    where = cluster.metadata.namespace, cluster.metadata.name
    await ctx.client.merge_patch(kinds.PG_CLUSTER, *where, {"metadata": metadata})


async def _view(ctx: Context, cluster: PGCluster, manifest: Manifest, memory: Memory) -> View:
    """Observe, plan and complete the Secrets: after this, nothing random happens any more."""
    name, namespace = cluster.metadata.name, cluster.metadata.namespace
    observed = observe(ctx.store, namespace, name)
    cluster = consent.effective(cluster, observed)
    sizes = {one.name: one.replicas for one in cluster.spec.instance_sets()}
    restore = restoring.active(ctx.store, namespace, name) or bootstrap.held(ctx.store, cluster, observed)
    planned = plan.planned(name, sizes, observed)
    planned = restoring.arrange(name, planned, restore, cluster.spec.instance_sets())
    now = ctx.clock()
    domain = cluster.spec.cluster_service_dns_suffix or ctx.settings.cluster_domain
    names = certificates.Names(name, namespace, domain)
    # Noted before they are read: a change after that wakes the cluster again.
    memory.secrets = references.secrets(cluster, planned)
    found = await secrets.complete(ctx, cluster, names, planned, now)
    return View(
        cluster=cluster,
        manifest=manifest,
        observed=observed,
        planned=planned,
        settings=ctx.settings,
        now=now,
        secrets=found.data,
        user_secrets=found.by_user,
        restoring=restore,
        unusable=found.problems,
        referenced=await references.digests(ctx, cluster),
        missing_libraries=memory.facts.missing_libraries if memory.facts else None,
        paused=cluster.spec.pause and restore is None and not pausing.is_busy(ctx.store, cluster),
    )


async def _report(ctx: Context, view: View, outcome: conditions.Outcome, memory: Memory) -> bool:
    """Write the status if it differs, tell metrics and events; say whether the cluster is ready."""
    volumes = ctx.store.select(kinds.PVC, view.namespace, labels.of_cluster(view.name))
    new = report.status(view, outcome, memory, volumes)
    await _write(ctx, view.manifest, new)
    primary = view.observed.primary
    serving = sum(report.serves(i, memory) for i in view.observed.instances)
    metrics.show_cluster(
        view.namespace,
        view.name,
        primary=primary.pod_name if primary else None,
        replicas={"serving": serving, "wanted": view.cluster.spec.replicas},
        reason="" if new.state == "ready" else str(new.conditions[0].reason),
    )
    metrics.show_certificates(view.namespace, view.name, secrets.ends(view.secrets))
    if new.state != view.cluster.status.state:
        log.info("the cluster's state changed", state=new.state, message=new.conditions[0].message)
    return new.state == "ready"


async def _refuse(ctx: Context, manifest: Manifest, problem: Problem) -> None:
    """Say in the status why the cluster is not worked on."""
    previous = PGClusterStatus.model_validate(manifest.get("status") or {})
    new = conditions.refused(previous, manifest["metadata"].get("generation", 0), problem, ctx.clock())
    await _write(ctx, manifest, new)


async def _write(ctx: Context, manifest: Manifest, new: PGClusterStatus) -> None:
    """Tell metrics; write the status where it differs from the stored one, with an event for what turned."""
    place = manifest["metadata"]["namespace"], name_of(manifest)
    metrics.show_conditions(*place, {one.type: one.status == "True" for one in new.conditions})
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
    telling.tell(ctx, manifest, new)
