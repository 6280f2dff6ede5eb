"""Repositories and backups in the status of a cluster. Pure.

`Book` is what a pass knows of the cluster's backups: their objects and the schedules.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count

from pgoperator import labels, naming
from pgoperator.api.pgbackup import PGBackup
from pgoperator.api.repositories import Repository
from pgoperator.api.status import PgBackRestStatus, RepoHostStatus, RepositoryStatus, ScheduledBackupStatus
from pgoperator.kube.manifest import Manifest, annotations_of, labels_of
from reconcilers.pgcluster import schedules
from reconcilers.pgcluster.schedules import Turn, Turns
from reconcilers.pgcluster.view import View, is_ready

SUCCEEDED, FAILED = "Succeeded", "Failed"
ARCHIVED = labels.PERCONA + "archived"
"""On an instance's pod: what `archive-time.sh` has pushed last, as JSON."""
SUPERSEDED = labels.PERCONA + "superseded"
"""On a first backup that no replica can start from any more."""
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

    def find(self, name: str) -> PGBackup | None:
        """A backup by its object's name."""
        return next((b for b in self.backups if b.name == name), None)

    def newest(self, repo: str | None = None) -> PGBackup | None:
        """The backup that completed last, in one repository or in any."""
        done = [b for b in self.backups if b.status.state == SUCCEEDED and b.status.completed]
        done = [b for b in done if repo in (None, b.spec.repo_name)]
        return max(done, key=_completed, default=None)


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
    turns = schedules.turns(wanted, previous.scheduled_backups if previous else (), view.now)
    records = tuple(schedules.record(turn, turn.handled) for turn in turns.turns)
    return Book(tuple(backups), turns, records)


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
        _repository(repo, by_repo.get(repo.name), stanza_hash, first=first and position == 0)
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


def host_ready(view: View) -> bool:
    """Whether the repository host's pod is ready."""
    pod = view.observed.repo_host_pod
    return pod is not None and is_ready(pod)


def facts(view: View, known: Book, stanza_hash: str | None) -> list[Fact]:
    """The conditions that are about backups."""
    ready, created = host_ready(view), stanza_hash is not None
    host: Fact = (
        "PGBackRestRepoHostReady",
        ready,
        "RepoHostReady" if ready else "RepoHostNotReady",
        "the repository host is ready" if ready else "the repository host is not ready yet",
    )
    stanza: Fact = (
        "PGBackRestReplicaRepoReady",
        created,
        "StanzaCreated" if created else "StanzaNotCreated",
        "WAL is archived"
        if created
        else "the repositories are not initialised yet: WAL waits on the primary",
    )
    first = _first(view, known, stanza_hash)
    failing = next((fact for fact in (host, first) if not fact[1]), None)
    summary: Fact = (
        ("ReadyForBackup", False, failing[0], failing[3])
        if failing
        else ("ReadyForBackup", True, "AllConditionsAreTrue", "backups can be taken")
    )
    return [summary, host, stanza, first, *_schedules(view, known)]


def _first(view: View, known: Book, stanza_hash: str | None) -> Fact:
    """Whether the first backup, from which replicas can be made, is there."""
    kind = "PGBackRestReplicaCreate"
    if first_is_complete(view, known, stanza_hash):
        return kind, True, "RepoBackupComplete", "the first backup is complete"
    found = known.find(first_name(view, known))
    if found is not None and found.status.state == FAILED:
        return kind, False, "RepoBackupFailed", f"the first backup failed: {found.status.error}"
    return kind, False, "RepoBackupNotComplete", "the first backup is not complete yet"


def _schedules(view: View, known: Book) -> list[Fact]:
    result: list[Fact] = []
    if known.turns.bad:
        result.append(("BackupScheduleInvalid", True, "InvalidSchedule", "; ".join(known.turns.bad)))
    if late := [text for turn in known.turns.turns if (text := overdue(known, turn, view.now))]:
        result.append(("BackupOverdue", True, "BackupOverdue", "; ".join(late)))
    return result


def overdue(known: Book, turn: Turn, now: datetime) -> str:
    """Since when a schedule has had no success, if that is too long; else ""."""
    own = known.of_schedule(turn.schedule.name)
    success = last_success(known, turn.schedule.name)
    begun = [b.metadata.creation_timestamp for b in own if b.metadata.creation_timestamp]
    anchor = success or min([turn.handled, *begun])
    if now - anchor <= turn.patience:
        return ""
    age = timedelta(seconds=int((now - anchor).total_seconds()))
    word = "the last success was" if success else "there has been none for"
    return f"schedule {turn.schedule.type} of {turn.schedule.repo}: {word} {age}{' ago' if success else ''}"


def last_success(known: Book, schedule: str) -> datetime | None:
    """When a backup of a schedule last succeeded."""
    done = [b.status.completed for b in known.of_schedule(schedule) if b.status.state == SUCCEEDED]
    return max((time for time in done if time is not None), default=None)


@dataclass(frozen=True, slots=True)
class Archived:
    """What the primary has pushed to the archive last."""

    pushed: datetime
    commit: datetime | None
    """Of the last transaction in it; None when it holds none."""


def archived(pod: Manifest | None) -> Archived | None:
    """Read the annotation of a pod; None when there is none, or it cannot be read."""
    text = annotations_of(pod).get(ARCHIVED, "") if pod else ""
    try:
        found = json.loads(text)
        commit = found.get("commit")
        return Archived(
            datetime.fromisoformat(found["pushed"]), datetime.fromisoformat(commit) if commit else None
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
