"""Certificates and accounts that the author of a cluster brings in Secrets of their own.

They are read live, because the watches do not hold Secrets of strangers, checked, and copied into the Secrets
that the pods mount. So what cannot be used never reaches a pod: the last good copy stays where it is.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pgoperator import naming, pki_check
from pgoperator.api.cluster import PGCluster
from pgoperator.api.common import ObjectReference, Projection
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound
from pgoperator.postgres import pgbouncer
from reconcilers.pgcluster.credentials import Data, decode
from reconcilers.pgcluster.problems import Problem

MISSING, INVALID = "TLSSecretsMissing", "TLSSecretsInvalid"
TLS_FILES = ("tls.crt", "tls.key", "ca.crt")
_ROOT_FILES = ("root.crt", "root.key")

Check = Callable[[Data], str | None]


@dataclass(frozen=True, slots=True)
class Files:
    """What a Secret of the author holds, by the names that the operator expects; or why it is of no use."""

    data: Data = field(default_factory=dict)
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Brought:
    """All that the author brings; None where the custom resource names nothing."""

    root: Files | None = None
    server: Files | None = None
    replication: Files | None = None
    pooler: Files | None = None
    accounts: Files | None = None
    trusted: tuple[Files, ...] = ()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What the author must mend."""
        every = (self.root, self.server, self.replication, self.pooler, self.accounts, *self.trusted)
        return tuple(files.problem for files in every if files is not None and files.problem is not None)


def names(cluster: PGCluster) -> Iterator[str]:
    """The Secrets that the custom resource refers to."""
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
    yield from (one.name for one in (*references, *others) if one is not None and one.name)


async def read(ctx: Context, cluster: PGCluster, now: datetime) -> Brought:
    """Read and check everything that the custom resource refers to; one request for each reference."""
    read = _Reader(ctx, cluster.metadata.namespace)
    custom, bouncer = cluster.spec.secrets, cluster.spec.pg_bouncer
    primary = naming.primary(cluster.metadata.name) if bouncer is not None else ""
    # With an authority of the author's, its certificate is what clients trust.
    own_root = bool(custom.custom_root_ca_tls_secret and custom.custom_root_ca_tls_secret.name)
    files = TLS_FILES[:2] if own_root else TLS_FILES
    path = "spec.secrets"
    root, server, replication = await asyncio.gather(
        read.files(
            f"{path}.customRootCATLSSecret",
            custom.custom_root_ca_tls_secret,
            _ROOT_FILES,
            lambda data: pki_check.flaw_of_authority(data["root.crt"], data["root.key"], now),
        ),
        read.files(
            f"{path}.customTLSSecret", custom.custom_tls_secret, files, _pair_check(now, host=primary)
        ),
        read.files(
            f"{path}.customReplicationTLSSecret",
            custom.custom_replication_tls_secret,
            files,
            _pair_check(now, common_name=naming.REPLICATION_USER),
        ),
    )
    brought = Brought(root, server, replication)
    if bouncer is None:
        return brought
    path = "spec.proxy.pgBouncer"
    pooler, accounts, *trusted = await asyncio.gather(
        read.files(
            f"{path}.customTLSSecret",
            bouncer.custom_tls_secret,
            TLS_FILES,
            _pair_check(now, chain=False),
        ),
        read.files(
            f"{path}.usersSecret", _whole(bouncer.users_secret), (), _flaw_of_accounts, reasons=_OF_ACCOUNTS
        ),
        *(
            read.files(
                f"{path}.additionalTrustedCAs[{index}]",
                _whole(one),
                ("ca.crt",),
                lambda data: pki_check.flaw_of_roots(data["ca.crt"]),
            )
            for index, one in enumerate(bouncer.additional_trusted_cas)
        ),
    )
    found = tuple(one for one in trusted if one is not None)
    return Brought(root, server, replication, pooler, accounts, found)


_OF_ACCOUNTS = ("SecretMissing", "SecretInvalid")


def _whole(reference: ObjectReference | None) -> Projection | None:
    return None if reference is None else Projection(name=reference.name)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads Secrets of one namespace."""

    ctx: Context
    namespace: str

    async def files(
        self,
        path: str,
        reference: Projection | None,
        required: tuple[str, ...],
        check: Check,
        *,
        reasons: tuple[str, str] = (MISSING, INVALID),
    ) -> Files | None:
        """What a Secret holds if it has all that is required and passes the check."""
        if reference is None or not reference.name:
            return None
        missing, invalid = reasons
        try:
            secret = decode(await self.ctx.client.get(kinds.SECRET, self.namespace, reference.name))
        except NotFound:
            if reference.optional:
                return None
            where = f"there is no Secret {reference.name!r} in namespace {self.namespace!r}"
            return Files(problem=Problem(missing, f"{path}: {where}"))
        data = _projected(reference, secret)
        absent = [file for file in required if not data.get(file)]
        if absent:
            said = _lacks(reference, absent)
            return Files(problem=Problem(missing, f"{path}: Secret {reference.name!r} {said}"))
        flaw = check(data)
        if flaw is not None:
            return Files(problem=Problem(invalid, f"{path}: Secret {reference.name!r}: {flaw}"))
        return Files(data)


def _projected(reference: Projection, secret: Mapping[str, bytes]) -> dict[str, bytes]:
    """The data under the names that `items` gives the keys; all under their own names without `items`."""
    if not reference.items:
        return dict(secret)
    return {item.path: secret[item.key] for item in reference.items if item.key in secret}


def _lacks(reference: Projection, files: list[str]) -> str:
    """Name the keys of the Secret, which `items` may call otherwise than we do."""
    keys = {item.path: item.key for item in reference.items}
    unnamed = [file for file in files if reference.items and file not in keys]
    if unnamed:
        return f"has no entry in items with the path {', '.join(map(repr, unnamed))}"
    return f"lacks the key {', '.join(repr(keys.get(file, file)) for file in files)}"


def _pair_check(now: datetime, *, common_name: str = "", host: str = "", chain: bool = True) -> Check:
    def check(data: Data) -> str | None:
        cert, key = data["tls.crt"], data["tls.key"]
        flaw = pki_check.flaw_of_leaf(cert, key, now, common_name=common_name, host=host)
        roots = data.get("ca.crt")
        if flaw is not None or roots is None:
            return flaw
        return pki_check.flaw_of_trust(cert, roots) if chain else pki_check.flaw_of_roots(roots)

    return check


def _flaw_of_accounts(data: Data) -> str | None:
    try:
        pgbouncer.users_txt({}, {name: password.decode() for name, password in data.items()})
    except UnicodeDecodeError:
        return "a password is not UTF-8"
    except InvalidSpec as error:
        return str(error)
    return None
