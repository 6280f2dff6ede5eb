"""New clusters from backups: of a cluster in the same or another namespace, and of an S3 repository."""

import os
from collections.abc import Callable

import pytest

from pgoperator import labels, naming
from tests.support.backups import ENDED, backup, first_backup
from tests.support.clients import Client
from tests.support.clusters import KIND, Cluster, example
from tests.support.installation import installed
from tests.support.kubectl import Kubectl, Manifest, until
from tests.support.namespaces import temporary_namespace
from tests.support.operators import ACCOUNT
from tests.support.restores import RESTORES
from tests.support.s3 import S3


@pytest.fixture(scope="module")
def source(new_cluster: Callable[..., Cluster], s3: S3, client: Client) -> Cluster:
    """A cluster with rows in a backup, and rows only in the archive."""
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
    # Without something in it, no segment ends.
    something = "(SELECT pg_logical_emit_message(true, 'a', 'b')) AS written"
    last = cluster.psql(f"SELECT pg_walfile_name(pg_switch_wal()) FROM {something}")
    done = f"SELECT last_archived_wal >= '{last}' FROM pg_stat_archiver"
    until("WAL is archived", lambda: cluster.psql(done) == "t", 60)


def bootstrap(cluster: Cluster, state: str = "Succeeded") -> Manifest:
    """Wait for the cluster's bootstrap restore."""
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
    """Assert that the cluster has the source's data, and its own passwords, users and backups."""
    cluster.wait_ready()
    uri = cluster.credentials()["pgbouncer-uri"]
    # On a loaded machine the rules of a new Service may come late.
    assert client.sql(uri, "SELECT 1", PGCONNECT_TIMEOUT="30") == "1"
    assert cluster.psql("SELECT count(*) FROM origin.kept", database="origin") == str(rows)

    def one_timeline() -> bool:
        return len({m["TL"] for m in cluster.patronictl()}) == 1

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


def test_a_clone_with_the_repository_of_its_source_never_archives_into_it(
    new_cluster: Callable[..., Cluster], source: Cluster, s3: S3
) -> None:
    """Both have the same system identifier: pgBackRest alone would accept the clone's WAL."""
    manifest = from_cluster("copy", source, repo="repo2")
    settings = manifest["spec"]["backups"]["pgbackrest"]
    settings["repos"], settings["configuration"] = [s3.repo("repo1")], s3.configuration()
    settings["global"] = s3.options("repo1", "/of-origin")
    made = new_cluster(manifest)
    made.apply()
    bootstrap(made)
    kind, namespace = "PGBackRestReplicaRepoReady", made.kubectl.namespace

    def refused() -> str:
        found = made.condition(kind)
        return str(found["message"]) if found.get("reason") == "RepositoryOfAnotherCluster" else ""

    message = until("the repository is refused", refused, 180, made.explain)
    assert f"repo1 is the repository of cluster {namespace}/{source.name}" in message
    assert f"of cluster {namespace}/{made.name}" in message
    made.psql("SELECT pg_switch_wal()")
    failed = "SELECT failed_count > 0 FROM pg_stat_archiver"
    until("PostgreSQL keeps its WAL", lambda: made.psql(failed) == "t", 90, made.explain)
    archive(source)
    assert not [path for path in s3.files() if path.startswith("of-origin/archive/") and "/00000002" in path]

    made.change(lambda spec: spec["backups"]["pgbackrest"]["global"].update({"repo1-path": "/of-copy"}))
    until("it archives elsewhere", lambda: made.condition(kind).get("status") == "True", 240, made.explain)
    first_backup(made)
    made.kubectl.delete("perconapgclusters", made.name)


def test_what_cannot_be_is_said(new_cluster: Callable[..., Cluster], source: Cluster) -> None:
    made = new_cluster(from_cluster("hopeless", source, "--set=20200101-000000F"))
    made.apply()
    assert "has no backup" in bootstrap(made, "Failed")["status"]["error"]

    def said() -> bool:
        return made.condition("Ready").get("reason") == "BootstrapFailed"

    until("the condition shows it", said, 20, made.explain)
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


def guest(origin: Cluster, stranger: Kubectl) -> None:
    """Give the operator of another namespace the rights of the operator in the source's namespace."""
    account = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": stranger.namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ACCOUNT}
    metadata = {"name": stranger.namespace}
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding"}
    origin.kubectl.apply(kind | {"metadata": metadata, "subjects": [account], "roleRef": role})


@pytest.mark.skipif(os.environ.get("E2E_OPERATOR") == "host", reason="needs rights in two namespaces")
def test_from_another_namespace_with_its_consent(admin: Kubectl, source: Cluster, client: Client) -> None:
    here = source.kubectl
    with temporary_namespace(admin, f"{here.namespace}-guest") as other, installed(other) as operator:
        guest(source, other)
        made = Cluster(other, from_cluster("guest", source), operator)
        made.apply()
        # The operator may read the source, but the source has not given its consent.
        assert labels.ALLOW_CLONE_FROM in bootstrap(made, "Failed")["status"]["error"]
        assert not other.items("secrets", labels.PGBACKREST_RESTORE_CONFIG)
        here.patch(
            KIND, source.name, {"metadata": {"annotations": {labels.ALLOW_CLONE_FROM: other.namespace}}}
        )
        other.delete(RESTORES, "guest-bootstrap")

        def served() -> bool:
            return bool(here.items("jobs", labels.CLONE_SERVER))

        until("the source serves its repository", served, 60, made.explain)
        until(
            "the restore begins",
            lambda: bool(other.find("jobs", naming.restore_job("guest"))),
            90,
            made.explain,
        )
        # Consent that is withdrawn does not stop a restore that has begun.
        here.patch(KIND, source.name, {"metadata": {"annotations": {labels.ALLOW_CLONE_FROM: None}}})
        bootstrap(made)
        check(made, client, 159)
        until("the server is gone", lambda: not served(), 60, made.explain)
        assert not other.items("secrets", labels.PGBACKREST_RESTORE_CONFIG)
        other.delete(KIND, made.name)


def test_from_a_bare_repository_whose_cluster_is_gone(
    new_cluster: Callable[..., Cluster], source: Cluster, s3: S3, client: Client
) -> None:
    source.kubectl.delete("perconapgclusters", source.name)

    def gone() -> bool:
        return source.kubectl.find("perconapgclusters", source.name) is None

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
