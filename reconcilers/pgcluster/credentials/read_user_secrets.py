"""Read: certificates and pgBouncer accounts that the user provides in Secrets.

Secrets without our label are not cached, so they are read live. They are checked, and copied into the Secrets
that the pods mount. An invalid Secret never reaches a pod: the last valid copy stays in use.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from pgoperator import naming, pki_check
from pgoperator.api.cluster import PGCluster
from pgoperator.api.common import ObjectReference, Projection
from pgoperator.api.pooling import PgBouncer
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound
from pgoperator.kube.manifest import files_of
from pgoperator.postgres import pgbouncer
from reconcilers.pgcluster.credentials.build_passwords import Data
from reconcilers.pgcluster.state.findings import Problem

MISSING, INVALID = "TLSSecretsMissing", "TLSSecretsInvalid"
TLS_FILES = ("tls.crt", "tls.key", "ca.crt")
_ROOT_FILES = ("root.crt", "root.key")

Check = Callable[[Data], str | None]


@dataclass(frozen=True, slots=True)
class LoadedSecret:
    """The data of a Secret of the user, under the keys that the operator expects, or why it is invalid."""

    data: Data = field(default_factory=dict)
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class UserSupplied:
    """The Secrets that the user provides; None where the spec names none."""

    root: LoadedSecret | None = None
    server: LoadedSecret | None = None
    replication: LoadedSecret | None = None
    pooler: LoadedSecret | None = None
    accounts: LoadedSecret | None = None
    trusted: tuple[LoadedSecret, ...] = ()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The flaws that the user must fix."""
        every = (self.root, self.server, self.replication, self.pooler, self.accounts, *self.trusted)
        return tuple(secret.problem for secret in every if secret is not None and secret.problem is not None)


def names(cluster: PGCluster) -> Iterator[str]:
    """The names of the Secrets with certificates and accounts that the spec refers to."""
    custom, bouncer = cluster.spec.secrets, cluster.spec.pg_bouncer
    references = [
        custom.custom_root_ca_tls_secret,
        custom.custom_tls_secret,
        custom.custom_replication_tls_secret,
    ]
    others: list[ObjectReference | None] = []
    if bouncer is not None:
        references.append(bouncer.custom_tls_secret)
        others = [bouncer.users_secret, *bouncer.additional_trusted_cas]
    yield from (ref.name for ref in (*references, *others) if ref is not None and ref.name)


async def read(ctx: Context, cluster: PGCluster, now: datetime) -> UserSupplied:
    """Read and check every Secret that the spec refers to; one request for each reference."""
    reader = _Reader(ctx, cluster.metadata.namespace)
    provided = await _read_server_secrets(reader, cluster, now)
    if cluster.spec.pg_bouncer is None:
        return provided
    return await _read_pooler_secrets(reader, cluster.spec.pg_bouncer, provided, now)


async def _read_server_secrets(reader: "_Reader", cluster: PGCluster, now: datetime) -> UserSupplied:
    """The Secrets of `spec.secrets`."""
    custom = cluster.spec.secrets
    # pgBouncer verifies the primary's certificate by the name of its Service.
    host = naming.primary(cluster.metadata.name) if cluster.spec.pg_bouncer is not None else ""
    # With a CA of the user, clients trust its certificate: `ca.crt` is not needed.
    has_root = bool(custom.custom_root_ca_tls_secret and custom.custom_root_ca_tls_secret.name)
    required = TLS_FILES[:2] if has_root else TLS_FILES
    root = reader.load(
        "spec.secrets.customRootCATLSSecret",
        custom.custom_root_ca_tls_secret,
        _ROOT_FILES,
        _authority_check(now),
    )
    server = reader.load(
        "spec.secrets.customTLSSecret",
        custom.custom_tls_secret,
        required,
        _pair_check(now, host=host),
    )
    replication = reader.load(
        "spec.secrets.customReplicationTLSSecret",
        custom.custom_replication_tls_secret,
        required,
        _pair_check(now, common_name=naming.REPLICATION_USER),
    )
    return UserSupplied(*await asyncio.gather(root, server, replication))


async def _read_pooler_secrets(
    reader: "_Reader", bouncer: PgBouncer, provided: UserSupplied, now: datetime
) -> UserSupplied:
    """Add the Secrets of `spec.proxy.pgBouncer` to those that were read."""
    path = "spec.proxy.pgBouncer"
    certificate = reader.load(
        f"{path}.customTLSSecret", bouncer.custom_tls_secret, TLS_FILES, _pair_check(now, chain=False)
    )
    accounts = reader.load(
        f"{path}.usersSecret",
        _whole(bouncer.users_secret),
        (),
        _accounts_flaw,
        reasons=("SecretMissing", "SecretInvalid"),
    )
    trusted = [
        reader.load(f"{path}.additionalTrustedCAs[{index}]", _whole(reference), ("ca.crt",), _bundle_flaw)
        for index, reference in enumerate(bouncer.additional_trusted_cas)
    ]
    pooler, users, *authorities = await asyncio.gather(certificate, accounts, *trusted)
    return replace(
        provided,
        pooler=pooler,
        accounts=users,
        trusted=tuple(secret for secret in authorities if secret is not None),
    )


def _whole(reference: ObjectReference | None) -> Projection | None:
    return None if reference is None else Projection(name=reference.name)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads Secrets of one namespace."""

    ctx: Context
    namespace: str

    async def load(
        self,
        path: str,
        reference: Projection | None,
        required: tuple[str, ...],
        check: Check,
        *,
        reasons: tuple[str, str] = (MISSING, INVALID),
    ) -> LoadedSecret | None:
        """Load a Secret that has all required keys and passes the check, else its problem.

        None without a reference, and for an optional Secret that does not exist. `path` is the field of the
        spec; `reasons` are those of a missing and of an invalid Secret.
        """
        if reference is None or not reference.name:
            return None
        missing, invalid = reasons
        try:
            secret = files_of(await self.ctx.client.get(kinds.SECRET, self.namespace, reference.name))
        except NotFound:
            if reference.optional:
                return None
            flaw = f"Secret {reference.name!r} does not exist in namespace {self.namespace!r}"
            return LoadedSecret(problem=Problem(missing, f"{path}: {flaw}"))
        data = _projected(reference, secret)
        if absent := [file for file in required if not data.get(file)]:
            flaw = f"Secret {reference.name!r} {_lacks(reference, absent)}"
            return LoadedSecret(problem=Problem(missing, f"{path}: {flaw}"))
        try:
            cause = check(data)
        except Exception as error:  # noqa: BLE001 - any exception of a library is a flaw of the content
            cause = f"the content cannot be read ({type(error).__name__})"
        if cause is not None:
            return LoadedSecret(problem=Problem(invalid, f"{path}: Secret {reference.name!r}: {cause}"))
        return LoadedSecret(data)


def _projected(reference: Projection, secret: Mapping[str, bytes]) -> dict[str, bytes]:
    """The data under the paths of `items`; without `items`, all data under their own keys."""
    if not reference.items:
        return dict(secret)
    return {item.path: secret[item.key] for item in reference.items if item.key in secret}


def _lacks(reference: Projection, files: list[str]) -> str:
    """Name the missing keys as they are called in the Secret, which `items` may map to other names."""
    keys = {item.path: item.key for item in reference.items}
    unnamed = [file for file in files if reference.items and file not in keys]
    if unnamed:
        return f"has no entry in items with the path {', '.join(map(repr, unnamed))}"
    return f"lacks the key {', '.join(repr(keys.get(file, file)) for file in files)}"


def _authority_check(now: datetime) -> Check:
    return lambda data: pki_check.ca_problem(data["root.crt"], data["root.key"], now)


def _bundle_flaw(data: Data) -> str | None:
    return pki_check.bundle_problem(data["ca.crt"])


def _pair_check(now: datetime, *, common_name: str = "", host: str = "", chain: bool = True) -> Check:
    def check(data: Data) -> str | None:
        cert, key = data["tls.crt"], data["tls.key"]
        flaw = pki_check.leaf_problem(cert, key, now, common_name=common_name, host=host)
        roots = data.get("ca.crt")
        if flaw is not None or roots is None:
            return flaw
        return pki_check.chain_problem(cert, roots, now) if chain else pki_check.bundle_problem(roots)

    return check


def _accounts_flaw(data: Data) -> str | None:
    try:
        pgbouncer.users_txt({}, {name: password.decode() for name, password in data.items()})
    except UnicodeDecodeError:
        return "a password is not UTF-8"
    except InvalidSpec as error:
        return str(error)
    return None
