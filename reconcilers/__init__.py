"""What one PostgreSQL cluster needs: a folder per kind we own, a module per resource it needs."""

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
            watches=cluster_watches(clusters.memories),
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
