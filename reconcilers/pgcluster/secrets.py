"""The Secrets of a cluster, completed: every one that the pods mount or the database needs."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from pgoperator import labels, naming, pki
from pgoperator.api.cluster import PGCluster
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound
from pgoperator.kube.manifest import Manifest, labels_of
from reconcilers.pgcluster import credentials, users
from reconcilers.pgcluster.credentials import Data, Names, Wanted
from reconcilers.pgcluster.view import Planned

SERVER = {labels.CERTIFICATE: "postgres-tls"}
REPLICATION = {labels.CERTIFICATE: "replication-client-tls"}


async def complete(
    ctx: Context, cluster: PGCluster, names: Names, planned: Sequence[Planned], now: datetime
) -> tuple[Mapping[str, Data], Mapping[str, str]]:
    """All Secrets by name, and the name of each user's Secret; what is missing is made and written first."""
    name = cluster.metadata.name
    authority = naming.cluster_ca(name)
    metadata = _metadata(cluster, authority, {})
    root = await credentials.ensure(
        ctx, metadata, lambda old: credentials.certificate_authority(old, name, now)
    )
    ca = pki.Pair(root["root.crt"], root["root.key"])
    by_user = secrets_of_users(cluster)
    every = wanted(cluster, ca, names, planned, now)
    data = await asyncio.gather(*(credentials.ensure(ctx, meta, want) for meta, want in every))
    found = {meta["name"]: one for (meta, _), one in zip(every, data, strict=True)}
    return await _of_pmm(ctx, cluster) | found | {authority: root}, by_user


async def _of_pmm(ctx: Context, cluster: PGCluster) -> dict[str, Data]:
    """The user's Secret for PMM, if it is there; labelled, so that a change of it wakes the cluster."""
    pmm = cluster.spec.pmm
    if pmm is None or not pmm.enabled or not pmm.secret:
        return {}
    where = kinds.SECRET, cluster.metadata.namespace, pmm.secret
    secret = ctx.store.get(*where)
    if secret is None:
        try:
            secret = await ctx.client.get(*where)
        except NotFound:
            return {}
        # One that serves several clusters wakes the first of them; the others see its change at their resync.
        if labels.CLUSTER not in labels_of(secret):
            ours = labels.of_cluster(cluster.metadata.name) | {labels.PMM_SECRET: "true"}
            await ctx.client.merge_patch(*where, {"metadata": {"labels": ours}})
    return {pmm.secret: credentials.decode(secret)}


def secrets_of_users(cluster: PGCluster) -> dict[str, str]:
    """The name of the Secret of each user."""
    name = cluster.metadata.name
    return {u.name: u.secret_name or naming.user_secret(name, u.name) for u in users.effective(cluster)}


def wanted(
    cluster: PGCluster, ca: pki.Pair, names: Names, planned: Sequence[Planned], now: datetime
) -> list[tuple[Manifest, Wanted]]:
    """Metadata and data of every Secret but that of the authority; each has a name of its own."""
    result = _certificates(cluster, ca, names, planned, now)
    result += _users(cluster, secrets_of_users(cluster))
    uses = Counter([naming.cluster_ca(cluster.metadata.name), *(metadata["name"] for metadata, _ in result)])
    if shared := [name for name, count in uses.items() if count > 1]:
        raise InvalidSpec(
            f"spec.users: the Secret {shared[0]!r} has another use in this cluster; give each user a "
            "secretName of its own",
            reason="InvalidUser",
        )
    return result


def _certificates(
    cluster: PGCluster, ca: pki.Pair, names: Names, planned: Sequence[Planned], now: datetime
) -> list[tuple[Manifest, Wanted]]:
    name = cluster.metadata.name
    result = [
        (
            _metadata(cluster, naming.cluster_certificate(name), SERVER),
            credentials.server_certificate(ca, names, now),
        ),
        (
            _metadata(cluster, naming.replication_certificate(name), REPLICATION),
            credentials.replication_certificate(ca, now),
        ),
    ]
    for one in planned:
        own = labels.instance(name, one.set_name, one.name)
        metadata = _metadata(cluster, naming.instance_certificates(one.name), own)
        result.append((metadata, credentials.instance_certificates(ca, names, one.name, now)))
    if cluster.spec.backups.enabled:
        metadata = _metadata(cluster, naming.pgbackrest(name), {labels.PGBACKREST: ""})
        wanted = credentials.pgbackrest_certificates(ca, names, cluster.metadata.uid, now)
        result.append((metadata, wanted))
    if cluster.spec.pg_bouncer is not None:
        own = {labels.ROLE: labels.ROLE_PGBOUNCER}
        metadata = _metadata(cluster, naming.pgbouncer(name), own)
        result.append((metadata, credentials.pooler_secret(ca, names, now)))
    return result


def _users(cluster: PGCluster, by_user: Mapping[str, str]) -> list[tuple[Manifest, Wanted]]:
    name = cluster.metadata.name
    return [
        (
            _metadata(cluster, by_user[user.name], labels.pguser(name, user.name), component="pg"),
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
