"""The reconcilers: a package for each kind of custom resource, and modules that they share.

`pgcluster` reconciles clusters, `pgbackup` backups, `pgrestore` restores; `files` holds the scripts that run
in pods, `jobs` reads Jobs. They import `pgoperator`, never the other way round. Start with `pgcluster`.
"""

from pgoperator.kube import kinds
from pgoperator.runtime.controller import Controller
from pgoperator.settings import Settings
from reconcilers import pgbackup
from reconcilers.pgbackup import PGBackups
from reconcilers.pgcluster import PGClusters
from reconcilers.pgcluster import watches as cluster_watches
from reconcilers.pgrestore import PGRestores
from reconcilers.pgrestore import watches as restore_watches


def controllers(settings: Settings) -> tuple[Controller, ...]:
    """The controllers of the operator, one for each kind that it acts on."""
    clusters = PGClusters()
    restores = PGRestores()
    backups = PGBackups()
    return (
        Controller(
            name="perconapgcluster",
            kind=kinds.PG_CLUSTER,
            reconcile=clusters.reconcile,
            watches=cluster_watches(clusters.caches),
            workers=settings.workers,
        ),
        Controller(
            name="perconapgrestore",
            kind=kinds.PG_RESTORE,
            reconcile=restores.reconcile,
            watches=restore_watches(restores.of_cluster),
            workers=settings.workers,
        ),
        Controller(
            name="perconapgbackup",
            kind=kinds.PG_BACKUP,
            reconcile=backups.reconcile,
            watches=pgbackup.watches(backups.woken),
            workers=settings.workers,
        ),
    )
