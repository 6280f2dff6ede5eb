"""Sets of PostgreSQL instances."""

from typing import Annotated

from pydantic import Field

from pgoperator import limits
from pgoperator.api import core
from pgoperator.api.base import MAP_BY_NAME, ApiModel, Int32, IntOrString, cel
from pgoperator.api.common import (
    ContainerResources,
    Described,
    Environment,
    InitContainer,
    Sidecars,
    Workload,
)


class VolumeMountPoint(ApiModel):
    """Where an extra volume appears in the database container."""

    mount_path: str = Field(description="Path in the container.")
    sub_path: str | None = Field(
        default=None, description="Folder of the volume to mount, instead of its root."
    )
    read_only: bool = Field(default_factory=bool, description="Mount it without the right to write.")


class ExtraVolume(ApiModel):
    """A volume of the user inside the database container."""

    name: str = Field(description="Name of the volume.")
    volume_source: core.VolumeSource = Field(description="What the volume holds.")
    mounts: tuple[VolumeMountPoint, ...] = Field(
        min_length=1, description="Where the database container mounts the volume."
    )


class TablespaceVolume(ApiModel):
    """A volume for one tablespace, mounted at `/tablespaces/<name>`."""

    name: str = Field(pattern="^[a-z][a-z0-9]*$", min_length=1, description="Name of the tablespace.")
    data_volume_claim_spec: core.PersistentVolumeClaimSpec = Field(description="Claim for the volume.")


class InstanceContainers(ApiModel):
    """Settings of the helper containers in a database pod."""

    replica_cert_copy: ContainerResources = Field(
        default_factory=ContainerResources,
        description="The container that keeps the replication certificates up to date.",
    )


class InstanceSet(Workload, Described, Environment, Sidecars):
    """PostgreSQL instances of one shape; each replica is a pod with a volume of its own."""

    name: str = Field(
        default="",
        pattern="^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$",
        description="Name of the set; when empty, its position as two digits.",
    )
    replicas: Int32 = Field(default=1, ge=1, le=limits.INSTANCES, description="Number of instances.")
    min_available: IntOrString | None = Field(
        default=None,
        description="Instances (or per cent) that a voluntary disruption must leave; 1 if there are several.",
    )
    data_volume_claim_spec: core.PersistentVolumeClaimSpec = Field(
        json_schema_extra=cel(("has(self.resources.requests.storage)", "set resources.requests.storage")),
        description="Claim for the data of each instance.",
    )
    wal_volume_claim_spec: core.PersistentVolumeClaimSpec | None = Field(
        default=None, description="Claim for a separate volume for the write-ahead log."
    )
    tablespace_volumes: Annotated[tuple[TablespaceVolume, ...], MAP_BY_NAME] = Field(
        default_factory=tuple, max_length=limits.VOLUMES, description="Volumes for tablespaces."
    )
    volume_mounts: tuple[core.VolumeMount, ...] = Field(
        default_factory=tuple, description="Further mounts for the database container."
    )
    extra_volumes: Annotated[tuple[ExtraVolume, ...], MAP_BY_NAME] = Field(
        default_factory=tuple,
        max_length=limits.VOLUMES,
        description="Further volumes for the database container.",
    )
    init_containers: tuple[core.Container, ...] = Field(
        default_factory=tuple,
        max_length=limits.CONTAINERS,
        description="Containers to run before the database starts.",
    )
    init_container: InitContainer | None = Field(default=None, description="Settings of our init container.")
    containers: InstanceContainers = Field(
        default_factory=InstanceContainers, description="Settings of the helper containers."
    )

    @property
    def effective_min_available(self) -> int | str:
        """Value of the PodDisruptionBudget; 0 or "0%" means no budget."""
        if self.min_available is not None:
            return self.min_available
        return 1 if self.replicas > 1 else 0
