"""An in-place restore of the empty cluster of three instances: the time of each phase."""

from itertools import pairwise

from tests.bench.place import Place, Stage
from tests.bench.table import Row, emit, seconds, table
from tests.support.backups import first_backup
from tests.support.clusters import Cluster
from tests.support.kubectl import Event, Watch, until
from tests.support.restores import Restore

STEPS = ("Checking", "Stopping", "Restoring", "Promoting", "Replicas", "Succeeded")
PERCONA = 30
"""Seconds until Percona Operator has completed the restore."""


def restore(stage: Stage, rows: list[Row], runs: int) -> None:
    """Restore `runs` times to the end of the archive; print when each phase began."""
    place, cluster = stage.place(), stage.cluster()
    first_backup(cluster)
    done: list[dict[str, float]] = []
    try:
        for number in range(runs):
            done.append(found := _run(place, cluster, number))
            emit(
                f"run {number + 1}: writes accepted after {found['Replicas']:.1f} s, "
                f"every instance is ready after {found['Succeeded']:.1f} s"
            )
    finally:
        if done:
            rows += _print(done)


def _run(place: Place, cluster: Cluster, number: int) -> dict[str, float]:
    path = f"/apis/pgv2.percona.com/v2/namespaces/{place.kubectl.namespace}/perconapgrestores"
    name = f"bench-{number}"
    # A backup follows the previous restore, and the next restore would wait for it.

    def rested() -> bool:
        return cluster.condition("ReadyForBackup").get("status") == "True"

    until("no backup is running", rested, 120, cluster.explain)
    with Watch(place.kubectl, path) as watch:
        Restore(cluster, name).apply().wait("Succeeded", 300)
        cluster.wait_ready()
        own = [e for e in watch.events if e.object["metadata"]["name"] == name]
    begin = min(e.at for e in own)
    return {step: min(e.at for e in own if _is_at(e, step)) - begin for step in STEPS}


def _is_at(event: Event, step: str) -> bool:
    status = event.object.get("status", {})
    return step in (status.get("phase"), status.get("state"))


def _print(done: list[dict[str, float]]) -> list[Row]:
    rows = [
        (
            step,
            seconds([run[step] for run in done]),
            seconds([run[step] - run[former] for run in done]),
        )
        for former, step in pairwise(STEPS)
    ]
    head = ("phase begins", "seconds after the object", "seconds since the phase before")
    table("Restore in place, empty cluster of three", head, rows)
    writes, ended = (seconds([run[step] for run in done]) for step in ("Replicas", "Succeeded"))
    return [
        ("restore in place, three instances: object to writes, s", writes, "at most 15", ""),
        ("… to Succeeded, all replicas streaming, s", ended, "at most 20", f"{PERCONA}"),
    ]
