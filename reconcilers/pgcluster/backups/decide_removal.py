"""Disabling backups needs two things: `backups.enabled: false`, and an annotation that authorizes it. Pure.

Until the annotation is set, backups continue and a condition shows what is missing. Percona Operator stops
reconciling the cluster at this point.
"""

from pgoperator import labels
from pgoperator.api.cluster import PGCluster
from pgoperator.errors import InvalidSpec
from reconcilers.pgcluster.state.view import Observed, View

REASON = "Paused"
MESSAGE = (
    "spec.backups.enabled is false, but backups continue until the cluster is annotated with "
    f"{labels.AUTHORIZE_BACKUP_REMOVAL}=true; to keep backups, set spec.backups.enabled to true"
)


def backups_enabled(cluster: PGCluster, observed: Observed) -> bool:
    """Whether the cluster has backups: they continue until their removal is authorized.

    InvalidSpec when they cannot continue, because the spec has no repositories any more.
    """
    if cluster.spec.backups.enabled:
        return True
    if observed.repo_host is None or _is_authorized(cluster):
        return False
    if not cluster.spec.backups.pgbackrest.repos:
        raise InvalidSpec(MESSAGE, reason=REASON)
    return True


def is_missing(view: View) -> bool:
    """Whether backups continue only because their removal is not authorized."""
    return view.backups_enabled and not view.cluster.spec.backups.enabled


def _is_authorized(cluster: PGCluster) -> bool:
    return labels.request(cluster.metadata.annotations, labels.AUTHORIZE_BACKUP_REMOVAL) == "true"
