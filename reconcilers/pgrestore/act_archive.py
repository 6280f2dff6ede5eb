"""Act: have the newest WAL archived before a restore to the end of the archive stops the instances."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pgoperator import labels, naming
from pgoperator.api.pgrestore import PGRestore
from pgoperator.context import Context
from pgoperator.errors import CommandFailed, CommandTimedOut
from pgoperator.kube import kinds
from pgoperator.kube.errors import ApiError
from pgoperator.kube.manifest import Manifest, name_of
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.state import archiver, primary_mark
from reconcilers.pgcluster.state.view import ClusterView, Observed
from reconcilers.pgrestore import decide_archive, decide_check
from reconcilers.pgrestore.decide_phase import Snapshot

_SECONDS = 10
# After a switch of segments, all that was written before it is in complete segments.
_SWITCH = (
    "SELECT l || '|' || pg_walfile_name(l) || '|' || pg_size_bytes(current_setting('wal_segment_size')) "
    "FROM (SELECT pg_switch_wal() AS l) AS switched"
)
_WAITING = "SELECT count(*) FROM pg_ls_dir('pg_wal/archive_status') AS name WHERE name LIKE '%.ready'"


@dataclass(frozen=True, slots=True)
class Switched:
    """The primary has finished this segment; the restore waits until the repository has it."""

    segment: str


def accepted_loss(restore: PGRestore, arguments: Sequence[str], archived: str | None) -> Manifest:
    """The message of the next phase if the user accepts that WAL is lost; else nothing."""
    if decide_archive.former_wal(restore, arguments) != "optional":
        return {}
    loss = decide_archive.may_lack(restore.spec.repo_name or "", archived)
    return {"message": f"stopping the instances; as accepted, {loss}"}


def check_primary(
    restore: PGRestore, snapshot: Snapshot, observed: Observed, archived: str | None
) -> Wait | None:
    """Refuse the restore if no primary can archive the newest WAL; `archived` is the repository's newest."""
    if observed.primary is not None:
        return None
    since = restore.status.phase_since or snapshot.now
    if snapshot.now - since < decide_archive.PRIMARY_PATIENCE:
        return Wait("waiting for a primary, which archives the newest WAL", 5)
    raise decide_archive.no_primary(restore.spec.pg_cluster, restore.spec.repo_name or "", archived)


async def complete(
    ctx: Context, restore: PGRestore, snapshot: Snapshot, observed: Observed, archived: str | None
) -> Wait | Switched | None:
    """Have the newest WAL archived; None when the repository has it. InvalidSpec if that takes too long."""
    primary, repo = observed.primary, restore.spec.repo_name or ""
    assert primary is not None  # `check_primary` has checked it
    wanted = restore.status.wal_last
    if wanted is None:
        try:
            return Switched(decide_archive.segment(await _query(ctx, restore, primary.pod_name, _SWITCH)))
        except (CommandFailed, CommandTimedOut) as error:
            if snapshot.now - (restore.status.phase_since or snapshot.now) < decide_archive.PRIMARY_PATIENCE:
                # After a failed restore, the primary may have its label before it is promoted.
                return Wait(f"waiting for the primary to end its WAL segment: {error}", 2)
            raise decide_archive.not_archived(repo, archived, "unknown", "", str(error)) from error
    if archived is not None and archived >= wanted:
        return None
    if snapshot.now - (restore.status.phase_since or snapshot.now) < decide_archive.PATIENCE:
        return Wait(f"waiting until WAL segment {wanted} is archived in {repo}", 2)
    try:
        waiting = await _query(ctx, restore, primary.pod_name, _WAITING)
    except (CommandFailed, CommandTimedOut, ApiError):
        waiting = ""
    failure = archiver.failure(primary.pod)
    raise decide_archive.not_archived(repo, archived, wanted, waiting, failure.cause if failure else "")


async def _query(ctx: Context, restore: PGRestore, pod: str, query: str) -> str:
    command = ["psql", "--no-psqlrc", "-qAt", f"--command={query}", "postgres"]
    where = restore.namespace, pod, naming.DATABASE_CONTAINER
    return (await ctx.client.exec(*where, command, timeout=_SECONDS)).strip()


async def primary_changed(ctx: Context, restore: PGRestore, view: ClusterView) -> str:
    """A message if the instance of the restore was not the last primary: it may lack the newest WAL.

    The claims are read live, because the last primary was marked just before it stopped.
    """
    arguments = decide_check.arguments(restore.spec.options)
    if decide_archive.former_wal(restore, arguments) != "required":
        return ""
    known = {name_of(claim) for claim in view.observed.volumes}
    ours = f"{labels.CLUSTER}={view.name},{labels.ROLE}={labels.ROLE_PGDATA}"
    live, _ = await ctx.client.list(kinds.PVC, view.namespace, labels=ours)
    claims = tuple(claim for claim in live if name_of(claim) in known)
    marked = primary_mark.marked(replace(view.observed, volumes=claims))
    if marked in ("", restore.status.instance):
        return ""
    return (
        f"{marked} became the primary while the instances were being stopped, so {restore.status.instance} "
        "may lack the newest transactions: restore again"
    )
