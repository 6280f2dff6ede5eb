"""Backups that have lost their objects get them back, and can be restored by them."""

from collections.abc import Callable

import pytest

from pgoperator import labels
from pgoperator.kube.manifest import Manifest
from tests.support.backups import BACKUPS, backup, first_backup, gone, in_repository
from tests.support.clusters import Cluster, example
from tests.support.kubectl import until
from tests.support.restores import Restore

NAME = "found"


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster]) -> Cluster:
    made = new_cluster(example(NAME, instances=1, poolers=1))
    made.apply()
    made.wait_ready()
    first_backup(made)
    return made


def ask(cluster: Cluster, value: str) -> None:
    """Ask for an import and wait for its end."""
    annotation = {"metadata": {"annotations": {labels.IMPORT_BACKUPS: value}}}
    cluster.kubectl.patch("perconapgclusters", cluster.name, annotation)

    def handled() -> bool:
        return bool(cluster.cr()["status"].get("pgbackrest", {}).get("importedBackups") == value)

    until("the import ends", handled, 60, cluster.explain)
    assert cluster.condition("BackupsImported").get("status") == "True"


def shown(cluster: Cluster) -> dict[str, Manifest]:
    """The backups of the cluster by label, once all have ended."""

    def ended() -> bool:
        return all(
            one.get("status", {}).get("state") == "Succeeded" for one in cluster.kubectl.items(BACKUPS)
        )

    until("all backups have succeeded", ended, 60, cluster.explain)
    found = cluster.kubectl.items(BACKUPS)
    by_label = {one["status"]["backupName"]: one for one in found}
    assert len(by_label) == len(found), "two objects show one backup"
    return by_label


def test_a_deleted_object_comes_back_and_can_be_restored(cluster: Cluster) -> None:
    cluster.psql("CREATE TABLE kept AS SELECT 1 AS n")
    label = backup(cluster, "mine", "--type=incr")
    before = shown(cluster)
    cluster.kubectl.run("delete", "pg-backup", "mine")
    assert gone(cluster, "mine")
    ask(cluster, "first")
    after = shown(cluster)
    assert after.keys() == before.keys() == in_repository(cluster)
    same = ("backupName", "backupType", "size", "storageType", "repo", "earliestRestorableTime")
    old, new = (found[label]["status"] for found in (before, after))
    assert {key: new[key] for key in same} == {key: old[key] for key in same}
    jobs = {job["metadata"]["name"] for job in cluster.kubectl.items("jobs")}
    assert new.get("jobName") is None
    cluster.psql("DROP TABLE kept")
    options = (f"--set={new['backupName']}", "--type=immediate")
    Restore(cluster, "by-it", options).apply().wait("Succeeded", 300)
    cluster.wait_ready(300)
    assert cluster.psql("SELECT n FROM kept") == "1"
    assert jobs, "the first backup has a Job; the import made none"


def test_a_cluster_that_is_made_again_imports_what_it_had(cluster: Cluster) -> None:
    """All objects are lost, with the cluster; the claims are there. The annotation is in the file."""
    until("the backup after the restore", lambda: len(shown(cluster)) == 3, 180, cluster.explain)
    before = in_repository(cluster)
    cluster.kubectl.run("delete", "pg", cluster.name, "--timeout=120s")
    cluster.kubectl.run("delete", "pg-backup", "--all", "--timeout=60s")
    assert cluster.kubectl.items(BACKUPS) == []
    cluster.manifest["metadata"]["annotations"] = {labels.IMPORT_BACKUPS: "first"}
    cluster.apply()
    cluster.wait_ready(300)

    def handled() -> bool:
        return cluster.condition("BackupsImported").get("status") == "True"

    until("the import ends", handled, 120, cluster.explain)
    assert before <= shown(cluster).keys()
    restorable = [
        one for one in shown(cluster).values() if one["metadata"]["name"].startswith(f"{NAME}-repo1-")
    ]
    assert {one["status"]["backupName"] for one in restorable} == before


def test_the_data_is_removed_by_an_imported_object_only_if_asked_for(cluster: Cluster) -> None:
    found = shown(cluster)
    last = max(label for label in found if label.endswith("I"))
    name = found[last]["metadata"]["name"]
    cluster.kubectl.run("delete", "pg-backup", name, "--timeout=60s")
    assert last in in_repository(cluster)
    ask(cluster, "again")
    assert shown(cluster)[last]["metadata"]["name"] == name
    cluster.kubectl.patch(
        BACKUPS, name, {"metadata": {"annotations": {labels.DELETE_FROM_REPOSITORY: "true"}}}
    )
    cluster.kubectl.run("delete", "pg-backup", name, "--timeout=120s")
    assert last not in in_repository(cluster)
