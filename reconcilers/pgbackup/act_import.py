"""Act: fill the status of a PerconaPGBackup that was created for a backup in the repository.

The label is in an annotation (`reconcilers.pgcluster.imports`). The status has what pgBackRest reads from the
repository: the entry of the backup, and its manifest.
"""

import re
from datetime import datetime, timedelta

from pgoperator import labels
from pgoperator.api.cluster import PGCluster
from pgoperator.api.pgbackup import PGBackup
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube.manifest import name_of
from pgoperator.postgres.pgbackrest_info import Info
from reconcilers import read_info
from reconcilers.pgbackup import decide_state
from reconcilers.pgbackup.decide_state import Step
from reconcilers.pgbackup.observe import Snapshot
from reconcilers.pgcluster.state import provenance

DEADLINE = timedelta(minutes=10)
"""For a repository that cannot be read; another import creates the object again."""
RETRY_SECONDS = 15
_LABEL = re.compile(r"\d{8}-\d{6}F(_\d{8}-\d{6}[DI])?")


def is_wanted(backup: PGBackup) -> bool:
    """Whether the object shows a backup that exists already: it requests none."""
    return labels.IMPORTED_BACKUP in backup.metadata.annotations


async def step(ctx: Context, backup: PGBackup, snapshot: Snapshot, cluster: PGCluster) -> Step:
    """Read the backup; without an answer, wait until the deadline."""
    label, now = backup.metadata.annotations[labels.IMPORTED_BACKUP], ctx.clock()
    if not _LABEL.fullmatch(label):
        return Step(decide_state.failed(backup, f"{label[:100]!r} is not the label of a backup", now))
    if suspended := snapshot.suspension()[1]:
        return Step(backup.status, wait=suspended, seconds=60, cause=suspended)
    if obstacle := snapshot.repository_obstacle(backup):
        return _later(backup, obstacle, now)
    assert snapshot.view is not None
    host = snapshot.view.observed.repo_host_pod
    repo = decide_state.find_repo(backup, cluster)
    assert host is not None
    assert repo is not None
    try:
        info = await read_info.info(ctx, (backup.namespace, name_of(host)), repo.number, label)
    except InvalidSpec as error:
        return _later(backup, str(error), now)
    system = provenance.system_identifier(cluster, snapshot.view.observed)
    return decide(backup, cluster, info, system, now)


def decide(backup: PGBackup, cluster: PGCluster, info: Info, system: str, now: datetime) -> Step:
    """The status of the object, given the answer of the repository; `system`: the cluster's system. Pure."""
    label, repo = backup.metadata.annotations[labels.IMPORTED_BACKUP], decide_state.find_repo(backup, cluster)
    assert repo is not None
    status, found = info.status_of(repo.number), info.backup(label, repo.number)
    if found is None:
        if status is None or status.code not in (read_info.OK, *read_info.EMPTY):
            return _later(backup, f"{repo.name} cannot be read: {(status or info).message}", now)
        return Step(decide_state.failed(backup, f"{repo.name} has no backup {label}", now))
    database = info.database_of(found)
    if database is None or str(database.system_id) != system:
        other = database.system_id if database else "unknown"
        cause = f"backup {label} is of database system {other}, but the cluster's is {system}"
        return Step(decide_state.failed(backup, cause, now))
    return Step(decide_state.complete(backup, cluster, found, "it was found in the repository", now))


def _later(backup: PGBackup, cause: str, now: datetime) -> Step:
    left = (backup.metadata.creation_timestamp or now) + DEADLINE - now
    if left <= timedelta():
        minutes = int(DEADLINE.total_seconds() // 60)
        return Step(decide_state.failed(backup, f"not read within {minutes} minutes: {cause}", now))
    seconds = min(left.total_seconds() + 0.5, RETRY_SECONDS)
    return Step(backup.status, wait=cause, seconds=seconds, cause=cause)
