"""The Secrets of a cluster, completed: every one that the pods mount or the database needs."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pgoperator import labels, naming, pki, pki_check
from pgoperator.api.cluster import PGCluster
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster import certificates, credentials, users
from reconcilers.pgcluster.brought import Brought, Files, read
from reconcilers.pgcluster.certificates import Issuer, Lives, Names
from reconcilers.pgcluster.credentials import Data, Wanted
from reconcilers.pgcluster.problems import Problem
from reconcilers.pgcluster.view import Planned

SERVER = {labels.CERTIFICATE: "postgres-tls"}
REPLICATION = {labels.CERTIFICATE: "replication-client-tls"}


@dataclass(frozen=True, slots=True)
class Secrets:
    """The Secrets of a cluster after they were completed."""

    data: Mapping[str, Data]
    by_user: Mapping[str, str]
    """The name of the Secret of each user."""
    problems: tuple[Problem, ...] = ()
    """What the author brings and what cannot be used."""


async def complete(
    ctx: Context, cluster: PGCluster, names: Names, planned: Sequence[Planned], now: datetime
) -> Secrets:
    """Read what the author brings; make and write what is missing."""
    brought = await read(ctx, cluster, now)
    lives = Lives.of(cluster.spec.tls)
    found: dict[str, Data] = {}
    ca = None
    if cluster.spec.tls.cert_management_policy != "userProvidedOnly":
        metadata, want = _authority(cluster, brought.root, lives, now)
        found[metadata["name"]] = root = await credentials.ensure(ctx, metadata, want)
        ca = pki.Pair(root["root.crt"], root["root.key"])
    by_user = secrets_of_users(cluster)
    every = wanted(cluster, Issuer(ca, names, now, lives), planned, brought)
    answers = await asyncio.gather(
        *(credentials.ensure(ctx, meta, want) for meta, want in every), return_exceptions=True
    )
    for (meta, _), answer in zip(every, _refused_together(answers), strict=True):
        found[meta["name"]] = answer
    theirs = certificates.flaws(found, now) if ca is None else ()
    found |= await _of_pmm(ctx, cluster)
    return Secrets(found, by_user, (*brought.problems, *theirs))


def _refused_together(answers: Sequence[Data | BaseException]) -> list[Data]:
    """The answers; what the author must mend in all Secrets is one error, so that it is mended at once."""
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    refusals = [error for error in errors if isinstance(error, InvalidSpec)]
    if len(refusals) < len(errors):
        raise next(error for error in errors if not isinstance(error, InvalidSpec))
    if refusals:
        raise InvalidSpec("; ".join(map(str, refusals)), reason=refusals[0].reason)
    return [answer for answer in answers if not isinstance(answer, BaseException)]


def _authority(
    cluster: PGCluster, files: Files | None, lives: Lives, now: datetime
) -> tuple[Manifest, Wanted]:
    """The authority that signs: the cluster's own, or a copy of the author's beside it."""
    name = cluster.metadata.name
    if files is None:
        metadata = _metadata(cluster, naming.cluster_ca(name), {})
        return metadata, lambda old: certificates.certificate_authority(old, name, now, lives.authority)

    def wanted(old: Data) -> dict[str, bytes]:
        if files.problem is None:
            return {key: files.data[key] for key in ("root.crt", "root.key")}
        if old.get("root.crt") and old.get("root.key"):
            return dict(old)
        raise InvalidSpec(files.problem.message, reason=files.problem.reason)

    return _metadata(cluster, naming.custom_ca(name), {}), wanted


async def _of_pmm(ctx: Context, cluster: PGCluster) -> dict[str, Data]:
    """The author's Secret for PMM, if it is there."""
    pmm = cluster.spec.pmm
    if pmm is None or not pmm.enabled or not pmm.secret:
        return {}
    try:
        secret = await ctx.client.get(kinds.SECRET, cluster.metadata.namespace, pmm.secret)
    except NotFound:
        return {}
    return {pmm.secret: credentials.decode(secret)}


def secrets_of_users(cluster: PGCluster) -> dict[str, str]:
    """The name of the Secret of each user."""
    name = cluster.metadata.name
    return {u.name: u.secret_name or naming.user_secret(name, u.name) for u in users.effective(cluster)}


def ends(secrets: Mapping[str, Data]) -> dict[str, float]:
    """By name of a Secret with certificates: when the first of them ends, in seconds of the epoch."""
    found = {name: pki.first_end(data.values()) for name, data in secrets.items()}
    return {name: end.timestamp() for name, end in found.items() if end}


def wanted(
    cluster: PGCluster, issuer: Issuer, planned: Sequence[Planned], brought: Brought
) -> list[tuple[Manifest, Wanted]]:
    """Metadata and data of every Secret but that of the authority; each has a name of its own."""
    name = cluster.metadata.name
    result = _certificates(cluster, issuer, planned, brought)
    result += _users(cluster, secrets_of_users(cluster))
    uses = Counter(
        [naming.cluster_ca(name), naming.custom_ca(name), *(metadata["name"] for metadata, _ in result)]
    )
    if shared := [name for name, count in uses.items() if count > 1]:
        raise InvalidSpec(
            f"spec.users: the Secret {shared[0]!r} has another use in this cluster; give each user a "
            "secretName of its own",
            reason="InvalidUser",
        )
    return result


def expected(cluster: PGCluster, planned: Sequence[Planned]) -> set[str]:
    """The Secrets that the author makes and the operator waits for."""
    if cluster.spec.tls.cert_management_policy != "userProvidedOnly":
        return set()
    name = cluster.metadata.name
    others = {naming.cluster_certificate(name), naming.replication_certificate(name)}
    others |= {naming.pgbackrest(name), naming.pgbouncer(name)}
    return others | {naming.instance_certificates(one.name) for one in planned}


def _certificates(
    cluster: PGCluster, issuer: Issuer, planned: Sequence[Planned], brought: Brought
) -> list[tuple[Manifest, Wanted]]:
    name, backups = cluster.metadata.name, cluster.spec.backups.enabled
    roots = _trusted(issuer, brought)
    result = [
        (
            _metadata(cluster, naming.cluster_certificate(name), SERVER),
            certificates.server_certificate(issuer, brought.server, roots),
        ),
        (
            _metadata(cluster, naming.replication_certificate(name), REPLICATION),
            certificates.replication_certificate(issuer, brought.replication, roots),
        ),
    ]
    for one in planned:
        own = labels.instance(name, one.set_name, one.name)
        metadata = _metadata(cluster, naming.instance_certificates(one.name), own)
        result.append((metadata, certificates.instance_certificates(issuer, one.name, backups=backups)))
    if backups:
        metadata = _metadata(cluster, naming.pgbackrest(name), {labels.PGBACKREST: ""})
        result.append((metadata, certificates.pgbackrest_certificates(issuer, cluster.metadata.uid)))
    if cluster.spec.pg_bouncer is not None:
        own = {labels.ROLE: labels.ROLE_PGBOUNCER}
        result.append((_metadata(cluster, naming.pgbouncer(name), own), _pooler(issuer, brought)))
    return result


def _trusted(issuer: Issuer, brought: Brought) -> bytes | None:
    """Whom the server and its replicas trust: who signed either; None while that is not known."""
    root = brought.root.data.get("root.crt") if brought.root is not None else None
    own = issuer.ca.cert if issuer.ca is not None else root
    sides = []
    for files in (brought.server, brought.replication):
        if files is not None and files.problem is not None:
            return None
        signed_by = own if files is None else files.data.get("ca.crt") or own
        if signed_by is None or (files is None and issuer.ca is None):
            return None
        sides.append(signed_by)
    return pki_check.joined(*sides)


def _pooler(issuer: Issuer, brought: Brought) -> Wanted:
    """Accounts and certificate of pgBouncer, which share a Secret."""
    files = brought.accounts
    extra = {key: value.decode() for key, value in files.data.items()} if files is not None else {}
    unknown = files is not None and files.problem is not None
    accounts = credentials.pooler_accounts(issuer.names.cluster, extra, keep=unknown)
    front = certificates.pooler_certificate(issuer, brought.pooler, brought.trusted)
    return lambda old: front(accounts(old))


def _users(cluster: PGCluster, by_user: Mapping[str, str]) -> list[tuple[Manifest, Wanted]]:
    name = cluster.metadata.name
    return [
        (
            _metadata(cluster, by_user[user.name], labels.pguser(name, user.name), component="pg")
            | {"annotations": {labels.GENERATED: "true"}},
            credentials.user_secret(cluster, user),
        )
        for user in users.effective(cluster)
    ]


def _metadata(
    cluster: PGCluster, name: str, own: Mapping[str, str], *, component: str | None = None
) -> Manifest:
    """Name, namespace and labels of a Secret; no owner, so that it outlives the custom resource."""
    extra = labels.of_user(cluster.spec.metadata.labels)
    recommended = labels.recommended(cluster.metadata.name, component) if component is not None else {}
    return {
        "name": name,
        "namespace": cluster.metadata.namespace,
        "labels": extra | recommended | labels.of_cluster(cluster.metadata.name) | dict(own),
    }
