"""Read: whether a new cluster is being filled from the repositories of a cluster.

A clone does not take the Lease of its source, which would hold the source's backups back for hours. But no
backup may expire that the clone reads: until it has ended, backups of the source expire nothing.
"""

from pgoperator import labels
from pgoperator.api.cluster import PGCluster
from pgoperator.api.pgrestore import PGRestore
from pgoperator.api.states import FINISHED
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.store import Store
from reconcilers.pgcluster.bootstrap.decide_restore_gate import is_bootstrap


def reader(store: Store, cluster: PGCluster) -> str:
    """The restore of a new cluster that reads backups of this one, as namespace and name; "" if none does.

    One in another namespace counts if this cluster shares its backups with that namespace.
    """
    allowed = cluster.metadata.annotations.get(labels.ALLOW_CLONE_FROM, "").split(",")
    for key in store.keys(kinds.PG_RESTORE):
        if key.namespace != cluster.namespace and key.namespace not in map(str.strip, allowed):
            continue
        if _reads(store, key.namespace, key.name, cluster):
            return f"{key.namespace}/{key.name}"
    return ""


def _reads(store: Store, namespace: str, name: str, cluster: PGCluster) -> bool:
    manifest = store.get(kinds.PG_RESTORE, namespace, name)
    try:
        restore = PGRestore.parse(manifest) if manifest is not None else None
        if restore is None or not is_bootstrap(restore) or restore.status.state in FINISHED:
            return False
        new = store.get(kinds.PG_CLUSTER, namespace, restore.spec.pg_cluster)
        source = PGCluster.parse(new).spec.data_source if new is not None else None
    except InvalidSpec:
        return False
    found = source.postgres_cluster if source is not None else None
    if found is None:
        return False
    origin = found.cluster_namespace or namespace, found.cluster_name or restore.spec.pg_cluster
    return origin == (cluster.namespace, cluster.name)
