"""Certificates of a cluster."""

from typing import Literal

from pydantic import Field

from pgoperator.api.base import ApiModel
from pgoperator.api.common import Projection


class CustomSecrets(ApiModel):
    """Certificates of the user in place of generated ones."""

    custom_root_ca_tls_secret: Projection | None = Field(
        default=None,
        alias="customRootCATLSSecret",
        description="Secret with `root.crt` and `root.key`, the authority that signs generated certificates.",
    )
    custom_tls_secret: Projection | None = Field(
        default=None,
        alias="customTLSSecret",
        description="Secret with `tls.crt`, `tls.key` and `ca.crt` for the PostgreSQL server.",
    )
    custom_replication_tls_secret: Projection | None = Field(
        default=None,
        alias="customReplicationTLSSecret",
        description="Secret with `tls.crt`, `tls.key` and `ca.crt` for the user `_crunchyrepl`.",
    )


class Issuer(ApiModel):
    """An issuer of cert-manager."""

    name: str = Field(description="Name of the issuer.")
    kind: str | None = Field(default=None, description="Kind of the issuer: Issuer or ClusterIssuer.")
    group: str | None = Field(default=None, description="API group of the issuer.")


class TLS(ApiModel):
    """Who makes the certificates, and for how long they hold."""

    cert_management_policy: Literal["auto", "userProvidedOnly", "operatorProvidedOnly"] = Field(
        default="auto", description="Whether certificates come from cert-manager, the user or the operator."
    )
    cert_validity_duration: str | None = Field(
        default=None, description="How long server and client certificates hold, for example `2160h`."
    )
    ca_validity_duration: str | None = Field(
        default=None, description="How long the authority's certificate holds."
    )
    pgbackrest_cert_validity_duration: str | None = Field(
        default=None,
        alias="pgBackRestCertValidityDuration",
        description="How long pgBackRest's certificates hold.",
    )
    issuer_conf: Issuer | None = Field(default=None, description="Issuer of cert-manager to use.")
