"""A backup that an annotation of the cluster requests: one backup for each new value. Pure.

`spec.backups.pgbackrest.manual` describes the backup. The name of the PerconaPGBackup is derived from the
value, so that an interrupted reconciliation creates no second backup. The status keeps the value when the
object is deleted.
"""

from pgoperator import labels, naming
from pgoperator.api.pgbackup import PGBackup
from pgoperator.api.states import FAILED, SUCCEEDED
from pgoperator.api.status import RequestedJobStatus
from pgoperator.kube.manifest import Manifest, annotations_of
from reconcilers.pgcluster.backups.inventory import BackupInventory, lasts
from reconcilers.pgcluster.state.findings import Finding
from reconcilers.pgcluster.state.view import View

CONDITION = "PGBackRestManualBackupSuccessful"


def requested_value(view: View) -> str:
    """The annotation's value; "" without one."""
    return labels.request(annotations_of(view.manifest), labels.PGBACKREST_BACKUP)


def name(view: View) -> str:
    """Name of the PerconaPGBackup for the present value."""
    return naming.backup_job(
        view.name, "backup", f"{view.cluster.metadata.uid}/on-demand/{requested_value(view)}"
    )


def spec(view: View, backups: BackupInventory) -> Manifest | None:
    """Spec of the PerconaPGBackup to create now; None without a new value, or without `manual`."""
    manual, previous = view.cluster.spec.backups.pgbackrest.manual, _previous(view)
    handled = previous is not None and previous.id == requested_value(view)
    if not requested_value(view) or handled or manual is None or _requested_backup(view, backups) is not None:
        return None
    fields = manual.to_manifest()
    variables = {key: fields[key] for key in ("env", "envFrom") if key in fields}
    more = {"containerOptions": variables} if variables else {}
    return {"repoName": manual.repo_name, "options": [*manual.options], **more}


def status(view: View, backups: BackupInventory) -> RequestedJobStatus | None:
    """The result of the last value, for the status; None if no value was ever handled."""
    backup, previous = _requested_backup(view, backups), _previous(view)
    if backup is None:
        # A deleted backup counts as finished.
        return previous.model_copy(update={"finished": True}) if previous is not None else None
    state = backup.status.state
    return RequestedJobStatus(
        id=requested_value(view),
        finished=not lasts(backup),
        start_time=backup.metadata.creation_timestamp,
        completion_time=backup.status.completed,
        succeeded=1 if state == SUCCEEDED else None,
        failed=1 if state == FAILED else None,
    )


def conditions(view: View, backups: BackupInventory) -> list[Finding]:
    """The condition of the requested backup; none without the annotation."""
    if not requested_value(view):
        return []
    now, backup = status(view, backups), _requested_backup(view, backups)
    if now is None or now.id != requested_value(view):
        if view.cluster.spec.backups.pgbackrest.manual is None:
            message = "spec.backups.pgbackrest.manual is not set: it must describe the requested backup"
            return [Finding(CONDITION, False, "ManualBackupUndefined", message)]
        message = "the backup starts when the cluster can take backups: see the condition ReadyForBackup"
        return [Finding(CONDITION, False, "ManualBackupWaiting", message)]
    subject = f"backup {backup.name}" if backup is not None else "the backup"
    if now.succeeded:
        return [Finding(CONDITION, True, "ManualBackupComplete", f"{subject} is complete")]
    if now.finished:
        cause = (backup.status.error if backup is not None else None) or "its object was deleted"
        return [Finding(CONDITION, False, "ManualBackupFailed", f"{subject} failed: {cause}")]
    return [Finding(CONDITION, False, "ManualBackupRunning", f"{subject} is running")]


def _previous(view: View) -> RequestedJobStatus | None:
    previous = view.cluster.status.pgbackrest
    return previous.manual_backup if previous else None


def _requested_backup(view: View, backups: BackupInventory) -> PGBackup | None:
    """The PerconaPGBackup; Percona's operator sets the annotation to the name of an existing backup."""
    return backups.find(name(view)) or backups.find(requested_value(view))
