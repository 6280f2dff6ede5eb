"""The conditions of certificates, and of passwords outside of Secrets. Pure."""

import re
from collections.abc import Iterator
from typing import Any

from pgoperator.api.cluster import PGClusterSpec
from reconcilers.pgcluster.state.findings import Finding, Problem
from reconcilers.pgcluster.state.view import View

TLS = "TLSSecrets"
"""Prefix of the reasons that concern certificates."""
READY = "TLSSecretsReady"
_OPTIONS = re.compile(r"repo\d*-(cipher-pass|s3-key-secret|s3-token|azure-key|sftp-private-key-passphrase)")
_METHODS = ("ldapbindpasswd", "radiussecrets")
"""Options of authentication methods that are passwords."""


def conditions(view: View) -> list[Finding]:
    """The condition `TLSSecretsReady`; while it is false, the last valid certificates stay in use."""
    if not view.secrets:
        return []
    bad = [problem for problem in view.unusable if problem.reason.startswith(TLS)]
    if bad:
        message = "; ".join(problem.message for problem in bad)
        return [Finding(READY, False, bad[0].reason, message)]
    policy = view.cluster.spec.tls.cert_management_policy
    return [Finding(READY, True, "TLSSecretsFound", f"certManagementPolicy is {policy}")]


def refused(problem: Problem) -> list[Finding]:
    """The condition when a problem with certificates stops the reconciliation; none for other problems."""
    if not problem.reason.startswith(TLS):
        return []
    return [Finding(READY, False, problem.reason, problem.message)]


def plain_text(view: View) -> list[Finding]:
    """The condition `SecretsInPlainText`: passwords in the spec, and so in ConfigMaps and Endpoints."""
    if not (paths := [*_plain_text(view.cluster.spec)]):
        return []
    message = (
        f"passwords that everybody can read who may read this object or ConfigMaps: {', '.join(paths)}; move "
        "them into a Secret, and change them"
    )
    return [Finding("SecretsInPlainText", True, "PasswordsInSpec", message)]


def _plain_text(spec: PGClusterSpec) -> Iterator[str]:
    for name in sorted(spec.backups.pgbackrest.global_options):
        if _OPTIONS.fullmatch(name):
            yield f"spec.backups.pgbackrest.global.{name}"
    for i, rule in enumerate(spec.authentication.rules):
        if _has_password(rule.hba) or any(name in rule.options for name in _METHODS):
            yield f"spec.authentication.rules[{i}]"
    postgresql = spec.patroni.dynamic_configuration.get("postgresql")
    lines = postgresql.get("pg_hba") if isinstance(postgresql, dict) else None
    for i, line in enumerate(lines if isinstance(lines, list) else ()):
        if _has_password(line):
            yield f"spec.patroni.dynamicConfiguration.postgresql.pg_hba[{i}]"


def _has_password(line: Any) -> bool:
    return any(name in str(line or "") for name in _METHODS)
