"""The end of a cluster: replicas, then the primary, then Patroni's Endpoints, then what finalizers ask for.

Volumes and Secrets stay unless a finalizer of the user says otherwise; a cluster of the same name finds its
data and passwords again. Everything else goes with the custom resource, by owner reference.
"""

from collections.abc import Iterable
from contextlib import suppress

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound
from pgoperator.kube.manifest import Kind, Manifest, annotations_of, name_of
from pgoperator.runtime.result import Done, Result, Wait
from reconcilers.pgcluster import farewell
from reconcilers.pgcluster.belongings import is_certificate, is_password, is_volume
from reconcilers.pgcluster.observe import observe
from reconcilers.pgcluster.view import Instance

OURS = (
    labels.FINALIZER,
    labels.FINALIZER_DELETE_BACKUPS,
    labels.FINALIZER_DELETE_PVC,
    labels.FINALIZER_DELETE_SSL,
)


async def delete(ctx: Context, cluster: PGCluster) -> Result:
    """Take the next step of the deletion; the events that it causes bring the one after."""
    namespace, name = cluster.metadata.namespace, cluster.metadata.name
    observed = observe(ctx.store, namespace, name)
    primary = [i for i in observed.instances if i.is_primary]
    replicas = [i for i in observed.instances if not i.is_primary]
    for group in (replicas, primary):
        if group:
            if group is primary:
                await _mark(ctx, cluster, primary[0])
            await _stop(ctx, namespace, group)
            return Wait(f"waiting for {len(group)} pod(s) to stop", 5)
    await _delete_all(ctx, kinds.ENDPOINTS, namespace, _patroni_endpoints(ctx, namespace, name))
    if labels.FINALIZER_DELETE_BACKUPS in cluster.metadata.finalizers:
        wait = await farewell.delete_backups(ctx, cluster)
        if wait is not None:
            return wait
    await farewell.release_backups(ctx, cluster)
    await farewell.remove_jobs(ctx, cluster)
    await _delete_belongings(ctx, cluster)
    return await _release(ctx, cluster)


async def _mark(ctx: Context, cluster: PGCluster, primary: Instance) -> None:
    """Note on its volume who was the primary: a cluster of the same name must begin with that data."""
    namespace, claim = cluster.metadata.namespace, naming.instance_volume(primary.name)
    stored = ctx.store.get(kinds.PVC, namespace, claim)
    mark = f"{cluster.metadata.deletion_timestamp}"
    if stored is not None and annotations_of(stored).get(labels.LAST_PRIMARY) != mark:
        patch = {"metadata": {"annotations": {labels.LAST_PRIMARY: mark}}}
        await ctx.client.merge_patch(kinds.PVC, namespace, claim, patch)


async def _stop(ctx: Context, namespace: str, instances: Iterable[Instance]) -> None:
    for instance in instances:
        if instance.stateful_set is not None:
            await ctx.client.delete(kinds.STATEFUL_SET, namespace, instance.name)
        elif instance.pod is not None and "deletionTimestamp" not in instance.pod["metadata"]:
            await ctx.client.delete(kinds.POD, namespace, instance.pod_name)


def _patroni_endpoints(ctx: Context, namespace: str, cluster: str) -> list[Manifest]:
    # Patroni labels the Endpoints it makes (lock, configuration, failover, sync) with its scope.
    scope = {labels.PATRONI: naming.patroni_scope(cluster)}
    return ctx.store.select(kinds.ENDPOINTS, namespace, labels.of_cluster(cluster) | scope)


async def _delete_belongings(ctx: Context, cluster: PGCluster) -> None:
    """Delete what finalizers ask for, as they and the objects are now: this cannot be taken back."""
    if not {labels.FINALIZER_DELETE_PVC, labels.FINALIZER_DELETE_SSL} & {*cluster.metadata.finalizers}:
        return
    namespace, name = cluster.metadata.namespace, cluster.metadata.name
    try:
        live = PGCluster.parse(await ctx.client.get(kinds.PG_CLUSTER, namespace, name))
    except NotFound:
        return  # an earlier pass was faster than the watch
    if live.metadata.uid != cluster.metadata.uid or not live.metadata.is_deleting:
        return
    ours, doomed = f"{labels.CLUSTER}={name}", []
    if labels.FINALIZER_DELETE_PVC in live.metadata.finalizers:
        claims, _ = await ctx.client.list(kinds.PVC, namespace, labels=ours)
        await _delete_all(ctx, kinds.PVC, namespace, (c for c in claims if is_volume(live, c)))
        doomed.append(is_password)
    if labels.FINALIZER_DELETE_SSL in live.metadata.finalizers:
        doomed.append(is_certificate)
    if doomed:
        secrets, _ = await ctx.client.list(kinds.SECRET, namespace, labels=ours)
        theirs = (s for s in secrets if any(is_one(live, s) for is_one in doomed))
        await _delete_all(ctx, kinds.SECRET, namespace, theirs)


async def _delete_all(ctx: Context, kind: Kind, namespace: str, objects: Iterable[Manifest]) -> None:
    for found in objects:
        await ctx.client.delete(kind, namespace, name_of(found), uid=found["metadata"]["uid"])


async def _release(ctx: Context, cluster: PGCluster) -> Result:
    """Let the object go; finalizers that are not ours stay."""
    rest = [f for f in cluster.metadata.finalizers if f not in OURS]
    metadata = {"finalizers": rest, "resourceVersion": cluster.metadata.resource_version}
    where = cluster.metadata.namespace, cluster.metadata.name
    with suppress(NotFound):  # an earlier pass was faster than the watch
        await ctx.client.merge_patch(kinds.PG_CLUSTER, *where, {"metadata": metadata})
    return Done()
