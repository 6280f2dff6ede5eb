"""Repositories and backups in the status of a cluster. Pure.

`Book` is what a pass knows of the cluster's backups: their objects and the schedules.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from pgoperator import labels, naming
from pgoperator.api.pgbackup import PGBackup
from pgoperator.api.repositories import Repository
from pgoperator.api.status import PgBackRestStatus, RepoHostStatus, RepositoryStatus, ScheduledBackupStatus
from pgoperator.kube.manifest import Manifest, labels_of
from reconcilers.pgcluster import archiving, schedules
from reconcilers.pgcluster.schedules import Turn, Turns
from reconcilers.pgcluster.view import View, is_ready

SUCCEEDED, FAILED = "Succeeded", "Failed"
SUPERSEDED = labels.PERCONA + "superseded"
"""On a first backup that no replica can start from any more."""
SETTLING = timedelta(minutes=2)
Fact = tuple[str, bool, str, str]
"""Type, status, reason and message of a condition."""


NO_TURNS = Turns()


@dataclass(frozen=True, slots=True)
class Book:
    """The backups of a cluster, oldest first, and where its schedules stand."""

    backups: tuple[PGBackup, ...] = ()
    turns: Turns = NO_TURNS
    records: tuple[ScheduledBackupStatus, ...] = ()

    def of_schedule(self, name: str) -> list[PGBackup]:
        """The backups that a schedule has asked for."""
        return [b for b in self.backups if b.metadata.annotations.get(labels.PGBACKREST_CRONJOB) == name]

    def success(self, schedule: str) -> datetime | None:
        """When a backup of a schedule last succeeded, whether or not its object is still there."""
        return next((r.last_success for r in self.records if r.cron_job_name == schedule), None)

    def find(self, name: str) -> PGBackup | None:
        """A backup by its object's name."""
        return next((b for b in self.backups if b.name == name), None)

    def newest(self, repo: str | None = None) -> PGBackup | None:
        """The backup that completed last, in one repository or in any."""
        done = [b for b in self.backups if b.status.state == SUCCEEDED and b.status.completed]
        done = [b for b in done if repo in (None, b.spec.repo_name)]
        return max(done, key=_completed, default=None)


def lasts(backup: PGBackup) -> bool:
    """Whether a backup has not come to its end."""
    return backup.status.state not in (SUCCEEDED, FAILED)


def _completed(backup: PGBackup) -> datetime:
    assert backup.status.completed is not None
    return backup.status.completed


NO_BACKUPS = Book()


def book(view: View, manifests: Sequence[Manifest]) -> Book:
    """Read the backups' objects; `manifests` may hold those of other clusters."""
    if not view.cluster.spec.backups.enabled:
        return NO_BACKUPS
    backups = [PGBackup.parse(m) for m in manifests if m["spec"].get("pgCluster") == view.name]
    backups.sort(key=lambda b: (b.metadata.creation_timestamp or view.now, b.name))
    previous = view.cluster.status.pgbackrest
    wanted = schedules.schedules(view.name, view.cluster.spec.backups.repos)
    recorded = previous.scheduled_backups if previous else ()
    known = Book(tuple(backups), schedules.turns(wanted, recorded, view.now), recorded)
    records = tuple(schedules.record(turn, _success(known, turn.schedule.name)) for turn in known.turns.turns)
    return replace(known, records=records)


def _success(known: Book, schedule: str) -> datetime | None:
    """When a backup of a schedule last succeeded, by what was recorded and by the objects."""
    done = [b.status.completed for b in known.of_schedule(schedule) if b.status.state == SUCCEEDED]
    return max((time for time in (*done, known.success(schedule)) if time is not None), default=None)


def first_name(view: View, known: Book) -> str:
    """Name of the backup that the operator takes by itself: another repository gets another one."""
    repo = view.cluster.spec.backups.repos[0]
    kind = repr((repo.volume is not None, repo.s3, repo.gcs, repo.azure))
    for attempt in count():
        seed = f"{view.cluster.metadata.uid}/{repo.name}/{kind}/{attempt}"
        name = naming.backup_job(view.name, "backup", seed)
        found = known.find(name)
        if found is None or SUPERSEDED not in found.metadata.annotations:
            return name
    raise AssertionError  # the numbers have no end


def first_is_complete(view: View, known: Book, stanza_hash: str | None) -> bool:
    """Whether the first repository holds a backup that replicas can start from."""
    if stanza_hash is None:
        return False
    found = known.find(first_name(view, known))
    if found is not None and found.status.state == SUCCEEDED:
        return True
    if any(SUPERSEDED in backup.metadata.annotations for backup in known.backups):
        return False
    previous = view.cluster.status.pgbackrest
    repo = view.cluster.spec.backups.repos[0].name
    return any(
        r.name == repo and r.replica_create_backup_complete and r.repo_options_hash == stanza_hash
        for r in (previous.repos if previous else ())
    )


def status(
    view: View, known: Book, stanza_hash: str | None, claims: Sequence[Manifest]
) -> PgBackRestStatus | None:
    """The part of the status that is about backups; `claims` are the volume claims of the cluster."""
    if not view.cluster.spec.backups.enabled:
        return None
    by_repo = {labels_of(claim).get(labels.PGBACKREST_REPO): claim for claim in claims}
    first = first_is_complete(view, known, stanza_hash)
    repos = [
        _repository(repo, by_repo.get(repo.name), stanza_hash, first=first and position == 0).model_copy(
            update=health(view, known, repo)
        )
        for position, repo in enumerate(view.cluster.spec.backups.repos)
    ]
    host = RepoHostStatus(api_version="apps/v1", kind="StatefulSet", ready=host_ready(view))
    previous = view.cluster.status.pgbackrest
    return PgBackRestStatus(
        repo_host=host,
        repos=tuple(repos),
        scheduled_backups=known.records,
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


def health(view: View, known: Book, repo: Repository) -> dict[str, Any]:
    """Whether a repository takes WAL, and how much space its volume has: from what others told."""
    before = view.cluster.status.pgbackrest
    old = next((r for r in before.repos if r.name == repo.name), None) if before else None
    old = old or RepositoryStatus(name=repo.name)
    newest = known.newest(repo.name)
    room = newest.status.repo_volume if newest is not None and repo.volume is not None else None
    primary = view.observed.primary
    pushed = archiving.archived(primary.pod if primary else None)
    failed = archiving.failure(primary.pod if primary else None)
    if repo.volume is not None and not host_ready(view):
        reachable: bool | None = False
    elif primary is None or (failed is None and pushed is None):
        reachable = old.reachable
    else:
        reachable = failed is None or not failed.is_about(repo.name, len(view.cluster.spec.backups.repos))
    # To the minute: a busy cluster pushes all the time, and a write for each would be too many.
    minute = pushed.pushed.replace(second=0, microsecond=0) if pushed is not None else None
    return {
        "reachable": reachable,
        "last_pushed": minute if minute is not None and reachable else old.last_pushed,
        "free_bytes": room.free_bytes if room else old.free_bytes,
        "capacity_bytes": room.capacity_bytes if room else old.capacity_bytes,
        "measured": newest.status.completed if newest is not None and room else old.measured,
    }


def host_ready(view: View) -> bool:
    """Whether the repository host's pod is ready."""
    pod = view.observed.repo_host_pod
    return pod is not None and is_ready(pod)


def facts(view: View, known: Book, stanza_hash: str | None, stanza_error: str = "") -> list[Fact]:
    """The conditions that are about backups."""
    ready, created = host_ready(view), stanza_hash is not None
    host: Fact = (
        "PGBackRestRepoHostReady",
        ready,
        "RepoHostReady" if ready else "RepoHostNotReady",
        "the repository host is ready" if ready else "the repository host is not ready yet",
    )
    stanza = _stanza(view, created=created, error=stanza_error)
    first = _first(view, known, stanza_hash)
    failing = next((fact for fact in (host, stanza, first) if not fact[1]), None)
    summary: Fact = (
        ("ReadyForBackup", False, failing[0], failing[3])
        if failing
        else ("ReadyForBackup", True, "AllConditionsAreTrue", "backups can be taken")
    )
    return [summary, host, stanza, first, *_archiving(view, created=created), *_schedules(view, known)]


def _stanza(view: View, *, created: bool, error: str) -> Fact:
    """Whether WAL can be archived; why not stays until the next try, which may be passes away."""
    kind = "PGBackRestReplicaRepoReady"
    if created:
        return kind, True, "StanzaCreated", "WAL is archived"
    waits = "the repositories are not initialised yet: WAL waits on the primary"
    if error:
        return kind, False, "StanzaFailed", f"{waits}: {error}"
    told = view.cluster.status.condition(kind)
    if told is not None and told.reason == "StanzaFailed":
        return kind, False, told.reason, told.message
    return kind, False, "StanzaNotCreated", waits


def _first(view: View, known: Book, stanza_hash: str | None) -> Fact:
    """Whether the first backup, from which replicas can be made, is there."""
    kind = "PGBackRestReplicaCreate"
    if first_is_complete(view, known, stanza_hash):
        return kind, True, "RepoBackupComplete", "the first backup is complete"
    found = known.find(first_name(view, known))
    if found is not None and found.status.state == FAILED:
        return kind, False, "RepoBackupFailed", f"the first backup failed: {found.status.error}"
    return kind, False, "RepoBackupNotComplete", "the first backup is not complete yet"


def _archiving(view: View, *, created: bool) -> list[Fact]:
    """That WAL is not archived, as long as it is not; before there is a stanza, that says it."""
    primary = view.observed.primary
    failed = archiving.failure(primary.pod) if primary and created else None
    if primary is None or failed is None or settling(view) > timedelta():
        return []
    since = f"{failed.since:%Y-%m-%dT%H:%M:%SZ}"
    text = f"WAL is not archived since {since} and waits on the volume of {primary.pod_name}"
    return [("ArchivingFailing", True, "ArchivePushFailed", f"{text}: {failed.cause}")]


def settling(view: View) -> timedelta:
    """How long a failure of before the stanza is no news yet: PostgreSQL tries again every minute only."""
    primary = view.observed.primary
    failed = archiving.failure(primary.pod) if primary else None
    if failed is None:
        return timedelta()
    stanza = view.cluster.status.condition("PGBackRestReplicaRepoReady")
    since = stanza.last_transition_time if stanza is not None and stanza.status == "True" else view.now
    return max(since + SETTLING - view.now, timedelta()) if failed.since < since else timedelta()


def _schedules(view: View, known: Book) -> list[Fact]:
    result: list[Fact] = []
    if known.turns.bad:
        result.append(("BackupScheduleInvalid", True, "InvalidSchedule", "; ".join(known.turns.bad)))
    if late := [text for turn in known.turns.turns if (text := overdue(known, turn, view.now))]:
        result.append(("BackupOverdue", True, "BackupOverdue", "; ".join(late)))
    return result


def overdue(known: Book, turn: Turn, now: datetime) -> str:
    """Since when a schedule has had no success, if that is too long; else ""."""
    if now <= overdue_from(known, turn):
        return ""
    success = known.success(turn.schedule.name)
    age = timedelta(seconds=int((now - _anchor(known, turn)).total_seconds()))
    word = "the last success was" if success else "there has been none for"
    return f"schedule {turn.schedule.type} of {turn.schedule.repo}: {word} {age}{' ago' if success else ''}"


def overdue_from(known: Book, turn: Turn) -> datetime:
    """From when on a schedule is overdue, if none of its backups succeeds until then."""
    return _anchor(known, turn) + turn.patience


def _anchor(known: Book, turn: Turn) -> datetime:
    """The last success or, before the first, the time of the first try."""
    own = known.of_schedule(turn.schedule.name)
    begun = [b.metadata.creation_timestamp for b in own if b.metadata.creation_timestamp]
    return known.success(turn.schedule.name) or min([turn.handled, *begun])
