"""When the stanza can be created and a backup can be taken. Pure.

Replicas, pgBouncer and other problems of a cluster delay neither for long.
"""

from datetime import datetime, timedelta

from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.state import provenance
from reconcilers.pgcluster.state.findings import Finding
from reconcilers.pgcluster.state.view import View, is_ready

READY = "ReadyForBackup"
"""Type of the condition that shows whether a backup can be taken now."""
FOREIGN = "RepositoryOfAnotherCluster"
"""Reason of `PGBackRestReplicaRepoReady` when a repository is not this cluster's own."""
STANZA_PATIENCE = timedelta(seconds=30)
"""Age of the repository host from which the stanza is created although the cluster is not ready."""
FIRST_PATIENCE = timedelta(minutes=2)
"""The first backup waits at most this long, from the stanza on, for the cluster's replicas and poolers."""


def is_due(view: View, *, ready: bool) -> bool:
    """Whether the stanza can and should be created now; `ready` is the readiness of the cluster."""
    primary, host = view.observed.primary, view.observed.repo_host_pod
    if not view.backups_enabled or primary is None or host is None or not is_ready(host):
        return False
    if not provenance.system_identifier(view.cluster, view.observed):
        return False
    return ready or _age(host, view.now) > STANZA_PATIENCE


def patience(view: View) -> timedelta | None:
    """How long until an incomplete cluster gets its stanza; None if something else is missing."""
    primary, host = view.observed.primary, view.observed.repo_host_pod
    if not view.backups_enabled or primary is None or host is None or not is_ready(host):
        return None
    left = STANZA_PATIENCE - _age(host, view.now)
    return left if left >= timedelta() else None


def _age(pod: Manifest, now: datetime) -> timedelta:
    return now - datetime.fromisoformat(pod["metadata"]["creationTimestamp"])


def host_ready(view: View) -> bool:
    """Whether the repository host's pod is ready."""
    pod = view.observed.repo_host_pod
    return pod is not None and is_ready(pod)


def can_begin(view: View, stanza_hash: str | None) -> bool:
    """Whether a backup can be taken now: a primary, the stanza and the repository host are enough."""
    return (
        view.backups_enabled
        and stanza_hash is not None
        and view.observed.primary is not None
        and host_ready(view)
        and held(view) is None
    )


def held(view: View) -> Finding | None:
    """Why the operator itself takes no backups, although the cluster may be able to; None if it does."""
    if view.cluster.spec.pause:
        message = "backups are held back: the cluster is paused, set spec.pause to false to continue them"
        return Finding(READY, False, "Paused", message)
    if view.restoring is not None:
        message = f"backups are held back until restore {view.restoring.name} has ended"
        return Finding(READY, False, "RestoreInProgress", message)
    return None


def first_delay(view: View, *, ready: bool) -> timedelta:
    """How long the first backup still waits: the replicas of a new cluster are created before it."""
    if ready:
        return timedelta()
    stanza = view.cluster.status.condition("PGBackRestReplicaRepoReady")
    since = stanza.last_transition_time if stanza is not None and stanza.status == "True" else view.now
    return max(since + FIRST_PATIENCE - view.now, timedelta())
