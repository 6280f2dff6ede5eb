"""Percona Monitoring and Management, and the collector of logs."""

from typing import Literal

from pydantic import Field

from pgoperator.api import core
from pgoperator.api.base import REQUIRED, ApiModel, PullPolicy
from pgoperator.api.common import Environment, ObjectReference


class PMM(ApiModel):
    """The PMM client beside each database."""

    enabled: bool = Field(description="Whether the client runs.")
    image: str = Field(description="Image of the client.")
    image_pull_policy: PullPolicy | None = Field(default=None, description="When the image is pulled.")
    server_host: str = Field(description="Host name of the PMM server.")
    secret: str = Field(description="Secret with the key `PMM_SERVER_TOKEN`.")
    query_source: Literal["pgstatmonitor", "pgstatstatements"] = Field(
        default="pgstatstatements",
        json_schema_extra=REQUIRED,
        description="Extension that statistics of queries come from.",
    )
    custom_cluster_name: str | None = Field(default=None, description="Name of the cluster in PMM.")
    postgres_params: str | None = Field(
        default=None, description="Further arguments for `pmm-admin add postgresql`."
    )
    resources: core.ResourceRequirements | None = Field(
        default=None, description="CPU and memory for the client."
    )
    container_security_context: core.SecurityContext | None = Field(
        default=None, description="Security settings."
    )
    runtime_class_name: str | None = Field(default=None, description="RuntimeClass of the pods.")


class LogRotate(ApiModel):
    """Rotation of the log files."""

    configuration: str | None = Field(
        default=None, description="Text in place of the configuration of logrotate."
    )
    extra_config: ObjectReference | None = Field(
        default=None, description="ConfigMap whose keys `*.conf` are read in addition."
    )
    schedule: str = Field(default="0 0 * * *", description="When files are rotated, as a cron expression.")
    liveness_probe: core.Probe | None = Field(default=None, description="Liveness probe of the container.")
    readiness_probe: core.Probe | None = Field(default=None, description="Readiness probe of the container.")


class LogCollector(Environment):
    """The container that ships PostgreSQL's logs."""

    enabled: bool | None = Field(
        default=None, description="Whether logs are collected; on for a new cluster."
    )
    image: str = Field(description="Image of the collector.")
    image_pull_policy: PullPolicy | None = Field(default=None, description="When the image is pulled.")
    configuration: str | None = Field(
        default=None, description="Further configuration of Fluent Bit, as YAML."
    )
    resources: core.ResourceRequirements | None = Field(
        default=None, description="CPU and memory for the collector."
    )
    container_security_context: core.SecurityContext | None = Field(
        default=None, description="Security settings."
    )
    liveness_probe: core.Probe | None = Field(default=None, description="Liveness probe of the container.")
    readiness_probe: core.Probe | None = Field(default=None, description="Readiness probe of the container.")
    volume_mounts: tuple[core.VolumeMount, ...] = Field(
        default_factory=tuple, description="Further mounts for the collector."
    )
    volumes: tuple[core.Volume, ...] = Field(
        default_factory=tuple, description="Further volumes for the collector."
    )
    log_rotate: LogRotate = Field(default_factory=LogRotate, description="Rotation of the log files.")
