"""Patroni, PostgreSQL's parameters, and who may log in."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from pgoperator import limits
from pgoperator.api import core
from pgoperator.api.base import ATOMIC, REQUIRED, ApiModel, Int32, IntOrString, Port, Schema, cel


class Switchover(ApiModel):
    """A planned change of the primary; the annotation `pgv2.percona.com/trigger-switchover` starts it."""

    enabled: bool = Field(
        default=False,
        json_schema_extra=REQUIRED,
        description="Whether the annotation may start a switchover.",
    )
    target_instance: str | None = Field(default=None, description="Instance that becomes the primary.")
    type: Literal["Switchover", "Failover"] = Field(
        default="Switchover", description="Failover also works without a healthy primary, but needs a target."
    )


class Patroni(ApiModel):
    """Patroni, which chooses the primary."""

    dynamic_configuration: dict[str, Any] = Field(
        default_factory=dict,
        description="Patroni's dynamic configuration, parameters of PostgreSQL included.",
    )
    leader_lease_duration_seconds: Int32 = Field(
        default=30, ge=3, description="Seconds after which a silent primary loses its role (`ttl`)."
    )
    sync_period_seconds: Int32 = Field(
        default=10, ge=1, description="Seconds between two looks at the cluster's state (`loop_wait`)."
    )
    port: Port = Field(default=8008, description="Port of Patroni's REST API.")
    switchover: Switchover | None = Field(default=None, description="Planned change of the primary.")
    create_replica_methods: tuple[Literal["basebackup", "pgbackrest"], ...] = Field(
        default_factory=tuple, description="Ways to fill a new replica, in order of preference."
    )
    remove_data_directory_on_diverged_timelines: bool = Field(
        default_factory=bool, description="Copy a former primary anew when its data cannot be rewound."
    )


def _banned(*names: str) -> str:
    """Return the CEL expression that forbids these parameters."""
    return " && ".join(f"!has(self.{name})" for name in names)


_PARAMETER_RULES = cel(
    (_banned("config_file", "data_directory"), "config_file and data_directory are fixed by the operator"),
    (_banned("external_pid_file"), "external_pid_file is fixed by the operator"),
    (
        _banned("hba_file", "ident_file"),
        "hba_file and ident_file are fixed by the operator; use spec.authentication",
    ),
    (
        _banned("listen_addresses"),
        "listen_addresses is fixed: the database listens on every address of its pod",
    ),
    (_banned("port"), "set the port with spec.port"),
    (
        (
            '!has(self.ssl) && !self.exists(k, k.startsWith("ssl_") && '
            "!(k == 'ssl_groups' || k == 'ssl_ecdh_curve'))"
        ),
        "TLS is set up by the operator; of the ssl_ parameters only ssl_groups and ssl_ecdh_curve are free",
    ),
    (
        '!self.exists(k, k.startsWith("unix_socket_"))',
        "the unix_socket_ parameters are fixed by the operator",
    ),
    ('!has(self.wal_level) || self.wal_level in ["logical"]', "wal_level can only be logical"),
    (_banned("wal_log_hints"), "wal_log_hints stays on: pg_rewind needs it"),
    (
        _banned("archive_mode", "archive_command", "restore_command"),
        "archiving is set up by spec.backups, not by parameters",
    ),
    (
        '!has(self.recovery_target) && !self.exists(k, k.startsWith("recovery_target_"))',
        "recovery targets belong into a restore, not into parameters",
    ),
    (_banned("hot_standby"), "hot_standby stays on: replicas answer queries"),
    (_banned("synchronous_standby_names"), "synchronous_standby_names is managed by Patroni"),
    (_banned("primary_conninfo", "primary_slot_name"), "replication connections are managed by Patroni"),
    (_banned("recovery_min_apply_delay"), "replicas that lag on purpose are not supported"),
    (_banned("cluster_name"), "cluster_name is set by Patroni"),
    (_banned("logging_collector"), "logging_collector is managed by the operator"),
    (_banned("log_file_mode"), "log_file_mode is fixed by the operator"),
)


class PostgresConfig(ApiModel):
    """Parameters of PostgreSQL, checked, and files beside its configuration."""

    parameters: Annotated[dict[str, IntOrString], Schema({"maxProperties": 50})] = Field(
        default_factory=dict, json_schema_extra=_PARAMETER_RULES, description="Parameters of PostgreSQL."
    )
    files: tuple[core.VolumeProjection, ...] = Field(
        default_factory=tuple, description="Files to place under `/etc/postgres`."
    )


CONNECTIONS = ("local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc")


class AuthenticationRule(ApiModel):
    """One line of pg_hba.conf: its parts, or the whole of it."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (f"has(self.hba) || self.connection in {[*CONNECTIONS]}", "unknown kind of connection")
        )
    )

    connection: str = Field(max_length=20, description="Kind of connection: host, hostssl, hostnossl, local.")
    method: str = Field(description="How the user proves who they are: scram-sha-256, cert, ldap, reject.")
    databases: tuple[str, ...] = Field(
        default_factory=tuple, description="Databases it is for; all when empty."
    )
    users: tuple[str, ...] = Field(default_factory=tuple, description="Users it is for; all when empty.")
    options: dict[str, IntOrString] = Field(default_factory=dict, description="Options of the method.")
    hba: str | None = Field(default=None, description="The whole line, in place of the parts.")


class Authentication(ApiModel):
    """Who may log in from where."""

    rules: Annotated[tuple[AuthenticationRule, ...], ATOMIC] = Field(
        default_factory=tuple,
        max_length=limits.RULES,
        description="Lines for pg_hba.conf, after those of the operator.",
    )
