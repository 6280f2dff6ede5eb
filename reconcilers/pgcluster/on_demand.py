"""A backup that is asked for at the cluster, by a new value of the annotation: once for each value. Pure.

`spec.backups.pgbackrest.manual` says what it shall be. The object's name comes from the value, so that a pass
that was cut off makes no second one, and the status keeps the value when the object has gone.
"""

from pgoperator import labels, naming
from pgoperator.api.pgbackup import PGBackup
from pgoperator.api.status import RequestedJobStatus
from pgoperator.kube.manifest import Manifest, annotations_of
from reconcilers.pgcluster.archive import FAILED, SUCCEEDED, Book, Fact, lasts
from reconcilers.pgcluster.view import View

CONDITION = "PGBackRestManualBackupSuccessful"


def wanted(view: View) -> str:
    """The annotation's value; "" without one."""
    return labels.request(annotations_of(view.manifest), labels.PGBACKREST_BACKUP)


def name(view: View) -> str:
    """Of the object that is made for the present value."""
    return naming.backup_job(view.name, "backup", f"{view.cluster.metadata.uid}/on-demand/{wanted(view)}")


def spec(view: View, known: Book) -> Manifest | None:
    """Spec of the backup to be made now; None when there is nothing new, or nobody says what to do."""
    manual, before = view.cluster.spec.backups.pgbackrest.manual, _before(view)
    handled = before is not None and before.id == wanted(view)
    if not wanted(view) or handled or manual is None or _found(view, known) is not None:
        return None
    text = manual.to_manifest()
    variables = {key: text[key] for key in ("env", "envFrom") if key in text}
    more = {"containerOptions": variables} if variables else {}
    return {"repoName": manual.repo_name, "options": [*manual.options], **more}


def status(view: View, known: Book) -> RequestedJobStatus | None:
    """What became of the last value."""
    found, before = _found(view, known), _before(view)
    if found is None:
        # One that was deleted comes to no other end.
        return before.model_copy(update={"finished": True}) if before is not None else None
    state = found.status.state
    return RequestedJobStatus(
        id=wanted(view),
        finished=not lasts(found),
        start_time=found.metadata.creation_timestamp,
        completion_time=found.status.completed,
        succeeded=1 if state == SUCCEEDED else None,
        failed=1 if state == FAILED else None,
    )


def facts(view: View, known: Book) -> list[Fact]:
    """The condition of a backup that was asked for like this; none where nobody did."""
    if not wanted(view):
        return []
    now, found = status(view, known), _found(view, known)
    if now is None or now.id != wanted(view):
        if view.cluster.spec.backups.pgbackrest.manual is None:
            message = "spec.backups.pgbackrest.manual does not say what to back up"
            return [(CONDITION, False, "ManualBackupUndefined", message)]
        return [(CONDITION, False, "ManualBackupWaiting", "the backup begins when the archive is ready")]
    what = f"backup {found.name}" if found is not None else "the backup"
    if now.succeeded:
        return [(CONDITION, True, "ManualBackupComplete", f"{what} is complete")]
    if now.finished:
        cause = (found.status.error if found is not None else None) or "it was deleted"
        return [(CONDITION, False, "ManualBackupFailed", f"{what} failed: {cause}")]
    return [(CONDITION, False, "ManualBackupRunning", f"{what} is under way")]


def _before(view: View) -> RequestedJobStatus | None:
    previous = view.cluster.status.pgbackrest
    return previous.manual_backup if previous else None


def _found(view: View, known: Book) -> PGBackup | None:
    """The object; the original's annotation names one that is there already."""
    return known.find(name(view)) or known.find(wanted(view))
