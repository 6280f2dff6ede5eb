"""Restores in place and their results."""

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

import pytest

from tests.support.backups import ask, backed_up, backup
from tests.support.clients import Client
from tests.support.clusters import Cluster
from tests.support.kubectl import until
from tests.support.output import emit
from tests.support.restores import Restore, add, cluster_with_rows, count, serves, timeline

ROWS = 100_000


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster], client: Client) -> Cluster:
    return cluster_with_rows(new_cluster, client, "again", instances=2)


@contextmanager
def writing(client: Client, uri: str) -> Iterator[None]:
    """Commit rows until the body ends; the last may wait in the pooler across the restore."""
    script = (
        "read -r uri; export uri; rm -f /tmp/enough; while [ ! -e /tmp/enough ]; do "
        'psql --no-psqlrc -qd "$uri" -c "INSERT INTO too_late VALUES (0)" || break; done'
    )
    thread = Thread(
        target=client.run, args=("bash", "-c", script), kwargs={"stdin": f"{uri}\n", "seconds": 180}
    )
    thread.start()
    try:
        yield
    finally:
        client.run("touch", "/tmp/enough")
        thread.join()


def test_exactly_the_rows_committed_until_a_noted_moment(cluster: Cluster, client: Client) -> None:
    uri, begun, former = cluster.credentials()["pgbouncer-uri"], count(cluster, client), timeline(cluster)
    ask(cluster, "meanwhile", "--type=full")
    # Each batch is a transaction; half of them are written while the backup runs.
    batch = f"INSERT INTO kept SELECT generate_series(1, {ROWS // 100});\n"
    client.sql(uri, batch * 50)
    backed_up(cluster, "meanwhile")
    client.sql(uri, batch * 50)
    noted = client.sql(uri, "SELECT clock_timestamp() FROM pg_sleep(0.1)")
    client.sql(uri, "SELECT pg_sleep(0.1)")
    client.sql(uri, "CREATE TABLE too_late (n int)")
    left = client.sql(uri, "SELECT clock_timestamp() FROM pg_sleep(0.1)")
    with writing(client, uri):
        restore = Restore(cluster, "moment", ("--type=time", f'--target="{noted}"')).apply()
        restore.wait_phase("Restoring")
    # Until then the pooler keeps clients waiting.
    assert client.sql(uri, "SELECT 1", PGCONNECT_TIMEOUT="90") == "1"
    restore.wait_phase("Replicas")
    emit(f"writes accepted after {time.monotonic() - restore.began:.1f} s")
    restore.wait("Succeeded")
    serves(cluster, client, begun + ROWS)
    assert client.sql(uri, "SELECT to_regclass('too_late') IS NULL") == "t"
    assert timeline(cluster) > former

    def former_data() -> str:
        return cluster.exec(cluster.primary_name(), "ls", "/pgdata")

    until("the former data goes", lambda: "_before_" not in former_data(), 30)
    restore.wait_backup()
    # Recovery would follow the new timeline, and end at the first restore's moment.
    again = Restore(cluster, "again", ("--type=time", f'--target="{left}"')).apply()
    again.wait("Failed")
    assert "--target-timeline" in again.status()["error"]
    # Nor is a moment on the former timeline that comes after all that it has.
    later = client.sql(uri, "SELECT clock_timestamp()")
    options = ("--type=time", f'--target="{later}"', f"--target-timeline={former}")
    behind = Restore(cluster, "behind", options).apply()
    behind.wait("Failed")
    assert (
        f"behind the last transaction that the archive has of timeline {former}" in behind.status()["error"]
    )
    serves(cluster, client, begun + ROWS)


def test_the_whole_archive_comes_back_and_passwords_are_those_of_the_secrets(
    cluster: Cluster, client: Client
) -> None:
    rows = count(cluster, client)
    # A password that is newer than the backup, and an unknown one in the archive.
    secret = f"{cluster.name}-pguser-{cluster.name}"
    password = base64.b64encode(b"brand-new").decode()
    cluster.kubectl.patch("secret", secret, {"data": {"password": password, "verifier": None}})

    def renewed() -> bool:
        return "brand-new" in cluster.credentials()["pgbouncer-uri"]

    until("the Secret is completed", renewed, 30)
    fresh = cluster.credentials()["pgbouncer-uri"]
    until("the password works", lambda: client.sql(fresh, "SELECT 1") == "1", 60)
    cluster.psql(f"ALTER ROLE {cluster.name} PASSWORD 'by hand'")
    Restore(cluster, "whole").apply().wait("Succeeded")
    serves(cluster, client, rows)


def test_a_given_backup(cluster: Cluster, client: Client) -> None:
    rows, label = count(cluster, client), backup(cluster, "noted", "--type=full")
    add(cluster, client, 5)
    Restore(cluster, "given", ("--type=immediate", f"--set={label}")).apply().wait("Succeeded")
    serves(cluster, client, rows)


@pytest.mark.parametrize("kind", ["lsn", pytest.param("xid", marks=pytest.mark.long), "name"])
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
    add(cluster, client, 7)
    restore = Restore(cluster, f"by-{kind}", (f"--type={kind}", f"--target={target}")).apply()
    restore.wait("Succeeded")
    serves(cluster, client, rows)
    # The next restore starts from the newest backup, which must not end after the target.
    restore.wait_backup()
