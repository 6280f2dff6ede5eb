"""Backups are switched off with two keys: `backups.enabled: false`, and an annotation that authorizes it.

Until the second is there, everything goes on as if backups were on, and a condition says what is missing. The
original stops working on the cluster meanwhile; nobody gains from that.
"""

from pgoperator import labels
from pgoperator.api.cluster import PGCluster
from pgoperator.errors import InvalidSpec
from reconcilers.pgcluster.view import Observed, View

ANNOTATION = "authorizeBackupRemoval"
REASON = "Paused"
MESSAGE = (
    "backups are switched off, but still on: annotate the cluster with "
    f"{labels.PERCONA}{ANNOTATION}=true to authorize backup removal, or set spec.backups.enabled to true"
)


def effective(cluster: PGCluster, observed: Observed) -> PGCluster:
    """The cluster as it is to be worked on: with backups, while their removal is not authorized.

    InvalidSpec when that cannot be, because the repositories were removed as well.
    """
    if cluster.spec.backups.enabled or observed.repo_host is None or _is_authorized(cluster):
        return cluster
    if not cluster.spec.backups.pgbackrest.repos:
        raise InvalidSpec(MESSAGE, reason=REASON)
    backups = cluster.spec.backups.model_copy(update={"enabled": True})
    return cluster.model_copy(update={"spec": cluster.spec.model_copy(update={"backups": backups})})


def is_missing(view: View) -> bool:
    """Whether backups go on only because their removal is not authorized."""
    written = (view.manifest["spec"].get("backups") or {}).get("enabled")
    return written is False and view.cluster.spec.backups.enabled


def _is_authorized(cluster: PGCluster) -> bool:
    annotations = cluster.metadata.annotations
    return "true" in (annotations.get(prefix + ANNOTATION) for prefix in (labels.PERCONA, labels.CRUNCHY))
