"""New clusters from a backup: of a cluster here, of one in another namespace, of a bare S3 repository."""

import os
from collections.abc import Callable

import pytest

from pgoperator import labels
from tests.support.backups import ENDED, backup, first_backup
from tests.support.clients import Client
from tests.support.clusters import Cluster, example
from tests.support.kubectl import Kubectl, Manifest, until
from tests.support.namespaces import temporary_namespace
from tests.support.restores import RESTORES
from tests.support.s3 import S3


@pytest.fixture(scope="module")
def source(new_cluster: Callable[..., Cluster], s3: S3, client: Client) -> Cluster:
    """A cluster with rows that are in a backup, and rows that are in the archive only."""
    manifest = example("origin", instances=1, poolers=1)
    s3.add_repo(manifest, "repo2", "/of-origin")
    made = new_cluster(manifest)
    made.apply()
    made.wait_ready()
    first_backup(made)
    uri = made.credentials()["pgbouncer-uri"]
    client.sql(uri, "CREATE TABLE kept AS SELECT generate_series(1, 100) AS n")
    backup(made, "to-s3", "--type=full", repo="repo2")
    client.sql(uri, "INSERT INTO kept SELECT generate_series(101, 150)")
    archive(made)
    return made


def archive(cluster: Cluster) -> None:
    last = cluster.psql("SELECT pg_walfile_name(pg_switch_wal())")
    done = f"SELECT last_archived_wal >= '{last}' FROM pg_stat_archiver"
    until("WAL is archived", lambda: cluster.psql(done) == "t", 60)


def bootstrap(cluster: Cluster, state: str = "Succeeded") -> Manifest:
    """Wait for the restore that fills the cluster."""
    name = f"{cluster.name}-bootstrap"

    def ended() -> Manifest | None:
        found = cluster.kubectl.find(RESTORES, name) or {}
        return found if found.get("status", {}).get("state") in ENDED else None

    found: Manifest = until(f"{name} ends", ended, 180, cluster.explain)
    assert found["status"]["state"] == state, found
    assert found["metadata"]["annotations"][labels.BOOTSTRAP_RESTORE] == "true"
    return found


def from_cluster(name: str, origin: Cluster, *options: str, repo: str = "repo1") -> Manifest:
    manifest = example(name, instances=2, poolers=1)
    where = {"clusterName": origin.name, "clusterNamespace": origin.kubectl.namespace, "repoName": repo}
    manifest["spec"]["dataSource"] = {
        "postgresCluster": where | ({"options": list(options)} if options else {})
    }
    return manifest


def check(cluster: Cluster, client: Client, rows: int) -> None:
    """It serves with the data of the source and with passwords, users and backups of its own."""
    cluster.wait_ready()
    uri = cluster.credentials()["pgbouncer-uri"]
    assert client.sql(uri, "SELECT 1") == "1"
    assert cluster.psql("SELECT count(*) FROM origin.kept", database="origin") == str(rows)
    one_timeline = lambda: len({m["TL"] for m in cluster.patronictl()}) == 1  # noqa: E731
    until("all members are on one timeline", one_timeline, 30, cluster.explain)
    first_backup(cluster)


@pytest.mark.parametrize("repo", ["repo1", "repo2"])
def test_from_a_cluster_of_the_namespace(
    new_cluster: Callable[..., Cluster], source: Cluster, client: Client, repo: str
) -> None:
    made = new_cluster(from_cluster(f"of-{repo}", source, repo=repo))
    made.apply()
    bootstrap(made)
    check(made, client, 150)
    made.kubectl.delete("perconapgclusters", made.name)


def test_from_a_cluster_to_a_moment(
    new_cluster: Callable[..., Cluster], source: Cluster, client: Client
) -> None:
    noted = source.psql("SELECT clock_timestamp() FROM pg_sleep(0.1)")
    source.psql("INSERT INTO origin.kept SELECT generate_series(1, 9)", database="origin")
    archive(source)
    made = new_cluster(from_cluster("early", source, "--type=time", f'--target="{noted}"'))
    made.apply()
    bootstrap(made)
    check(made, client, 150)
    made.kubectl.delete("perconapgclusters", made.name)


def test_what_cannot_be_is_said(new_cluster: Callable[..., Cluster], source: Cluster) -> None:
    made = new_cluster(from_cluster("hopeless", source, "--set=20200101-000000F"))
    made.apply()
    assert "has no backup" in bootstrap(made, "Failed")["status"]["error"]
    said = lambda: made.condition("Ready").get("reason") == "BootstrapFailed"  # noqa: E731
    until("the cluster says it", said, 20, made.explain)
    assert not made.instances()
    made.kubectl.delete("perconapgclusters", made.name)


@pytest.mark.skipif(os.environ.get("E2E_OPERATOR") == "host", reason="needs rights in two namespaces")
def test_from_another_namespace_needs_the_right_to_read_there(
    admin: Kubectl, new_cluster: Callable[..., Cluster], source: Cluster
) -> None:
    with temporary_namespace(admin, f"{source.kubectl.namespace}-other") as other:
        elsewhere = Cluster(other, source.manifest)
        made = new_cluster(from_cluster("stranger", elsewhere))
        made.apply()
        assert "cannot be read" in bootstrap(made, "Failed")["status"]["error"]


def test_from_a_bare_repository_whose_cluster_is_gone(
    new_cluster: Callable[..., Cluster], source: Cluster, s3: S3, client: Client
) -> None:
    source.kubectl.delete("perconapgclusters", source.name)
    gone = lambda: source.kubectl.find("perconapgclusters", source.name) is None  # noqa: E731
    until("the source is gone", gone, 90)
    manifest = example("heir", instances=2, poolers=1)
    manifest["spec"]["dataSource"] = {
        "pgbackrest": {
            "stanza": "db",
            "configuration": s3.configuration(),
            "global": s3.options("repo1", "/of-origin"),
            "repo": s3.repo("repo1"),
        }
    }
    made = new_cluster(manifest)
    made.apply()
    bootstrap(made)
    check(made, client, 159)
