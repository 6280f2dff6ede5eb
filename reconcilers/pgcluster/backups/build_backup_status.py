"""Repositories in the status of a cluster, from the reports of pods, volume claims and backups. Pure."""

from collections.abc import Sequence
from typing import Any

from pgoperator import labels
from pgoperator.api.repositories import Repository
from pgoperator.api.status import PgBackRestStatus, RepoHostStatus, RepositoryStatus
from pgoperator.kube.manifest import Manifest, labels_of
from reconcilers.pgcluster.backups.decide_readiness import host_ready
from reconcilers.pgcluster.backups.inventory import BackupInventory, first_is_complete
from reconcilers.pgcluster.state import archiver, provenance
from reconcilers.pgcluster.state.view import View


def status(
    view: View,
    backups: BackupInventory,
    stanza_hash: str | None,
    claims: Sequence[Manifest],
    *,
    checked: bool = False,
) -> PgBackRestStatus | None:
    """`status.pgbackrest`; None while backups are disabled.

    `claims` are the volume claims of the cluster; `checked`: whether the repositories have its mark.
    """
    if not view.backups_enabled:
        return None
    by_repo = {labels_of(claim).get(labels.PGBACKREST_REPO): claim for claim in claims}
    first = first_is_complete(view, backups, stanza_hash)
    previous = view.cluster.status.pgbackrest
    repos = [
        _repository(repo, by_repo.get(repo.name), stanza_hash, first=first and position == 0).model_copy(
            update=health(view, backups, repo)
            | {"system_identifier": _marked_for(view, repo, stanza_hash, checked=checked)}
        )
        for position, repo in enumerate(view.repos)
    ]
    host = RepoHostStatus(api_version="apps/v1", kind="StatefulSet", ready=host_ready(view))
    return PgBackRestStatus(
        repo_host=host,
        repos=tuple(repos),
        scheduled_backups=backups.records,
        restore=previous.restore if previous else None,
    )


def _repository(
    repo: Repository, claim: Manifest | None, stanza_hash: str | None, *, first: bool
) -> RepositoryStatus:
    return RepositoryStatus(
        name=repo.name,
        bound=claim.get("status", {}).get("phase") == "Bound" if claim else None,
        volume=(claim or {}).get("spec", {}).get("volumeName"),
        stanza_created=stanza_hash is not None,
        replica_create_backup_complete=first or None,
        repo_options_hash=stanza_hash,
    )


def _marked_for(view: View, repo: Repository, stanza_hash: str | None, *, checked: bool) -> str | None:
    """The database system of the mark; None without a stanza, or while no mark has been checked yet."""
    if checked:
        return provenance.system_identifier(view.cluster, view.observed)
    previous = view.cluster.status.pgbackrest
    old = next((r for r in previous.repos if r.name == repo.name), None) if previous else None
    return old.system_identifier if old is not None and stanza_hash is not None else None


def health(view: View, backups: BackupInventory, repo: Repository) -> dict[str, Any]:
    """Whether a repository accepts WAL, and the space of its volume, as fields of RepositoryStatus.

    The primary reports pushed WAL and failures, the newest backup reports the space. Without a report, the
    values of the status stay.
    """
    previous = view.cluster.status.pgbackrest
    old = next((r for r in previous.repos if r.name == repo.name), None) if previous else None
    old = old or RepositoryStatus(name=repo.name)
    newest = backups.newest(repo.name)
    space = newest.status.repo_volume if newest is not None and repo.volume is not None else None
    primary = view.observed.primary
    pushed = archiver.archived(primary.pod if primary else None)
    failed = archiver.failure(primary.pod if primary else None)
    if repo.volume is not None and not host_ready(view):
        reachable: bool | None = False
    elif primary is None or (failed is None and pushed is None):
        reachable = old.reachable
    else:
        reachable = failed is None or not failed.is_about(repo.name, len(view.repos))
    # Rounded to the minute: a busy cluster pushes constantly, and must not cause a status write each time.
    minute = pushed.pushed.replace(second=0, microsecond=0) if pushed is not None else None
    return {
        "reachable": reachable,
        "last_pushed": minute if minute is not None and reachable else old.last_pushed,
        "free_bytes": space.free_bytes if space else old.free_bytes,
        "capacity_bytes": space.capacity_bytes if space else old.capacity_bytes,
        "measured": newest.status.completed if newest is not None and space else old.measured,
    }
