"""PerconaPGCluster: a PostgreSQL cluster and everything around it."""

from typing import Annotated, ClassVar, Self

from pydantic import ConfigDict, Field

from pgoperator import limits
from pgoperator.api import core
from pgoperator.api.backups import Backups
from pgoperator.api.base import (
    AGE,
    MAP_BY_NAME,
    QUANTITY,
    ApiModel,
    Column,
    IntOrString,
    Manifest,
    Port,
    PullPolicy,
    RepoName,
    Resource,
    ResourceNames,
    Schema,
    cel,
    yes,
)
from pgoperator.api.common import Described, Expose, InitContainer, KeyReference
from pgoperator.api.extensions import Extensions
from pgoperator.api.instances import InstanceSet
from pgoperator.api.monitoring import PMM, LogCollector
from pgoperator.api.pooling import PgBouncer, Proxy
from pgoperator.api.postgres import Authentication, Patroni, PostgresConfig
from pgoperator.api.replicas import LogicalReplica
from pgoperator.api.security import TLS, CustomSecrets
from pgoperator.api.status import PGClusterStatus
from pgoperator.api.storage import DataSource
from pgoperator.api.users import User


class Standby(ApiModel):
    """Follow another cluster instead of accepting writes."""

    enabled: bool = Field(default=False, description="Whether this cluster follows another one.")
    host: str | None = Field(default=None, description="Host of the primary to stream from.")
    port: Port | None = Field(default=None, description="Port of that primary.")
    repo_name: RepoName | None = Field(
        default=None, description="Repository to replay the write-ahead log from."
    )
    max_acceptable_lag: Annotated[IntOrString, Schema({"pattern": QUANTITY})] | None = Field(
        default=None, description="Lag in bytes, as a quantity, above which the cluster is not ready."
    )


class PGClusterSpec(Described):
    """What a cluster should be."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                (
                    "!has(self.extensions) || !has(self.extensions.pg_tde) || "
                    "!has(self.extensions.pg_tde.enabled) || "
                    "!self.extensions.pg_tde.enabled || self.postgresVersion >= 16"
                ),
                "pg_tde needs postgresVersion 16 or newer",
            ),
            (
                (
                    "!has(self.users) || self.postgresVersion >= 15 || "
                    "self.users.all(u, !has(u.grantPublicSchemaAccess) || !u.grantPublicSchemaAccess)"
                ),
                "grantPublicSchemaAccess needs postgresVersion 15 or newer",
            ),
            (
                "!has(self.logicalReplicas) || size(self.logicalReplicas) == 0 || self.postgresVersion >= 17",
                "logicalReplicas need postgresVersion 17 or newer",
            ),
            (
                (
                    "!has(self.logicalReplicas) || size(self.logicalReplicas) == 0 || !has(self.backups) || "
                    "!has(self.backups.enabled) || self.backups.enabled || self.logicalReplicas.all(r, "
                    "has(r.bootstrapMethod) && r.bootstrapMethod == 'pg_basebackup')"
                ),
                "without backups, every entry of logicalReplicas needs bootstrapMethod pg_basebackup",
            ),
        )
    )

    cr_version: str = Field(
        default_factory=str,
        json_schema_extra=cel(
            (
                r"""self == "" || self.matches('^[0-9]+\\.[0-9]+\\.[0-9]+([-+][a-zA-Z0-9.+-]+)?$')""",
                "crVersion must be empty or a version such as 3.1.0",
            )
        ),
        description=(
            "Version of this API that the pods follow; when empty, the operator's when they are made first."
        ),
    )
    image: str | None = Field(
        default=None, description="Image of PostgreSQL; the operator's own choice when empty."
    )
    image_pull_policy: PullPolicy | None = Field(default=None, description="When images are pulled.")
    image_pull_secrets: tuple[core.PullSecret, ...] = Field(
        default_factory=tuple, description="Secrets with credentials of image registries."
    )
    postgres_version: int = Field(
        ge=12, le=18, description="Major version of PostgreSQL; the image must have it."
    )
    port: Port = Field(default=5432, description="Port on which PostgreSQL listens.")
    init_container: InitContainer | None = Field(
        default=None, description="Settings of the container that prepares files in each pod."
    )
    openshift: bool | None = Field(
        default=None, description="Whether this is OpenShift; found out when empty."
    )
    pause: bool = Field(default_factory=bool, description="Stop all pods and keep everything else.")
    unmanaged: bool = Field(
        default_factory=bool, description="Leave everything as it is: the operator does nothing."
    )
    tls_only: bool = Field(default_factory=bool, description="Refuse connections without TLS.")
    cluster_service_dns_suffix: str | None = Field(
        default=None,
        alias="clusterServiceDNSSuffix",
        description="DNS domain of this Kubernetes; found out if empty.",
    )
    auto_create_user_schema: bool = Field(
        default_factory=yes, description="Give each user a schema of its own name; on if empty."
    )
    secrets: CustomSecrets = Field(default_factory=CustomSecrets, description="Certificates of the user.")
    tls: TLS = Field(default_factory=TLS, description="Who makes the certificates, and how long they hold.")
    expose: Expose = Field(default_factory=Expose, description="How the Service of the primary is exposed.")
    expose_replicas: Expose = Field(
        default_factory=Expose, description="How the Service of the replicas is exposed."
    )
    instances: Annotated[tuple[InstanceSet, ...], MAP_BY_NAME] = Field(
        min_length=1, max_length=limits.SETS, description="Sets of PostgreSQL instances."
    )
    users: Annotated[tuple[User, ...], MAP_BY_NAME] | None = Field(
        default=None,
        max_length=limits.USERS,
        description="Users and their databases; when absent, one user and one database named as the cluster.",
    )
    database_init_sql: KeyReference | None = Field(
        default=None, alias="databaseInitSQL", description="ConfigMap with SQL to run once in a new cluster."
    )
    patroni: Patroni = Field(default_factory=Patroni, description="Settings of Patroni.")
    config: PostgresConfig = Field(
        default_factory=PostgresConfig, description="Parameters and files of PostgreSQL."
    )
    authentication: Authentication = Field(
        default_factory=Authentication, description="Who may log in from where."
    )
    proxy: Proxy | None = Field(default=None, description="The connection pooler; none when absent.")
    backups: Backups = Field(description="How the cluster is backed up.")
    data_source: DataSource | None = Field(
        default=None, description="Where the data of a new cluster comes from."
    )
    standby: Standby = Field(default_factory=Standby, description="Follow another cluster.")
    pmm: PMM | None = Field(default=None, description="Percona Monitoring and Management.")
    logcollector: LogCollector | None = Field(default=None, description="Collection of PostgreSQL's logs.")
    extensions: Extensions = Field(default_factory=Extensions, description="Extensions of PostgreSQL.")
    logical_replicas: Annotated[tuple[LogicalReplica, ...], MAP_BY_NAME] = Field(
        default_factory=tuple, description="Logical replicas."
    )

    def instance_sets(self) -> tuple[InstanceSet, ...]:
        """Return the instance sets; a set without a name is named by its position, as two digits."""
        return tuple(
            instance_set if instance_set.name else instance_set.model_copy(update={"name": f"{position:02d}"})
            for position, instance_set in enumerate(self.instances)
        )

    @property
    def replicas(self) -> int:
        """Desired number of PostgreSQL instances in all sets."""
        return sum(instance_set.replicas for instance_set in self.instances)

    @property
    def pg_bouncer(self) -> PgBouncer | None:
        """The pooler; None when it is absent or has no replicas."""
        if self.proxy is None or self.proxy.pg_bouncer.replicas == 0:
            return None
        return self.proxy.pg_bouncer

    def enabled_extensions(self) -> frozenset[str]:
        """Return the enabled extensions (fields of `spec.extensions`), including the defaults."""
        pmm = self.pmm
        return self.extensions.enabled(pmm.query_source if pmm is not None and pmm.enabled else None)


class PGCluster(Resource):
    """A PostgreSQL cluster with replicas, a connection pooler and backups."""

    NAMES: ClassVar[ResourceNames] = ResourceNames(
        kind="PerconaPGCluster",
        plural="perconapgclusters",
        short_names=("pg",),
        columns=(
            Column("Endpoint", ".status.host"),
            Column("Status", ".status.state"),
            Column("Postgres", ".status.postgres.ready", "integer"),
            Column("PGBouncer", ".status.pgbouncer.ready", "integer"),
            AGE,
            Column("Version", ".status.postgres.version", "integer", wide=True),
            Column("Message", '.status.conditions[?(@.type=="Ready")].message', wide=True),
        ),
    )

    spec: PGClusterSpec = Field(description="What the cluster should be.")
    status: PGClusterStatus = Field(default_factory=PGClusterStatus, description="What the operator reports.")

    @classmethod
    def parse(cls, manifest: Manifest) -> Self:
        """Convert an object of the API server; InvalidSpec also for more than the definition can refuse."""
        cluster = super().parse(manifest)
        limits.check_total("spec.instances", "instances", cluster.spec.replicas, limits.INSTANCES)
        databases = sum(len(user.databases) for user in cluster.spec.users or ())
        limits.check_total("spec.users", "databases", databases, limits.GRANTS)
        return cluster
