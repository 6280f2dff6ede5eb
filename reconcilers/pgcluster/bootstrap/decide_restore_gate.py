"""Which instances may run and lead while a restore is active, and which restore that is. Pure.

The status of the PerconaPGRestore holds its phase, which `reconcilers.pgrestore` advances. Services, Secrets,
ConfigMaps and the pooler stay during the restore, so that clients queue.
"""

from collections.abc import Sequence

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.api.instances import InstanceSet
from pgoperator.api.pgrestore import PGRestore
from pgoperator.api.states import FINISHED
from pgoperator.kube import kinds
from pgoperator.kube.store import Store
from reconcilers.pgcluster.lifecycle import decide_pause
from reconcilers.pgcluster.state.view import Planned, Restoring

DOWN = ("Stopping", "Restoring", "Aborting", "Undoing")
"""Phases in which no instance may run."""


def active(store: Store, namespace: str, cluster: str, *, has_data: bool) -> Restoring | None:
    """The restore that controls the cluster's instances now; None without such a restore.

    A bootstrap restore that has not begun does not control a cluster that has data.
    """
    for manifest in store.owned_by(kinds.PG_RESTORE, namespace, cluster):
        restore = PGRestore.parse(manifest)
        status = restore.status
        bootstrap = is_bootstrap(restore)
        has_begun = status.phase not in (None, "Checking")
        if status.state in FINISHED or not (has_begun or (bootstrap and not has_data)):
            continue
        return Restoring(restore.name, status.phase or "Checking", status.instance or "", bootstrap=bootstrap)
    return None


def is_bootstrap(restore: PGRestore) -> bool:
    """Whether a restore fills a new cluster; the annotation means nothing on an object of another name."""
    name = naming.bootstrap_restore(restore.spec.pg_cluster)
    return restore.name == name and labels.BOOTSTRAP_RESTORE in restore.metadata.annotations


def is_busy(store: Store, cluster: PGCluster) -> bool:
    """Whether a backup runs or a restore has stopped instances: both finish before `unmanaged` takes effect.

    A failed restore has finished when the cluster is ready again: until then it has its finalizer.
    """
    for manifest in store.owned_by(kinds.PG_RESTORE, cluster.namespace, cluster.name):
        restore = PGRestore.parse(manifest)
        if restore.status.phase in (None, "Checking"):
            continue
        has_finalizer = labels.FINALIZER_RESTORE in restore.metadata.finalizers
        if has_finalizer or restore.status.state not in FINISHED:
            return True
    return decide_pause.is_busy(store, cluster)


def may_run(restoring: Restoring | None, instance: str) -> bool:
    """Whether the StatefulSet of an instance may exist in the restore's present phase."""
    if restoring is None or restoring.phase == "Replicas":
        return True
    if restoring.phase == "Promoting":
        return instance == restoring.instance
    # No instance of a new cluster starts before its data exists.
    return restoring.phase not in DOWN and not restoring.bootstrap


def may_lead(restoring: Restoring | None, instance: str) -> bool:
    """Whether Patroni may make the instance the primary: not when its data is older than the restore."""
    return restoring is None or instance == restoring.instance


def arrange(
    cluster: str, planned: Sequence[Planned], restoring: Restoring | None, sets: Sequence[InstanceSet]
) -> tuple[Planned, ...]:
    """The planned instances; the instance with the restored data replaces another instance of its set."""
    name = restoring.instance if restoring is not None else ""
    set_name = next((s.name for s in sets if naming.is_instance(name, cluster, s.name)), None)
    if set_name is None or any(p.name == name for p in planned):
        return tuple(planned)
    others = [p for p in planned if p.set_name == set_name]
    return (*(p for p in planned if p not in others[-1:]), Planned(name, set_name))
