"""Clusters with a past: whatever volumes are left, the next cluster begins with the newest data."""

from collections.abc import Callable
from typing import Any

import pytest

from pgoperator import labels, naming
from tests.support.backups import ask as ask_backup
from tests.support.backups import backed_up
from tests.support.clients import Client
from tests.support.clusters import Cluster, example
from tests.support.kubectl import until
from tests.support.restores import Restore
from tests.support.switchovers import answered, ask

NAME = "past"
DATA = f"{labels.CLUSTER}={NAME},{labels.ROLE}={labels.ROLE_PGDATA}"


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster], client: Client) -> Cluster:
    made = new_cluster(example(NAME, instances=2, poolers=1))
    made.apply()
    made.wait_ready()
    return made


def marks(cluster: Cluster) -> dict[str, str]:
    """The primary's marks, by claim."""
    claims = cluster.kubectl.items("persistentvolumeclaims", cluster.selector)
    found = {c["metadata"]["name"]: c["metadata"].get("annotations", {}) for c in claims}
    return {
        name: annotations[mark]
        for name, annotations in found.items()
        for mark in (labels.LAST_PRIMARY, labels.PAUSED_PRIMARY)
        if mark in annotations
    }


def test_a_smaller_cluster_begins_with_the_volume_of_the_last_primary(
    cluster: Cluster, client: Client
) -> None:
    """Scaled down, written to, deleted, created again: the stale volume comes first in the alphabet."""
    names = sorted(pod["metadata"]["name"] for pod in cluster.instances())
    first, last = names
    if cluster.primary_name() == first:
        ask(cluster, "to the last")
        until("the switchover is done", lambda: answered(cluster) == "to the last", 90, cluster.explain)
    until("the last is the primary", lambda: cluster.primary_name() == last, 30, cluster.explain)
    cluster.wait_ready()
    cluster.change(lambda spec: spec["instances"][0].update(replicas=1))
    until("one instance is left", lambda: len(cluster.instances()) == 1, 90, cluster.explain)
    cluster.wait_ready()
    uri = cluster.credentials()["pgbouncer-uri"]
    client.sql(uri, "CREATE TABLE newest AS SELECT g AS n FROM generate_series(1, 300) g")

    cluster.kubectl.delete("perconapgclusters", NAME)

    def gone() -> bool:
        return cluster.kubectl.find("perconapgclusters", NAME) is None

    until("the custom resource is gone", gone, 90, cluster.explain)
    until("the pods are gone", lambda: not cluster.pods(), 60)
    assert list(marks(cluster)) == [naming.instance_volume(last.removesuffix("-0"))]

    cluster.manifest["metadata"].pop("annotations", None)
    cluster.apply()
    cluster.wait_ready()
    assert cluster.primary_name() == last
    assert client.sql(uri, "SELECT count(*), sum(n) FROM newest") == "300|45150"
    until("the marks are removed", lambda: marks(cluster) == {}, 30, lambda: str(marks(cluster)))


def test_a_mark_without_a_place_is_refused_and_heals(cluster: Cluster, client: Client) -> None:
    """A set that was renamed between the deletion and the next creation starts nothing in its place."""
    cluster.kubectl.delete("perconapgclusters", NAME)

    def gone() -> bool:
        return cluster.kubectl.find("perconapgclusters", NAME) is None

    until("the custom resource is gone", gone, 90, cluster.explain)
    until("the pods are gone", lambda: not cluster.pods(), 60)

    cluster.manifest["spec"]["instances"][0]["name"] = "another"
    cluster.apply()

    def reason() -> Any:
        return cluster.condition("Ready").get("reason")

    until("the start is refused", lambda: reason() == "LastPrimaryNotPlanned", 60, cluster.explain)
    message = cluster.condition("Ready")["message"]
    assert "pgdata" in message
    assert "instance set" in message
    assert cluster.instances() == []

    cluster.manifest["spec"]["instances"][0]["name"] = "instance1"
    cluster.apply()
    cluster.wait_ready()
    uri = cluster.credentials()["pgbouncer-uri"]
    assert client.sql(uri, "SELECT count(*), sum(n) FROM newest") == "300|45150"


def test_a_volume_from_before_a_restore_is_not_used_again(cluster: Cluster, client: Client) -> None:
    """Scaled down, restored, scaled up: PostgreSQL's history need not show that the volume is older."""
    [primary] = [pod["metadata"]["name"] for pod in cluster.instances()]
    claims = {c["metadata"]["name"] for c in cluster.kubectl.items("persistentvolumeclaims", DATA)}
    [old] = claims - {naming.instance_volume(primary.removesuffix("-0"))}
    ask_backup(cluster, "before", "--type=full")
    backed_up(cluster, "before")
    uri = cluster.credentials()["pgbouncer-uri"]
    noted = client.sql(uri, "SELECT clock_timestamp() FROM pg_sleep(0.1)")
    client.sql(uri, "SELECT pg_sleep(0.1); CREATE TABLE too_late (n int)")
    Restore(cluster, "back", ("--type=time", f'--target="{noted}"')).apply().wait("Succeeded")
    cluster.wait_ready()
    assert client.sql(uri, "SELECT to_regclass('too_late') IS NULL") == "t"
    claim = cluster.kubectl.get("persistentvolumeclaims", old)
    assert claim["metadata"]["annotations"][labels.SUPERSEDED] == "back"

    cluster.change(lambda spec: spec["instances"][0].update(replicas=2))
    until("the second instance exists", lambda: len(cluster.instances()) == 2, 60, cluster.explain)
    cluster.wait_ready()
    used = {naming.instance_volume(p["metadata"]["name"].removesuffix("-0")) for p in cluster.instances()}
    assert old not in used
    assert cluster.kubectl.find("persistentvolumeclaims", old) is not None, "its data was deleted"
    assert cluster.primary_name() == primary
