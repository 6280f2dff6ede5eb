"""The source of a new cluster's data: the pgBackRest configuration that reaches a repository elsewhere. Pure.

The Job of a new cluster reaches the repository of a cluster in its namespace with the configuration and
client certificate of that cluster's instances, because a repository host accepts no other client. From a
cluster in another namespace it gets a copy of what one repository needs (`shared_files`), and no certificate
of that cluster: `build_clone_server` serves a repository on a volume.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.api.repositories import Repository
from pgoperator.api.storage import ClusterSource, RepositorySource
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Kind, Manifest, encoded
from pgoperator.postgres import pgbackrest
from reconcilers.pgcluster.backups import build_repo_host
from reconcilers.pgcluster.pods import build_pod
from reconcilers.pgcluster.state import repositories
from reconcilers.pgcluster.state.view import ClusterView

VOLUME = "pgbackrest-config"
_FILE = "pgbackrest_instance.conf"
_FILE_NAME = re.compile(r"[-._a-zA-Z0-9]+")  # also a valid key of a Secret


@dataclass(frozen=True, slots=True)
class Shared:
    """A repository on a volume that a cluster in another namespace shares, and its client's files."""

    cluster: PGCluster
    manifest: Manifest
    repo: Repository
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Source:
    """What the Job needs: pgBackRest's configuration, the stanza, and the repository host to query."""

    files: Manifest
    stanza: str
    placement: ClusterSource | RepositorySource
    """The Job's scheduling rules and resources."""
    host: tuple[str, str] | None = None
    """Namespace and pod of the repository host; None without a source cluster."""
    copies: tuple[Manifest, ...] = ()
    """Objects that must exist before the Job."""
    shared: Shared | None = None
    """What must be served before the copies can be made."""


def of_repository(view: ClusterView, source: RepositorySource) -> Source:
    """A repository without a cluster, which may have been deleted."""
    if source.repo.volume is not None:
        raise InvalidSpec(
            "dataSource.pgbackrest.repo: a repository on a volume is not supported; use dataSource.volumes"
        )
    text = _conf(view.cluster, source.repo, source.global_options)
    config = _copy(view, kinds.CONFIG_MAP, {_FILE: text})
    name = naming.restore_source(view.name)
    sources = [*source.configuration, build_pod.from_config_map(name, {_FILE: _FILE})]
    return Source(build_pod.projected(VOLUME, sources), source.stanza, source, copies=(config,))


def of_cluster(source: ClusterSource, origin: PGCluster) -> Source:
    """A repository of a cluster in the same namespace."""
    sources = [
        *origin.spec.backups.pgbackrest.configuration,
        build_pod.from_config_map(naming.pgbackrest_config(origin.name), {_FILE: _FILE}),
        build_pod.from_secret(naming.pgbackrest(origin.name), build_repo_host.CLIENT_FILES),
    ]
    return Source(build_pod.projected(VOLUME, sources), naming.STANZA, source, host_of(origin))


def of_copy(
    view: ClusterView,
    source: ClusterSource,
    files: Mapping[str, bytes] | None = None,
    *,
    host: tuple[str, str] | None = None,
    shared: Shared | None = None,
) -> Source:
    """A repository of a cluster in another namespace; `files` are to be copied, None when they are."""
    copies = () if files is None else (_copy(view, kinds.SECRET, encoded(files)),)
    projections = [{"secret": {"name": naming.restore_source(view.name)}}]
    return Source(build_pod.projected(VOLUME, projections), naming.STANZA, source, host, copies, shared)


def host_of(origin: PGCluster) -> tuple[str, str]:
    """Namespace and pod of a cluster's repository host."""
    return origin.namespace, naming.pod(naming.repo_host(origin.name))


def shared_files(
    origin: PGCluster, repo: Repository, configuration: Sequence[Mapping[str, bytes]], server: str
) -> dict[str, bytes]:
    """The files with which another namespace reads one repository of a cluster.

    `configuration` has the files of each source of `spec.backups.pgbackrest.configuration`; `server` is the
    host that serves a repository on a volume. Options of other repositories are left out, and so are files
    that no option names.
    """
    where = f"dataSource.postgresCluster: {repo.name} of cluster {origin.name!r}"
    named = {name: content for files in configuration for name, content in files.items()}
    if odd := sorted(name for name in named if not _FILE_NAME.fullmatch(name)):
        raise InvalidSpec(f"{where}: the path {odd[0]!r} cannot be copied", reason="RepoNotShareable")
    options = {
        name: value
        for name, value in origin.spec.backups.pgbackrest.global_options.items()
        if not pgbackrest.is_of_other_repo(name, repo.name)
    }
    texts = {
        name: pgbackrest.without_other_repos(content.decode(errors="replace"), repo.name)
        for name, content in named.items()
        if name.endswith(".conf")
    }
    # All files are in one folder.
    conf = _conf(origin, repo, options, server)
    texts[_FILE] = conf.replace(pgbackrest.CLIENT_DIRECTORY, naming.PGBACKREST_CONF_PATH)
    every = "\n".join(texts.values())
    others = {name: content for name, content in named.items() if name not in texts and name in every}
    return {name: text.encode() for name, text in texts.items()} | others


def _conf(cluster: PGCluster, repo: Repository, options: Mapping[str, str], server: str | None = None) -> str:
    """The configuration of a Job that reads a repository; `server` is the host of one on a volume."""
    return pgbackrest.instance_conf(
        repos=(repositories.repo_of(repo),),
        repo_host=server,
        pg_path=naming.data_directory(cluster.spec.postgres_version),
        pg_port=cluster.spec.port,
        overrides=options,
    )


def _copy(view: ClusterView, kind: Kind, data: Mapping[str, str]) -> Manifest:
    metadata = view.metadata(naming.restore_source(view.name), {labels.PGBACKREST_RESTORE_CONFIG: ""})
    return {"apiVersion": "v1", "kind": kind.kind, "metadata": metadata, "data": dict(data)}
