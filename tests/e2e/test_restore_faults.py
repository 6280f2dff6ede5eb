"""Failed and aborted restores: the cluster is unchanged, and the next restore can succeed."""

from collections.abc import Callable

import pytest

from tests.support.backups import ENDED, backup
from tests.support.clients import Client
from tests.support.clusters import Cluster
from tests.support.kubectl import until
from tests.support.restores import RESTORES, Restore, add, cluster_with_rows, count, serves


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster], client: Client) -> Cluster:
    return cluster_with_rows(new_cluster, client, "broken", instances=2)


def break_archive(cluster: Cluster, script: str) -> None:
    cluster.kubectl.exec(f"{cluster.name}-repo-host-0", "bash", "-euc", script)


def test_a_corrupt_backup_and_a_missing_segment_leave_the_cluster_as_it_was(
    cluster: Cluster, client: Client
) -> None:
    uri, rows = cluster.credentials()["pgbouncer-uri"], count(cluster, client) + 14
    label = backup(cluster, "to-corrupt", "--type=full")
    client.sql(uri, "INSERT INTO kept SELECT generate_series(1, 7)")
    for _ in range(3):
        cluster.psql("SELECT pg_switch_wal() FROM (SELECT pg_logical_emit_message(true, 'a', 'b')) a")
    client.sql(uri, "INSERT INTO kept SELECT generate_series(1, 7)")

    def archived() -> bool:
        wal = "pg_walfile_name(pg_current_wal_lsn() - 16777216)"
        return cluster.psql(f"SELECT last_archived_wal >= {wal} FROM pg_stat_archiver") == "t"

    until("WAL is archived", archived, 60)

    # In the middle of the WAL after the backup, so that recovery meets a gap.
    hole = (
        "cd /pgbackrest/repo1/archive/db/17-*/; mapfile -t f < <(find . -name '0*.gz' -o -name '0*.zst' "
        '-o -name "0*.lz4" | grep -E "/[0-9A-F]{24}-" | sort); echo "${f[-2]}"; mv "${f[-2]}" /tmp/hole; '
        'echo "${f[-2]}" > /tmp/where'
    )
    break_archive(cluster, hole)
    status = Restore(cluster, "hole").apply().wait("Failed")
    assert "missing in the archive" in status["error"], status["error"]
    serves(cluster, client, rows)
    break_archive(cluster, 'cd /pgbackrest/repo1/archive/db/17-*/; mv /tmp/hole "$(</tmp/where)"')

    corrupt = f"""
        for f in $(find /pgbackrest/repo1/backup/db/{label}/ -type f -size +20k | grep -v manifest); do
            printf garbage | dd of="$f" bs=1 seek=10000 conv=notrunc status=none
        done"""
    break_archive(cluster, corrupt)
    status = Restore(cluster, "corrupt", (f"--set={label}",)).apply().wait("Failed")
    assert "pgbackrest restore" in status["error"]
    serves(cluster, client, rows)
    # No backup follows a failed restore: without this one, the next restore begins with the corrupt one.
    backup(cluster, "sound", "--type=full")


@pytest.mark.parametrize(
    "phase", [pytest.param("Stopping", marks=pytest.mark.long), "Restoring", "Promoting"]
)
def test_deletion_half_way_brings_the_cluster_back(cluster: Cluster, client: Client, phase: str) -> None:
    add(cluster, client, 3)
    rows = count(cluster, client)
    restore = Restore(cluster, f"dropped-{phase.lower()}").apply()
    restore.wait_phase(phase)
    assert restore.status().get("state") != "Failed", restore.status()
    restore.delete(120)
    assert cluster.kubectl.find(RESTORES, restore.name) is None
    serves(cluster, client, rows)


def test_a_failed_restore_can_be_followed_by_a_good_one(cluster: Cluster, client: Client) -> None:
    add(cluster, client, 3)
    rows = count(cluster, client)
    failed = Restore(cluster, "beyond", ("--type=lsn", "--target=FF/0")).apply().wait("Failed")
    assert "recovery ended before configured recovery target was reached" in failed["error"]
    restore = Restore(cluster, "after-all").apply()
    restore.wait("Succeeded")
    assert restore.status()["state"] in ENDED
    serves(cluster, client, rows)
