"""The repositories of a cluster, and whether they are its own. Pure.

A repository belongs to one cluster, whose mark it has (`pgbackrest-mark.sh`). The status records for which
repositories and for which database system the marks were last checked. Until then nothing is archived, and no
backup is taken.
"""

from pgoperator import digest as digests
from pgoperator import labels
from pgoperator.api.repositories import Repository
from pgoperator.api.status import RepositoryStatus
from pgoperator.errors import InvalidSpec
from pgoperator.postgres import pgbackrest
from reconcilers.pgcluster.state import archiver, provenance
from reconcilers.pgcluster.state.view import ClusterView, View


def repos(view: ClusterView) -> tuple[pgbackrest.Repo, ...]:
    """The repositories as pgBackRest's options describe them."""
    return tuple(repo_of(repo) for repo in view.repos)


def place(view: ClusterView, repo: Repository) -> tuple[tuple[str, str], ...]:
    """The options of the user that determine where a repository is; most clusters have none."""
    return pgbackrest.place(repo.name, view.cluster.spec.backups.pgbackrest.global_options)


def digest(view: ClusterView) -> str:
    """Digest of the set of repositories; a changed digest means that the stanza must be created again."""
    text = repr(
        [
            (one.name, one.type, sorted((*one.options.items(), *place(view, repo))))
            for one, repo in zip(repos(view), view.repos, strict=True)
        ]
    )
    return digests.digest(text, 16)


def owner(view: ClusterView) -> str:
    """The cluster, as the scripts of pgBackRest compare it with the mark in a repository."""
    system = provenance.system_identifier(view.cluster, view.observed)
    return f"{view.namespace}/{view.name}/{view.cluster.metadata.uid}/{system}"


def repo_of(repo: Repository) -> pgbackrest.Repo:
    """A repository of the spec as pgBackRest's options describe it; InvalidSpec without a storage."""
    if repo.volume is not None:
        return pgbackrest.Repo(repo.name, "volume")
    if repo.s3 is not None:
        options = {"bucket": repo.s3.bucket, "endpoint": repo.s3.endpoint, "region": repo.s3.region}
        return pgbackrest.Repo(repo.name, "s3", options)
    if repo.gcs is not None:
        return pgbackrest.Repo(repo.name, "gcs", {"bucket": repo.gcs.bucket})
    if repo.azure is not None:
        return pgbackrest.Repo(repo.name, "azure", {"container": repo.azure.container})
    raise InvalidSpec(
        f"spec.backups.pgbackrest.repos: {repo.name} has no storage: set volume, s3, gcs or azure",
        reason="InvalidBackupRepo",
    )


def is_recorded(repo: RepositoryStatus, current: str) -> bool:
    """Whether a status records the stanza of the repositories with this digest.

    Until the mark of the cluster has been checked, the status of an older operator, or of Percona's, counts
    whatever its digest is.
    """
    return bool(repo.stanza_created) and (repo.repo_options_hash == current or repo.system_identifier is None)


def _is_recorded(view: ClusterView, name: str) -> bool:
    """Whether the status records the stanza of a repository that has not lost its content since."""
    repo = _recorded(view).get(name)
    return repo is not None and is_recorded(repo, digest(view)) and not _is_lost(view, repo)


def _is_lost(view: ClusterView, repo: RepositoryStatus) -> bool:
    """Whether a repository has lost its content since its stanza was created.

    Its claim has another volume, or it refuses WAL because it has no stanza.
    """
    volume = view.observed.repo_volumes.get(repo.name)
    if repo.volume and volume and repo.volume != volume:
        return True
    primary, stanza = view.observed.primary, view.cluster.status.condition("PGBackRestReplicaRepoReady")
    failure = archiver.failure(primary.pod) if primary else None
    if failure is None or stanza is None or stanza.status != "True":
        return False
    return failure.since > stanza.last_transition_time and failure.is_missing_stanza(repo.name)


def known(view: ClusterView) -> str | None:
    """Digest of the present repositories if the status records their stanza, else None."""
    if not view.backups_enabled:
        return None
    return digest(view) if all(_is_recorded(view, repo.name) for repo in view.repos) else None


def is_checked(view: View) -> bool:
    """Whether the stanza exists in repositories that have this cluster's mark, for its database system.

    A restore and a major upgrade may change the system.
    """
    system, recorded = provenance.system_identifier(view.cluster, view.observed), _recorded(view)
    return known(view) is not None and all(
        recorded[repo.name].system_identifier == system for repo in view.repos
    )


def _recorded(view: ClusterView) -> dict[str, RepositoryStatus]:
    previous = view.cluster.status.pgbackrest
    return {repo.name: repo for repo in previous.repos} if previous else {}


def history(view: ClusterView, repo: str) -> str:
    """Whether the status records that this cluster has the stanza in a repository: `known`, else `new`."""
    return "known" if _is_recorded(view, repo) else "new"


def is_given(view: ClusterView, repo: str) -> bool:
    """Whether the user lets this cluster have a repository that is not its own."""
    asked = view.cluster.metadata.annotations.get(labels.TAKE_OVER_REPOSITORY, "")
    return repo in asked.replace(",", " ").split()
