"""Backups: of the empty cluster, by phase; of 2 GiB with a restore, on a volume and on S3."""

import time
from collections.abc import Callable
from itertools import pairwise

from local import bins
from tests.bench.drill import drilled, dry_run
from tests.bench.place import Place, Stage, place
from tests.bench.table import Row, emit, seconds, table
from tests.support import s3
from tests.support.backups import BACKUPS, backup, first_backup
from tests.support.clusters import Cluster, example
from tests.support.kubectl import Event, Manifest, Watch, until
from tests.support.restores import Restore

STEPS = ("object", "Starting", "Running", "pod runs", "Succeeded")
WANTED, PERCONA = 8, 105
"""Seconds to Succeeded: the goal, and the time of Percona Operator."""
DRILL = 60
"""Seconds of a drill of 2 GB: the goal."""


def small_backup(stage: Stage, rows: list[Row], runs: int) -> None:
    """Take `runs` full backups of the empty cluster; print when each phase began."""
    here, cluster = stage.place(), stage.cluster()
    first_backup(cluster)
    done: list[dict[str, float]] = []
    try:
        done.extend(_run(here, cluster, f"bench-{number}") for number in range(runs))
    finally:
        if done:
            rows.append(_print(done))


def _print(done: list[dict[str, float]]) -> Row:
    rows = [
        (
            step,
            seconds([run[step] for run in done]),
            seconds([run[step] - run[former] for run in done]),
        )
        for former, step in pairwise(STEPS)
    ]
    head = ("phase begins", "seconds after the object", "seconds since the phase before")
    table("Full backup, empty cluster of three", head, rows)
    ended = seconds([run["Succeeded"] for run in done])
    return "full backup, empty cluster: object to Succeeded, s", ended, f"at most {WANTED}", f"{PERCONA}"


def _run(here: Place, cluster: Cluster, name: str) -> dict[str, float]:
    namespace = here.kubectl.namespace
    objects = f"/apis/pgv2.percona.com/v2/namespaces/{namespace}/{BACKUPS}"
    with (
        Watch(here.kubectl, objects) as watch,
        Watch(here.kubectl, f"/api/v1/namespaces/{namespace}/pods") as pods,
    ):
        backup(cluster, name, "--type=full")
        time.sleep(1)  # until the watches have received the events
        own = [e for e in watch.events if e.object["metadata"]["name"] == name]
        job = own[-1].object["status"]["jobName"]
    begin = min(e.at for e in own)
    found = {"object": 0.0, "pod runs": min(e.at for e in pods.events if _runs(e, job)) - begin}
    for step in ("Starting", "Running", "Succeeded"):
        found[step] = min(e.at for e in own if e.object.get("status", {}).get("state") == step) - begin
    emit(f"{name}: Succeeded after {found['Succeeded']:.1f} s")
    return found


def _runs(event: Event, job: str) -> bool:
    own = event.object["metadata"].get("labels", {})
    phase = event.object.get("status", {}).get("phase")
    return own.get("batch.kubernetes.io/job-name") == job and phase in ("Running", "Succeeded")


def large_backup(stage: Stage, rows: list[Row], scale: int) -> None:
    """Back up and restore a large database: on a volume and on S3, with one process and with two."""
    stage.leave()  # another cluster would compete for the machine
    bins.build(["versitygw"])
    with place("large") as here, s3.server(here.kubectl) as store:
        cluster = Cluster(here.kubectl, _large_cluster(store), here.operator)
        cluster.apply()
        cluster.wait_ready()
        first_backup(cluster)
        emit(f"filling the database by pgbench, scale {scale}")
        fill = ("pgbench", "--initialize", "--quiet", f"--scale={scale}", "postgres")
        took = _timed(lambda: cluster.exec(cluster.primary_name(), *fill, seconds=1800))
        emit(f"filled after {took:.0f} s: {_size(cluster) / 1e9:.2f} GB")
        # A backup ends when its WAL is archived, after all segments that are already waiting.
        took = _timed(
            lambda: until("its WAL is archived", lambda: _archived(cluster), 1800, cluster.explain, 2)
        )
        emit(f"its WAL was archived {took:.0f} s later")
        _large_drill(cluster, rows)
        for processes in (1, 2):
            for repo in ("repo1", "repo2"):
                _large(cluster, repo, processes, rows)


def _large_cluster(store: s3.S3) -> Manifest:
    manifest = example("large", instances=1, poolers=1)
    instance = manifest["spec"]["instances"][0]
    instance["dataVolumeClaimSpec"]["resources"]["requests"]["storage"] = "10Gi"
    settings = manifest["spec"]["backups"]["pgbackrest"]
    # A memory limit includes the page cache; the measured figures are those of a database without a limit.
    for part in (instance, settings["repoHost"], settings["jobs"], settings["containers"]["pgbackrest"]):
        del part["resources"]
    settings["repos"].append(store.repo("repo2"))
    settings["configuration"] = store.configuration()
    settings["global"] = store.options("repo2", "/large") | {"process-max": "1"}
    return manifest


def _archived(cluster: Cluster) -> bool:
    waiting = "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'"
    return cluster.psql(waiting) == "0"


def _size(cluster: Cluster) -> float:
    return float(cluster.psql("SELECT sum(pg_database_size(oid)) FROM pg_database"))


def _large_drill(cluster: Cluster, rows: list[Row]) -> None:
    """A dry run, and a drill of a full backup in the volume; the next drill would take another repository."""
    size = _size(cluster) / 1e9
    backup(cluster, "large-drill", "--type=full", seconds=3600)
    rows.append(
        (f"dry run of {size:.2f} GB, s", f"{dry_run(cluster, 'large-dry'):.1f}", "at most 15", "has none")
    )
    took, found = drilled(cluster, "large", 1800)
    what = f"{took:.1f} ({found['restoreSeconds']} restore, {found['checkSeconds']} checks)"
    emit(f"drill of {size:.2f} GB in {found['repo']}: {what}")
    rows.append((f"drill of {size:.2f} GB: annotation to result, s", what, f"at most {DRILL}", "has none"))


def _large(cluster: Cluster, repo: str, processes: int, rows: list[Row]) -> None:
    size, name = _size(cluster) / 1e6, f"large-{repo}-{processes}"
    what = f"{size / 1e3:.2f} GB, {'volume' if repo == 'repo1' else 'S3'}, process-max {processes}"
    limit = [f"--process-max={processes}"]

    def record(act: str, took: float) -> None:
        emit(f"{act} of {what}: {took:.1f} s")
        rows.append(
            (f"{act} of {what}: MB/s (seconds)", f"{size / took:.0f} ({took:.1f})", "", "not measured")
        )

    record("backup", _timed(lambda: backup(cluster, name, "--type=full", *limit, repo=repo, seconds=3600)))
    label = cluster.kubectl.get(BACKUPS, name)["status"]["backupName"]
    restore = Restore(cluster, name, ("--type=immediate", f"--set={label}", *limit), repo=repo)
    record("restore", _timed(lambda: restore.apply().wait("Succeeded", 3600)))
    cluster.wait_ready()
    # A backup follows each restore and would distort the next measurement.
    until("no backup is running", lambda: not _active(cluster), 1800, cluster.explain, 2)


def _active(cluster: Cluster) -> bool:
    found = cluster.kubectl.items(BACKUPS, cluster.selector)
    states = [b.get("status", {}).get("state") for b in found]
    ready = cluster.condition("ReadyForBackup").get("status") == "True"
    return not ready or any(state not in ("Succeeded", "Failed") for state in states)


def _timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began
