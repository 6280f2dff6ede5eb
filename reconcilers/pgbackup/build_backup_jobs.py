"""The Jobs that take or expire a backup. Pure."""

from collections.abc import Sequence

from pgoperator import labels, naming
from pgoperator.api.pgbackup import PGBackup
from pgoperator.api.repositories import Repository
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.backups import build_jobs
from reconcilers.pgcluster.pods import build_pod
from reconcilers.pgcluster.state import repositories
from reconcilers.pgcluster.state.view import ClusterView

CONTAINER = naming.PGBACKREST_CONTAINER
MIB = 1024 * 1024
BACKUP_SECONDS, BACKUP_SPEED = 24 * 3600, 4 * MIB
EXPIRE_SECONDS, EXPIRE_SPEED = 300, 64 * MIB
"""Least seconds, and bytes of the data a second, for the deadlines of the Jobs."""


def backup(
    view: ClusterView, wanted: PGBackup, repo: Repository, arguments: Sequence[str], reason: str
) -> Manifest:
    """The Job that takes a backup.

    `arguments` are the user's options; `reason` is manual, scheduled, replica-create or archive-gap.
    """
    uid = wanted.metadata.uid
    name = naming.backup_job(view.name, "backup", uid)
    command = build_pod.script(
        "pgbackrest-backup.sh",
        repositories.digest(view),
        repositories.owner(view),
        str(repo.number),
        uid,
        f"--annotation=percona.com/backup-name={wanted.name}",
        f"--annotation=percona.com/backup-job-name={name}",
        f"--annotation=percona.com/backup-job-type={reason}",
        *arguments,
    )
    own = {labels.PGBACKREST: "", labels.PGBACKREST_BACKUP: reason, labels.PGBACKREST_REPO: repo.name}
    environment = wanted.spec.container_options
    extra = {
        "env": [*(environment.env if environment else ())],
        "envFrom": [*(environment.env_from if environment else ())],
    }
    seconds = build_jobs.deadline(view, BACKUP_SECONDS, BACKUP_SPEED)
    return build_jobs.job(
        view, name, own, {labels.PGBACKREST_BACKUP: wanted.name}, command, seconds=seconds, extra=extra
    )


def expire(view: ClusterView, wanted: PGBackup, repo: Repository) -> Manifest:
    """The Job that removes a backup from its repository."""
    label = wanted.status.backup_name or ""
    about = repositories.digest(view), repositories.owner(view)
    command = build_pod.script("pgbackrest-expire.sh", *about, str(repo.number), label)
    name = naming.backup_job(view.name, "expire", wanted.metadata.uid)
    own = {labels.PGBACKREST: "", labels.PGBACKREST_REPO: repo.name}
    # pgBackRest deletes file by file: a large database in an object store has hundreds of thousands.
    seconds = build_jobs.deadline(view, EXPIRE_SECONDS, EXPIRE_SPEED)
    return build_jobs.job(
        view, name, own, {labels.PGBACKREST_BACKUP: wanted.name}, command, seconds=seconds, extra={}
    )
