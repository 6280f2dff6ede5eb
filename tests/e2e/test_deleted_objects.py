"""Somebody deletes objects of a running cluster: they return, the data stays, no pod restarts needlessly."""

import time
from collections.abc import Callable

import pytest

from pgoperator.kube.manifest import name_of
from tests.support.clients import Client
from tests.support.clusters import Cluster, example
from tests.support.deletion import KINDS, REPLACE_PODS, delete, objects
from tests.support.kubectl import Kubectl, until
from tests.support.output import emit


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster], client: Client) -> Cluster:
    made = new_cluster(example(instances=2, poolers=1))
    made.apply()
    made.wait_ready()
    client.sql(
        made.credentials()["pgbouncer-uri"], "CREATE TABLE kept AS SELECT g FROM generate_series(1, 100) g"
    )
    return made


def write(cluster: Cluster, client: Client) -> bool:
    uri = cluster.credentials()["pgbouncer-uri"]
    client.sql(uri, "INSERT INTO kept VALUES (0)")
    return int(client.sql(uri, "SELECT count(*) FROM kept WHERE g > 0")) == 100


@pytest.mark.parametrize("kind", KINDS)
def test_each_object_of_a_kind_alone(cluster: Cluster, client: Client, kind: str) -> None:
    cluster.wait_ready()
    before = cluster.restarts()
    for (_, name), uid in objects(cluster, kind).items():
        began = time.monotonic()
        delete(cluster, kind, name, uid)
        until("a write succeeds", lambda: write(cluster, client), 60, cluster.explain)
        cluster.wait_ready()
        emit(f"{kind}/{name} was deleted; Ready after {time.monotonic() - began:.1f} s")
    if kind not in REPLACE_PODS:
        assert cluster.restarts() == before
    elif kind == "serviceaccounts":
        assert all(cluster.restarts()[pod][0] != before[pod][0] for pod in map(name_of, cluster.instances()))


@pytest.mark.parametrize("kinds", ["services,endpoints", "secrets", "configmaps,secrets,services"])
def test_all_at_once(cluster: Cluster, client: Client, kubectl: Kubectl, kinds: str) -> None:
    cluster.wait_ready()
    before, found = cluster.restarts(), objects(cluster, kinds)
    kubectl.run("delete", kinds, f"--selector={cluster.selector}", "--wait=false")
    until(
        "all exist again",
        lambda: objects(cluster, kinds).keys() >= found.keys(),
        60,
        cluster.explain,
    )
    until("a write succeeds", lambda: write(cluster, client), 90, cluster.explain)
    cluster.wait_ready()
    assert cluster.restarts() == before
