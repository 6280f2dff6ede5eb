"""Whether a cluster has data. All code that fills or stops a cluster must ask this module.

The rule: a cluster has data once any evidence exists, and evidence never expires. The absence of an object
that belongs to Patroni, Kubernetes or the user proves nothing: each can be deleted at any time.

Evidence is one of: the system identifier in Patroni's Endpoints; the system identifier in the status, where
it stays for the life of the custom resource; a StatefulSet of an instance; a data volume that is older than
the custom resource, left by a former cluster of this name.

The claim of a volume that was created while a cluster waited for the data of `spec.dataSource` carries the
annotation AWAITS_DATA until a primary serves that data. Until then the volume is no evidence: a cluster that
is deleted because its dataSource was wrong, and created again, waits for its data again. Claims of older
operator versions have no annotation and count as data.
"""

from datetime import datetime

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.manifest import annotations_of, name_of
from reconcilers.pgcluster.state.view import Observed, Restoring, View


def system_identifier(cluster: PGCluster, observed: Observed) -> str:
    """PostgreSQL's system identifier, from Patroni's Endpoints or the status; "" without data."""
    patroni = cluster.status.patroni
    stored = patroni.status.system_identifier if patroni is not None and patroni.status is not None else None
    return observed.system_identifier or stored or ""


def has_data(cluster: PGCluster, observed: Observed) -> bool:
    """Whether any evidence of data exists."""
    return (
        bool(system_identifier(cluster, observed))
        or any(instance.stateful_set is not None for instance in observed.instances)
        or _has_former_volume(cluster, observed)
    )


def _has_former_volume(cluster: PGCluster, observed: Observed) -> bool:
    since = cluster.metadata.creation_timestamp
    return since is not None and any(
        datetime.fromisoformat(v["metadata"]["creationTimestamp"]) < since
        for v in observed.volumes
        if labels.AWAITS_DATA not in annotations_of(v)
    )


def has_arrived(observed: Observed, restoring: Restoring | None) -> bool:
    """Whether a primary serves the data that the cluster began with."""
    # From the phase Replicas on, the restored data is promoted, and nothing leads back.
    return observed.primary is not None and (restoring is None or restoring.phase == "Replicas")


def awaits_data(view: View, instance: str) -> bool:
    """Whether the instance's data volume carries the mark: set when the claim is made, and never later."""
    if has_arrived(view.observed, view.restoring):
        return False
    name = naming.instance_volume(instance)
    claim = next((v for v in view.observed.volumes if name_of(v) == name), None)
    if claim is None:
        return view.restoring is not None and view.restoring.bootstrap
    return labels.AWAITS_DATA in annotations_of(claim)


async def unmark(ctx: Context, namespace: str, observed: Observed) -> None:
    """Remove the mark from every volume: for a cluster that is deleted as soon as its data has arrived."""
    for claim in observed.volumes:
        if labels.AWAITS_DATA in annotations_of(claim):
            patch = {"metadata": {"annotations": {labels.AWAITS_DATA: None}}}
            await ctx.client.merge_patch(kinds.PVC, namespace, name_of(claim), patch)
