"""How a cluster behaves while a restore of it is active: which instances may run, and which may lead.

The restore's own status says how far it is; `reconcilers.pgrestore` moves it on. Services, Secrets,
ConfigMaps and the pooler stay all the time, so that clients queue. Instances are only ever stopped and
started here, so that no two hands pull at one StatefulSet.
"""

from collections.abc import Sequence

import structlog

from pgoperator import labels
from pgoperator.api.cluster import PGCluster
from pgoperator.api.instances import InstanceSet
from pgoperator.api.pgrestore import PGRestore
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.manifest import annotations_of, is_deleting
from pgoperator.kube.store import Store
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster import pausing
from reconcilers.pgcluster.view import Instance, Planned, Restoring, View

log = structlog.get_logger(__name__)

DOWN = ("Stopping", "Restoring", "Aborting", "Undoing")
"""Phases in which no instance may run."""
FINISHED = ("Succeeded", "Failed")


def active(store: Store, namespace: str, cluster: str) -> Restoring | None:
    """The restore that decides over the cluster's instances now; None when there is none."""
    for manifest in store.select(kinds.PG_RESTORE, namespace, {}):
        if manifest["spec"].get("pgCluster") != cluster:
            continue
        restore = PGRestore.parse(manifest)
        status = restore.status
        bootstrap = labels.BOOTSTRAP_RESTORE in annotations_of(manifest)
        if status.state in FINISHED or (status.phase in (None, "Checking") and not bootstrap):
            continue
        return Restoring(restore.name, status.phase or "Checking", status.instance or "", bootstrap=bootstrap)
    return None


def is_busy(store: Store, cluster: PGCluster) -> bool:
    """Whether a backup runs, or a restore has stopped instances: it ends before the cluster is left alone.

    A restore that failed has ended when all serves again: its finalizer tells.
    """
    for manifest in store.select(kinds.PG_RESTORE, cluster.namespace, {}):
        restore = PGRestore.parse(manifest)
        if restore.spec.pg_cluster != cluster.name or restore.status.phase in (None, "Checking"):
            continue
        held = labels.FINALIZER_RESTORE in restore.metadata.finalizers
        if held or restore.status.state not in FINISHED:
            return True
    return pausing.is_busy(store, cluster)


def may_run(restoring: Restoring | None, instance: str) -> bool:
    """Whether the instance's StatefulSet may exist now."""
    if restoring is None or restoring.phase == "Replicas":
        return True
    if restoring.phase == "Promoting":
        return instance == restoring.instance
    # A new cluster's instances wait for their data from the first moment on.
    return restoring.phase not in DOWN and not restoring.bootstrap


def may_lead(restoring: Restoring | None, instance: str) -> bool:
    """Whether Patroni may make the instance the primary: not one whose data is of before the restore."""
    return restoring is None or instance == restoring.instance


def arrange(
    cluster: str, planned: Sequence[Planned], restoring: Restoring | None, sets: Sequence[InstanceSet]
) -> tuple[Planned, ...]:
    """The plan with the instance that holds the restored data in it, in the place of another of its set."""
    name = restoring.instance if restoring is not None else ""
    # The name without its hyphen and four characters.
    own = next((s.name for s in sets if name[:-5] == f"{cluster}-{s.name}"), None)
    if own is None or any(p.name == name for p in planned):
        return tuple(planned)
    others = [p for p in planned if p.set_name == own]
    return (*(p for p in planned if p not in others[-1:]), Planned(name, own))


async def act(ctx: Context, view: View) -> Wait | None:
    """Stop the instances that may not run: replicas first, so that none of them takes over.

    The last one has every commit: it gets the mark of a paused cluster's primary, so that it starts first if
    the restore fails.
    """
    restoring = view.restoring
    if restoring is None:
        return None
    waiting = Wait(f"restore {restoring.name}: {restoring.phase}", 600)
    unwanted = [i for i in view.observed.instances if not may_run(restoring, i.name)]
    replicas = [i for i in unwanted if not _leads(view, i)]
    for instance in replicas or unwanted:
        if instance.stateful_set is not None and not is_deleting(instance.stateful_set):
            if not replicas and restoring.phase == "Stopping":
                await pausing.mark(ctx, view.namespace, instance.name, view.now)
            await ctx.client.delete(kinds.STATEFUL_SET, view.namespace, instance.name)
            log.info("stopped an instance for a restore", instance=instance.name, restore=restoring.name)
        elif instance.stateful_set is None and instance.pod is not None and not is_deleting(instance.pod):
            # The garbage collector may be a while behind.
            await ctx.client.delete(kinds.POD, view.namespace, instance.pod_name)
    return waiting


def _leads(view: View, instance: Instance) -> bool:
    """Whether the instance holds the lock or the label of the primary."""
    leader = annotations_of(view.observed.leader).get("leader") if view.observed.leader else None
    return instance.is_primary or instance.pod_name == leader
