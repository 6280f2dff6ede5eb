"""Act: the Job and the clean-up of a restore. Every act can be repeated after a crash."""

from datetime import timedelta

import structlog

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.api.pgrestore import PGRestore
from pgoperator.api.storage import ClusterSource
from pgoperator.context import Context
from pgoperator.errors import CommandFailed, CommandTimedOut, InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.errors import AlreadyExists, ApiError, NotFound
from pgoperator.kube.manifest import Manifest, labels_of, name_of, uid_of
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.bootstrap import decide_source
from reconcilers.pgcluster.bootstrap.decide_restore_gate import is_bootstrap
from reconcilers.pgcluster.state import primary_mark
from reconcilers.pgcluster.state.observe import read_cluster
from reconcilers.pgcluster.state.view import ClusterView, Observed
from reconcilers.pgrestore import (
    act_clone_server,
    build_job,
    build_source,
    decide_check,
    read_source,
)

log = structlog.get_logger(__name__)

CLEAN_PATIENCE = timedelta(minutes=5)
"""How long the removal of the former data is tried."""


def job_arguments(restore: PGRestore) -> list[str]:
    """The options for pgBackRest: the user's, and the backup that the check selected."""
    arguments, chosen = decide_check.arguments(restore.spec.options), restore.status.backup_set
    if not chosen:
        return arguments
    return [*(option for option in arguments if not option.startswith("--set=")), f"--set={chosen}"]


async def create_job(ctx: Context, restore: PGRestore, view: ClusterView, *, undo: bool) -> str | None:
    """Create the Job once no pod mounts the volume; return a reason to wait, or None."""
    ours = f"{labels.CLUSTER}={view.name}"
    # Read live, not from the store: two processes in one data directory would destroy the data.
    pods, _ = await ctx.client.list(kinds.POD, view.namespace, labels=f"{ours},{labels.INSTANCE}")
    more, _ = await ctx.client.list(kinds.POD, view.namespace, labels=f"{ours},{labels.PGBACKREST_RESTORE}")
    running = [*pods, *(p for p in more if p["status"].get("phase") not in ("Succeeded", "Failed"))]
    if running:
        return f"waiting for {', '.join(map(name_of, running))} to stop"
    arguments = job_arguments(restore)
    origin = None
    if is_bootstrap(restore) and (found := decide_source.backup_of(view.cluster)) is not None:
        origin = await read_source.of(ctx, view, restore, found)
        if origin.shared is not None and isinstance(found, ClusterSource):
            served = await act_clone_server.serve(ctx, restore, origin.shared)
            if isinstance(served, Wait):
                return served.reason
            origin = build_source.of_copy(view, found, {**origin.shared.files, **served})
        # Owned by the restore, so that they are deleted with it.
        for copy in origin.copies:
            await ctx.applier.apply(copy, build_job.owner(restore))
    manifest = build_job.manifest(view, restore, arguments, undo=undo, origin=origin)
    try:
        await ctx.client.create(manifest)
        log.info("created the restore Job", job=name_of(manifest), undo=undo)
    except AlreadyExists:
        live = await ctx.client.get(kinds.JOB, view.namespace, name_of(manifest))
        if labels_of(live).get(labels.CLUSTER) != view.name:
            raise InvalidSpec(
                f"Job {name_of(manifest)} exists and does not belong to the cluster: remove it, then restore "
                "again",
                reason="NameTaken",
            ) from None
        if not any(o["uid"] == restore.metadata.uid for o in live["metadata"].get("ownerReferences", [])):
            await ctx.client.delete(kinds.JOB, view.namespace, name_of(manifest), uid=live["metadata"]["uid"])
            return "waiting for the Job of an earlier restore to be deleted"
    return None


async def release_source(ctx: Context, restore: PGRestore) -> None:
    """Take back what a source in another namespace shares, when the restore of a new cluster ends."""
    await read_source.remove_copy(ctx, restore)
    try:
        found = read_cluster(ctx.store, restore.namespace, restore.spec.pg_cluster)
    except InvalidSpec:
        return  # a pass of the source ends its server
    source = decide_source.backup_of(found[0]) if found is not None else None
    if isinstance(source, ClusterSource):
        await act_clone_server.remove(ctx, restore, source)


async def forget_leader(ctx: Context, namespace: str, cluster: str) -> None:
    """Delete Patroni's records of the former primary and its position: the restored data is behind it."""
    scope = naming.patroni_scope(cluster)
    sync, failover = naming.patroni_sync(cluster), naming.patroni_failover(cluster)
    await _delete_endpoints(ctx, namespace, scope, sync, failover)


async def _delete_endpoints(ctx: Context, namespace: str, *names: str) -> None:
    """Delete Endpoints of Patroni as they are now."""
    for name in names:
        try:
            live = await ctx.client.get(kinds.ENDPOINTS, namespace, name)
        except NotFound:
            continue
        await ctx.client.delete(kinds.ENDPOINTS, namespace, name, uid=uid_of(live))


async def yield_leadership(ctx: Context, restore: PGRestore) -> None:
    """Let another instance become the primary, because the restored instance has no data to start from.

    The replica that was marked before it stopped starts first. Patroni's record of the former primary's
    position is deleted, because maybe no replica has reached it; the record of synchronous replicas is kept.
    """
    instance, cluster = restore.status.instance, restore.spec.pg_cluster
    if instance:
        await primary_mark.remove(ctx, restore.namespace, instance)
    lock, failover = naming.patroni_scope(cluster), naming.patroni_failover(cluster)
    await _delete_endpoints(ctx, restore.namespace, lock, failover)
    log.warning("the instance has lost its data; another instance must become the primary", instance=instance)


async def clean(
    ctx: Context, restore: PGRestore, manifest: Manifest, cluster: PGCluster, observed: Observed
) -> Wait | None:
    """Remove the former data from the volume; after `CLEAN_PATIENCE` an event names what is left there."""
    name = restore.status.instance
    if name is None:
        return None  # a dry run
    major, suffix = cluster.spec.postgres_version, f"_before_{restore.metadata.uid}"
    data, wal = naming.data_directory(major), naming.wal_directory(major)
    script = (
        f'rm -f "{data}/pgoperator-restore"; '
        f'if [ -e "{data}{suffix}" ]; then '
        f'(setsid nice rm -rf "{data}{suffix}" "{wal}{suffix}" >/dev/null 2>&1 </dev/null &); fi'
    )
    try:
        if not any(instance.name == name and instance.pod is not None for instance in observed.instances):
            raise NotFound(404, "NotFound", "it has no pod", kinds.POD.kind, restore.namespace, name)
        where = restore.namespace, naming.pod(name), naming.DATABASE_CONTAINER
        await ctx.client.exec(*where, ["bash", "-c", script], timeout=10)
    except (CommandFailed, CommandTimedOut, ApiError) as error:
        log.warning("could not remove the former data directory", error=str(error))
        if ctx.clock() - (restore.status.completed or ctx.clock()) < CLEAN_PATIENCE:
            return Wait(f"the former data on {name} cannot be removed yet: {error}", 15)
        message = (
            f"the former data is still in the directory {data}{suffix} on the volume of {name}, and uses its "
            f"space: remove it by hand. {error}"
        )
        ctx.events.event(manifest, type="Warning", reason="FormerDataKept", message=message)
    return None


async def delete_job(ctx: Context, namespace: str, cluster: str, uid: str) -> None:
    """Delete the Job in the foreground: it disappears after its pods."""
    name = naming.restore_job(cluster)
    await ctx.client.delete(kinds.JOB, namespace, name, uid=uid, propagation="Foreground")
