"""Act: delete a cluster: replicas, then the primary, then Patroni's Endpoints, then what finalizers specify.

Volumes and Secrets stay unless the user has set a finalizer for them; a new cluster of the same name finds
its data and passwords again. Kubernetes deletes all other objects with the custom resource, by owner
reference.
"""

from collections.abc import Iterable
from contextlib import suppress

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound
from pgoperator.kube.manifest import Kind, Manifest, annotations_of, name_of, uid_of
from pgoperator.runtime.result import Done, Result, Wait
from reconcilers.pgcluster.bootstrap import decide_restore_gate
from reconcilers.pgcluster.lifecycle import act_backup_cleanup
from reconcilers.pgcluster.lifecycle.decide_ownership import is_certificate, is_password, is_volume
from reconcilers.pgcluster.state import primary_mark, provenance
from reconcilers.pgcluster.state.observe import observe
from reconcilers.pgcluster.state.view import Instance, Observed

FINALIZERS = (
    labels.FINALIZER,
    labels.FINALIZER_DELETE_BACKUPS,
    labels.FINALIZER_DELETE_PVC,
    labels.FINALIZER_DELETE_SSL,
)


async def delete(ctx: Context, cluster: PGCluster) -> Result:
    """Take the next step of the deletion; the resulting watch events start the following pass."""
    namespace, name = cluster.metadata.namespace, cluster.metadata.name
    observed = observe(ctx.store, namespace, name)
    last = _last_to_stop(observed)
    replicas = [i for i in observed.instances if i is not last]
    if provenance.has_arrived(
        observed, decide_restore_gate.active(ctx.store, namespace, name, has_data=False)
    ):
        await provenance.unmark(ctx, namespace, observed)
    if last is not None:
        await _mark(ctx, cluster, observed, last)
    for group in (replicas, [last] if last is not None else []):
        if group:
            await _stop(ctx, namespace, group)
            return Wait(f"waiting for {len(group)} pod(s) to stop", 5)
    await _delete_all(ctx, kinds.ENDPOINTS, namespace, _patroni_endpoints(ctx, namespace, name))
    if labels.FINALIZER_DELETE_BACKUPS in cluster.metadata.finalizers:
        wait = await act_backup_cleanup.delete_backups(ctx, cluster)
        if wait is not None:
            return wait
    await act_backup_cleanup.release_backups(ctx, cluster)
    await act_backup_cleanup.remove_jobs(ctx, cluster)
    await _delete_owned(ctx, cluster)
    return await _release(ctx, cluster)


def _last_to_stop(observed: Observed) -> Instance | None:
    """The instance with the newest data: the holder of Patroni's lock, else the furthest labelled primary.

    The label alone is not enough: only Patroni in the pod removes it, so a pod on a lost node keeps it.
    """
    holder = annotations_of(observed.leader).get("leader", "") if observed.leader else ""
    running = [i for i in observed.instances if i.pod is not None]
    for instance in running:
        if holder and instance.pod_name == holder:
            return instance
    labelled = [i for i in running if i.is_primary]
    return max(labelled, key=lambda i: (i.member.timeline, i.member.location), default=None)


async def _mark(ctx: Context, cluster: PGCluster, observed: Observed, primary: Instance) -> None:
    """Mark only the primary's volume: a new cluster of the same name must start with its data."""
    name, when = naming.instance_volume(primary.name), cluster.metadata.deletion_timestamp
    claim = next((c for c in observed.volumes if name_of(c) == name), None)
    if claim is None or when is None or primary_mark.is_since(claim, when):
        return
    await primary_mark.clear(ctx, cluster.metadata.namespace, observed)
    await primary_mark.write(ctx, cluster.metadata.namespace, primary.name, primary_mark.LAST, when)


async def _stop(ctx: Context, namespace: str, instances: Iterable[Instance]) -> None:
    for instance in instances:
        if instance.stateful_set is not None:
            uid = uid_of(instance.stateful_set)
            await ctx.client.delete(kinds.STATEFUL_SET, namespace, instance.name, uid=uid)
        elif instance.pod is not None and "deletionTimestamp" not in instance.pod["metadata"]:
            await ctx.client.delete(kinds.POD, namespace, instance.pod_name, uid=uid_of(instance.pod))


def _patroni_endpoints(ctx: Context, namespace: str, cluster: str) -> list[Manifest]:
    # Patroni labels its Endpoints (lock, configuration, failover, sync) with its scope.
    scope = {labels.PATRONI: naming.patroni_scope(cluster)}
    return ctx.store.select(kinds.ENDPOINTS, namespace, labels.of_cluster(cluster) | scope)


async def _delete_owned(ctx: Context, cluster: PGCluster) -> None:
    """Delete the volumes and Secrets that finalizers specify.

    Finalizers and objects are read live, because the deletion cannot be undone.
    """
    if not {labels.FINALIZER_DELETE_PVC, labels.FINALIZER_DELETE_SSL} & {*cluster.metadata.finalizers}:
        return
    namespace, name = cluster.metadata.namespace, cluster.metadata.name
    try:
        live = PGCluster.parse(await ctx.client.get(kinds.PG_CLUSTER, namespace, name))
    except NotFound:
        return  # an earlier pass has finished; the watch is late
    if live.metadata.uid != cluster.metadata.uid or not live.metadata.is_deleting:
        return
    selector, filters = f"{labels.CLUSTER}={name}", []
    if labels.FINALIZER_DELETE_PVC in live.metadata.finalizers:
        claims, _ = await ctx.client.list(kinds.PVC, namespace, labels=selector)
        await _delete_all(ctx, kinds.PVC, namespace, (c for c in claims if is_volume(live, c)))
        filters.append(is_password)
    if labels.FINALIZER_DELETE_SSL in live.metadata.finalizers:
        filters.append(is_certificate)
    if filters:
        secrets, _ = await ctx.client.list(kinds.SECRET, namespace, labels=selector)
        owned = (s for s in secrets if any(is_owned(live, s) for is_owned in filters))
        await _delete_all(ctx, kinds.SECRET, namespace, owned)


async def _delete_all(ctx: Context, kind: Kind, namespace: str, objects: Iterable[Manifest]) -> None:
    for manifest in objects:
        await ctx.client.delete(kind, namespace, name_of(manifest), uid=manifest["metadata"]["uid"])


async def _release(ctx: Context, cluster: PGCluster) -> Result:
    """Remove the operator's finalizers from the custom resource; other finalizers stay."""
    rest = [f for f in cluster.metadata.finalizers if f not in FINALIZERS]
    metadata = {"finalizers": rest, "resourceVersion": cluster.metadata.resource_version}
    key = cluster.metadata.namespace, cluster.metadata.name
    with suppress(NotFound):  # an earlier pass has finished; the watch is late
        await ctx.client.merge_patch(kinds.PG_CLUSTER, *key, {"metadata": metadata})
    return Done()
