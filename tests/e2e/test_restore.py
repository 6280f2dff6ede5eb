"""Restores in place: what is there afterwards, what is refused, what a failure leaves."""

import base64
import time
from collections.abc import Callable

import pytest

from tests.support.clients import Client
from tests.support.clusters import Cluster, example
from tests.support.kubectl import until
from tests.support.restores import Restore, backup, count, serves, with_backup
from tests.support.tell import tell

ROWS = 100_000


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster], client: Client) -> Cluster:
    return with_backup(new_cluster(example("again", instances=3, poolers=1)), client)


@pytest.fixture
def uri(cluster: Cluster) -> str:
    return cluster.credentials()["pgbouncer-uri"]


def pods(cluster: Cluster) -> dict[str, str]:
    """The instances' pods by name and identity: the same before and after means that nothing was stopped."""
    return {p["metadata"]["name"]: p["metadata"]["uid"] for p in cluster.instances()}


def timeline(cluster: Cluster) -> int:
    return int(cluster.psql("SELECT timeline_id FROM pg_control_checkpoint()"))


def test_exactly_the_rows_committed_until_a_noted_moment(cluster: Cluster, client: Client, uri: str) -> None:
    client.sql(uri, f"INSERT INTO kept SELECT generate_series(1, {ROWS // 2})")
    client.sql(uri, f"INSERT INTO kept SELECT generate_series({ROWS // 2 + 1}, {ROWS})")
    noted = client.sql(uri, "SELECT clock_timestamp() FROM pg_sleep(0.1)")
    client.sql(uri, "SELECT pg_sleep(0.1)")
    client.sql(uri, "INSERT INTO kept SELECT generate_series(1, 1000)")
    client.sql(uri, "CREATE TABLE too_late ()")
    former = timeline(cluster)

    restore = Restore(cluster, "moment", ("--type=time", f'--target="{noted}"')).apply()
    # The pooler keeps clients waiting meanwhile.
    assert client.sql(uri, "SELECT 1", PGCONNECT_TIMEOUT="90") == "1"
    restore.wait_phase("Replicas")
    tell(f"writes accepted after {time.monotonic() - restore.began:.1f} s")
    ended = restore.wait("Succeeded")["completed"]
    serves(cluster, client, ROWS)
    assert client.sql(uri, "SELECT to_regclass('too_late') IS NULL") == "t"
    assert timeline(cluster) > former
    left = lambda: cluster.exec(cluster.primary_name(), "ls", "/pgdata")  # noqa: E731
    until("the former data goes", lambda: "_before_" not in left(), 30)
    after = lambda: [  # noqa: E731
        b
        for b in cluster.kubectl.items("perconapgbackups", cluster.selector)
        if b.get("status", {}).get("state") == "Succeeded" and b["status"]["completed"] > ended
    ]
    until("a fresh backup is taken", after, 120, cluster.explain)


def test_the_whole_archive_comes_back_and_passwords_are_those_of_the_secrets(
    cluster: Cluster, client: Client, uri: str
) -> None:
    # A password that is newer than the backup, and one in the archive that nobody knows.
    secret = f"{cluster.name}-pguser-{cluster.name}"
    password = base64.b64encode(b"brand-new").decode()
    cluster.kubectl.patch("secret", secret, {"data": {"password": password, "verifier": None}})
    renewed = lambda: "brand-new" in cluster.credentials()["pgbouncer-uri"]  # noqa: E731
    until("the Secret is completed", renewed, 30)
    fresh = cluster.credentials()["pgbouncer-uri"]
    until("the password works", lambda: client.sql(fresh, "SELECT 1") == "1", 60)
    cluster.psql(f"ALTER ROLE {cluster.name} PASSWORD 'by hand'")
    Restore(cluster, "whole").apply().wait("Succeeded")
    serves(cluster, client, ROWS)


def test_a_given_backup(cluster: Cluster, client: Client) -> None:
    uri = cluster.credentials()["pgbouncer-uri"]
    label = backup(cluster, "noted", "--type=full")
    client.sql(uri, "INSERT INTO kept SELECT generate_series(1, 5)")
    Restore(cluster, "given", ("--type=immediate", f"--set={label}")).apply().wait("Succeeded")
    serves(cluster, client, ROWS)


@pytest.mark.parametrize("kind", ["lsn", "xid", "name"])
def test_a_position_a_transaction_and_a_restore_point(cluster: Cluster, client: Client, kind: str) -> None:
    uri, rows = cluster.credentials()["pgbouncer-uri"], count(cluster, client)
    if kind == "lsn":
        target = cluster.psql("SELECT pg_current_wal_insert_lsn()")
    elif kind == "xid":
        insert = "INSERT INTO kept VALUES (1) RETURNING pg_current_xact_id()"
        target, rows = client.sql(uri, insert), rows + 1
    else:
        target = f"noted-{rows}"
        cluster.psql(f"SELECT pg_create_restore_point('{target}')")
    client.sql(uri, "INSERT INTO kept SELECT generate_series(1, 7)")
    Restore(cluster, f"by-{kind}", (f"--type={kind}", f"--target={target}")).apply().wait("Succeeded")
    serves(cluster, client, rows)


WRONG = {
    "unknown-set": (("--set=20200101-000000F",), "has no backup 20200101-000000F"),
    "future": (("--type=time", '--target="2099-01-01 00:00:00+00"'), "in the future"),
    "before-the-first": (("--type=time", '--target="2001-01-01 00:00:00+00"'), "before the end of backup"),
    "no-time": (("--type=time", "--target=tomorrow"), "is not a time"),
    "repo": (("--repo=1",), "spec.repoName"),
    "stanza": (("--stanza=x",), "spec.pgCluster"),
    "path": (("--pg1-path=/tmp",), "spec.pgCluster"),
    "action": (("--target-action=pause",), "the operator sets it"),
    "standby": (("--type=standby",), "does not end in a primary"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_refused_and_nothing_is_stopped(cluster: Cluster, name: str) -> None:
    options, why = WRONG[name]
    before = pods(cluster)
    restore = Restore(cluster, f"wrong-{name}", options).apply()
    status = restore.wait("Failed", 15)
    assert why in status["error"]
    assert pods(cluster) == before
    restore.delete(10)


def test_an_unknown_cluster_and_repository(cluster: Cluster, new_cluster: Callable[..., Cluster]) -> None:
    nobody = new_cluster(example("nobody"))
    assert "does not exist" in Restore(nobody, "of-nobody").apply().wait("Failed", 15)["error"]
    other = Restore(cluster, "other-repo", repo="repo3").apply().wait("Failed", 15)
    assert "has no repository" in other["error"]


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

    # In the middle of what follows the backup, so that recovery meets a hole.
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
