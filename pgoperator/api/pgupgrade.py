"""PerconaPGUpgrade: takes a cluster to a newer major version of PostgreSQL."""

from typing import Annotated, ClassVar

from pydantic import Field

from pgoperator.api import core
from pgoperator.api.base import ApiModel, Condition, Int64, PullPolicy, Resource, ResourceNames, Schema
from pgoperator.api.common import Described, Placement

_BY_TYPE = Schema({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]})


class PGUpgradeSpec(Placement, Described):
    """From which version to which, and with what images."""

    postgres_cluster_name: str = Field(min_length=1, description="Cluster to upgrade.")
    image: str = Field(description="Image with the programs of both versions.")
    image_pull_policy: PullPolicy | None = Field(default=None, description="When that image is pulled.")
    image_pull_secrets: tuple[core.PullSecret, ...] = Field(
        default_factory=tuple, description="Secrets with credentials of image registries."
    )
    from_postgres_version: int = Field(ge=12, le=17, description="Major version that the cluster has.")
    to_postgres_version: int = Field(ge=13, le=18, description="Major version that the cluster shall have.")
    to_postgres_image: str = Field(description="Image of PostgreSQL afterwards.")
    to_pg_bouncer_image: str = Field(description="Image of pgBouncer afterwards.")
    to_pgbackrest_image: str = Field(alias="toPgBackRestImage", description="Image of pgBackRest afterwards.")
    resources: core.ResourceRequirements | None = Field(
        default=None, description="CPU and memory for the Job."
    )
    init_containers: tuple[core.Container, ...] = Field(
        default_factory=tuple, description="Containers to run before the upgrade."
    )
    volume_mounts: tuple[core.VolumeMount, ...] = Field(
        default_factory=tuple, description="Further mounts for the container that upgrades."
    )


class PGUpgradeStatus(ApiModel):
    """How far an upgrade is."""

    conditions: Annotated[tuple[Condition, ...], _BY_TYPE] = Field(
        default_factory=tuple, description="Observations about the upgrade, each with its cause."
    )
    observed_generation: Int64 | None = Field(
        default=None, ge=0, description="Generation of the object that this status is about."
    )


class PGUpgrade(Resource):
    """A change of a PostgreSQL cluster to a newer major version."""

    NAMES: ClassVar[ResourceNames] = ResourceNames(kind="PerconaPGUpgrade", plural="perconapgupgrades")

    spec: PGUpgradeSpec = Field(description="From which version to which, and with what images.")
    status: PGUpgradeStatus = Field(default_factory=PGUpgradeStatus, description="How far the upgrade is.")
