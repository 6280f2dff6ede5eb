"""PerconaPGBackup: one backup of a cluster."""

from typing import ClassVar, Literal

from pydantic import ConfigDict, Field

from pgoperator import limits
from pgoperator.api.base import (
    AGE,
    ApiModel,
    Column,
    Condition,
    Int64,
    RepoName,
    Resource,
    ResourceNames,
    StringMap,
    Time,
    cel,
)
from pgoperator.api.common import Environment
from pgoperator.api.repositories import Repository


class PGBackupSpec(ApiModel):
    """What to back up, and where to."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                'self.method == "volumeSnapshot" || has(self.repoName)',
                "repoName must be set, unless method is volumeSnapshot",
            )
        )
    )

    pg_cluster: str = Field(description="Cluster to back up.")
    repo_name: RepoName | None = Field(default=None, description="Repository that receives the backup.")
    method: Literal["pgbackrest", "volumeSnapshot"] = Field(
        default="pgbackrest", description="How the backup is taken."
    )
    options: tuple[str, ...] = Field(
        default_factory=tuple, max_length=limits.OPTIONS, description="Options for `pgbackrest backup`."
    )
    container_options: Environment | None = Field(
        default=None, description="Variables for the container of the Job."
    )


class SnapshotStatus(ApiModel):
    """Snapshots that make up a backup."""

    data_volume_snapshot_ref: str | None = Field(default=None, description="Snapshot of the data volume.")
    wal_volume_snapshot_ref: str | None = Field(default=None, description="Snapshot of the WAL volume.")
    tablespace_volume_snapshot_refs: StringMap = Field(
        default_factory=dict, description="Snapshots of tablespaces, by name."
    )


class RepoVolumeStatus(ApiModel):
    """Space on the volume of a repository."""

    free_bytes: Int64 = Field(description="Free space.")
    capacity_bytes: Int64 = Field(description="Size.")


class PGBackupStatus(ApiModel):
    """How far a backup is."""

    state: str | None = Field(default=None, description="Starting, Running, Succeeded or Failed.")
    error: str | None = Field(default=None, description="Why the backup failed.")
    job_name: str | None = Field(default=None, description="Job that takes the backup.")
    backup_name: str | None = Field(default=None, description="Label of the backup in pgBackRest.")
    backup_type: str | None = Field(default=None, description="full, diff, incr or snapshot.")
    storage_type: str | None = Field(default=None, description="filesystem, s3, gcs or azure.")
    destination: str | None = Field(default=None, description="Where the backup is, as a URL.")
    size: Int64 | None = Field(default=None, description="Bytes that the backup added to the repository.")
    repo_volume: RepoVolumeStatus | None = Field(
        default=None, description="Space on the repository's volume after this backup."
    )
    repo: Repository | None = Field(default=None, description="Settings of the repository at the time.")
    image: str | None = Field(default=None, description="Image of pgBackRest that was used.")
    cr_version: str | None = Field(default=None, description="Version of the cluster's API at the time.")
    completed: Time | None = Field(default=None, description="When the backup ended.")
    earliest_restorable_time: str | None = Field(
        default=None, description="Earliest moment to which this backup can be restored."
    )
    latest_restorable_time: str | None = Field(
        default=None, description="Latest moment that can be restored."
    )
    snapshot: SnapshotStatus | None = Field(default=None, description="Snapshots that make up the backup.")
    conditions: tuple[Condition, ...] = Field(
        default_factory=tuple, description="Observations about the backup, each with its cause."
    )


class PGBackup(Resource):
    """A backup of a PostgreSQL cluster."""

    NAMES: ClassVar[ResourceNames] = ResourceNames(
        kind="PerconaPGBackup",
        plural="perconapgbackups",
        short_names=("pg-backup",),
        columns=(
            Column("Cluster", ".spec.pgCluster"),
            Column("Repo", ".spec.repoName"),
            Column("Destination", ".status.destination"),
            Column("Status", ".status.state"),
            Column("Type", ".status.backupType"),
            Column("Completed", ".status.completed", "date"),
            AGE,
        ),
    )

    spec: PGBackupSpec = Field(description="What to back up, and where to.")
    status: PGBackupStatus = Field(default_factory=PGBackupStatus, description="How far the backup is.")
