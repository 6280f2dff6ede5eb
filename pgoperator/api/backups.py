"""Backups of a cluster: pgBackRest and volume snapshots."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from pgoperator import limits
from pgoperator.api import core
from pgoperator.api.base import (
    MAP_BY_NAME,
    REQUIRED,
    ApiModel,
    CronSchedule,
    Int32,
    Int64,
    RepoName,
    StringMap,
    cel,
    yes,
)
from pgoperator.api.common import (
    ContainerResources,
    Described,
    Environment,
    InitContainer,
    Placement,
    Projection,
    Sidecars,
    Workload,
)
from pgoperator.api.repositories import Repository


class BackupJobs(Placement):
    """Settings of the Jobs that take backups."""

    resources: core.ResourceRequirements | None = Field(
        default=None, description="CPU and memory for the Job."
    )
    ttl_seconds_after_finished: Int32 | None = Field(
        default=None, ge=60, description="Seconds after which a finished Job is deleted."
    )
    backoff_limit: Int32 | None = Field(default=None, description="How often a failed Job is tried again.")
    restart_policy: str | None = Field(
        default=None, description="Whether a failed container is started again."
    )
    security_context: core.PodSecurityContext | None = Field(
        default=None, description="Security settings of the pods."
    )


class RepoHost(Workload, Sidecars):
    """The pod that holds the repositories on volumes."""

    ssh_config_map: Projection | None = Field(default=None, description="Deprecated: TLS is used, never SSH.")
    ssh_secret: Projection | None = Field(default=None, description="Deprecated: TLS is used, never SSH.")


class PgBackRestContainers(ApiModel):
    """Settings of pgBackRest's containers in the database pods."""

    pgbackrest: ContainerResources = Field(
        default_factory=ContainerResources, description="The container that serves the repository host."
    )
    pgbackrest_config: ContainerResources = Field(
        default_factory=ContainerResources, description="The container that reloads the configuration."
    )


class ManualBackup(Environment):
    """The backup to take on demand; a PerconaPGBackup is the better way to ask for one."""

    repo_name: RepoName = Field(description="Repository that receives the backup.")
    options: tuple[str, ...] = Field(
        default_factory=tuple, max_length=limits.OPTIONS, description="Options for `pgbackrest backup`."
    )
    initial_delay_seconds: Int64 | None = Field(
        default=None, description="Seconds to wait before the first backup."
    )


class InPlaceRestore(Placement, Environment):
    """The restore in place that a value of the annotation `pgbackrest-restore` asks for, once for each."""

    enabled: bool = Field(
        default=False, json_schema_extra=REQUIRED, description="Whether a restore is wanted."
    )
    repo_name: RepoName = Field(description="Repository that holds the backup.")
    cluster_name: str | None = Field(
        default=None, description="Cluster whose backup is restored; this one if empty."
    )
    cluster_namespace: str | None = Field(
        default=None, description="Namespace of that cluster; this one if empty."
    )
    options: tuple[str, ...] = Field(
        default_factory=tuple, max_length=limits.OPTIONS, description="Options for `pgbackrest restore`."
    )
    resources: core.ResourceRequirements | None = Field(
        default=None, description="CPU and memory for the restore."
    )


class PgBackRest(Described, Environment):
    """pgBackRest: repositories, the host that serves them, and the Jobs that fill them."""

    image: str | None = Field(
        default=None, description="Image of pgBackRest; the operator's own choice when empty."
    )
    configuration: tuple[core.VolumeProjection, ...] = Field(
        default_factory=tuple,
        description="Secrets and ConfigMaps that become files in pgBackRest's `conf.d`.",
    )
    global_options: StringMap = Field(
        default_factory=dict, alias="global", description="Options of pgBackRest for all its commands."
    )
    repos: Annotated[tuple[Repository, ...], MAP_BY_NAME] = Field(
        default_factory=tuple, description="Repositories that receive backups and the write-ahead log."
    )
    repo_host: RepoHost = Field(
        default_factory=RepoHost, description="The pod that holds repositories on volumes."
    )
    jobs: BackupJobs = Field(
        default_factory=BackupJobs, description="Settings of the Jobs that take backups."
    )
    manual: ManualBackup | None = Field(default=None, description="The backup to take on demand.")
    restore: InPlaceRestore | None = Field(default=None, description="The restore to carry out in place.")
    containers: PgBackRestContainers = Field(
        default_factory=PgBackRestContainers, description="Settings of the containers in the database pods."
    )
    sidecars: PgBackRestContainers = Field(
        default_factory=PgBackRestContainers, description="Deprecated form of `containers`."
    )
    init_container: InitContainer | None = Field(default=None, description="Settings of our init container.")


class Checkpoint(ApiModel):
    """The checkpoint before a snapshot, which shortens the recovery from it."""

    enabled: bool = Field(default=True, description="Whether to make one.")
    timeout_seconds: Int32 = Field(default=300, ge=30, description="Seconds to wait for it.")


class OfflineSnapshot(ApiModel):
    """Snapshots of an instance that is stopped for the purpose."""

    checkpoint: Checkpoint = Field(
        default_factory=Checkpoint, description="The checkpoint before the snapshot."
    )


class SnapshotJobs(ApiModel):
    """Settings of the Jobs around snapshots."""

    tolerations: tuple[core.Toleration, ...] = Field(
        default_factory=tuple, description="Taints that the pods tolerate."
    )


class VolumeSnapshots(ApiModel):
    """Backups as snapshots of the volumes."""

    class_name: str = Field(description="VolumeSnapshotClass of the snapshots.")
    mode: Literal["offline"] = Field(default="offline", description="How a consistent state is reached.")
    schedule: CronSchedule | None = Field(default=None, description="Schedule as a cron expression in UTC.")
    offline_config: OfflineSnapshot = Field(
        default_factory=OfflineSnapshot, description="Settings for the mode `offline`."
    )
    jobs: SnapshotJobs = Field(default_factory=SnapshotJobs, description="Settings of the Jobs.")


class Backups(ApiModel):
    """How the cluster is backed up."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                (
                    "(has(self.enabled) && self.enabled == false) || "
                    "(has(self.pgbackrest.repos) && size(self.pgbackrest.repos) > 0)"
                ),
                "backups need at least one repository in pgbackrest.repos, or enabled: false",
            )
        )
    )

    enabled: bool = Field(
        default_factory=yes, description="Whether backups are taken and WAL is archived; on if empty."
    )
    track_latest_restorable_time: bool = Field(
        default_factory=yes, description="Whether to record until when one can restore; on if empty."
    )
    pgbackrest: PgBackRest = Field(default_factory=PgBackRest, description="Settings of pgBackRest.")
    volume_snapshots: VolumeSnapshots | None = Field(default=None, description="Backups as volume snapshots.")

    @property
    def repos(self) -> tuple[Repository, ...]:
        """The repositories in use, ordered by number; empty while backups are disabled."""
        if not self.enabled:
            return ()
        return tuple(sorted(self.pgbackrest.repos, key=lambda repo: repo.number))
