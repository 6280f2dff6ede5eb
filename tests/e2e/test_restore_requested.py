"""A restore by Percona Operator's annotation."""

from collections.abc import Callable
from typing import Any

import pytest

from pgoperator import labels, naming
from tests.support.backups import ENDED, backup
from tests.support.clients import Client
from tests.support.clusters import Cluster
from tests.support.kubectl import until
from tests.support.operators import Operator
from tests.support.restores import RESTORES, Restore, add, cluster_with_rows, count, identities, serves


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster], client: Client) -> Cluster:
    return cluster_with_rows(new_cluster, client, "asked", instances=1)


def test_a_value_of_the_annotation_asks_once(cluster: Cluster, client: Client, operator: Operator) -> None:
    rows, label = count(cluster, client), backup(cluster, "noted", "--type=full")
    add(cluster, client, 5)
    wanted = {"enabled": True, "repoName": "repo1", "options": ["--type=immediate", f"--set={label}"]}
    cluster.manifest["metadata"].setdefault("annotations", {})[labels.PGBACKREST_RESTORE] = "the 1st"
    cluster.change(lambda spec: spec["backups"]["pgbackrest"].update(restore=wanted))
    name = naming.requested_restore(cluster.name, "the 1st")
    until("there is a restore", lambda: cluster.kubectl.find(RESTORES, name), 15, cluster.explain)
    restore = Restore(cluster, name)
    restore.wait("Succeeded")
    serves(cluster, client, rows)

    def shown() -> Any:
        found = cluster.cr()["status"]["pgbackrest"].get("restore", {})
        return (found.get("id"), found.get("finished"), found.get("succeeded")) == ("the 1st", True, 1)

    until("the status shows it", shown, 30, cluster.explain)
    times = cluster.cr()["status"]["pgbackrest"]["restore"]
    assert times["startTime"] < times["completionTime"]

    # Neither a deletion nor a new operator repeats the restore.
    add(cluster, client, 7)
    before = identities(cluster)
    restore.delete()
    operator.kill()
    operator.wait()
    cluster.change(lambda spec: spec["proxy"]["pgBouncer"].update(replicas=2))
    cluster.wait_ready()
    assert cluster.kubectl.find(RESTORES, name) is None
    assert identities(cluster) == before
    assert count(cluster, client) == rows + 7


def test_what_cannot_be_is_refused_as_any_other(cluster: Cluster) -> None:
    before = identities(cluster)
    wanted = {"enabled": True, "repoName": "repo1", "options": ["--set=20200101-000000F"]}
    cluster.manifest["metadata"].setdefault("annotations", {})[labels.PGBACKREST_RESTORE] = "hopeless"
    cluster.change(lambda spec: spec["backups"]["pgbackrest"].update(restore=wanted))
    name = naming.requested_restore(cluster.name, "hopeless")

    def ended() -> bool:
        found = cluster.kubectl.find(RESTORES, name) or {}
        return found.get("status", {}).get("state") in ENDED

    until("it is refused", ended, 15, cluster.explain)
    assert "has no backup" in Restore(cluster, name).status()["error"]
    assert identities(cluster) == before
