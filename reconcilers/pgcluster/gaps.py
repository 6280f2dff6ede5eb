"""WAL that no repository will ever get, because the primary changed while it was not archived. Pure.

A gap concerns the backups before it: nothing leads from them to the present. The next backup of the same
repository ends that, so the operator takes one, the cheapest: it starts behind the gap, whatever its type.
"""

from pgoperator import naming
from reconcilers.pgcluster import archive, archiving
from reconcilers.pgcluster.archive import Book, Fact
from reconcilers.pgcluster.archiving import Gap
from reconcilers.pgcluster.view import View

REASON = "archive-gap"
"""Why the backup is taken, in its labels."""


def known(view: View, book: Book) -> list[Gap]:
    """The gaps that the primary tells of and that no backup is behind yet."""
    primary = view.observed.primary
    archived = archiving.archived(primary.pod if primary else None)
    repos = {repo.name for repo in view.cluster.spec.backups.repos}
    found = archived.gaps if archived is not None else ()
    return [gap for gap in found if gap.repo in repos and not _is_behind(book, gap)]


def due(view: View, book: Book) -> list[Gap]:
    """Those that a backup can be taken behind now: none is on its way, and WAL is archived again."""
    primary = view.observed.primary
    if primary is None or archiving.failure(primary.pod) is not None:
        return []
    busy = {backup.spec.repo_name for backup in book.backups if archive.lasts(backup)}
    return [gap for gap in known(view, book) if gap.repo not in busy]


def _is_behind(book: Book, gap: Gap) -> bool:
    newest = book.newest(gap.repo)
    return newest is not None and _begun(newest.status.backup_name or "") > _begun(gap.after)


def _begun(label: str) -> str:
    """When a backup began, in its label: 20260101-000000F_20260102-000000I began at the latter."""
    return label.rpartition("_")[2][:15]


def backup_name(view: View, gap: Gap) -> str:
    """Name of the backup that the operator takes behind a gap: one, however often it is asked for."""
    return naming.backup_job(view.name, "backup", f"{view.cluster.metadata.uid}/{gap.repo}/after {gap.after}")


def facts(view: View, book: Book) -> list[Fact]:
    """The condition, as long as no backup is behind a gap."""
    texts = []
    for gap in known(view, book):
        text = f"{gap.repo} lacks WAL from {gap.wal} on, until the primary changed: "
        text += f"backups up to {gap.after} lead to no later time; "
        own = book.find(backup_name(view, gap))
        failed = own is not None and own.status.state == archive.FAILED
        error = own.status.error if own is not None else ""
        texts.append(text + (f"the new backup failed: {error}" if failed else "a new backup is taken"))
    if not texts:
        return []
    return [("ArchiveGap", True, "WALMissing", "; ".join(texts))]
