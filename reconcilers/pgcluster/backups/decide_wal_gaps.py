"""Gaps: WAL that a repository will never receive. Pure.

The primary changed before it was archived, or the primary archived something else: pgBackRest dropped WAL
(`archive-push-queue-max`), or archive_command was not the operator's. Backups from before a gap cannot be
restored to times after it, and neither can a backup that a restore or a failover has left on another
timeline. The next backup of the same repository ends the gap, whatever its type, so the operator requests the
cheapest type, an incremental backup.
"""

from datetime import timedelta

from pgoperator import labels, naming
from pgoperator.api import states
from pgoperator.api.pgbackup import PGBackup
from reconcilers.pgcluster.backups import inventory
from reconcilers.pgcluster.backups.inventory import BackupInventory
from reconcilers.pgcluster.state import archiver
from reconcilers.pgcluster.state.archiver import Gap
from reconcilers.pgcluster.state.findings import Finding
from reconcilers.pgcluster.state.view import View

REASON = "archive-gap"
"""Why the backup is taken, in its labels."""
PAUSE = timedelta(minutes=5)
"""Between two such backups of a repository: the reports of a pod are no reason for one after another."""


def known(view: View, backups: BackupInventory) -> list[Gap]:
    """The gaps that the primary reports and that no newer backup has ended."""
    primary = view.observed.primary
    archived = archiver.archived(primary.pod if primary else None, view.now)
    repos = {repo.name for repo in view.repos}
    gaps = archived.gaps if archived is not None else ()
    return [gap for gap in gaps if gap.repo in repos and not _has_ended(backups, gap)]


def unknown(view: View) -> list[str]:
    """The repositories in which the primary could not look for gaps."""
    primary = view.observed.primary
    archived = archiver.archived(primary.pod if primary else None)
    repos = {repo.name for repo in view.repos}
    return [repo for repo in (archived.unknown if archived is not None else ()) if repo in repos]


def holds(view: View, backups: BackupInventory, repo: str | None) -> bool:
    """Whether it is not known that a backup in `repo` can be restored to the last archived commit."""
    return repo in unknown(view) or any(gap.repo == repo for gap in known(view, backups))


def due(view: View, backups: BackupInventory) -> list[Gap]:
    """The gaps that a backup can end now: WAL is archived again, and no backup of the repository runs.

    The backup behind the latest gap of a repository ends the others, too.
    """
    primary = view.observed.primary
    if primary is None or archiver.failure(primary.pod) is not None:
        return []
    busy = {
        backup.spec.repo_name
        for backup in backups.backups
        if inventory.lasts(backup) or _is_recent(view, backup)
    }
    latest = {gap.repo: gap for gap in sorted(known(view, backups), key=lambda gap: gap.moment)}
    ready = [gap for repo, gap in sorted(latest.items()) if repo not in busy]
    # The clock of the primary may be ahead: a backup that is requested now would begin before the hole.
    return [gap for gap in ready if not gap.is_hole or f"{view.now:%Y%m%d-%H%M%S}" > gap.moment]


def _has_ended(backups: BackupInventory, gap: Gap) -> bool:
    newest = backups.newest(gap.repo)
    if newest is not None and gap.is_hole:
        requested = newest.metadata.creation_timestamp
        return requested is not None and f"{requested:%Y%m%d-%H%M%S}" > gap.moment
    return newest is not None and archiver.begun(newest.status.backup_name or "") > gap.moment


def _is_recent(view: View, backup: PGBackup) -> bool:
    """Whether a backup behind another gap has just succeeded."""
    done = backup.status.completed if backup.status.state == states.SUCCEEDED else None
    is_such = backup.metadata.annotations.get(labels.BACKUP_JOB_TYPE) == REASON
    return is_such and done is not None and view.now - done < PAUSE


def pause(view: View, backups: BackupInventory) -> timedelta | None:
    """How long a backup behind a gap still waits for `PAUSE`; None if none does."""
    repos = {gap.repo for gap in known(view, backups)}
    ends = [
        backup.status.completed + PAUSE - view.now
        for backup in backups.backups
        if backup.status.completed and backup.spec.repo_name in repos and _is_recent(view, backup)
    ]
    return max(ends, default=None)


def backup_name(view: View, gap: Gap) -> str:
    """Name of the PerconaPGBackup that ends a gap; the same gap always gives the same name."""
    return naming.backup_job(view.name, "backup", f"{view.cluster.metadata.uid}/{gap.repo}/after {gap.after}")


def conditions(view: View, backups: BackupInventory) -> list[Finding]:
    """The condition `ArchiveGap`, until a backup has ended every gap."""
    kind, gaps, repos = "ArchiveGap", known(view, backups), unknown(view)
    texts = [f"{_text(gap)} {_progress(backups.find(backup_name(view, gap)))}" for gap in gaps]
    if repos:
        texts.append(
            f"{' and '.join(repos)} did not answer when the primary looked for missing WAL: "
            "latestRestorableTime stays until it does; the primary asks again with each segment."
        )
    if not texts:
        return []
    if not gaps:
        return [Finding(kind, False, "Unknown", " ".join(texts))]
    reason = "WALMissing" if any(gap.wal for gap in gaps) else "OtherTimeline"
    return [Finding(kind, True, reason, " ".join(texts))]


def _text(gap: Gap) -> str:
    if not gap.wal:
        return (
            f"Backup {gap.after} is the newest in {gap.repo}, and not in the history of the present "
            "timeline: no backup there can be used for recovery to the present."
        )
    if gap.is_hole:
        return (
            f"{gap.repo} is missing WAL from segment {gap.wal}: it was dropped (archive-push-queue-max), or "
            f"archive_command was not the operator's. Backups that began before {gap.after} (UTC) cannot be "
            "used for recovery beyond it."
        )
    return (
        f"{gap.repo} is missing WAL from segment {gap.wal} up to the last failover. "
        f"Backups up to {gap.after} cannot be used for recovery beyond it."
    )


def _progress(backup: PGBackup | None) -> str:
    """How far the backup is that ends a gap."""
    if backup is None:
        return "A new backup will be requested."
    if backup.status.state == states.FAILED:
        return f"The new backup {backup.name} failed and will be retried: {backup.status.error}"
    return f"A new backup has been requested: {backup.name}."
