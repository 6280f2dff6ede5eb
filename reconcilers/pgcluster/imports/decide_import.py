"""Which backups of the repositories have no PerconaPGBackup, and which objects are created for them. Pure.

An annotation with the label marks such an object from its creation on. So it is never taken for the request
of a new backup, wherever the operator is interrupted: the status of a new object is always empty.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from pgoperator import labels
from pgoperator.api.states import FAILED, SUCCEEDED
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest, annotations_of, name_of, uid_of
from pgoperator.postgres.pgbackrest_info import Backup, Info
from reconcilers.pgcluster.state.findings import Finding
from reconcilers.pgcluster.state.view import View

CONDITION = "BackupsImported"
_UID = "percona.com/backup-uid"
"""Annotation of a backup in the repository: UID of its PerconaPGBackup (`pgbackrest-backup.sh`)."""
_NAME = "percona.com/backup-name"
"""The same for the name; Percona's operator sets only this one."""


@dataclass(frozen=True, slots=True)
class Imports:
    """What an import creates."""

    wanted: tuple[Manifest, ...] = ()
    replaced: tuple[Manifest, ...] = ()
    """Objects of earlier imports that failed."""
    foreign: Mapping[str, int] = field(default_factory=dict)
    """Backups of another database system by repository: they are left out."""


def value(view: View) -> str:
    """The value of the annotation; "" without one."""
    return labels.request(annotations_of(view.manifest), labels.IMPORT_BACKUPS)


def requested(view: View) -> str:
    """The value if the status does not record it as handled; else ""."""
    previous = view.cluster.status.pgbackrest
    return "" if previous is not None and previous.imported_backups == value(view) else value(view)


def imports(view: View, found: Mapping[str, Info], objects: Sequence[Manifest], system: int) -> Imports:
    """What to create for the content of each repository.

    `objects`: the PerconaPGBackups of the namespace. `system`: the database system of the cluster.
    """
    own = [one for one in objects if one["spec"].get("pgCluster") == view.name]
    replaced = [one for one in own if _is_marked(one) and _status(one).get("state") == FAILED]
    gone = {uid_of(one) for one in replaced}
    own = [one for one in own if uid_of(one) not in gone]
    taken = {name_of(one) for one in objects if uid_of(one) not in gone}
    wanted, foreign = [], dict[str, int]()
    for repo, info in found.items():
        for backup in info.of_repo(int(repo.removeprefix("repo"))):
            if any(_has(one, repo, backup) for one in own):
                continue
            database = info.database_of(backup)
            if database is None or database.system_id != system:
                foreign[repo] = foreign.get(repo, 0) + 1
                continue
            name = _free(view.name, repo, backup.label, taken)
            wanted.append(_manifest(view, name, repo, backup.label))
            taken.add(name)
    return Imports(tuple(wanted), tuple(replaced), foreign)


def _has(manifest: Manifest, repo: str, backup: Backup) -> bool:
    """Whether a PerconaPGBackup is that of a backup.

    The label is not known yet while its Job runs, nor to older versions of Percona's operator.
    """
    if manifest["spec"].get("repoName") != repo:
        return False
    label = _status(manifest).get("backupName") or annotations_of(manifest).get(labels.IMPORTED_BACKUP)
    if label:
        return bool(label == backup.label)
    if uid := backup.annotations.get(_UID):
        return uid == uid_of(manifest)
    return backup.annotations.get(_NAME) == name_of(manifest) and _status(manifest).get("state") == SUCCEEDED


def _is_marked(manifest: Manifest) -> bool:
    return labels.IMPORTED_BACKUP in annotations_of(manifest)


def _status(manifest: Manifest) -> Manifest:
    status: Manifest = manifest.get("status") or {}
    return status


def _free(cluster: str, repo: str, label: str, taken: Iterable[str]) -> str:
    """The first name for a backup that no other object has, such as `cluster1-repo1-20260131-134500f`."""
    stem = f"{cluster}-{repo}-{label.rpartition('_')[2].lower()}"
    names = (stem if number == 1 else f"{stem}-{number}" for number in count(1))
    return next(name for name in names if name not in taken)


def _manifest(view: View, name: str, repo: str, label: str) -> Manifest:
    extra = view.cluster.spec.metadata
    marks = {labels.BACKUP_JOB_TYPE: labels.IMPORTED, labels.IMPORTED_BACKUP: label}
    return {
        "apiVersion": kinds.PG_BACKUP.api_version,
        "kind": kinds.PG_BACKUP.kind,
        "metadata": {
            "name": name,
            "namespace": view.namespace,
            "labels": {**extra.labels, labels.CLUSTER: view.name, labels.PGBACKREST_BACKUP: labels.IMPORTED},
            "annotations": {**extra.annotations, **marks},
        },
        "spec": {"pgCluster": view.name, "repoName": repo},
    }


def result(done: Imports) -> Finding:
    """The condition after an import."""
    left = "".join(
        f"; {number} of another database system in {repo}" for repo, number in done.foreign.items()
    )
    text = f"PerconaPGBackups were created for {len(done.wanted)} backup(s)"
    return Finding(CONDITION, True, "Imported", f"{text}{left and left + ' were left out'}")


def conditions(view: View, last: Finding | None) -> list[Finding]:
    """The condition; `last`: that of the last import since the operator started."""
    if not value(view):
        return []
    stored = view.cluster.status.condition(CONDITION)
    if last is None and stored is not None:
        last = Finding(CONDITION, stored.status == "True", stored.reason, stored.message)
    return [last] if last is not None else []
