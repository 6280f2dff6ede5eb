"""What a restore does to the world; every act may be repeated, and is after a crash."""

import structlog

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.api.pgrestore import PGRestore
from pgoperator.context import Context
from pgoperator.errors import CommandFailed, InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.errors import AlreadyExists, ApiError, Unreachable
from pgoperator.kube.manifest import Manifest, name_of
from pgoperator.postgres import pgbackrest_info, pgbackrest_options
from pgoperator.runtime.result import Wait
from reconcilers.pgbackup import lease
from reconcilers.pgcluster import bootstrap
from reconcilers.pgcluster.view import Observed, View, is_ready
from reconcilers.pgrestore import check
from reconcilers.pgrestore import job as jobs
from reconcilers.pgrestore import source as sources
from reconcilers.pgrestore.plan import CHECKING, Facts

log = structlog.get_logger(__name__)

INFO_SECONDS = 10
_BOUNDS = ("--io-timeout=4", "--protocol-timeout=8", "--log-level-console=off", "--log-level-stderr=error")
PATIENCE_SECONDS = 10
"""For a repository host that is not ready: together with the rest of the check less than 15 s."""


def view_of(ctx: Context, cluster: PGCluster, manifest: Manifest, observed: Observed) -> View:
    """As much of a View as the builders of the Job look at."""
    return View(
        cluster=cluster,
        manifest=manifest,
        observed=observed,
        planned=(),
        settings=ctx.settings,
        now=ctx.clock(),
        secrets={},
        user_secrets={},
    )


async def examine(ctx: Context, restore: PGRestore, facts: Facts, observed: Observed) -> Manifest | Wait:
    """Find out whether the restore can be; gives what the status shall hold besides the next phase.

    InvalidSpec says why it cannot. Nothing has been touched by then.
    """
    cluster = _cluster(ctx, restore)
    words = check.words(restore.spec.options)
    if is_bootstrap(restore):
        return await _examine_source(ctx, restore, cluster, facts, observed)
    if restore.spec.repo_name not in [repo.name for repo in cluster.spec.backups.repos]:
        raise InvalidSpec(
            f"cluster {cluster.name!r} has no repository {restore.spec.repo_name!r}", reason="RepoNotFound"
        )
    if (rival := _rival(ctx, restore)) is not None:
        raise InvalidSpec(f"restore {rival!r} of this cluster is under way", reason="RestoreInProgress")
    assert restore.spec.repo_name is not None
    host = observed.repo_host_pod
    if host is None or not is_ready(host):
        since = restore.status.phase_since or facts.now
        if (facts.now - since).total_seconds() < PATIENCE_SECONDS:
            return Wait("the repository host is not ready", 2)
        raise InvalidSpec("the repository host is not ready", reason="RepoHostNotReady")
    number = int(restore.spec.repo_name.removeprefix("repo"))
    info = await _info(ctx, restore.namespace, name_of(host), number)
    system = int(observed.system_identifier) if observed.system_identifier.isdigit() else None
    last = check.against(info, number, words, system, facts.now)
    instance = facts.primary or next(iter(facts.instances), "") or _with_volume(observed)
    if not instance:
        raise InvalidSpec("the cluster has no instance with a volume yet", reason="NoInstance")
    holder = await lease.acquire(ctx, restore.namespace, cluster.name, lease.holder_of(restore))
    if holder:
        return Wait(f"{holder.partition('|')[0]} works on the repositories: the restore begins after it", 5)
    if pgbackrest_options.value(words, "type") == "time" and observed.primary is not None:
        await _leave_a_commit(ctx, restore.namespace, observed.primary.pod_name)
    return {"instance": instance, "walLast": last}


def is_bootstrap(restore: PGRestore) -> bool:
    """Whether a restore fills a new cluster."""
    return labels.BOOTSTRAP_RESTORE in restore.metadata.annotations


async def _examine_source(
    ctx: Context, restore: PGRestore, cluster: PGCluster, facts: Facts, observed: Observed
) -> Manifest | Wait:
    """The same for a new cluster, whose backup lies elsewhere."""
    manifest = ctx.store.get(kinds.PG_CLUSTER, restore.namespace, cluster.name) or {}
    found, words = bootstrap.source_of(cluster), check.words(restore.spec.options)
    if found is None:
        raise InvalidSpec("the cluster has no spec.dataSource any more", reason="NoDataSource")
    source = await sources.of(ctx, view_of(ctx, cluster, manifest, observed), found)
    last = None
    if source.host is not None:
        number = int((restore.spec.repo_name or "repo1").removeprefix("repo"))
        info = await _info(ctx, *source.host, number)
        last = check.against(info, number, words, None, facts.now)
    instance = _with_volume(observed)
    if not instance:
        return Wait("the first instance has no volume yet", 2)
    return {"instance": instance, "walLast": last}


def _cluster(ctx: Context, restore: PGRestore) -> PGCluster:
    manifest = ctx.store.get(kinds.PG_CLUSTER, restore.namespace, restore.spec.pg_cluster)
    assert manifest is not None  # `plan.decide` has looked
    cluster = PGCluster.parse(manifest)
    if restore.spec.volume_snapshot_backup_name:
        raise InvalidSpec("restores from volume snapshots are not supported", reason="NotSupported")
    if not cluster.spec.backups.enabled and not is_bootstrap(restore):
        raise InvalidSpec(f"backups of cluster {cluster.name!r} are disabled", reason="BackupsDisabled")
    if cluster.spec.unmanaged:
        raise InvalidSpec(f"cluster {cluster.name!r} is unmanaged", reason="Unmanaged")
    if cluster.spec.pause:
        raise InvalidSpec(f"cluster {cluster.name!r} is paused: resume it first", reason="Paused")
    return cluster


def _rival(ctx: Context, restore: PGRestore) -> str | None:
    """Another restore of the cluster that came first and has not ended."""
    for manifest in ctx.store.select(kinds.PG_RESTORE, restore.namespace, {}):
        other = PGRestore.parse(manifest)
        if other.spec.pg_cluster != restore.spec.pg_cluster or other.name == restore.name:
            continue
        if other.status.state in (None, "", "Succeeded", "Failed"):
            continue
        began = other.status.phase not in (None, CHECKING)
        if began or _age(other) < _age(restore):
            return other.name
    return None


def _age(restore: PGRestore) -> tuple[str, str]:
    return str(restore.metadata.creation_timestamp), restore.name


def _with_volume(observed: Observed) -> str:
    return next((naming.instance_of_volume(name_of(v)) for v in observed.volumes), "")


async def _info(ctx: Context, namespace: str, host: str, repo: int) -> pgbackrest_info.Info:
    """What the repository holds, or why it does not answer."""
    command = ["pgbackrest", f"--stanza={naming.STANZA}", f"--repo={repo}", *_BOUNDS, "info", "--output=json"]
    try:
        text = await ctx.client.exec(
            namespace, host, naming.PGBACKREST_CONTAINER, command, timeout=INFO_SECONDS
        )
        return pgbackrest_info.parse(text)
    except (CommandFailed, Unreachable, pgbackrest_info.BadInfo) as error:
        why = error.said[:800] if isinstance(error, CommandFailed) else str(error)
        raise InvalidSpec(f"repo{repo} does not answer: {why}", reason="RepoNotReachable") from error


async def _leave_a_commit(ctx: Context, namespace: str, pod: str) -> None:
    """Commit once more, so that recovery to any moment of the past meets a commit after it and can stop.

    Without one, PostgreSQL takes a target after the last commit for one that it did not reach.
    """
    command = ["psql", "--no-psqlrc", "--quiet", "--command=SELECT pg_current_xact_id()", "postgres"]
    try:
        await ctx.client.exec(namespace, pod, naming.DATABASE_CONTAINER, command, timeout=3)
    except (CommandFailed, ApiError) as error:
        log.warning("no commit before the restore", error=str(error))


async def create_job(ctx: Context, restore: PGRestore, view: View, *, undo: bool) -> str | None:
    """Create the Job once no pod has the volume any more; gives a reason to wait."""
    ours = f"{labels.CLUSTER}={view.name}"
    # Live: two processes in one data directory would be the end of it.
    pods, _ = await ctx.client.list(kinds.POD, view.namespace, labels=f"{ours},{labels.INSTANCE}")
    more, _ = await ctx.client.list(kinds.POD, view.namespace, labels=f"{ours},{labels.PGBACKREST_RESTORE}")
    running = [*pods, *(p for p in more if p["status"].get("phase") not in ("Succeeded", "Failed"))]
    if running:
        return f"waiting for {', '.join(map(name_of, running))} to stop"
    words = check.words(restore.spec.options)
    origin = None
    if is_bootstrap(restore) and (found := bootstrap.source_of(view.cluster)) is not None:
        origin = await sources.of(ctx, view, found)
        # The restore's, not the cluster's: they go with it.
        for copy in origin.copies:
            await ctx.applier.apply(copy, jobs.owner(restore))
    manifest = jobs.manifest(view, restore, words, undo=undo, origin=origin)
    try:
        await ctx.client.create(manifest)
        log.info("created the Job", job=name_of(manifest), undo=undo)
    except AlreadyExists:
        live = await ctx.client.get(kinds.JOB, view.namespace, name_of(manifest))
        if not any(o["uid"] == restore.metadata.uid for o in live["metadata"].get("ownerReferences", [])):
            await ctx.client.delete(kinds.JOB, view.namespace, name_of(manifest), uid=live["metadata"]["uid"])
            return "waiting for a former restore's Job to go"
    return None


async def forget_leader(ctx: Context, namespace: str, cluster: str) -> None:
    """Remove what Patroni knows of the former primary and its position: the restored data is behind that."""
    scope = naming.patroni_scope(cluster)
    for name in (scope, f"{scope}-sync", f"{scope}-failover"):
        await ctx.client.delete(kinds.ENDPOINTS, namespace, name)


async def clean(ctx: Context, restore: PGRestore, cluster: PGCluster, observed: Observed) -> None:
    """Remove the former data from the volume; a failure leaves it there, which harms nothing."""
    primary = observed.primary
    if primary is None or primary.name != restore.status.instance:
        return
    major, suffix = cluster.spec.postgres_version, f"_before_{restore.metadata.uid}"
    data, wal = naming.data_directory(major), naming.wal_directory(major)
    script = (
        f'rm -f "{data}/pgoperator-restore"; '
        f'if [ -e "{data}{suffix}" ]; then '
        f'(setsid nice rm -rf "{data}{suffix}" "{wal}{suffix}" >/dev/null 2>&1 </dev/null &); fi'
    )
    try:
        await ctx.client.exec(
            restore.namespace, primary.pod_name, naming.DATABASE_CONTAINER, ["bash", "-c", script], timeout=10
        )
    except (CommandFailed, ApiError) as error:
        log.warning("the former data directory stays", error=str(error))


async def delete_job(ctx: Context, namespace: str, cluster: str, uid: str) -> None:
    """Delete the Job; it goes when its pods have gone."""
    name = naming.restore_job(cluster)
    await ctx.client.delete(kinds.JOB, namespace, name, uid=uid, propagation="Foreground")
