"""A restore drill and a dry run of a restore: the empty cluster, and the large database."""

import time

from pgoperator import labels
from tests.bench.place import Stage
from tests.bench.table import Row, emit, seconds
from tests.support.backups import first_backup
from tests.support.clusters import Cluster
from tests.support.kubectl import Manifest, until
from tests.support.restores import Restore


def drill(stage: Stage, rows: list[Row], runs: int) -> None:
    """Run `runs` drills and as many dry runs, one after another."""
    cluster = stage.cluster()
    first_backup(cluster)
    until("backups can be taken", lambda: _is_rested(cluster), 180, cluster.explain)
    drills, checks = [], []
    for number in range(runs):
        took, found = drilled(cluster, f"bench-{number}-{time.time():.0f}")
        check = dry_run(cluster, f"bench-dry-{number}")
        emit(
            f"run {number + 1}: drill {took:.1f} s ({found['restoreSeconds']} restore), dry run {check:.1f} s"
        )
        drills.append(took)
        checks.append(check)
    rows += [
        ("restore drill, empty cluster: annotation to result, s", seconds(drills), "", "has none"),
        ("dry run of a restore: object to Succeeded, s", seconds(checks), "at most 15", "has none"),
    ]


def drilled(cluster: Cluster, value: str, limit: float = 900) -> tuple[float, Manifest]:
    """Ask for a drill; return the seconds until the status has its result, and the result."""
    before, began = {one["id"] for one in _drills(cluster)}, time.monotonic()
    annotation = {"metadata": {"annotations": {labels.RESTORE_DRILL_NOW: value}}}
    cluster.kubectl.patch("perconapgclusters", cluster.name, annotation)

    def ended() -> Manifest | None:
        return next((one for one in _drills(cluster) if one["id"] not in before), None)

    found: Manifest = until("the drill ends", ended, limit, cluster.explain, 0.2)
    assert found["state"] == "Succeeded", found
    return time.monotonic() - began, found


def dry_run(cluster: Cluster, name: str) -> float:
    """Seconds from the object of a dry run until it has succeeded."""
    began = time.monotonic()
    Restore(cluster, name, ("--dry-run",)).apply().wait("Succeeded", 120)
    return time.monotonic() - began


def _drills(cluster: Cluster) -> list[Manifest]:
    status: Manifest = cluster.cr().get("status", {}).get("pgbackrest", {}).get("restoreDrill", {})
    return list(status.get("drills", []))


def _is_rested(cluster: Cluster) -> bool:
    return cluster.condition("ReadyForBackup").get("status") == "True"
