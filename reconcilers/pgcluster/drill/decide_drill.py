"""When a restore drill is due, of which backup, and what remains of its result in the status. Pure.

The annotation of the Job records why it was created. So the status follows from the former status and the
Job, whenever the operator was interrupted.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from pgoperator import digest as digests
from pgoperator import labels, limits
from pgoperator.api.pgbackup import PGBackup
from pgoperator.api.states import FAILED, SUCCEEDED
from pgoperator.api.status import RestoreDrillResult, RestoreDrillStatus
from pgoperator.errors import InvalidSpec
from pgoperator.kube.manifest import Manifest, annotations_of, uid_of
from reconcilers.jobs import JobStatus
from reconcilers.pgcluster.backups import decide_readiness, decide_schedules
from reconcilers.pgcluster.backups.inventory import BackupInventory
from reconcilers.pgcluster.state.findings import Finding
from reconcilers.pgcluster.state.view import View

CONDITION = "RestoreProven"
KEPT = 10
"""Results in the status."""
POD_PATIENCE = timedelta(minutes=10)
GRACE = timedelta(hours=1)
"""For the drill itself, and its turn among the drills of other clusters."""


@dataclass(frozen=True, slots=True)
class Drill:
    """What a Job restores, and which requests it answers."""

    repo: str
    backup: str
    """Label of the backup in the repository."""
    schedule: str = ""
    handled: str = ""
    """The due time of the schedule (RFC 3339) that the Job handles; "" for none."""
    requested: str = ""
    """Value of the annotation that asks for one drill."""
    type: str = "default"
    """How far recovery goes: default, to the end of the archive, or immediate, to the end of the backup."""
    sql: str = ""
    """Name of the ConfigMap with SQL of the user; "" for none."""

    @classmethod
    def of(cls, job: Manifest) -> "Drill":
        """Read a Job's annotation; without a readable one, a drill of nothing."""
        try:
            return cls(**limits.loads(annotations_of(job).get(labels.RESTORE_DRILL, "")))
        except (*limits.MALFORMED, TypeError):
            return cls("", "")

    @property
    def annotation(self) -> str:
        """The annotation's value."""
        return json.dumps(asdict(self), sort_keys=True)


def is_wanted(view: View) -> bool:
    """Whether drills were ever asked for."""
    return bool(_cron(view) or _value(view) or _previous(view).drills)


def status(view: View) -> RestoreDrillStatus | None:
    """The status without a new result: the schedule and its next due time; None without any drill."""
    if not is_wanted(view) or not view.backups_enabled:
        return None
    before = _previous(view)
    started = before.handled if before.schedule == _cron(view) else None
    # A time in the future is from a clock that was wrong. A new schedule starts now.
    handled = min(started, view.now) if started else view.now if _cron(view) else None
    return before.model_copy(
        update={"schedule": _cron(view) or None, "handled": handled, "next_run": _times(view)[1]}
    )


def due(view: View, present: RestoreDrillStatus, known: BackupInventory) -> Drill | None:
    """The drill to start now; None if none is due, or nothing can be restored yet."""
    if decide_readiness.held(view) is not None:
        return None
    backup = _choice(view, known, present)
    if backup is None:
        return None
    last = _due_time(view, present)
    requested = _value(view) if _value(view) != (present.requested or "") else ""
    if last is None and not requested:
        return None
    older = _older(view, known, present, backup, last) if last is not None and not requested else None
    chosen = older or backup
    assert chosen.status.backup_name is not None
    return Drill(
        repo=backup.spec.repo_name or "repo1",
        backup=chosen.status.backup_name,
        schedule=_cron(view),
        handled=last.isoformat() if last is not None else "",
        requested=requested,
        type="immediate" if older is not None else "default",
        sql=annotations_of(view.manifest).get(labels.RESTORE_DRILL_SQL, "").strip(),
    )


def _older(
    view: View, known: BackupInventory, present: RestoreDrillStatus, newest: PGBackup, due_time: datetime
) -> PGBackup | None:
    """The older backup whose turn it is: a scheduled drill takes one after a success with the newest.

    The choice is a digest of the due time, so an interrupted pass makes the same one.
    """
    repo = newest.spec.repo_name
    done = [b for b in known.backups if b.status.state == SUCCEEDED and b.spec.repo_name == repo]
    done = [b for b in done if b.status.backup_name and labels.BACKUP_EXPIRED not in b.metadata.annotations]
    last = next((one for one in present.drills if one.repo == repo), None)
    others = [b for b in done if b.status.backup_name != newest.status.backup_name]
    if last is None or last.state != SUCCEEDED or not others or not _was_newest(last, done):
        return None
    others.sort(key=lambda b: b.status.backup_name or "")
    return others[int(digests.digest(f"{view.cluster.metadata.uid}/{due_time}", 8), 16) % len(others)]


def _was_newest(last: RestoreDrillResult, done: list[PGBackup]) -> bool:
    """Whether a drill restored the backup that was the newest when it began."""
    before = [
        b for b in done if b.status.completed and last.start_time and b.status.completed < last.start_time
    ]
    newest = max(before, key=lambda b: str(b.status.completed), default=None)
    return newest is None or newest.status.backup_name == last.backup


def with_start(present: RestoreDrillStatus, drill: Drill) -> RestoreDrillStatus:
    """The status after the start of a drill."""
    more: dict[str, object] = {}
    if drill.requested:
        more["requested"] = drill.requested
    if drill.handled and drill.schedule == present.schedule:
        more["handled"] = datetime.fromisoformat(drill.handled)
    return present.model_copy(update=more)


def pending(running: JobStatus, now: datetime) -> str:
    """Why a Job's pod has not started for long; "" if it has, or may still."""
    if running.ran or running.ended or now - datetime.fromisoformat(running.created) < POD_PATIENCE:
        return ""
    return f"the pod of Job {running.name} does not start: {running.cause or 'see its events'}"


def is_recorded(view: View, job: Manifest) -> bool:
    """Whether the stored status has the result of a Job."""
    return any(one.id == uid_of(job) for one in _previous(view).drills)


def with_result(
    present: RestoreDrillStatus, job: Manifest, ended: JobStatus, now: datetime
) -> RestoreDrillStatus:
    """The status with the result of a Job that has ended."""
    drill = Drill.of(job)
    base = {
        "id": uid_of(job),
        "repo": drill.repo,
        "backup": drill.backup,
        "start_time": job["metadata"].get("creationTimestamp"),
        "completion_time": now,
    }
    result = _result(ended, base)
    proven = now if result.state == SUCCEEDED else present.last_proven_restore
    return present.model_copy(
        update={"drills": (result, *present.drills)[:KEPT], "last_proven_restore": proven}
    )


def _result(ended: JobStatus, base: dict[str, object]) -> RestoreDrillResult:
    message = ended.cause or "its Job failed without a message"
    if ended.succeeded:
        try:
            report = limits.fields(ended.report)
            report.pop("systemIdentifier")
            return RestoreDrillResult.model_validate(report | base | {"state": SUCCEEDED})
        except (KeyError, ValidationError):
            # What it reached is not known, as when its pod was deleted.
            message = f"its Job succeeded, but its report cannot be read: {ended.report[:200]!r}"
    return RestoreDrillResult.model_validate(base | {"state": FAILED, "message": message[:1000]})


def conditions(view: View, present: RestoreDrillStatus | None, blocked: str = "") -> list[Finding]:
    """Whether a restore is proven; no condition as long as that is not known.

    `blocked`: why the Job cannot be created, or its pod does not start.
    """
    if present is None:
        return []
    if blocked:
        return [Finding(CONDITION, False, "DrillBlocked", blocked)]
    if wrong := _times(view)[2]:
        message = f"annotation {labels.RESTORE_DRILL}: {wrong}"
        return [Finding(CONDITION, False, "InvalidSchedule", message)]
    return [_verdict(view, present)] if present.drills else []


def _verdict(view: View, present: RestoreDrillStatus) -> Finding:
    """What the last drill has shown."""
    last = present.drills[0]
    subject = f"backup {last.backup} in {last.repo}"
    if last.state != SUCCEEDED:
        message = f"{subject} was not restored in a drill: {last.message}"
        return Finding(CONDITION, False, "DrillFailed", message)
    if overdue_from(view, present) <= view.now:
        message = f"the last restore drill was at {present.last_proven_restore:%Y-%m-%dT%H:%M:%SZ}"
        return Finding(CONDITION, False, "DrillOverdue", message)
    to = f" to {last.moment}" if last.moment else ""
    at = f" at {last.completion_time:%Y-%m-%dT%H:%M:%SZ}" if last.completion_time else ""
    checked = f"; {last.checked} were checked" if last.checked else ""
    message = f"{subject} was restored{at}{to}, in {last.restore_seconds or 0:g} s{checked}"
    return Finding(CONDITION, True, "DrillSucceeded", message)


def overdue_from(view: View, present: RestoreDrillStatus) -> datetime:
    """When the last proof is too old: two periods of the schedule, and a grace period."""
    last, following, _ = _times(view)
    if last is None or following is None or present.last_proven_restore is None:
        return datetime.max.replace(tzinfo=view.now.tzinfo)
    return present.last_proven_restore + 2 * (following - last) + GRACE


def _due_time(view: View, present: RestoreDrillStatus) -> datetime | None:
    """The last due time of the schedule if it was not handled."""
    last = _times(view)[0]
    return last if last is not None and present.handled is not None and last > present.handled else None


def _choice(view: View, known: BackupInventory, present: RestoreDrillStatus) -> PGBackup | None:
    """The newest backup of the repository that was proven the longest ago."""
    newest = [backup for repo in view.repos if (backup := known.newest(repo.name)) is not None]
    newest = [backup for backup in newest if backup.status.backup_name]
    # The newest result is first: a repository without one, or with the last of them, has its turn.
    order = [one.repo for one in present.drills]
    return max(
        newest,
        key=lambda backup: (
            order.index(backup.spec.repo_name) if backup.spec.repo_name in order else len(order)
        ),
        default=None,
    )


def _times(view: View) -> tuple[datetime | None, datetime | None, str]:
    """The last and the next due time of the schedule, or why it is none; nothing without a schedule."""
    if not _cron(view):
        return None, None, ""
    try:
        return *decide_schedules.around(_cron(view), view.now), ""
    except InvalidSpec as error:
        return None, None, str(error)


def _cron(view: View) -> str:
    return annotations_of(view.manifest).get(labels.RESTORE_DRILL, "").strip()


def _value(view: View) -> str:
    return annotations_of(view.manifest).get(labels.RESTORE_DRILL_NOW, "")


def _previous(view: View) -> RestoreDrillStatus:
    before = view.cluster.status.pgbackrest
    return (before.restore_drill if before else None) or RestoreDrillStatus()
