"""The connection pooler in front of the database."""

from pydantic import Field

from pgoperator import limits
from pgoperator.api import core
from pgoperator.api.base import ApiModel, Int32, IntOrString, Port, StringMap
from pgoperator.api.common import (
    ContainerResources,
    Described,
    Environment,
    Expose,
    ObjectReference,
    Projection,
    Sidecars,
    Workload,
)


class PgBouncerConfig(ApiModel):
    """What the user changes in pgBouncer's configuration."""

    global_options: StringMap = Field(
        default_factory=dict, alias="global", description="Settings of the section `[pgbouncer]`."
    )
    databases: StringMap = Field(
        default_factory=dict, description="Entries of the section `[databases]`, in place of the one for all."
    )
    users: StringMap = Field(default_factory=dict, description="Entries of the section `[users]`.")
    files: tuple[core.VolumeProjection, ...] = Field(
        default_factory=tuple, description="Files to place under `/etc/pgbouncer`."
    )


class PgBouncerContainers(ApiModel):
    """Settings of the helper containers in a pgBouncer pod."""

    pgbouncer_config: ContainerResources = Field(
        default_factory=ContainerResources, description="The container that reloads the configuration."
    )


class PgBouncer(Workload, Described, Environment, Sidecars):
    """Pods of pgBouncer, which share the connections of many clients."""

    image: str | None = Field(
        default=None, description="Image of pgBouncer; the operator's own choice when empty."
    )
    replicas: Int32 = Field(
        default=1, ge=0, le=limits.INSTANCES, description="Number of pods; 0 turns the pooler off."
    )
    port: Port = Field(default=5432, description="Port on which pgBouncer listens.")
    min_available: IntOrString | None = Field(
        default=None,
        description="Pods (or per cent) that a voluntary disruption must leave; 1 if there are several.",
    )
    expose_superusers: bool = Field(
        default_factory=bool, description="Let superusers and replication roles log in through the pooler."
    )
    config: PgBouncerConfig = Field(
        default_factory=PgBouncerConfig, description="Changes to the configuration."
    )
    expose: Expose = Field(default_factory=Expose, description="How the Service of the pooler is exposed.")
    containers: PgBouncerContainers = Field(
        default_factory=PgBouncerContainers, description="Settings of the helper containers."
    )
    custom_tls_secret: Projection | None = Field(
        default=None,
        alias="customTLSSecret",
        description="Secret with `tls.crt`, `tls.key` and `ca.crt` for clients, in place of a generated one.",
    )
    additional_trusted_cas: tuple[ObjectReference, ...] = Field(
        default_factory=tuple,
        alias="additionalTrustedCAs",
        description="Secrets whose `ca.crt` is accepted for client certificates.",
    )
    users_secret: ObjectReference | None = Field(
        default=None, description="Secret with passwords, by user name, for pgBouncer's own user list."
    )
    paused: bool = Field(default_factory=bool, description="Hold all queries back until this is false again.")

    @property
    def effective_min_available(self) -> int | str:
        """What the PodDisruptionBudget demands; 0 (or "0%") means that there is none."""
        if self.min_available is not None:
            return self.min_available
        return 1 if self.replicas > 1 else 0


class Proxy(ApiModel):
    """What stands between clients and the database."""

    pg_bouncer: PgBouncer = Field(description="The connection pooler.")
