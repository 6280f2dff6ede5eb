"""Act: the check of a restore, and what follows at once from it. It stops nothing in the cluster."""

from collections.abc import Iterable
from contextlib import suppress

import structlog

from pgoperator import naming
from pgoperator.api.cluster import PGCluster
from pgoperator.api.pgrestore import PGRestore
from pgoperator.api.states import FINISHED
from pgoperator.api.storage import ClusterSource
from pgoperator.context import Context
from pgoperator.errors import CommandFailed, CommandTimedOut, InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.errors import ApiError, NotFound
from pgoperator.kube.manifest import Manifest, name_of
from pgoperator.postgres import pgbackrest_options
from pgoperator.runtime.result import Wait
from reconcilers import read_info
from reconcilers.pgbackup import lease
from reconcilers.pgcluster.bootstrap import decide_source
from reconcilers.pgcluster.bootstrap.decide_restore_gate import is_bootstrap
from reconcilers.pgcluster.instances import decide_membership
from reconcilers.pgcluster.pods import build_customization, decide_variables
from reconcilers.pgcluster.state import primary_mark, provenance, superseded
from reconcilers.pgcluster.state.observe import observe_for_job
from reconcilers.pgcluster.state.view import Observed, is_ready
from reconcilers.pgrestore import (
    act_archive,
    act_room,
    build_job,
    build_plan,
    decide_archive,
    decide_check,
    decide_history,
    read_repository,
    read_source,
)
from reconcilers.pgrestore.act_archive import Switched
from reconcilers.pgrestore.build_plan import DryRun
from reconcilers.pgrestore.build_source import Source
from reconcilers.pgrestore.decide_check import Choice
from reconcilers.pgrestore.decide_phase import CHECKING, Snapshot

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 10
"""Wait for a repository host that is not ready; if the repository answers, a refusal takes less than 15 s."""


async def check(
    ctx: Context, restore: PGRestore, snapshot: Snapshot, observed: Observed
) -> Manifest | Wait | Switched | DryRun:
    """Check whether the restore is possible; return fields of the status for the next phase.

    InvalidSpec has the reason if it is not possible. The check stops nothing in the cluster, and a dry run
    writes nothing.
    """
    cluster, arguments = _cluster(ctx, restore), decide_check.arguments(restore.spec.options)
    if refusal := decide_variables.refusal(restore.spec.container_options, cluster):
        raise InvalidSpec(refusal, reason=pgbackrest_options.REASON)
    if is_bootstrap(restore):
        return await _check_source(ctx, restore, cluster, snapshot, observed)
    repo = restore.spec.repo_name
    if repo is None or repo not in [one.name for one in cluster.spec.backups.repos]:
        raise InvalidSpec(f"cluster {cluster.name!r} has no repository {repo!r}", reason="RepoNotFound")
    decide_check.check_whole(arguments)
    others = _restores(ctx, restore, restore.namespace, restore.spec.pg_cluster)
    if (active := _active_restore(others, restore)) is not None:
        raise InvalidSpec(
            f"restore {active!r} of cluster {cluster.name!r} is in progress: wait for its end, or delete it",
            reason="RestoreInProgress",
        )
    decide_history.check(cluster.name, arguments, others)
    host = observed.repo_host_pod
    if host is None or not is_ready(host):
        since = restore.status.phase_since or snapshot.now
        if (snapshot.now - since).total_seconds() < PATIENCE_SECONDS:
            return Wait("waiting for the repository host to become ready", 2)
        raise InvalidSpec(
            f"the repository host of cluster {cluster.name!r} is not ready", reason="RepoHostNotReady"
        )
    number, place = int(repo.removeprefix("repo")), (restore.namespace, name_of(host))
    info = await read_info.info(ctx, place, number)
    system = int(observed.system_identifier) if observed.system_identifier.isdigit() else None
    version = cluster.spec.postgres_version
    about = info, number, arguments, system
    timeline = await read_repository.timeline(ctx, place, *about)
    choice = decide_check.choose(*about, snapshot.now, version=version, timeline=timeline)
    await _check_end(ctx, restore, observed, number, decide_check.followed(*about))
    decide_archive.check_owner(cluster, restore, arguments)
    instance = snapshot.primary or next(iter(snapshot.instances), "") or _with_volume(cluster, observed)
    if not instance:
        raise InvalidSpec(f"cluster {cluster.name!r} has no instance with a volume yet", reason="NoInstance")
    await act_room.check(ctx, restore, snapshot, observed, choice)
    _check_job(ctx, restore, cluster, observed, instance)
    if decide_check.is_dry_run(restore.spec.options):
        needs_end = decide_archive.former_wal(restore, arguments) == "required"
        wait = act_archive.check_primary(restore, snapshot, observed, choice.wal_last) if needs_end else None
        return wait or build_plan.of(arguments, choice, instance, choice.wal_last)
    left = await _prepare(ctx, restore, snapshot, observed, choice)
    found = {"instance": instance, "backupSet": choice.label, "walLast": choice.wal_last}
    return left or found | act_archive.accepted_loss(restore, arguments, choice.wal_last)


async def _check_end(
    ctx: Context, restore: PGRestore, observed: Observed, repo: int, followed: tuple[str, int] | None
) -> None:
    """InvalidSpec if a timeline that was left ends before the target; not without a primary to look."""
    arguments, primary = decide_check.arguments(restore.spec.options), observed.primary
    if primary is None or followed is None:
        return
    left = decide_history.left_timeline(arguments, primary.member.timeline)
    if left is not None:
        place = restore.namespace, primary.pod_name
        last = await read_repository.last_transaction(ctx, place, repo, followed[0], left)
        decide_history.check_end(arguments, left, last)


async def _prepare(
    ctx: Context, restore: PGRestore, snapshot: Snapshot, observed: Observed, choice: Choice
) -> Wait | Switched | None:
    """Take the Lease, then have the primary write and archive what the recovery needs."""
    arguments = decide_check.arguments(restore.spec.options)
    needs_end = decide_archive.former_wal(restore, arguments) == "required"
    if needs_end and (wait := act_archive.check_primary(restore, snapshot, observed, choice.wal_last)):
        return wait
    holder = await lease.acquire(ctx, restore.namespace, restore.spec.pg_cluster, lease.holder_of(restore))
    if holder:
        return Wait(f"waiting for {holder.partition('|')[0]} to release the lease of the repositories", 5)
    if pgbackrest_options.option_value(arguments, "type") == "time" and observed.primary is not None:
        await _commit_once(ctx, restore.namespace, observed.primary.pod_name)
    if not needs_end:
        return None
    return await act_archive.complete(ctx, restore, snapshot, observed, choice.wal_last)


async def _check_source(
    ctx: Context, restore: PGRestore, cluster: PGCluster, snapshot: Snapshot, observed: Observed
) -> Manifest | Wait:
    """The check for a new cluster, whose backup is in the repository of its spec.dataSource."""
    manifest = ctx.store.get(kinds.PG_CLUSTER, restore.namespace, cluster.name) or {}
    found, arguments = decide_source.backup_of(cluster), decide_check.arguments(restore.spec.options)
    if found is None:
        raise InvalidSpec(f"spec.dataSource of cluster {cluster.name!r} was removed", reason="NoDataSource")
    if decide_check.is_dry_run(restore.spec.options):
        raise InvalidSpec("spec.dataSource cannot have the option --dry-run", reason="InvalidOption")
    if provenance.has_data(cluster, observed):
        raise InvalidSpec(
            f"cluster {cluster.name!r} has data, and spec.dataSource fills only a new cluster: restore its "
            "own backup with another PerconaPGRestore",
            reason="ClusterHasData",
        )
    source = await read_source.of(ctx, observe_for_job(ctx, cluster, manifest, observed), restore, found)
    if isinstance(found, ClusterSource):
        name, namespace = found.cluster_name or cluster.name, found.cluster_namespace or restore.namespace
        decide_history.check(name, arguments, _restores(ctx, restore, namespace, name))
    choice = None
    if source.host is not None:
        number = int((restore.spec.repo_name or "repo1").removeprefix("repo"))
        try:
            info = await read_info.info(ctx, source.host, number)
        except NotFound:
            where = f"{source.host[1]} in namespace {source.host[0]!r}"
            return Wait(f"waiting for the repository host of the source: pod {where} does not exist", 10)
        version = cluster.spec.postgres_version
        about = info, number, arguments, None
        timeline = await read_repository.timeline(ctx, source.host, *about)
        choice = decide_check.choose(*about, snapshot.now, version=version, timeline=timeline)
    instance = _with_volume(cluster, observed)
    if not instance:
        return Wait("waiting for the volume of the first instance", 2)
    _check_job(ctx, restore, cluster, observed, instance, origin=source)
    if choice is None:
        return {"instance": instance}
    return {"instance": instance, "backupSet": choice.label, "walLast": choice.wal_last}


def _cluster(ctx: Context, restore: PGRestore) -> PGCluster:
    manifest = ctx.store.get(kinds.PG_CLUSTER, restore.namespace, restore.spec.pg_cluster)
    assert manifest is not None  # `decide_phase.decide` has checked it
    cluster = PGCluster.parse(manifest)
    if restore.spec.volume_snapshot_backup_name:
        raise InvalidSpec("restores from volume snapshots are not supported", reason="NotSupported")
    if not cluster.spec.backups.enabled and not is_bootstrap(restore):
        raise InvalidSpec(
            f"backups of cluster {cluster.name!r} are disabled (spec.backups.enabled)",
            reason="BackupsDisabled",
        )
    if cluster.spec.unmanaged:
        raise InvalidSpec(
            f"cluster {cluster.name!r} is unmanaged: set spec.unmanaged to false first", reason="Unmanaged"
        )
    if cluster.spec.pause:
        raise InvalidSpec(f"cluster {cluster.name!r} is paused: resume it first", reason="Paused")
    return cluster


def _check_job(
    ctx: Context,
    restore: PGRestore,
    cluster: PGCluster,
    observed: Observed,
    instance: str,
    *,
    origin: Source | None = None,
) -> None:
    """InvalidSpec if the Job or the instances cannot be built: once instances have stopped it is late."""
    manifest = ctx.store.get(kinds.PG_CLUSTER, restore.namespace, cluster.name) or {}
    status = restore.status.model_copy(update={"instance": instance})
    view = observe_for_job(ctx, cluster, manifest, observed)
    arguments = decide_check.arguments(restore.spec.options)
    for part in build_customization.of_instances(cluster.spec):
        build_customization.check_allowed(view, part)
    build_job.manifest(view, restore.model_copy(update={"status": status}), arguments, origin=origin)


def _restores(ctx: Context, restore: PGRestore, namespace: str, cluster: str) -> list[PGRestore]:
    """The other restores of a cluster that can be read."""
    found = []
    for manifest in ctx.store.owned_by(kinds.PG_RESTORE, namespace, cluster):
        with suppress(InvalidSpec):
            found.append(PGRestore.parse(manifest))
    own = restore.metadata.uid
    return [one for one in found if one.metadata.uid != own]


def _active_restore(others: Iterable[PGRestore], restore: PGRestore) -> str | None:
    """The other restore that started earlier and has not ended; None if there is none."""
    for other in others:
        if other.status.state in (None, "", *FINISHED) or decide_check.is_dry_run(other.spec.options):
            continue
        began = other.status.phase not in (None, CHECKING)
        if began or _age(other) < _age(restore):
            return other.name
    return None


async def supersede(ctx: Context, restore: PGRestore, observed: Observed, instance: str) -> None:
    """Mark the volumes that no instance uses now; `instance` is the one that is restored.

    The data of a new cluster arrives with its first restore, which supersedes nothing.
    """
    if is_bootstrap(restore):
        return
    cluster = _cluster(ctx, restore)
    used = {i.name for i in observed.instances if i.stateful_set is not None or i.pod is not None}
    used |= {instance, *_planned(cluster, observed)}
    await superseded.mark(ctx, restore.namespace, observed, used, restore.name)


def _planned(cluster: PGCluster, observed: Observed) -> list[str]:
    """Names of the instances that should exist."""
    sizes = {one.name: one.replicas for one in cluster.spec.instance_sets()}
    return [one.name for one in decide_membership.planned(cluster.name, sizes, observed)]


def _age(restore: PGRestore) -> tuple[str, str]:
    return str(restore.metadata.creation_timestamp), restore.name


def _with_volume(cluster: PGCluster, observed: Observed) -> str:
    """A planned instance that has a volume: first the marked one, since the others wait for it."""
    there = {naming.instance_of_volume(name_of(volume)) for volume in observed.volumes}
    marked = primary_mark.marked(observed)
    return next(
        (name for name in sorted(_planned(cluster, observed), key=lambda n: n != marked) if name in there), ""
    )


async def _commit_once(ctx: Context, namespace: str, pod: str) -> None:
    """Commit a transaction, so that recovery to any past time finds a later commit and can stop there.

    Without a later commit, PostgreSQL reports a target after the last commit as not reached.
    """
    # This name exists in every version; pg_current_xact_id() exists from 13 on.
    command = ["psql", "--no-psqlrc", "--quiet", "--command=SELECT txid_current()", "postgres"]
    try:
        await ctx.client.exec(namespace, pod, naming.DATABASE_CONTAINER, command, timeout=3)
    except (CommandFailed, CommandTimedOut, ApiError) as error:
        log.warning("could not commit before the restore", error=str(error))
