"""Repositories of pgBackRest: where backups are kept."""

from pydantic import Field

from pgoperator.api import core
from pgoperator.api.base import ApiModel, CronSchedule, RepoName


class S3(ApiModel):
    """A bucket of S3 or of a server that speaks its protocol."""

    bucket: str = Field(description="Name of the bucket.")
    endpoint: str = Field(description="Host name of the service.")
    region: str = Field(description="Region of the bucket.")


class GCS(ApiModel):
    """A bucket of Google Cloud Storage."""

    bucket: str = Field(description="Name of the bucket.")


class Azure(ApiModel):
    """A container of Azure Blob Storage."""

    container: str = Field(description="Name of the container.")


class RepositoryVolume(ApiModel):
    """A volume at the repository host."""

    volume_claim_spec: core.PersistentVolumeClaimSpec = Field(description="Claim for the volume.")


class Schedules(ApiModel):
    """When backups are taken, as cron expressions in UTC."""

    full: CronSchedule | None = Field(default=None, description="Schedule of full backups.")
    differential: CronSchedule | None = Field(default=None, description="Schedule of differential backups.")
    incremental: CronSchedule | None = Field(default=None, description="Schedule of incremental backups.")


class Repository(ApiModel):
    """One repository: a volume or an object store."""

    name: RepoName = Field(description="Name of the repository, from `repo1` to `repo4`.")
    schedules: Schedules = Field(default_factory=Schedules, description="When backups are taken.")
    volume: RepositoryVolume | None = Field(default=None, description="Keep backups on a volume.")
    s3: S3 | None = Field(default=None, description="Keep backups in S3.")
    gcs: GCS | None = Field(default=None, description="Keep backups in Google Cloud Storage.")
    azure: Azure | None = Field(default=None, description="Keep backups in Azure Blob Storage.")

    @property
    def number(self) -> int:
        """Number of the repository in pgBackRest's options: 1 for `repo1`."""
        return int(self.name.removeprefix("repo"))
