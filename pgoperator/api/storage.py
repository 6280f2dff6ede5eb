"""Where the data of a new cluster comes from."""

import re

from pydantic import Field, field_validator

from pgoperator import limits
from pgoperator.api import core
from pgoperator.api.base import ApiModel, RepoName, StringMap
from pgoperator.api.common import Environment, Placement
from pgoperator.api.repositories import Repository


class ClusterSource(Placement, Environment):
    """A backup of a cluster that this operator knows."""

    cluster_name: str | None = Field(default=None, description="Cluster whose backup is restored.")
    cluster_namespace: str | None = Field(
        default=None, description="Namespace of that cluster; the same one when empty."
    )
    repo_name: RepoName = Field(description="Repository that holds the backup.")
    options: tuple[str, ...] = Field(
        default_factory=tuple, max_length=limits.OPTIONS, description="Options for `pgbackrest restore`."
    )
    resources: core.ResourceRequirements | None = Field(
        default=None, description="CPU and memory for the restore."
    )


class RepositorySource(Placement):
    """A backup in a repository, whether or not its cluster still exists."""

    stanza: str = Field(description="Stanza of the backup in the repository.")
    repo: Repository = Field(description="The repository.")
    configuration: tuple[core.VolumeProjection, ...] = Field(
        default_factory=tuple, description="Secrets and ConfigMaps with credentials for the repository."
    )
    global_options: StringMap = Field(
        default_factory=dict, alias="global", description="Options of pgBackRest for the restore."
    )
    options: tuple[str, ...] = Field(
        default_factory=tuple, max_length=limits.OPTIONS, description="Options for `pgbackrest restore`."
    )
    resources: core.ResourceRequirements | None = Field(
        default=None, description="CPU and memory for the restore."
    )

    @field_validator("stanza")
    @classmethod
    def _is_a_folder(cls, stanza: str) -> str:
        """The definition, which is Percona's, has no pattern; the name becomes a folder."""
        if re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{0,127}", stanza) is None:
            raise ValueError("the name of a stanza has letters, digits, '.', '_' and '-' only")
        return stanza


class VolumeSource(ApiModel):
    """A volume of a former cluster."""

    pvc_name: str = Field(description="Name of the existing claim.")
    directory: str | None = Field(default=None, description="Folder of the volume that holds the data.")
    tolerations: tuple[core.Toleration, ...] = Field(
        default_factory=tuple, description="Taints that the Job tolerates."
    )
    annotations: StringMap = Field(default_factory=dict, description="Annotations of that Job.")
    labels: StringMap = Field(default_factory=dict, description="Labels of that Job.")


class VolumeSources(ApiModel):
    """Volumes of a former cluster to take over."""

    pg_data_volume: VolumeSource | None = Field(default=None, description="Volume with the data directory.")
    pg_wal_volume: VolumeSource | None = Field(
        default=None, alias="pgWALVolume", description="Volume with the write-ahead log."
    )
    pgbackrest_volume: VolumeSource | None = Field(
        default=None, alias="pgBackRestVolume", description="Volume with the backup repository."
    )


class DataSource(ApiModel):
    """What a new cluster starts from; it has no effect on an existing one."""

    postgres_cluster: ClusterSource | None = Field(
        default=None, description="Start from a backup of a cluster."
    )
    pgbackrest: RepositorySource | None = Field(
        default=None, description="Start from a backup in a repository."
    )
    volumes: VolumeSources | None = Field(default=None, description="Start from existing volumes.")
