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
BACKUP_SECONDS = 24 * 3600
BYTES_A_SECOND = 4 * 1024 * 1024
"""The deadline of a backup grows with the size of the data volumes as if this were its speed."""
EXPIRE_SECONDS = 300


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
    return build_jobs.job(
        view, name, own, {labels.PGBACKREST_BACKUP: wanted.name}, command, seconds=deadline(view), extra=extra
    )


def deadline(view: ClusterView) -> int:
    """Seconds that a backup may take: a day, or more for a large data volume on a slow network."""
    sets = view.cluster.spec.instance_sets()
    largest = max((build_pod.size(one.data_volume_claim_spec) for one in sets), default=0)
    return max(BACKUP_SECONDS, largest // BYTES_A_SECOND)


def expire(view: ClusterView, wanted: PGBackup, repo: Repository) -> Manifest:
    """The Job that removes a backup from its repository."""
    label = wanted.status.backup_name or ""
    about = repositories.digest(view), repositories.owner(view)
    command = build_pod.script("pgbackrest-expire.sh", *about, str(repo.number), label)
    name = naming.backup_job(view.name, "expire", wanted.metadata.uid)
    own = {labels.PGBACKREST: "", labels.PGBACKREST_REPO: repo.name}
    return build_jobs.job(
        view, name, own, {labels.PGBACKREST_BACKUP: wanted.name}, command, seconds=EXPIRE_SECONDS, extra={}
    )
