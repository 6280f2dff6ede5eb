"""Unreachable repositories while the primary dies: failover, new replicas, and archiving afterwards.

Where it cannot, because nobody has the WAL any more, the gap is reported and a backup taken behind it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from pgoperator import labels
from pgoperator.kube.manifest import Manifest
from tests.support import faults, s3_faults
from tests.support.backups import BACKUPS, backup, first_backup
from tests.support.clusters import Cluster, example
from tests.support.kubectl import KubectlError, until
from tests.support.output import emit
from tests.support.restores import Restore
from tests.support.s3 import S3

NAME = "alone"
_GIVEN_UP = "CHECKPOINT; SELECT count(*) = 0 FROM pg_ls_waldir() WHERE name = '{}'"


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster], s3: S3, store: s3_faults.Proxy) -> Cluster:
    """A cluster of two instances that archives to a volume and to S3."""
    manifest = example(NAME, instances=2, poolers=1)
    s3.add_repo(manifest, "repo2", "/alone")
    made = new_cluster(manifest)
    made.apply()
    made.wait_ready(240)
    first_backup(made)
    backup(made, "to-s3", "--type=full", repo="repo2")
    made.psql("CREATE TABLE kept (n bigserial, what text)")
    return made


@contextmanager
def silent(store: s3_faults.Proxy) -> Iterator[None]:
    """S3 accepts connections but does not answer."""
    store.become("silent")
    try:
        yield
    finally:
        store.become("pass")


def write(cluster: Cluster, what: str, segments: int = 1) -> str:
    """Write rows into so many WAL segments and switch; return the name of the last segment."""
    name = ""
    for _ in range(segments):
        cluster.psql(f"INSERT INTO kept (what) SELECT '{what}' FROM generate_series(1, 100)")
        name = cluster.psql("SELECT pg_walfile_name(pg_switch_wal())")
    return name


def rows(cluster: Cluster) -> int:
    return int(cluster.psql("SELECT count(*) FROM kept"))


def says(cluster: Cluster, kind: str) -> str:
    """The condition's message, or "" without the condition."""
    found = cluster.condition(kind)
    return str(found.get("message", "")) if found.get("status") == "True" else ""


def resize(cluster: Cluster, replicas: int) -> None:
    cluster.change(lambda spec: spec["instances"][0].update(replicas=replicas))


def kill(cluster: Cluster) -> float:
    """Force-delete the primary's pod until another primary accepts writes; return the seconds."""
    (replica,) = cluster.replicas()
    received = cluster.psql("SELECT pg_current_wal_lsn()")

    def behind() -> bool:
        return (
            cluster.psql(f"SELECT pg_last_wal_replay_lsn() >= '{received}'", replica["metadata"]["name"])
            == "t"
        )

    until("the replica has it all", behind, 60, cluster.explain, 0.2)
    former, began = cluster.primary_name(), time.monotonic()

    def replaced() -> bool:
        try:
            if cluster.primary_name() != former:
                return cluster.psql("SELECT pg_is_in_recovery()") == "f"
        except (AssertionError, KubectlError):
            return False
        cluster.kubectl.run("delete", "pod", former, "--grace-period=0", "--force", "--ignore-not-found")
        return False

    until("a replica leads", replaced, 120, cluster.explain, 1)
    return time.monotonic() - began


def lives_through(
    cluster: Cluster, what: str, fault: AbstractContextManager[None], *, words: str, forget: bool = False
) -> str:
    """Kill the primary and create a replica while the archive is unreachable. Return a time in the outage.

    `forget`: the fault lasts so long that the replica has given up the WAL of its beginning.
    """
    write(cluster, f"before {what}")
    with fault:
        oldest = write(cluster, what)
        write(cluster, what, 2)
        until(
            "the condition shows the cause",
            lambda: words in says(cluster, "ArchivingFailing"),
            300,
            cluster.explain,
            1,
        )
        if forget:
            write(cluster, what, 10)  # more than wal_keep_size, which Patroni sets to 128 MB
            cluster.psql("CHECKPOINT; CHECKPOINT")
            write(cluster, what)
            (replica,) = cluster.replicas()

            def gone() -> bool:
                return cluster.psql(_GIVEN_UP.format(oldest), replica["metadata"]["name"]) == "t"

            until("the replica gives WAL up", gone, 60, cluster.explain, 1)
        write(cluster, what)
        noted = cluster.psql("SELECT clock_timestamp() FROM pg_sleep(0.1)")
        cluster.psql("SELECT pg_sleep(0.1)")
        seconds = kill(cluster)
        emit(f"{what}: another primary accepted writes {seconds:.0f} s after the first one died")
        write(cluster, f"late in {what}", 2)
        began = time.monotonic()
        resize(cluster, 3)
        cluster.wait_ready(300)
        emit(
            f"{what}: the former primary and a new replica were ready after {time.monotonic() - began:.0f} s"
        )
    began = time.monotonic()
    wal = write(cluster, f"after {what}")

    def pushed() -> bool:
        return cluster.psql(f"SELECT last_archived_wal >= '{wal}' FROM pg_stat_archiver") == "t"

    until("WAL is archived", pushed, 300, cluster.explain, 1)
    until("the condition is gone", lambda: not says(cluster, "ArchivingFailing"), 90, cluster.explain)
    emit(f"{what}: archiving resumed after {time.monotonic() - began:.0f} s")
    return noted


def own_backups(cluster: Cluster) -> list[Manifest]:
    """The backups that the operator took because of gaps."""
    return cluster.kubectl.items(BACKUPS, f"{labels.PGBACKREST_BACKUP}=archive-gap")


def restored(cluster: Cluster, name: str, repo: str, noted: str, count: int) -> None:
    """Assert that a restore to this time succeeds and has these rows."""
    Restore(cluster, name, ("--type=time", f'--target="{noted}"'), repo=repo).apply().wait("Succeeded", 300)
    cluster.wait_ready(300)
    assert cluster.psql("SELECT count(*), count(DISTINCT n) FROM kept") == f"{count}|{count}"
    # Scale back only after the backup: a backup fails when an instance that it is connected to stops.

    def first() -> bool:
        return cluster.condition("ReadyForBackup").get("status") == "True"

    until("a new first backup is complete", first, 180, cluster.explain)
    resize(cluster, 2)
    cluster.wait_ready(180)


def test_wal_that_nobody_has_any_more_is_told_and_a_backup_taken(cluster: Cluster) -> None:
    lives_through(cluster, "long", faults.repository_host_cut_off(cluster), words="[", forget=True)
    began = time.monotonic()

    def done() -> list[Manifest]:
        return [b for b in own_backups(cluster) if b.get("status", {}).get("state") == "Succeeded"]

    until("a backup behind the gap is taken", done, 180, cluster.explain)
    emit(f"long: the backup behind the gap was complete {time.monotonic() - began:.0f} s later")
    until("the condition ArchiveGap is gone", lambda: not says(cluster, "ArchiveGap"), 60, cluster.explain)
    reported = [e["message"] for e in cluster.kubectl.items("events") if e["reason"] == "WALMissing"]
    assert any("repo1 is missing WAL from segment" in message for message in reported), reported
    assert len(own_backups(cluster)) == len({b["spec"]["repoName"] for b in own_backups(cluster)})
    count, noted = rows(cluster), cluster.psql("SELECT clock_timestamp() FROM pg_sleep(0.1)")
    cluster.psql("SELECT pg_sleep(0.1)")
    wal = write(cluster, "too late")

    def pushed() -> bool:
        return cluster.psql(f"SELECT last_archived_wal >= '{wal}' FROM pg_stat_archiver") == "t"

    until("WAL is archived", pushed, 120, cluster.explain, 1)
    restored(cluster, "behind-the-gap", "repo1", noted, count)


@pytest.mark.parametrize("where", [pytest.param("S3", marks=pytest.mark.long), "repository host"])
def test_a_primary_that_dies_while_a_repository_is_silent(
    cluster: Cluster, store: s3_faults.Proxy, where: str
) -> None:
    """The new primary archives the WAL that the former could not: no time across the fault is lost."""
    before, known = rows(cluster), len(own_backups(cluster))
    fault = silent(store) if where == "S3" else faults.repository_host_cut_off(cluster)
    noted = lives_through(cluster, where, fault, words="[")
    assert not says(cluster, "ArchiveGap")
    assert len(own_backups(cluster)) == known
    # 1 segment before the fault, 4 during it until the recorded time, each with 100 rows.
    restored(
        cluster, where.lower().replace(" ", "-"), "repo2" if where == "S3" else "repo1", noted, before + 500
    )
