"""What the operator reports about a cluster."""

from typing import Annotated, Self

from pydantic import Field, ValidationError

from pgoperator.api.base import MAP_BY_NAME, ApiModel, Condition, Int32, Int64, Manifest, Time


class InstanceSetStatus(ApiModel):
    """Instances of one set."""

    name: str = Field(description="Name of the set.")
    size: Int32 = Field(description="Instances that are wanted.")
    ready: Int32 = Field(description="Instances that are ready.")


class PostgresStatus(ApiModel):
    """The database servers."""

    size: Int32 | None = Field(default=None, description="Instances that are wanted, over all sets.")
    ready: Int32 | None = Field(default=None, description="Instances that are ready, over all sets.")
    instances: tuple[InstanceSetStatus, ...] = Field(
        default_factory=tuple, description="The same for each set."
    )
    version: int | None = Field(default=None, description="Version number of the running server.")
    image_id: str | None = Field(default=None, alias="imageID", description="Digest of the running image.")
    distribution: str | None = Field(default=None, description="Who built the server: percona or community.")


class PgBouncerStatus(ApiModel):
    """The connection pooler."""

    size: Int32 = Field(description="Pods that are wanted.")
    ready: Int32 = Field(description="Pods that are ready.")


class PatroniState(ApiModel):
    """What Patroni knows about the cluster."""

    system_identifier: str | None = Field(default=None, description="PostgreSQL's identifier of the cluster.")
    switchover: str | None = Field(
        default=None, description="Value of the trigger that was last carried out."
    )
    switchover_timeline: Int64 | None = Field(default=None, description="Timeline at the last switchover.")


class PatroniStatus(ApiModel):
    """Patroni."""

    version: str | None = Field(default=None, description="Version of Patroni.")
    status: PatroniState | None = Field(default=None, description="What Patroni knows about the cluster.")


class JobStatus(ApiModel):
    """Counts and times of a Job's pods."""

    start_time: Time | None = Field(default=None, description="When it began.")
    completion_time: Time | None = Field(default=None, description="When it ended.")
    active: Int32 | None = Field(default=None, description="Pods that run.")
    succeeded: Int32 | None = Field(default=None, description="Pods that ended well.")
    failed: Int32 | None = Field(default=None, description="Pods that failed.")


class RequestedJobStatus(JobStatus):
    """A backup or restore that someone asked for."""

    id: str = Field(description="Who asked for it.")
    finished: bool = Field(description="Whether it has ended, well or not.")


class ScheduledBackupStatus(JobStatus):
    """A backup by schedule."""

    cron_job_name: str | None = Field(default=None, description="Name of the schedule.")
    repo: str | None = Field(default=None, description="Repository that receives it.")
    type: str | None = Field(default=None, description="Type of the backup.")
    schedule: str | None = Field(default=None, description="Its cron expression.")
    next_run: Time | None = Field(default=None, description="When it is due.")
    last_success: Time | None = Field(default=None, description="The last success.")


class RestoreDrillResult(ApiModel):
    """One restore drill."""

    id: str = Field(description="UID of its Job.")
    state: str = Field(description="Succeeded or Failed.")
    repo: str | None = Field(default=None, description="Its repository.")
    backup: str | None = Field(default=None, description="Label of the backup.")
    start_time: Time | None = Field(default=None, description="When it began.")
    completion_time: Time | None = Field(default=None, description="When it ended.")
    moment: str | None = Field(default=None, description="Last recovered commit.")
    timeline: Int32 | None = Field(default=None, description="New timeline.")
    bytes: Int64 | None = Field(default=None, description="Size of the data.")
    restore_seconds: float | None = Field(default=None, description="Time of the restore.")
    check_seconds: float | None = Field(default=None, description="Time of the checks.")
    checked: str | None = Field(default=None, description="What was checked.")
    message: str | None = Field(default=None, description="Why it failed.")


class RestoreDrillStatus(ApiModel):
    """Restore drills."""

    schedule: str | None = Field(default=None, description="Cron expression.")
    handled: Time | None = Field(default=None, description="Last handled due time.")
    next_run: Time | None = Field(default=None, description="When one is due.")
    requested: str | None = Field(default=None, description="Last handled request.")
    last_proven_restore: Time | None = Field(default=None, description="The last success.")
    drills: tuple[RestoreDrillResult, ...] = Field(
        default_factory=tuple, description="The last ones, newest first."
    )


class RepoHostStatus(ApiModel):
    """The pod that holds the repositories on volumes."""

    api_version: str | None = Field(default=None, description="API version of its workload.")
    kind: str | None = Field(default=None, description="Kind of its workload.")
    ready: bool | None = Field(default=None, description="Whether it is ready.")


class RepositoryStatus(ApiModel):
    """One repository."""

    name: str = Field(description="Name of the repository.")
    bound: bool | None = Field(default=None, description="Whether its claim has a volume.")
    volume: str | None = Field(default=None, description="Name of that volume.")
    stanza_created: bool | None = Field(default=None, description="Whether the stanza exists.")
    replica_create_backup_complete: bool | None = Field(
        default=None, description="Whether it holds a backup that replicas can start from."
    )
    repo_options_hash: str | None = Field(
        default=None, description="Digest of the options at the last stanza check."
    )
    system_identifier: str | None = Field(
        default=None, description="Database system for which the repository has this cluster's mark."
    )
    reachable: bool | None = Field(
        default=None, description="Whether it takes WAL, as far as the primary last pushed any."
    )
    last_pushed: Time | None = Field(
        default=None, description="When it last got a WAL segment, to the minute."
    )
    free_bytes: Int64 | None = Field(default=None, description="Free space of its volume at `measured`.")
    capacity_bytes: Int64 | None = Field(default=None, description="Size of its volume at `measured`.")
    measured: Time | None = Field(
        default=None, description="When a backup last looked how much space its volume has."
    )
    desired_repo_volume: str | None = Field(default=None, description="Size that the volume should grow to.")


class PgBackRestStatus(ApiModel):
    """Backups."""

    repo_host: RepoHostStatus | None = Field(default=None, description="The repository host.")
    repos: Annotated[tuple[RepositoryStatus, ...], MAP_BY_NAME] = Field(
        default_factory=tuple, description="The repositories."
    )
    manual_backup: RequestedJobStatus | None = Field(default=None, description="The last backup on demand.")
    scheduled_backups: tuple[ScheduledBackupStatus, ...] = Field(
        default_factory=tuple, description="The schedules."
    )
    restore: RequestedJobStatus | None = Field(default=None, description="The last restore in place.")
    restore_drill: RestoreDrillStatus | None = Field(default=None, description="Restore drills.")
    imported_backups: str | None = Field(default=None, description="Last handled import.")


class StandbyStatus(ApiModel):
    """How far a standby cluster is behind."""

    lag_last_computed_at: Time | None = Field(default=None, description="When the lag was measured.")
    lag_bytes: Int64 | None = Field(
        default=None, description="Bytes of WAL that the standby has yet to apply."
    )


class LogicalReplicaStatus(ApiModel):
    """One logical replica."""

    name: str = Field(description="Name of the replica.")
    state: str | None = Field(default=None, description="bootstrapping, ready, broken or suspended.")
    reason: str | None = Field(default=None, description="Cause of the state as one word.")
    message: str | None = Field(default=None, description="Cause of the state in a sentence.")
    databases: tuple[str, ...] = Field(default_factory=tuple, description="Databases that are copied.")
    seeded_at: Time | None = Field(default=None, description="When the first copy was complete.")
    invalidated_at: Time | None = Field(default=None, description="When its slot was lost.")


class PGClusterStatus(ApiModel):
    """The state of a cluster."""

    state: str | None = Field(default=None, description="initializing, ready, paused or stopping.")
    host: str | None = Field(default=None, description="Host name or address for clients.")
    postgres: PostgresStatus | None = Field(default=None, description="The database servers.")
    pgbouncer: PgBouncerStatus | None = Field(default=None, description="The connection pooler.")
    patroni: PatroniStatus | None = Field(default=None, description="Patroni.")
    patroni_version: str | None = Field(default=None, description="Deprecated copy of `patroni.version`.")
    pgbackrest: PgBackRestStatus | None = Field(default=None, description="Backups.")
    installed_custom_extensions: tuple[str, ...] = Field(
        default_factory=tuple, description="Custom extensions that are installed."
    )
    standby: StandbyStatus | None = Field(default=None, description="Lag of a standby cluster.")
    logical_replicas: Annotated[tuple[LogicalReplicaStatus, ...], MAP_BY_NAME] = Field(
        default_factory=tuple, description="The logical replicas."
    )
    database_init_sql: str | None = Field(
        default=None, alias="databaseInitSQL", description="ConfigMap whose SQL has been run."
    )
    conditions: tuple[Condition, ...] = Field(
        default_factory=tuple, description="Observations about the cluster, each with its cause."
    )
    observed_generation: Int64 | None = Field(
        default=None, description="Generation of the object that this status is about."
    )

    @classmethod
    def readable(cls, status: Manifest) -> Self:
        """Convert a status without the fields that do not fit the model; never raises."""
        try:
            return cls.model_validate(status)
        except ValidationError as error:
            bad = {str(problem["loc"][0]) for problem in error.errors(include_url=False) if problem["loc"]}
        rest = {name: value for name, value in status.items() if name not in bad}
        return cls.readable(rest) if len(rest) < len(status) else cls()

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of a type, None if it is absent."""
        return next((condition for condition in self.conditions if condition.type == kind), None)
