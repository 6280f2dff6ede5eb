"""The backups of a cluster: its PerconaPGBackups and the state of its schedules. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count

from pgoperator import labels, naming
from pgoperator.api.pgbackup import PGBackup
from pgoperator.api.states import FAILED, FINISHED, SUCCEEDED
from pgoperator.api.status import ScheduledBackupStatus
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.backups import decide_schedules
from reconcilers.pgcluster.backups.decide_schedules import ScheduleState, ScheduleStates
from reconcilers.pgcluster.state import archiver, repositories
from reconcilers.pgcluster.state.view import View

SETTLING = timedelta(minutes=2)
RETRY = timedelta(minutes=10)
"""From the failure of a scheduled backup to the next attempt; each further one waits twice as long."""
RETRIES = 5


NO_SCHEDULES = ScheduleStates()


@dataclass(frozen=True, slots=True)
class BackupInventory:
    """The backups of a cluster, oldest first, and the state and records of its schedules."""

    backups: tuple[PGBackup, ...] = ()
    turns: ScheduleStates = NO_SCHEDULES
    records: tuple[ScheduledBackupStatus, ...] = ()

    def of_schedule(self, name: str) -> list[PGBackup]:
        """The backups that a schedule has requested."""
        return [b for b in self.backups if b.metadata.annotations.get(labels.PGBACKREST_CRONJOB) == name]

    def success(self, schedule: str) -> datetime | None:
        """When a backup of a schedule last succeeded; its object may have been deleted since."""
        return next((r.last_success for r in self.records if r.cron_job_name == schedule), None)

    def find(self, name: str) -> PGBackup | None:
        """The backup with this object name."""
        return next((b for b in self.backups if b.name == name), None)

    def newest(self, repo: str | None = None) -> PGBackup | None:
        """The backup that completed last, in one repository or in any."""
        done = [b for b in self.backups if b.status.state == SUCCEEDED and b.status.completed]
        done = [b for b in done if repo in (None, b.spec.repo_name)]
        return max(done, key=_completed, default=None)


def lasts(backup: PGBackup) -> bool:
    """Whether a backup has neither succeeded nor failed yet."""
    return backup.status.state not in FINISHED


def _completed(backup: PGBackup) -> datetime:
    assert backup.status.completed is not None
    return backup.status.completed


NO_BACKUPS = BackupInventory()


def book(view: View, manifests: Sequence[Manifest]) -> BackupInventory:
    """Read the cluster's backups from its PerconaPGBackups."""
    if not view.backups_enabled:
        return NO_BACKUPS
    backups = [PGBackup.parse(m) for m in manifests]
    backups.sort(key=lambda b: (b.metadata.creation_timestamp or view.now, b.name))
    previous = view.cluster.status.pgbackrest
    wanted = decide_schedules.schedules(view.name, view.repos)
    recorded = previous.scheduled_backups if previous else ()
    known = BackupInventory(tuple(backups), decide_schedules.turns(wanted, recorded, view.now), recorded)
    records = tuple(
        decide_schedules.record(turn, _success(known, turn.schedule.name)) for turn in known.turns.turns
    )
    return replace(known, records=records)


def _success(known: BackupInventory, schedule: str) -> datetime | None:
    """When a backup of a schedule last succeeded, by the record in the status and by the objects."""
    done = [b.status.completed for b in known.of_schedule(schedule) if b.status.state == SUCCEEDED]
    return max((time for time in (*done, known.success(schedule)) if time is not None), default=None)


def first_name(view: View, known: BackupInventory) -> str:
    """Name of the first backup; it changes with the storage of the first repository."""
    repo = view.repos[0]
    kind = repr((repo.volume is not None, repo.s3, repo.gcs, repo.azure, *repositories.place(view, repo)))
    for attempt in count():
        seed = f"{view.cluster.metadata.uid}/{repo.name}/{kind}/{attempt}"
        name = naming.backup_job(view.name, "backup", seed)
        found = known.find(name)
        if found is None or labels.SUPERSEDED not in found.metadata.annotations:
            return name
    raise AssertionError  # count() never ends


def is_restored(view: View) -> bool:
    """Whether a restore that is active has replaced the data."""
    return view.restoring is not None and view.restoring.phase in ("Promoting", "Replicas")


def first_is_complete(view: View, known: BackupInventory, stanza_hash: str | None) -> bool:
    """Whether the first repository holds a backup from which replicas can be created.

    While a restore starts the cluster the answer is no, and the status keeps that a new backup is needed: by
    then retention may have deleted the object of the old one.
    """
    if stanza_hash is None or is_restored(view):
        return False
    found = known.find(first_name(view, known))
    if found is not None and found.status.state == SUCCEEDED:
        return True
    if any(labels.SUPERSEDED in backup.metadata.annotations for backup in known.backups):
        return False
    previous = view.cluster.status.pgbackrest
    repo = view.repos[0].name
    return any(
        r.name == repo and r.replica_create_backup_complete and repositories.is_recorded(r, stanza_hash)
        for r in (previous.repos if previous else ())
    )


def settling(view: View) -> timedelta:
    """How long a failure from before the stanza is still ignored: PostgreSQL retries only every minute."""
    primary = view.observed.primary
    failed = archiver.failure(primary.pod) if primary else None
    if failed is None:
        return timedelta()
    stanza = view.cluster.status.condition("PGBackRestReplicaRepoReady")
    since = stanza.last_transition_time if stanza is not None and stanza.status == "True" else view.now
    return max(since + SETTLING - view.now, timedelta()) if failed.since < since else timedelta()


def attempt_name(turn: ScheduleState, number: int) -> str:
    """Name of the PerconaPGBackup for the last due time; `number` is 0 for the first attempt."""
    stem = f"{turn.schedule.name}-{int(turn.last.timestamp())}"
    return f"{stem}-{number}" if number else stem


def retry(known: BackupInventory, turn: ScheduleState, now: datetime) -> tuple[int, datetime] | None:
    """Number and time of the next attempt for the last due time; None if none is left before the next one.

    Only the newest failed attempts still have objects, so the names count them.
    """
    numbers = {attempt_name(turn, number): number for number in range(RETRIES + 1)}
    tried = [backup for backup in known.of_schedule(turn.schedule.name) if backup.name in numbers]
    if not tried or any(backup.status.state != FAILED for backup in tried):
        return None
    number = max(numbers[backup.name] for backup in tried) + 1
    failed = max(backup.status.completed or now for backup in tried)
    at = failed + RETRY * 2 ** (number - 1)
    return (number, at) if number <= RETRIES and at < turn.next else None


def overdue(known: BackupInventory, turn: ScheduleState, now: datetime) -> str:
    """A message if a schedule has had no success for longer than its patience; else ""."""
    if now <= overdue_from(known, turn):
        return ""
    success = known.success(turn.schedule.name)
    age = timedelta(seconds=int((now - _anchor(known, turn)).total_seconds()))
    word = "the last successful backup was" if success else "no successful backup for"
    return f"schedule {turn.schedule.type} of {turn.schedule.repo}: {word} {age}{' ago' if success else ''}"


def overdue_from(known: BackupInventory, turn: ScheduleState) -> datetime:
    """When a schedule becomes overdue if none of its backups succeeds before."""
    return _anchor(known, turn) + turn.patience


def _anchor(known: BackupInventory, turn: ScheduleState) -> datetime:
    """The last success; before the first success, the time of the first attempt."""
    own = known.of_schedule(turn.schedule.name)
    begun = [b.metadata.creation_timestamp for b in own if b.metadata.creation_timestamp]
    return known.success(turn.schedule.name) or min([turn.handled, *begun])
