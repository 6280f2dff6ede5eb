"""Deletion of a cluster and a new cluster of the same name: order, kept objects, reused data."""

import time
from collections.abc import Callable

import pytest

from pgoperator import labels, naming
from tests.support.clients import Client
from tests.support.clusters import Cluster, example
from tests.support.kubectl import Event, Watch, until
from tests.support.output import emit

NAME = "phoenix"
OWNED = "statefulsets,deployments,services,configmaps,poddisruptionbudgets,serviceaccounts,roles,pods"


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster], client: Client) -> Cluster:
    made = new_cluster(example(NAME, instances=3, poolers=1))
    made.apply()
    made.wait_ready()
    return made


def delete(cluster: Cluster) -> float:
    began = time.monotonic()
    cluster.kubectl.delete("perconapgclusters", cluster.name)

    def gone() -> bool:
        return cluster.kubectl.find("perconapgclusters", cluster.name) is None

    until("the custom resource is gone", gone, 90, cluster.explain)
    return time.monotonic() - began


def test_a_life_and_the_next(cluster: Cluster, client: Client) -> None:
    kubectl = cluster.kubectl
    data = cluster.credentials()
    client.sql(data["pgbouncer-uri"], "CREATE TABLE kept AS SELECT g AS n FROM generate_series(1, 300) g")
    primary, replicas = cluster.primary_name(), [p["metadata"]["name"] for p in cluster.replicas()]
    identifier = cluster.cr()["status"]["patroni"]["status"]["systemIdentifier"]
    claims = kubectl.names("persistentvolumeclaims", cluster.selector)
    secrets = {s["metadata"]["name"]: s["data"] for s in kubectl.items("secrets", cluster.selector)}
    ca = naming.cluster_ca(NAME)

    with Watch(kubectl, f"/api/v1/namespaces/{kubectl.namespace}/pods") as watch:
        until("the watch shows the pods", lambda: len(watch.events) >= 5, 20)
        emit(f"deleted after {delete(cluster):.1f} s")
        until("the pods are gone", lambda: not cluster.pods(), 60)
        time.sleep(0.5)

    def stopping(pod: str) -> float | None:
        def so(event: Event) -> bool:
            metadata = event.object["metadata"]
            return bool(metadata["name"] == pod and "deletionTimestamp" in metadata)

        return watch.first(so)

    def gone(pod: str) -> float | None:
        return watch.first(lambda e: bool(e.type == "DELETED" and e.object["metadata"]["name"] == pod))

    last = stopping(primary)
    assert last is not None
    for replica in replicas:
        end = gone(replica)
        assert end is not None
        assert end <= last, (
            f"the primary was asked to stop {end - last:.1f} s before replica {replica} had gone"
        )

    until("what it owned is gone", lambda: not kubectl.items(OWNED, cluster.selector), 60)
    endpoints = [e["metadata"]["name"] for e in kubectl.items("endpoints") if NAME in e["metadata"]["name"]]
    assert endpoints == [], "Patroni's Endpoints would mislead the next cluster of this name"
    assert kubectl.names("persistentvolumeclaims", cluster.selector) == claims
    left = {s["metadata"]["name"]: s["data"] for s in kubectl.items("secrets", cluster.selector)}
    # Percona Operator also deletes the CA with the cluster; everything else stays as it was.
    assert {k: v for k, v in left.items() if k != ca} == {k: v for k, v in secrets.items() if k != ca}

    # A cluster of the same name gets the kept data and passwords.
    cluster.apply()
    cluster.wait_ready()
    assert cluster.credentials()["password"] == data["password"]
    assert client.sql(data["pgbouncer-uri"], "SELECT count(*), sum(n) FROM kept") == "300|45150"
    for pod in cluster.instances():
        count = cluster.psql(f'SELECT count(*) FROM "{NAME}".kept', pod["metadata"]["name"], NAME)
        assert count == "300", pod["metadata"]["name"]
    assert cluster.cr()["status"]["patroni"]["status"]["systemIdentifier"] == identifier
    assert kubectl.names("persistentvolumeclaims", cluster.selector) == claims
    client.sql(data["pgbouncer-uri"], "INSERT INTO kept VALUES (301)")
    until("WAL is archived again", lambda: _archives(cluster), 60, cluster.explain, 1)

    # With the finalizers no object is left, and none is created again.
    kubectl.patch(
        "perconapgclusters",
        NAME,
        {"metadata": {"finalizers": [*cluster.cr()["metadata"]["finalizers"], *_FINALIZERS]}},
    )
    emit(f"deleted with volumes and Secrets after {delete(cluster):.1f} s")
    until("volumes and Secrets are gone", lambda: _remains(cluster) == [], 30, lambda: str(_remains(cluster)))
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        assert _remains(cluster) == [], "made again after the end"
        time.sleep(1)


_FINALIZERS = [labels.FINALIZER_DELETE_PVC, labels.FINALIZER_DELETE_SSL]


def _remains(cluster: Cluster) -> list[str]:
    return cluster.kubectl.names("persistentvolumeclaims,secrets", cluster.selector)


def _archives(cluster: Cluster) -> bool:
    cluster.psql("SELECT pg_logical_emit_message(true, 'e2e', 'x'); SELECT pg_switch_wal()")
    count, failed_later = cluster.psql(
        "SELECT archived_count, coalesce(last_failed_time > last_archived_time, false) FROM pg_stat_archiver"
    ).split("|")
    return int(count) > 0 and failed_later == "f"
