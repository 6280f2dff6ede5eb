"""Where the data of a new cluster comes from: the files with which its restore finds a repository elsewhere.

A repository of another cluster is reached the way its own instances reach it, with their files and their
client certificate: its repository host lets in nobody else. What lies in another namespace is copied as
`<name>-restorecopy-<number>`; kubelet mounts nothing across namespaces.
"""

import copy
from dataclasses import dataclass

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.api.storage import ClusterSource, RepositorySource
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.errors import ApiError, NotFound
from pgoperator.kube.manifest import Kind, Manifest
from pgoperator.postgres import pgbackrest
from reconcilers.pgcluster import pods, repository
from reconcilers.pgcluster.view import View

_FILE = "pgbackrest_instance.conf"
_KINDS = {"secret": kinds.SECRET, "configMap": kinds.CONFIG_MAP}


@dataclass(frozen=True, slots=True)
class Source:
    """What the Job needs: pgBackRest's files, the stanza, and where the repository can be asked."""

    files: Manifest
    stanza: str
    placement: ClusterSource | RepositorySource
    """Where the Job may run, and with how much."""
    host: tuple[str, str] | None = None
    """Namespace and pod of the repository host; None when there is none to ask."""
    copies: tuple[Manifest, ...] = ()
    """Objects that must be there before the Job."""


async def of(ctx: Context, view: View, source: ClusterSource | RepositorySource) -> Source:
    """The source of a new cluster; InvalidSpec says what is wrong with it."""
    if isinstance(source, ClusterSource):
        return await _cluster(ctx, view, source)
    return _repository(view, source)


def _repository(view: View, source: RepositorySource) -> Source:
    """A repository by itself: its cluster may be gone."""
    if source.repo.volume is not None:
        raise InvalidSpec("dataSource.pgbackrest.repo: a volume needs a cluster; use dataSource.volumes")
    text = pgbackrest.instance_conf(
        repos=(repository.repo_of(source.repo),),
        repo_host=None,
        pg_path=naming.data_directory(view.cluster.spec.postgres_version),
        pg_port=view.cluster.spec.port,
        overrides=source.global_options,
    )
    name = f"{naming.restore_job(view.name)}-config"
    metadata = view.metadata(name, {labels.PGBACKREST_RESTORE_CONFIG: ""})
    config: Manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {_FILE: text},
    }
    sources = [*source.configuration, pods.from_config_map(name, {_FILE: _FILE})]
    return Source(pods.projected("pgbackrest-config", sources), source.stanza, source, copies=(config,))


async def _cluster(ctx: Context, view: View, source: ClusterSource) -> Source:
    name, namespace = source.cluster_name or view.name, source.cluster_namespace or view.namespace
    if (name, namespace) == (view.name, view.namespace):
        raise InvalidSpec("dataSource.postgresCluster: a cluster cannot begin with its own backup")
    where = f"dataSource.postgresCluster: cluster {name!r} in namespace {namespace!r}"
    try:
        manifest = await ctx.client.get(kinds.PG_CLUSTER, namespace, name)
    except NotFound:
        raise InvalidSpec(f"{where} does not exist", reason="ClusterNotFound") from None
    except ApiError as error:
        raise InvalidSpec(f"{where} cannot be read: {error.message}", reason="ClusterNotReadable") from error
    origin = PGCluster.parse(manifest)
    if source.repo_name not in [repo.name for repo in origin.spec.backups.repos]:
        raise InvalidSpec(f"{where} has no repository {source.repo_name}", reason="RepoNotFound")
    host = (namespace, naming.pod(naming.repo_host(name)))
    sources = [
        *copy.deepcopy(list(origin.spec.backups.pgbackrest.configuration)),
        pods.from_config_map(naming.pgbackrest_config(name), {_FILE: _FILE}),
        pods.from_secret(naming.pgbackrest(name), repository.CLIENT_FILES),
    ]
    copies: tuple[Manifest, ...] = ()
    if namespace != view.namespace:
        copies = tuple([await _copied(ctx, view, (namespace, name), i, s) for i, s in enumerate(sources)])
    return Source(pods.projected("pgbackrest-config", sources), naming.STANZA, source, host, copies)


async def _copied(
    ctx: Context, view: View, where: tuple[str, str], index: int, projection: Manifest
) -> Manifest:
    """The copy of an object mounted in the cluster `where` (namespace, name); the projection names it."""
    namespace, cluster = where
    key = next((k for k in _KINDS if k in projection), None)
    if key is None:
        raise InvalidSpec(f"pgbackrest.configuration of {cluster!r} holds more than Secrets and ConfigMaps")
    kind, name = _KINDS[key], projection[key]["name"]
    projection[key]["name"] = f"{name}-restorecopy-{index}"
    original = await _read(ctx, kind, namespace, name)
    data = dict(original.get("data") or {})
    if name == naming.pgbackrest_config(cluster):
        # The name without a namespace is known in that of the source only.
        short = naming.pod_host(naming.repo_host(cluster), cluster)
        data = {_FILE: data.get(_FILE, "").replace(f"= {short}\n", f"= {short}.{namespace}.svc\n")}
    metadata = view.metadata(projection[key]["name"], {labels.PGBACKREST_RESTORE_CONFIG: ""})
    return {"apiVersion": "v1", "kind": kind.kind, "metadata": metadata, "data": data}


async def _read(ctx: Context, kind: Kind, namespace: str, name: str) -> Manifest:
    try:
        return await ctx.client.get(kind, namespace, name)
    except ApiError as error:
        raise InvalidSpec(
            f"{kind.kind} {name!r} in namespace {namespace!r} cannot be read: {error.message}",
            reason="SourceNotReadable",
        ) from error
