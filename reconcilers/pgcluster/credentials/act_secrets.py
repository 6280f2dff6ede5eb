"""Act: create and complete the Secrets that the pods mount and the database needs."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from pgoperator import labels, naming, pki, pki_check
from pgoperator.api.cluster import PGCluster
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound
from pgoperator.kube.manifest import Manifest, files_of
from reconcilers.pgcluster.credentials import (
    act_write_secret,
    build_borrowed,
    build_certificates,
    build_passwords,
)
from reconcilers.pgcluster.credentials.build_certificates import Issuer, Names
from reconcilers.pgcluster.credentials.build_passwords import Data, DesiredData
from reconcilers.pgcluster.credentials.decide_lifetimes import CertificateLifetimes
from reconcilers.pgcluster.credentials.read_user_secrets import LoadedSecret, UserSupplied, read
from reconcilers.pgcluster.database import decide_users
from reconcilers.pgcluster.state.findings import Problem
from reconcilers.pgcluster.state.view import Planned

SERVER = {labels.CERTIFICATE: "postgres-tls"}
REPLICATION = {labels.CERTIFICATE: "replication-client-tls"}


@dataclass(frozen=True, slots=True)
class Secrets:
    """The Secrets of a cluster after they were completed."""

    data: Mapping[str, Data]
    by_user: Mapping[str, str]
    """Name of a database user -> name of the user's Secret."""
    problems: tuple[Problem, ...] = ()
    """Flaws of the Secrets that the user provides."""


async def complete(
    ctx: Context,
    cluster: PGCluster,
    names: Names,
    planned: Sequence[Planned],
    now: datetime,
    *,
    backups_enabled: bool,
    version: str = "",
) -> Secrets:
    """Read the Secrets of the user, and create or update those of the operator.

    InvalidSpec when a Secret cannot be completed; all such causes are reported together.
    """
    provided = await read(ctx, cluster, now)
    lives = CertificateLifetimes.of(cluster.spec.tls)
    data: dict[str, Data] = {}
    ca, broken = None, None
    if cluster.spec.tls.cert_management_policy != "userProvidedOnly":
        metadata, desired = _authority(cluster, provided.root, lives, now)
        try:
            data[metadata["name"]] = root = await act_write_secret.ensure(ctx, metadata, desired)
            ca = pki.Pair(root["root.crt"], root["root.key"])
        except InvalidSpec as error:
            # Existing certificates stay in use; only a missing certificate needs the CA.
            broken = error
    issuer = Issuer(ca, names, now, lives)
    secrets = desired_secrets(
        cluster, issuer, planned, provided, backups_enabled=backups_enabled, version=version
    )
    borrowed = build_borrowed.of(cluster)
    results = await asyncio.gather(
        *(
            act_write_secret.ensure(ctx, metadata, desired, borrowed=borrowed.get(metadata["name"]))
            for metadata, desired in secrets
        ),
        return_exceptions=True,
    )
    invalid, fatal = _shared(cluster, secrets), list[BaseException]()
    for (metadata, _), result in zip(secrets, results, strict=True):
        user = metadata["labels"].get(labels.PGUSER, naming.MONITOR_USER)
        if isinstance(result, InvalidSpec) and user != naming.MONITOR_USER:
            # The role keeps its password; the Secrets of all other users are completed.
            invalid.append(Problem(result.reason, f"user {user!r}: {result}"))
        elif isinstance(result, InvalidSpec) and broken is not None:
            raise broken
        elif isinstance(result, BaseException):
            fatal.append(result)
        else:
            data[metadata["name"]] = result
    _raise_together(fatal)
    flaws = build_certificates.flaws(data, now) if ca is None else ()
    data |= await _of_pmm(ctx, cluster)
    lost = (Problem(broken.reason, str(broken)),) if broken is not None else ()
    return Secrets(data, secrets_of_users(cluster), (*lost, *provided.problems, *flaws, *invalid))


def _raise_together(errors: Sequence[BaseException]) -> None:
    """Raise all refusals as one InvalidSpec, so that the user can fix all Secrets at once.

    Any other error is raised before them.
    """
    refusals = [error for error in errors if isinstance(error, InvalidSpec)]
    if len(refusals) < len(errors):
        raise next(error for error in errors if not isinstance(error, InvalidSpec))
    if refusals:
        raise InvalidSpec("; ".join(map(str, refusals)), reason=refusals[0].reason)


def _authority(
    cluster: PGCluster, provided: LoadedSecret | None, lives: CertificateLifetimes, now: datetime
) -> tuple[Manifest, DesiredData]:
    """The Secret of the CA that signs: the cluster's own CA, or a copy of the CA that the user provides."""
    name = cluster.metadata.name
    if provided is None:
        metadata = _metadata(cluster, naming.cluster_ca(name), {})
        return metadata, lambda old: build_certificates.certificate_authority(old, name, now, lives.authority)
    return _metadata(cluster, naming.custom_ca(name), {}), partial(_copied_authority, provided)


def _copied_authority(provided: LoadedSecret, old: Data) -> dict[str, bytes]:
    """The user's CA; while it is invalid, the last valid copy."""
    if provided.problem is None:
        return {key: provided.data[key] for key in ("root.crt", "root.key")}
    if old.get("root.crt") and old.get("root.key"):
        return dict(old)
    raise InvalidSpec(provided.problem.message, reason=provided.problem.reason)


async def _of_pmm(ctx: Context, cluster: PGCluster) -> dict[str, Data]:
    """The Secret of `spec.pmm.secret` by its name, if it exists."""
    pmm = cluster.spec.pmm
    if pmm is None or not pmm.enabled or not pmm.secret:
        return {}
    try:
        secret = await ctx.client.get(kinds.SECRET, cluster.metadata.namespace, pmm.secret)
    except NotFound:
        return {}
    return {pmm.secret: files_of(secret)}


def secrets_of_users(cluster: PGCluster) -> dict[str, str]:
    """Name of a database user -> name of the user's Secret."""
    name = cluster.metadata.name
    return {
        u.name: u.secret_name or naming.user_secret(name, u.name) for u in decide_users.effective(cluster)
    }


def ends(secrets: Mapping[str, Data]) -> dict[str, float]:
    """Name of each Secret with certificates -> when the first of them expires, in seconds since the epoch."""
    expirations = {name: pki_check.earliest_expiry(data.values()) for name, data in secrets.items()}
    return {name: end.timestamp() for name, end in expirations.items() if end}


def desired_secrets(
    cluster: PGCluster,
    issuer: Issuer,
    planned: Sequence[Planned],
    provided: UserSupplied,
    *,
    backups_enabled: bool,
    version: str = "",
) -> list[tuple[Manifest, DesiredData]]:
    """Metadata and data of every Secret except that of the CA.

    A user whose Secret has another use in the cluster is left out. `version`: the cluster's `crVersion`, for
    Secrets of one component.
    """
    name, by_user = cluster.metadata.name, secrets_of_users(cluster)
    result = _certificates(cluster, issuer, planned, provided, backups_enabled=backups_enabled)
    for metadata, _ in result:
        if version and labels.CERTIFICATE not in metadata["labels"]:
            metadata["labels"][labels.VERSION] = version
    # The operator's own user keeps its Secret.
    fixed = [naming.cluster_ca(name), naming.custom_ca(name), *(metadata["name"] for metadata, _ in result)]
    fixed += [secret for user, secret in by_user.items() if user == naming.MONITOR_USER]
    uses = Counter([*fixed, *(secret for user, secret in by_user.items() if user != naming.MONITOR_USER)])
    return result + [
        (metadata, desired)
        for metadata, desired in _users(cluster, by_user, _signers(issuer, provided))
        if uses[metadata["name"]] == 1 or metadata["labels"][labels.PGUSER] == naming.MONITOR_USER
    ]


def _shared(cluster: PGCluster, secrets: Sequence[tuple[Manifest, DesiredData]]) -> list[Problem]:
    """Users that `desired_secrets` left out."""
    included = {metadata["labels"].get(labels.PGUSER) for metadata, _ in secrets}
    text = "is already used in this cluster; give each user a secretName of its own"
    return [
        Problem("InvalidUser", f"spec.users, user {user!r}: the Secret {secret!r} {text}")
        for user, secret in secrets_of_users(cluster).items()
        if user not in included
    ]


def expected(cluster: PGCluster, planned: Sequence[Planned]) -> set[str]:
    """Names of the Secrets that the user must create, with `certManagementPolicy: userProvidedOnly`."""
    if cluster.spec.tls.cert_management_policy != "userProvidedOnly":
        return set()
    name = cluster.metadata.name
    names = {naming.cluster_certificate(name), naming.replication_certificate(name)}
    names |= {naming.pgbackrest(name), naming.pgbouncer(name)}
    return names | {naming.instance_certificates(instance.name) for instance in planned}


def _certificates(
    cluster: PGCluster,
    issuer: Issuer,
    planned: Sequence[Planned],
    provided: UserSupplied,
    *,
    backups_enabled: bool,
) -> list[tuple[Manifest, DesiredData]]:
    name = cluster.metadata.name
    # Apart: a client certificate of the CA that signed the server's must not open the databases.
    of_server, of_clients = (
        _signer(issuer, provided, one) for one in (provided.server, provided.replication)
    )
    result = [
        (
            _metadata(cluster, naming.cluster_certificate(name), SERVER),
            build_certificates.server_certificate(issuer, provided.server, of_server),
        ),
        (
            _metadata(cluster, naming.replication_certificate(name), REPLICATION),
            build_certificates.replication_certificate(issuer, provided.replication, of_clients),
        ),
    ]
    for instance in planned:
        own = labels.instance(name, instance.set_name, instance.name)
        metadata = _metadata(cluster, naming.instance_certificates(instance.name), own)
        desired = build_certificates.instance_certificates(issuer, instance.name, backups=backups_enabled)
        result.append((metadata, desired))
    if backups_enabled:
        metadata = _metadata(
            cluster, naming.pgbackrest(name), {labels.PGBACKREST: "", labels.PGBACKREST_CONFIG: ""}
        )
        result.append((metadata, build_certificates.pgbackrest_certificates(issuer, cluster.metadata.uid)))
    if cluster.spec.pg_bouncer is not None:
        own = {labels.ROLE: labels.ROLE_PGBOUNCER}
        metadata = _metadata(cluster, naming.pgbouncer(name), own, component="pgbouncer")
        result.append((metadata, _pooler(issuer, provided)))
    return result


def _signers(issuer: Issuer, provided: UserSupplied) -> bytes | None:
    """The CAs that signed the server's certificate and pgBouncer's; None while they are not known."""
    server, pooler = (_signer(issuer, provided, one) for one in (provided.server, provided.pooler))
    return pki_check.merge(server, pooler) if server is not None and pooler is not None else None


def _signer(issuer: Issuer, provided: UserSupplied, secret: LoadedSecret | None) -> bytes | None:
    """The CA that signed a certificate; None while it is not known: a Secret is invalid or still missing."""
    if secret is None:
        return issuer.ca.cert if issuer.ca is not None else None
    if secret.problem is not None:
        return None
    root = provided.root.data.get("root.crt") if provided.root is not None else None
    return secret.data.get("ca.crt") or (issuer.ca.cert if issuer.ca is not None else root)


def _pooler(issuer: Issuer, provided: UserSupplied) -> DesiredData:
    """Accounts and certificate of pgBouncer, which share a Secret."""
    secret = provided.accounts
    extra = {key: value.decode() for key, value in secret.data.items()} if secret is not None else {}
    unknown = secret is not None and secret.problem is not None
    accounts = build_passwords.pooler_accounts(issuer.names.cluster, extra, keep=unknown)
    certificate = build_certificates.pooler_certificate(issuer, provided.pooler, provided.trusted)
    return lambda old: certificate(accounts(old))


def _users(
    cluster: PGCluster, by_user: Mapping[str, str], authorities: bytes | None
) -> list[tuple[Manifest, DesiredData]]:
    name = cluster.metadata.name
    return [
        (
            _metadata(cluster, by_user[user.name], labels.pguser(name, user.name))
            | {"annotations": {labels.GENERATED: "true"}},
            build_passwords.user_secret(cluster, user, authorities),
        )
        for user in decide_users.effective(cluster)
    ]


def _metadata(cluster: PGCluster, name: str, own: Mapping[str, str], *, component: str = "") -> Manifest:
    """Name, namespace and labels of a Secret. It has no owner, so that it outlives the custom resource."""
    extra = labels.of_user(cluster.spec.metadata.labels)
    recommended = labels.recommended(cluster.metadata.name, component)
    return {
        "name": name,
        "namespace": cluster.metadata.namespace,
        "labels": extra | recommended | labels.of_cluster(cluster.metadata.name) | dict(own),
    }
