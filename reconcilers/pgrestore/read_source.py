"""Read: the source of a new cluster's data, and the consent of a source in another namespace.

The operator can read clusters that the author of a new cluster cannot. So a cluster in another namespace is a
source only if its annotation ALLOW_CLONE_FROM names the namespace of the new cluster (docs/decisions/0032).
Without consent, the message is the same whether or not that cluster exists.

What the Job needs is copied once, into a Secret that the restore owns. A restore that has its copy does not
ask for consent again, so that it can end. Only the copy is proof that it has begun: its author can write its
status.
"""

import asyncio

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.api.pgrestore import PGRestore
from pgoperator.api.storage import ClusterSource, RepositorySource
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.errors import Forbidden, NotFound
from pgoperator.kube.manifest import Kind, Manifest, annotations_of, files_of, owner_of, uid_of
from reconcilers.pgcluster.state.view import ClusterView
from reconcilers.pgrestore import build_clone_server, build_source
from reconcilers.pgrestore.build_source import Shared, Source

_KINDS = {"secret": kinds.SECRET, "configMap": kinds.CONFIG_MAP}


async def of(
    ctx: Context, view: ClusterView, restore: PGRestore, source: ClusterSource | RepositorySource
) -> Source:
    """The source of a new cluster; InvalidSpec if it is invalid, or without its consent."""
    if isinstance(source, RepositorySource):
        return build_source.of_repository(view, source)
    name, namespace = source.cluster_name or view.name, source.cluster_namespace or view.namespace
    if (name, namespace) == (view.name, view.namespace):
        raise InvalidSpec("dataSource.postgresCluster: a new cluster cannot be restored from its own backup")
    if namespace == view.namespace:
        return build_source.of_cluster(source, await _neighbour(ctx, namespace, name, source.repo_name))
    if await _copy(ctx, restore) is not None:
        return build_source.of_copy(view, source)
    return await _shared(ctx, view, restore, source, (namespace, name))


async def remove_copy(ctx: Context, restore: PGRestore) -> None:
    """Delete the copy of what a source in another namespace shares, at the end of a restore."""
    copy = await _copy(ctx, restore)
    if copy is not None:
        name = naming.restore_source(restore.spec.pg_cluster)
        await ctx.client.delete(kinds.SECRET, restore.namespace, name, uid=uid_of(copy))


async def _copy(ctx: Context, restore: PGRestore) -> Manifest | None:
    """The copy that belongs to this restore; None if there is none."""
    try:
        name = naming.restore_source(restore.spec.pg_cluster)
        secret = await ctx.client.get(kinds.SECRET, restore.namespace, name)
    except NotFound:
        return None
    return secret if owner_of(secret) == restore.metadata.uid else None


async def _neighbour(ctx: Context, namespace: str, name: str, repo: str) -> PGCluster:
    """A source in the namespace of the new cluster."""
    try:
        manifest = await _read(ctx, kinds.PG_CLUSTER, namespace, name)
    except NotFound:
        raise InvalidSpec(f"{_subject(namespace, name)} does not exist", reason="ClusterNotFound") from None
    return _with_repo(manifest, repo)


async def _shared(
    ctx: Context, view: ClusterView, restore: PGRestore, source: ClusterSource, where: tuple[str, str]
) -> Source:
    """A source in another namespace, `where` are namespace and name; the copy is not written yet."""
    try:
        manifest = await _read(ctx, kinds.PG_CLUSTER, *where)
    except NotFound:
        manifest = {"metadata": {}}
    allowed = annotations_of(manifest).get(labels.ALLOW_CLONE_FROM, "").split(",")
    if view.namespace not in map(str.strip, allowed):
        raise InvalidSpec(
            f"{_subject(*where)} does not exist, or does not share its backups with namespace "
            f"{view.namespace!r}: its annotation {labels.ALLOW_CLONE_FROM} must name this namespace",
            reason="CloneNotAllowed",
        )
    origin = _with_repo(manifest, source.repo_name)
    repo = next(repo for repo in origin.spec.backups.repos if repo.name == source.repo_name)
    configuration = await asyncio.gather(
        *(_files(ctx, origin, projection) for projection in origin.spec.backups.pgbackrest.configuration)
    )
    server = build_clone_server.host(origin, restore)
    files, host = build_source.shared_files(origin, repo, configuration, server), build_source.host_of(origin)
    if repo.volume is None:
        return build_source.of_copy(view, source, files, host=host)
    shared = Shared(origin, manifest, repo, files)
    return build_source.of_copy(view, source, host=host, shared=shared)


def _subject(namespace: str, name: str) -> str:
    return f"dataSource.postgresCluster: cluster {name!r} in namespace {namespace!r}"


def _with_repo(manifest: Manifest, repo: str) -> PGCluster:
    origin = PGCluster.parse(manifest)
    if repo not in [each.name for each in origin.spec.backups.repos]:
        raise InvalidSpec(
            f"{_subject(origin.namespace, origin.name)} has no repository {repo}", reason="RepoNotFound"
        )
    return origin


async def _files(ctx: Context, origin: PGCluster, projection: Manifest) -> dict[str, bytes]:
    """The files of one source of `spec.backups.pgbackrest.configuration`."""
    key = next((key for key in _KINDS if key in projection), None)
    if key is None:
        raise InvalidSpec(
            f"pgbackrest.configuration of {origin.name!r} has sources other than Secrets and ConfigMaps",
            reason="RepoNotShareable",
        )
    reference = projection[key]
    try:
        data = files_of(await _read(ctx, _KINDS[key], origin.namespace, reference["name"]))
    except NotFound as error:
        if reference.get("optional"):
            return {}
        raise InvalidSpec(
            f"{_KINDS[key].kind} {reference['name']!r} in namespace {origin.namespace!r} does not exist",
            reason="SourceNotReadable",
        ) from error
    if items := reference.get("items"):
        return {item["path"]: data[item["key"]] for item in items if item["key"] in data}
    return data


async def _read(ctx: Context, kind: Kind, namespace: str, name: str) -> Manifest:
    """Read an object live: NotFound if it does not exist, InvalidSpec if the operator may not read it."""
    try:
        return await ctx.client.get(kind, namespace, name)
    except Forbidden as error:
        raise InvalidSpec(
            f"{kind.kind} {name!r} in namespace {namespace!r} cannot be read: {error.message}",
            reason="SourceNotReadable",
        ) from error
