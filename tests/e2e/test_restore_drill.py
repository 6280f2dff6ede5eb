"""A backup is proven by a restore into a scratch volume, and a damaged one is found before it is needed."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from pgoperator import labels, naming
from pgoperator.kube.manifest import Manifest
from tests.support.clusters import Cluster, example
from tests.support.kubectl import KubectlError, until


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster]) -> Cluster:
    manifest = example("drilled", instances=1, poolers=1)
    made = new_cluster(manifest)
    made.apply()
    made.wait_ready()
    until("the first backup is complete", lambda: has_backup(made), 180, made.explain)
    return made


def has_backup(cluster: Cluster) -> bool:
    return cluster.condition("PGBackRestReplicaCreate").get("status") == "True"


def ask(cluster: Cluster, value: str) -> Manifest:
    """Ask for a drill and return its result, once its Job has gone."""
    before = len(drills(cluster))
    annotation = {"metadata": {"annotations": {labels.RESTORE_DRILL_NOW: value}}}
    cluster.kubectl.patch("perconapgclusters", cluster.name, annotation)
    until("a drill ends", lambda: len(drills(cluster)) > before, 180, lambda: explain(cluster))
    job = naming.restore_drill(cluster.name)
    until("its Job goes", lambda: cluster.kubectl.find("job", job) is None, 60, lambda: explain(cluster))
    return drills(cluster)[0]


def drills(cluster: Cluster) -> list[Any]:
    status: Manifest = cluster.cr()["status"]["pgbackrest"].get("restoreDrill", {})
    return list(status.get("drills", []))


def explain(cluster: Cluster) -> str:
    try:
        log = cluster.kubectl.run("logs", f"job/{naming.restore_drill(cluster.name)}", "--tail=60")
    except KubectlError as error:
        log = str(error)
    return f"{cluster.explain()}\n--- drill ---\n{log}"


def test_a_backup_and_its_wal_are_proven(cluster: Cluster) -> None:
    cluster.psql("CREATE TABLE drilled AS SELECT g FROM generate_series(1, 1000) g; SELECT pg_switch_wal()")
    cluster.psql("SELECT 1")
    before, claims = cluster.restarts(), claim_names(cluster)
    drill = ask(cluster, "first")
    assert drill["state"] == "Succeeded", drill
    assert drill["repo"] == "repo1"
    assert drill["checked"] == "tables and B-tree indexes"
    assert drill["bytes"] > 10_000_000
    assert drill["moment"]
    found = cluster.condition("RestoreProven")
    assert (found["status"], found["reason"]) == ("True", "DrillSucceeded"), found
    assert cluster.restarts() == before
    until("the scratch volume goes", lambda: claim_names(cluster) == claims, 60, cluster.explain)
    assert cluster.is_ready()


def claim_names(cluster: Cluster) -> list[str]:
    return sorted(cluster.kubectl.names("persistentvolumeclaims", ""))


def test_sql_of_the_user_is_part_of_the_drill(cluster: Cluster) -> None:
    def proof(text: str) -> None:
        metadata = {"name": "proof"}
        data = {"postgres": text}
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        cluster.kubectl.apply(config)

    annotation = {"metadata": {"annotations": {labels.RESTORE_DRILL_SQL: "proof"}}}
    cluster.kubectl.patch("perconapgclusters", cluster.name, annotation)
    proof("SELECT count(*) = 1000 FROM drilled")
    drill = ask(cluster, "with SQL")
    assert drill["state"] == "Succeeded", drill
    assert drill["checked"] == "tables and B-tree indexes, SQL for 1 database(s)"
    proof("SELECT count(*) = 7 FROM drilled")
    drill = ask(cluster, "with SQL that is false")
    assert drill["state"] == "Failed", drill
    wanted = "the SQL for database postgres (SELECT count(*) = 7 FROM drilled) is false"
    assert drill["message"].strip() == wanted
    found = cluster.condition("RestoreProven")
    assert (found["status"], found["reason"]) == ("False", "DrillFailed"), found


def test_a_damaged_archive_is_found(cluster: Cluster) -> None:
    host = f"{cluster.name}-repo-host-0"
    find = "find /pgbackrest/repo1/archive/db -name '0*-*' -type f | sort | tail -n 1"
    segment = cluster.kubectl.exec(host, "bash", "-c", find, container="pgbackrest").strip()
    damage = f"printf garbage | dd of={segment} conv=notrunc bs=1 seek=100 status=none"
    cluster.kubectl.exec(host, "bash", "-c", damage, container="pgbackrest")
    drill = ask(cluster, "second")
    assert drill["state"] == "Failed", drill
    assert segment.rpartition("/")[2][:24] in drill["message"], drill
    found = cluster.condition("RestoreProven")
    assert (found["status"], found["reason"]) == ("False", "DrillFailed"), found
    events = json.loads(cluster.kubectl.run("get", "events", "--output=json"))["items"]
    assert any(event["reason"] == "DrillFailed" and event["type"] == "Warning" for event in events)
    assert cluster.is_ready(), "a failed drill does not touch the cluster"
