"""The source of a new cluster's data, and whether the cluster still waits for the data. Pure.

`spec.dataSource` has an effect only until the cluster has data (`state.provenance`).
"""

from pgoperator import naming
from pgoperator.api.cluster import PGCluster
from pgoperator.api.storage import ClusterSource, RepositorySource, VolumeSources
from pgoperator.kube import kinds
from pgoperator.kube.store import Store
from reconcilers import jobs
from reconcilers.pgcluster.state import provenance
from reconcilers.pgcluster.state.view import Observed, Restoring, View

DATA, REPOSITORY = "pgdata", "pgbackrest-repo"
IMPORT_CONTAINER = "move"


def backup_of(cluster: PGCluster) -> ClusterSource | RepositorySource | None:
    """The backup that the cluster is created from, if any."""
    data = cluster.spec.data_source
    return (data.postgres_cluster or data.pgbackrest) if data is not None else None


def volumes_of(cluster: PGCluster) -> VolumeSources | None:
    """The volumes that the cluster is created from, if any; a backup as the source takes precedence."""
    data = cluster.spec.data_source
    if data is None or data.postgres_cluster or data.pgbackrest or data.volumes is None:
        return None
    return data.volumes if data.volumes.pg_data_volume or data.volumes.pgbackrest_volume else None


def copies(cluster: PGCluster) -> list[str]:
    """The volumes to copy: DATA, REPOSITORY or both."""
    sources = volumes_of(cluster)
    if sources is None:
        return []
    by_kind = {DATA: sources.pg_data_volume, REPOSITORY: sources.pgbackrest_volume}
    return [kind for kind, source in by_kind.items() if source is not None]


def is_copying(store: Store, cluster: PGCluster) -> bool:
    """Whether the Job of at least one copy has not succeeded."""
    import_jobs = [
        store.get(kinds.JOB, cluster.namespace, naming.move_job(cluster.name, volume))
        for volume in copies(cluster)
    ]
    return any(job is None or not jobs.read(job, (), IMPORT_CONTAINER).succeeded for job in import_jobs)


def held(store: Store, cluster: PGCluster, observed: Observed) -> Restoring | None:
    """A restore that keeps all instances from starting empty; None when the cluster waits for no data."""
    if provenance.has_data(cluster, observed):
        return None
    if is_copying(store, cluster):
        return Restoring(naming.move_job(cluster.name, DATA), "Checking", "", bootstrap=True)
    if backup_of(cluster) is None:
        return None
    return Restoring(naming.bootstrap_restore(cluster.name), "Checking", "", bootstrap=True)


def is_waiting(view: View) -> bool:
    """Whether the cluster waits for its data."""
    return view.restoring is not None and view.restoring.bootstrap
