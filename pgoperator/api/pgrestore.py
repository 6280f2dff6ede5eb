"""PerconaPGRestore: takes a cluster back to a backup or to a moment."""

from typing import ClassVar

from pydantic import ConfigDict, Field

from pgoperator import limits
from pgoperator.api.base import AGE, ApiModel, Column, Int64, RepoName, Resource, ResourceNames, Time, cel
from pgoperator.api.common import Environment

_SAME = "self == oldSelf"


class PGRestoreSpec(ApiModel):
    """What to restore, and from where."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                (
                    '((has(self.repoName) && self.repoName != "") || '
                    '(has(self.volumeSnapshotBackupName) && self.volumeSnapshotBackupName != ""))'
                ),
                "repoName or volumeSnapshotBackupName must be set",
            )
        )
    )

    pg_cluster: str = Field(
        json_schema_extra=cel((_SAME, "pgCluster cannot be changed")), description="Cluster to restore."
    )
    repo_name: RepoName | None = Field(
        default=None,
        json_schema_extra=cel((_SAME, "repoName cannot be changed")),
        description="Repository that holds the backup.",
    )
    volume_snapshot_backup_name: str | None = Field(
        default=None,
        json_schema_extra=cel((_SAME, "volumeSnapshotBackupName cannot be changed")),
        description="PerconaPGBackup whose volume snapshots are restored.",
    )
    options: tuple[str, ...] = Field(
        default_factory=tuple,
        max_length=limits.OPTIONS,
        description="Options for `pgbackrest restore`, such as a target time. `--dry-run`: only check the "
        "restore.",
    )
    container_options: Environment | None = Field(
        default=None, description="Variables for the container of the Job."
    )


class PGRestorePlan(ApiModel):
    """What a restore would do, found by a dry run."""

    backup_set: str | None = Field(default=None, description="Label of the backup that it would begin with.")
    timeline: int | None = Field(default=None, description="Timeline that recovery would follow.")
    target: str | None = Field(default=None, description="Where recovery would end; a time is in UTC.")
    bytes: Int64 | None = Field(default=None, description="Size of the database in that backup.")
    instance: str | None = Field(default=None, description="Instance that would receive the data first.")


class PGRestoreStatus(ApiModel):
    """How far a restore is.

    Percona's operator has only the first three fields: it does not report why a restore failed, and keeps the
    progress in the spec of the cluster. The other fields are specific to this operator.
    """

    state: str | None = Field(default=None, description="Starting, Running, Succeeded or Failed.")
    job_name: str | None = Field(default=None, description="Job that restores the data.")
    completed: Time | None = Field(default=None, description="When the restore ended.")
    error: str | None = Field(default=None, description="Why the restore failed.")
    message: str | None = Field(default=None, description="What the restore is doing or waiting for.")
    phase: str | None = Field(
        default=None,
        description="Step that the restore is at: Checking, Stopping, Restoring, Promoting or Replicas; "
        "Aborting or Undoing when it is given up.",
    )
    phase_since: Time | None = Field(default=None, description="When that step began.")
    instance: str | None = Field(default=None, description="Instance that receives the data first.")
    backup_set: str | None = Field(
        default=None, description="Label of the backup that the restore begins with."
    )
    wal_last: str | None = Field(
        default=None,
        description="Newest WAL segment of the archive when the restore began; in Checking, the segment that "
        "must be archived first.",
    )
    plan: PGRestorePlan | None = Field(
        default=None, description="Result of a dry run (`--dry-run` in `spec.options`)."
    )


class PGRestore(Resource):
    """A restore of a PostgreSQL cluster."""

    NAMES: ClassVar[ResourceNames] = ResourceNames(
        kind="PerconaPGRestore",
        plural="perconapgrestores",
        short_names=("pg-restore",),
        columns=(
            Column("Cluster", ".spec.pgCluster"),
            Column("Status", ".status.state"),
            Column("Completed", ".status.completed", "date"),
            AGE,
        ),
    )

    spec: PGRestoreSpec = Field(description="What to restore, and from where.")
    status: PGRestoreStatus = Field(default_factory=PGRestoreStatus, description="How far the restore is.")
