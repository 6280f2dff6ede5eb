"""Logical replicas: copies of some databases, kept by logical replication."""

from typing import Annotated, Literal

from pydantic import Field

from pgoperator.api import core
from pgoperator.api.base import SET
from pgoperator.api.common import Described, Expose, Placement
from pgoperator.api.users import DatabaseName


class LogicalReplica(Placement, Described):
    """A server that subscribes to databases of the cluster."""

    name: str = Field(pattern="^[a-z][a-z0-9-]*[a-z0-9]$", max_length=20, description="Name of the replica.")
    databases: Annotated[tuple[DatabaseName, ...], SET] = Field(
        default_factory=tuple, description="Databases to copy; all when empty."
    )
    bootstrap_method: Literal["pgbackrest", "pg_basebackup"] = Field(
        default="pgbackrest", description="How the first copy is made."
    )
    data_volume_claim_spec: core.PersistentVolumeClaimSpec = Field(description="Claim for the data.")
    resources: core.ResourceRequirements | None = Field(
        default=None, description="CPU and memory for the database."
    )
    expose: Expose = Field(default_factory=Expose, description="How the Service of the replica is exposed.")
