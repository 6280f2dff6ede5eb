"""The state machine of a backup, from its object, its cluster, its Job and the time. Pure.

"" -> Starting (it holds the Lease) -> Running (its Job exists) -> Succeeded or Failed. Starting and Running
have a deadline; a permanent problem ends in Failed with the cause, so that the next backup can start.
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
from pgoperator.api.states import BROKEN_PAGES, FAILED, RUNNING, STARTING, SUCCEEDED
from pgoperator.errors import InvalidSpec
from pgoperator.postgres import pgbackrest_options
from pgoperator.postgres.pgbackrest_info import Backup
from reconcilers.jobs import JobStatus
from reconcilers.pgbackup import report
from reconcilers.pgcluster.pods import decide_variables

LEASE = "BackupLeaseAcquired"
WAITING = "Waiting"
"""Condition of a backup that cannot start; absent otherwise."""

START_DEADLINE = timedelta(minutes=2)
POD_DEADLINE = timedelta(minutes=10)
CLUSTER_DEADLINE = timedelta(minutes=10)
LOST = timedelta(minutes=5)
"""Longer than the grace period of a pod: without another one for so long, its node is probably gone."""
PRECISION = timedelta(seconds=1)
"""pgBackRest compares whole seconds: it takes a backup for a target that is later than its end by this."""
RESTORABLE = "{:%Y-%m-%d %H:%M:%S.%f%z}"
"""The format of restorable times, as in Percona's operator."""
RETRY_SECONDS = 10
"""No event reports that a quota has room again, or why no pod is created."""
WAITING_FOR_POD = "waiting for the Job's pod to start"
STORAGE = {"volume": "filesystem", "s3": "s3", "gcs": "gcs", "azure": "azure"}


class Act(Enum):
    """The action to take before the status is written."""

    NOTHING = auto()
    CREATE = auto()
    """Create the Job; its name allows only one for each object."""
    REMOVE = auto()
    """Delete the Job and its pods."""


@dataclass(frozen=True, slots=True)
class Step:
    """The next status, the action to take before it is written, and how long to wait without an event."""

    status: PGBackupStatus
    act: Act = Act.NOTHING
    wait: str = ""
    seconds: float = 0
    cause: str = ""
    """Why the backup cannot start; "" without a known cause."""


def find_repo(backup: PGBackup, cluster: PGCluster) -> Repository | None:
    """The repository of a backup; None if the cluster does not have it."""
    return next((r for r in cluster.spec.backups.repos if r.name == backup.spec.repo_name), None)


def refusal(backup: PGBackup, cluster: PGCluster | None) -> str:  # noqa: PLR0911 - a list of causes
    """Why a backup can never be taken; "" if it can be taken."""
    spec = backup.spec
    if spec.method != "pgbackrest":
        return f"spec.method {spec.method} is not supported by this version: use pgbackrest"
    if cluster is None:
        return f"PerconaPGCluster {spec.pg_cluster} does not exist in this namespace"
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
    # A Job that runs has been made before, maybe by an operator that allowed more.
    return decide_variables.refusal(spec.container_options, cluster) if backup.status.state != RUNNING else ""


def awaits_cluster(backup: PGBackup, cluster: PGCluster | None, now: datetime) -> timedelta:
    """How long a new backup still waits for its cluster, which may be applied after it; zero if it does not.

    A backup that can never be taken waits for nothing.
    """
    created, spec = backup.metadata.creation_timestamp, backup.spec
    if cluster is not None or backup.status.state or spec.method != "pgbackrest" or created is None:
        return timedelta()
    return max(created + CLUSTER_DEADLINE - now, timedelta())


def started(backup: PGBackup, now: datetime) -> PGBackupStatus:
    """The status once the backup holds the Lease."""
    status = backup.status.model_copy(update={"state": STARTING, "error": None})
    return with_condition(
        status, True, "LeaseAcquired", "the backup holds the lease of the cluster's repositories", now
    )


def queued(backup: PGBackup, reason: str, message: str, now: datetime) -> PGBackupStatus:
    """The status while the backup waits for the Lease."""
    return with_condition(backup.status, False, reason, message, now)


def with_waiting(step: Step, now: datetime) -> PGBackupStatus:
    """The status of a step, with the condition `Waiting` if the step has a cause."""
    if step.cause:
        return with_condition(step.status, True, "NotStarted", step.cause[:2000], now, kind=WAITING)
    left = tuple(c for c in step.status.conditions if c.type != WAITING)
    return step.status.model_copy(update={"conditions": left})


def failed(backup: PGBackup, cause: str, now: datetime) -> PGBackupStatus:
    """The status of a failed backup."""
    return backup.status.model_copy(update={"state": FAILED, "error": cause[:2000], "completed": now})


def starting(backup: PGBackup, obstacle: str, job: JobStatus | None, now: datetime) -> Step:
    """The next step of a backup in Starting; `obstacle` is why it cannot start, "" if it can."""
    if job is not None or not obstacle:
        return Step(backup.status, Act.CREATE)
    condition = next((c for c in backup.status.conditions if c.type == LEASE), None)
    left = (condition.last_transition_time if condition else now) + START_DEADLINE - now
    if left <= timedelta():
        minutes = int(START_DEADLINE.total_seconds() // 60)
        return Step(failed(backup, f"not started within {minutes} minutes: {obstacle}", now))
    seconds = min(left.total_seconds() + 0.5, RETRY_SECONDS)
    return Step(backup.status, wait=obstacle, seconds=seconds, cause=obstacle)


def running(backup: PGBackup, cluster: PGCluster, job: JobStatus | None, now: datetime) -> Step:
    """The next step of a backup in Running."""
    if job is None:
        return Step(failed(backup, f"Job {backup.status.job_name} was deleted before it finished", now))
    if job.failed:
        return Step(failed(backup, job.cause or f"Job {job.name} failed", now))
    if job.succeeded:
        return _succeeded(backup, cluster, job, now)
    return _unfinished(backup, job, now)


def _unfinished(backup: PGBackup, job: JobStatus, now: datetime) -> Step:
    if not job.started:
        left = datetime.fromisoformat(job.created) + POD_DEADLINE - now
        if left <= timedelta():
            minutes = int(POD_DEADLINE.total_seconds() // 60)
            cause = f"the pod of Job {job.name} did not start within {minutes} minutes: {job.cause}"
            return Step(failed(backup, cause, now), Act.REMOVE)
        seconds = min(left.total_seconds() + 1, RETRY_SECONDS)
        return Step(backup.status, wait=job.cause or WAITING_FOR_POD, seconds=seconds, cause=job.cause)
    if job.idle_since is not None and now - job.idle_since > LOST:
        cause = (
            f"no pod of Job {job.name} has run since {job.idle_since:%Y-%m-%dT%H:%M:%SZ}: if its node is "
            "gone, delete the pod by force (kubectl delete pod --force); until then nobody else may use the "
            "repositories"
        )
        return Step(backup.status, wait=cause, seconds=60, cause=cause)
    # Kubernetes deletes the pods of a node that is gone, which is no event that wakes this backup.
    return Step(backup.status, wait="waiting for pgBackRest to finish", seconds=120)


def _succeeded(backup: PGBackup, cluster: PGCluster, job: JobStatus, now: datetime) -> Step:
    if not job.report:
        # The pod was deleted with the report. The same Job, created again, finds the backup and reports it.
        status = backup.status.model_copy(update={"state": STARTING})
        message = f"the report of Job {job.name} is lost: the Job runs again to report the finished backup"
        status = with_condition(status, True, "ReportLost", message, now)
        return Step(status, Act.REMOVE)
    try:
        parsed = report.parse(job.report)
    except report.BadReport as error:
        return Step(failed(backup, str(error), now))
    found, repo = parsed.backup, find_repo(backup, cluster)
    update = {
        "repo_volume": parsed.volume if repo is not None and repo.volume is not None else None,
        "completed": max(found.stop, backup.metadata.creation_timestamp or found.stop),
    }
    source = f"the log of Job {job.name} names the files. Older backups were not expired"
    status = complete(backup, cluster, found, source, now)
    return Step(status.model_copy(update=update))


def complete(
    backup: PGBackup, cluster: PGCluster, found: Backup, source: str, now: datetime
) -> PGBackupStatus:
    """The status of an object whose backup is in the repository; `source`: what shows its broken pages."""
    update = destination_fields(backup, cluster) | {
        "state": SUCCEEDED,
        "error": None,
        "backup_name": found.label,
        "backup_type": found.type,
        "size": found.delta if found.repo_delta is None else found.repo_delta,
        "earliest_restorable_time": RESTORABLE.format(found.stop + PRECISION),
        "completed": found.stop,
    }
    status = backup.status.model_copy(update=update)
    if not found.error:
        return status
    message = (
        f"backup {found.label} contains pages with invalid checksums; {source}. Check the database, and "
        "restore an older backup if it is damaged"
    )
    return with_condition(status, True, "PagesWithWrongChecksums", message, now, kind=BROKEN_PAGES)


def destination_fields(backup: PGBackup, cluster: PGCluster) -> dict[str, Any]:
    """The fields of the status that describe the backup's destination."""
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
    """The status with one condition set; its time is kept while its own status is the same."""
    state: Literal["True", "False"] = "True" if holds else "False"
    old = next((c for c in status.conditions if c.type == kind), None)
    since = old.last_transition_time if old is not None and old.status == state else now
    condition = Condition(type=kind, status=state, last_transition_time=since, reason=reason, message=message)
    others = tuple(c for c in status.conditions if c.type != kind)
    return status.model_copy(update={"conditions": (*others, condition)})
