"""The Jobs that take and expire a backup, and what their pods say of them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from pgoperator import labels, naming
from pgoperator.api.pgbackup import PGBackup
from pgoperator.api.repositories import Repository
from pgoperator.kube.manifest import Manifest, is_deleting
from reconcilers.pgcluster import jobs, pods, repository
from reconcilers.pgcluster.view import View

CONTAINER = naming.PGBACKREST_CONTAINER
BACKUP_SECONDS = 24 * 3600
EXPIRE_SECONDS = 300


def backup(view: View, wanted: PGBackup, repo: Repository, words: Sequence[str], reason: str) -> Manifest:
    """The Job that takes a backup.

    `words`: the user's options; `reason`: manual, scheduled or replica-create.
    """
    uid = wanted.metadata.uid
    command = pods.script(
        "pgbackrest-backup.sh",
        repository.digest(view),
        str(repo.number),
        uid,
        f"--annotation=percona.com/backup-name={wanted.name}",
        f"--annotation=percona.com/backup-job-type={reason}",
        *words,
    )
    name = naming.backup_job(view.name, "backup", uid)
    own = {labels.PGBACKREST: "", labels.PGBACKREST_BACKUP: reason, labels.PGBACKREST_REPO: repo.name}
    environment = wanted.spec.container_options
    extra = {
        "env": [*(environment.env if environment else ())],
        "envFrom": [*(environment.env_from if environment else ())],
    }
    return jobs.job(
        view, name, own, {labels.PGBACKREST_BACKUP: wanted.name}, command, seconds=BACKUP_SECONDS, extra=extra
    )


def expire(view: View, wanted: PGBackup, repo: Repository) -> Manifest:
    """The Job that removes a backup from its repository."""
    label = wanted.status.backup_name or ""
    command = pods.script("pgbackrest-expire.sh", repository.digest(view), str(repo.number), label)
    name = naming.backup_job(view.name, "expire", wanted.metadata.uid)
    own = {labels.PGBACKREST: "", labels.PGBACKREST_REPO: repo.name}
    return jobs.job(
        view, name, own, {labels.PGBACKREST_BACKUP: wanted.name}, command, seconds=EXPIRE_SECONDS, extra={}
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """How far a Job is; `report` is what its successful pod left, `cause` why it failed or does not begin."""

    name: str
    created: str = ""
    """When, in the API server's words."""
    succeeded: bool = False
    failed: bool = False
    started: bool = False
    report: str = ""
    cause: str = ""
    code: int | None = None
    """Exit status of the pod that failed last."""

    @property
    def ended(self) -> bool:
        """Whether no pod of it works any more."""
        return self.succeeded or self.failed


def look(job: Manifest, found: Sequence[Manifest]) -> Seen:
    """Read a Job and its pods; a pod's success counts before the Job's own status, which comes later."""
    conditions = {c["type"]: c for c in job.get("status", {}).get("conditions", []) if c["status"] == "True"}
    ends = [end for pod in found if (end := _end(pod)) is not None]
    good = next((end for end in ends if end.get("exitCode") == 0), None)
    bad = next((end for end in reversed(ends) if end.get("exitCode") != 0), None)
    failed = conditions.get("Failed")
    cause = str((bad or {}).get("message") or "").strip()
    if failed is not None and (not cause or failed.get("reason") == "DeadlineExceeded"):
        cause = "; ".join(
            filter(None, (str(failed.get("message") or failed.get("reason")), _lost(found), cause))
        )
    return Seen(
        name=job["metadata"]["name"],
        created=job["metadata"].get("creationTimestamp", ""),
        succeeded=good is not None or "Complete" in conditions,
        failed=good is None and failed is not None,
        started=any(pod.get("status", {}).get("phase") not in (None, "Pending") for pod in found),
        report=str((good or {}).get("message") or ""),
        cause=cause or ("" if good else _waiting(found)),
        code=(bad or {}).get("exitCode"),
    )


def _end(pod: Manifest) -> Manifest | None:
    """How the container ended; None while it has not."""
    for container in pod.get("status", {}).get("containerStatuses", []):
        if container["name"] == CONTAINER:
            end: Manifest | None = container.get("state", {}).get("terminated")
            return end
    return None


def _lost(found: Sequence[Manifest]) -> str:
    """Why a pod ended that was not its container's doing: evicted, its node lost."""
    for pod in found:
        status = pod.get("status", {})
        if status.get("phase") == "Failed" and status.get("reason"):
            return f"{status['reason']}: {status.get('message', '')}".rstrip(": ")
    return ""


def _waiting(found: Sequence[Manifest]) -> str:
    """Why a pod does not begin: not scheduled, image not pulled, volume not there."""
    for pod in found:
        if is_deleting(pod):
            continue
        status = pod.get("status", {})
        for condition in status.get("conditions", []):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return str(condition.get("message", ""))
        for container in status.get("containerStatuses", []):
            waiting = container.get("state", {}).get("waiting", {})
            if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
                return f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
    return ""
