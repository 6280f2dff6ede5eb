"""Invalid restores: refused with the reason within 15 s, without stopping anything."""

import copy
from collections.abc import Callable

import pytest

from tests.support.backups import backup
from tests.support.clients import Client
from tests.support.clusters import Cluster, example
from tests.support.kubectl import until
from tests.support.restores import Restore, add, cluster_with_rows, count, identities, serves


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster], client: Client) -> Cluster:
    return cluster_with_rows(new_cluster, client, "firm", instances=1)


WRONG = {
    "unknown-set": (("--set=20200101-000000F",), "has no backup 20200101-000000F"),
    "future": (("--type=time", '--target="2099-01-01 00:00:00+00"'), "in the future"),
    "before-the-first": (("--type=time", '--target="2001-01-01 00:00:00+00"'), "not after the end of backup"),
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
    before = identities(cluster)
    restore = Restore(cluster, f"wrong-{name}", options).apply()
    status = restore.wait("Failed", 15)
    assert why in status["error"]
    assert identities(cluster) == before
    restore.delete(10)


def test_an_unknown_cluster_and_repository(cluster: Cluster, new_cluster: Callable[..., Cluster]) -> None:
    nobody = new_cluster(example("nobody"))
    assert "does not exist" in Restore(nobody, "of-nobody").apply().wait("Failed", 15)["error"]
    other = Restore(cluster, "other-repo", repo="repo3").apply().wait("Failed", 15)
    assert "has no repository" in other["error"]


def test_a_repository_without_credentials(cluster: Cluster, new_cluster: Callable[..., Cluster]) -> None:
    manifest = example("keyless", instances=1, poolers=0)
    manifest["spec"]["backups"]["pgbackrest"]["repos"].append(
        {"name": "repo2", "s3": {"bucket": "b", "endpoint": "s3.invalid", "region": "r"}}
    )
    made = new_cluster(manifest)
    made.apply()
    until("the instance runs", lambda: made.pods() and made.primary(), 120, made.explain)

    def condition() -> bool:
        return made.condition("PGBackRestRepoHostReady").get("status") == "True"

    until("the repository host is ready", condition, 120, made.explain)
    before = identities(made)
    said = Restore(made, "without-key", repo="repo2").apply().wait("Failed", 15)["error"]
    assert "repo2-s3-key" in said
    assert identities(made) == before
    made.kubectl.delete("perconapgclusters", made.name)


def test_one_of_two_at_once(cluster: Cluster, client: Client) -> None:
    add(cluster, client, 3)
    label, rows = backup(cluster, "sound", "--type=full"), count(cluster, client)
    one = Restore(cluster, "one", ("--type=immediate", f"--set={label}")).apply()
    one.wait_phase("Checking", "Stopping", "Restoring")
    two = Restore(cluster, "two", ("--type=immediate", f"--set={label}")).apply()
    assert "is in progress" in two.wait("Failed", 15)["error"]
    one.wait("Succeeded")
    serves(cluster, client, rows)


@pytest.mark.parametrize(
    ("field", "why"), [("unmanaged", "is unmanaged"), ("pause", "is paused: resume it first")]
)
def test_a_cluster_that_is_left_alone_or_paused(
    cluster: Cluster, client: Client, field: str, why: str
) -> None:
    rows, manifest = count(cluster, client), copy.deepcopy(cluster.manifest)
    cluster.change(lambda spec: spec.update({field: True}))
    try:
        assert why in Restore(cluster, f"of-{field}").apply().wait("Failed", 15)["error"]
    finally:
        cluster.manifest = manifest
        cluster.change(lambda spec: spec.update({field: False}))
    serves(cluster, client, rows)
