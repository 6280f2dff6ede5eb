"""Extensions of PostgreSQL."""

from typing import Literal

from pydantic import ConfigDict, Field

from pgoperator import limits
from pgoperator.api.base import ApiModel, cel
from pgoperator.api.common import KeyReference, Projection


class Extension(ApiModel):
    """An extension that the image brings."""

    enabled: bool | None = Field(default=None, description="Whether all databases have it.")


class Vault(ApiModel):
    """The key store of pg_tde."""

    host: str = Field(description="URL of the Vault server.")
    mount_path: str = Field(
        default="secret/data", description="Path at which the key/value engine is mounted."
    )
    token_secret: KeyReference = Field(description="Secret with the token.")
    ca_secret: KeyReference | None = Field(default=None, description="Secret with the server's authority.")


class TransparentEncryption(ApiModel):
    """Encryption of data at rest with pg_tde."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.enabled) || (has(self.enabled) && self.enabled == false) || has(self.vault)",
                "pg_tde needs a vault before it can be enabled",
            ),
            (
                "!has(self.walEncryption) || !self.walEncryption || (has(self.enabled) && self.enabled)",
                "walEncryption needs pg_tde to be enabled",
            ),
        )
    )

    enabled: bool | None = Field(default=None, description="Whether data can be encrypted.")
    wal_encryption: bool | None = Field(
        default=None, description="Whether the write-ahead log is encrypted too."
    )
    vault: Vault | None = Field(default=None, description="Where the keys are kept.")


class BuiltinExtensions(ApiModel):
    """Deprecated form of the switches; a value here wins over the new form."""

    pg_stat_monitor: bool | None = Field(
        default=None, alias="pg_stat_monitor", description="Deprecated switch."
    )
    pg_stat_statements: bool | None = Field(
        default=None, alias="pg_stat_statements", description="Deprecated switch."
    )
    pg_audit: bool | None = Field(default=None, alias="pg_audit", description="Deprecated switch.")
    pgvector: bool | None = Field(default=None, description="Deprecated switch.")
    pg_repack: bool | None = Field(default=None, alias="pg_repack", description="Deprecated switch.")


class ExtensionStorage(ApiModel):
    """Where archives of custom extensions are."""

    type: Literal["s3", "gcs", "azure"] | None = Field(default=None, description="Kind of object store.")
    bucket: str | None = Field(default=None, description="Name of the bucket.")
    region: str | None = Field(default=None, description="Region of the bucket.")
    endpoint: str | None = Field(default=None, description="Host name of the service.")
    force_path_style: bool | None = Field(
        default=None, description="Name the bucket in the path, not in the host."
    )
    disable_ssl: bool | None = Field(
        default=None, alias="disableSSL", description="Talk to the store without TLS."
    )
    secret: Projection | None = Field(default=None, description="Secret with the credentials.")


class CustomExtension(ApiModel):
    """An extension that the image does not have."""

    name: str | None = Field(default=None, description="Name of the extension.")
    version: str | None = Field(default=None, description="Version of the archive.")
    checksum: str | None = Field(default=None, description="Checksum of the archive.")


class Extensions(ApiModel):
    """Which extensions are installed."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                (
                    "!has(oldSelf.pg_tde) || !has(oldSelf.pg_tde.vault) || !has(oldSelf.pg_tde.enabled) || "
                    "!oldSelf.pg_tde.enabled || has(self.pg_tde.vault)"
                ),
                "pg_tde.vault can be removed after enabled has been false for a while, not together with it",
            )
        )
    )

    pg_stat_monitor: Extension = Field(
        default_factory=Extension, alias="pg_stat_monitor", description="Detailed statistics of queries."
    )
    pg_stat_statements: Extension = Field(
        default_factory=Extension, alias="pg_stat_statements", description="Statistics of queries."
    )
    pg_audit: Extension = Field(
        default_factory=Extension, alias="pg_audit", description="Audit log; on if empty."
    )
    pgvector: Extension = Field(default_factory=Extension, description="Vectors and similarity search.")
    pg_repack: Extension = Field(
        default_factory=Extension, alias="pg_repack", description="Removal of bloat without long locks."
    )
    pg_cron: Extension = Field(
        default_factory=Extension, alias="pg_cron", description="Jobs inside the database."
    )
    set_user: Extension = Field(
        default_factory=Extension, alias="set_user", description="Logged change of role."
    )
    pg_tde: TransparentEncryption = Field(
        default_factory=TransparentEncryption, alias="pg_tde", description="Encryption of data at rest."
    )
    builtin: BuiltinExtensions = Field(
        default_factory=BuiltinExtensions, description="Deprecated form of the switches above."
    )
    image: str | None = Field(default=None, description="Image that installs custom extensions.")
    image_pull_policy: str | None = Field(default=None, description="When that image is pulled.")
    storage: ExtensionStorage | None = Field(
        default=None, description="Where archives of custom extensions are."
    )
    custom: tuple[CustomExtension, ...] = Field(
        default_factory=tuple,
        max_length=limits.EXTENSIONS,
        description="Extensions to install from archives.",
    )

    def enabled(self, query_source: str | None) -> frozenset[str]:
        """Return the enabled extensions; `query_source`: that of PMM, None without PMM."""
        defaults = {
            "pg_stat_monitor": query_source == "pgstatmonitor",
            "pg_stat_statements": query_source == "pgstatstatements",
            "pg_audit": True,
        }
        return frozenset(name for name in SWITCHES if self._switch(name, default=defaults.get(name, False)))

    def _switch(self, name: str, *, default: bool) -> bool:
        """Return the value of one field: the deprecated form wins over the new one, then the default."""
        for value in (getattr(self.builtin, name, None), getattr(self, name).enabled):
            if value is not None:
                return bool(value)
        return default


SWITCHES = (
    "pg_stat_monitor",
    "pg_stat_statements",
    "pg_audit",
    "pgvector",
    "pg_repack",
    "pg_cron",
    "set_user",
)
"""Fields of `spec.extensions` that enable an extension of the image."""
