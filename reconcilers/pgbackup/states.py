"""What becomes of a backup: pure, from its object, its cluster, its Job and the time.

"" -> Starting (the Lease is ours) -> Running (its Job exists) -> Succeeded or Failed. Each state but the last
two has a deadline, and what cannot be mended ends in Failed with the cause, so that the queue goes on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any, Literal

from pgoperator.api.base import Condition
from pgoperator.api.cluster import PGCluster
from pgoperator.api.pgbackup import PGBackup, PGBackupStatus
from pgoperator.api.repositories import Repository
from pgoperator.errors import InvalidSpec
from pgoperator.postgres import pgbackrest_options
from reconcilers.pgbackup import report
from reconcilers.pgbackup.job import Seen

STARTING, RUNNING, SUCCEEDED, FAILED = "Starting", "Running", "Succeeded", "Failed"
FINISHED = (SUCCEEDED, FAILED)
LEASE = "BackupLeaseAcquired"
WAITING = "Waiting"
"""Condition of a backup that something keeps from its work; absent when nothing does."""

START_DEADLINE = timedelta(minutes=2)
POD_DEADLINE = timedelta(minutes=10)
RETRY_SECONDS = 10
"""Nobody tells when a quota has room again, or why no pod comes."""
BEGINS = "the Job's pod begins"
STORAGE = {"volume": "filesystem", "s3": "s3", "gcs": "gcs", "azure": "azure"}


class Act(Enum):
    """What is to be done before the status is written."""

    NOTHING = auto()
    CREATE = auto()
    """The Job, of which only one can come of one object."""
    REMOVE = auto()
    """The Job, and whatever of it still runs."""


@dataclass(frozen=True, slots=True)
class Step:
    """The next status, what to do before it is written, and how long to wait when no event comes."""

    status: PGBackupStatus
    act: Act = Act.NOTHING
    wait: str = ""
    seconds: float = 0
    cause: str = ""
    """What keeps the backup from its work."""


def find_repo(backup: PGBackup, cluster: PGCluster) -> Repository | None:
    """The repository that a backup names, if the cluster has it."""
    return next((r for r in cluster.spec.backups.repos if r.name == backup.spec.repo_name), None)


def refusal(backup: PGBackup, cluster: PGCluster | None) -> str:  # noqa: PLR0911 - a list of causes
    """Why a backup can never be taken; "" when nothing speaks against it."""
    spec = backup.spec
    if spec.method != "pgbackrest":
        return f"method {spec.method} is not implemented by this version; use pgbackrest"
    if cluster is None:
        return f"there is no PerconaPGCluster {spec.pg_cluster} in this namespace"
    if cluster.metadata.is_deleting:
        return f"cluster {spec.pg_cluster} is being deleted"
    if not cluster.spec.backups.enabled:
        return f"backups of cluster {spec.pg_cluster} are disabled (spec.backups.enabled)"
    if find_repo(backup, cluster) is None:
        known = ", ".join(repo.name for repo in cluster.spec.backups.repos)
        return f"cluster {spec.pg_cluster} has no repository {spec.repo_name}; it has {known}"
    try:
        pgbackrest_options.backup(spec.options)
    except InvalidSpec as error:
        return str(error)
    return ""


def started(backup: PGBackup, now: datetime) -> PGBackupStatus:
    """The status from the moment on that the Lease is ours."""
    status = backup.status.model_copy(update={"state": STARTING, "error": None})
    return with_condition(status, True, "LeaseAcquired", "no other backup of the cluster runs", now)


def queued(backup: PGBackup, reason: str, message: str, now: datetime) -> PGBackupStatus:
    """The status while the backup's turn has not come."""
    return with_condition(backup.status, False, reason, message, now)


def told(step: Step, now: datetime) -> PGBackupStatus:
    """The status of a step with what it waits for."""
    if step.cause:
        return with_condition(step.status, True, "NotStarted", step.cause[:2000], now, kind=WAITING)
    left = tuple(c for c in step.status.conditions if c.type != WAITING)
    return step.status.model_copy(update={"conditions": left})


def failed(backup: PGBackup, cause: str, now: datetime) -> PGBackupStatus:
    """The status of a backup that will never be."""
    return backup.status.model_copy(update={"state": FAILED, "error": cause[:2000], "completed": now})


def starting(backup: PGBackup, obstacle: str, job: Seen | None, now: datetime) -> Step:
    """What a backup in Starting does next; `obstacle`: what it cannot begin for, "" for nothing."""
    if job is not None or not obstacle:
        return Step(backup.status, Act.CREATE)
    condition = next((c for c in backup.status.conditions if c.type == LEASE), None)
    left = (condition.last_transition_time if condition else now) + START_DEADLINE - now
    if left <= timedelta():
        minutes = int(START_DEADLINE.total_seconds() // 60)
        return Step(failed(backup, f"not started within {minutes} minutes: {obstacle}", now))
    seconds = min(left.total_seconds() + 0.5, RETRY_SECONDS)
    return Step(backup.status, wait=obstacle, seconds=seconds, cause=obstacle)


def running(backup: PGBackup, cluster: PGCluster, job: Seen | None, now: datetime) -> Step:
    """What becomes of a backup whose Job was made."""
    if job is None:
        return Step(failed(backup, f"Job {backup.status.job_name} vanished before its end", now))
    if job.failed:
        return Step(failed(backup, job.cause or f"Job {job.name} failed", now))
    if job.succeeded:
        return _succeeded(backup, cluster, job, now)
    if not job.started:
        left = datetime.fromisoformat(job.created) + POD_DEADLINE - now
        if left <= timedelta():
            minutes = int(POD_DEADLINE.total_seconds() // 60)
            cause = f"the pod of Job {job.name} did not begin within {minutes} minutes: {job.cause}"
            return Step(failed(backup, cause, now), Act.REMOVE)
        seconds = min(left.total_seconds() + 1, RETRY_SECONDS)
        return Step(backup.status, wait=job.cause or BEGINS, seconds=seconds, cause=job.cause)
    return Step(backup.status, wait="pgBackRest works", seconds=600)


def _succeeded(backup: PGBackup, cluster: PGCluster, job: Seen, now: datetime) -> Step:
    if not job.report:
        # Its pod has gone with the report. The same Job again finds the backup, and reports it.
        status = backup.status.model_copy(update={"state": STARTING})
        status = with_condition(
            status, True, "ReportLost", f"the report of Job {job.name} is asked for again", now
        )
        return Step(status, Act.REMOVE)
    try:
        told = report.parse(job.report)
    except report.BadReport as error:
        return Step(failed(backup, str(error), now))
    found, repo = told.backup, find_repo(backup, cluster)
    update = facts(backup, cluster) | {
        "state": SUCCEEDED,
        "error": None,
        "backup_name": found.label,
        "backup_type": found.type,
        "size": found.delta if found.repo_delta is None else found.repo_delta,
        "repo_volume": told.volume if repo is not None and repo.volume is not None else None,
        "completed": max(found.stop, backup.metadata.creation_timestamp or found.stop),
    }
    return Step(backup.status.model_copy(update=update))


def facts(backup: PGBackup, cluster: PGCluster) -> dict[str, Any]:
    """Where the backup goes, for its status."""
    repo = find_repo(backup, cluster)
    if repo is None:
        return {}
    kind = next(kind for kind in STORAGE if getattr(repo, kind) is not None)
    options = cluster.spec.backups.pgbackrest.global_options
    return {
        "repo": repo,
        "storage_type": STORAGE[kind],
        "destination": destination(repo, options) or None,
    }


def destination(repo: Repository, options: Mapping[str, str]) -> str:
    """The URL of a repository in an object store; "" for a volume."""
    path = options.get(f"{repo.name}-path", f"/pgbackrest/{repo.name}")
    if repo.s3 is not None:
        return f"s3://{repo.s3.bucket}{path}"
    if repo.gcs is not None:
        return f"gs://{repo.gcs.bucket}{path}"
    if repo.azure is not None:
        return f"azure://{repo.azure.container}{path}"
    return ""


def with_condition(
    status: PGBackupStatus, holds: bool, reason: str, message: str, now: datetime, *, kind: str = LEASE
) -> PGBackupStatus:
    """The status with one condition set; its time stays while its word does."""
    word: Literal["True", "False"] = "True" if holds else "False"
    old = next((c for c in status.conditions if c.type == kind), None)
    since = old.last_transition_time if old is not None and old.status == word else now
    condition = Condition(type=kind, status=word, last_transition_time=since, reason=reason, message=message)
    others = tuple(c for c in status.conditions if c.type != kind)
    return status.model_copy(update={"conditions": (*others, condition)})
