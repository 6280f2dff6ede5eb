"""Somebody deletes objects of a running cluster: they return, the data stays, no pod restarts needlessly."""

import time
from collections.abc import Callable

import pytest

from pgoperator.kube.manifest import name_of
from tests.support.clients import Client
from tests.support.clusters import Cluster, example
from tests.support.kubectl import Kubectl, until
from tests.support.output import emit

# Pods and volume claims have tests of their own. A Job that has ended is history.
KINDS = (
    "services",
    "endpoints",
    "configmaps",
    "secrets",
    "serviceaccounts",
    "roles",
    "rolebindings",
    "poddisruptionbudgets",
    "deployments",
    "statefulsets",
)
REPLACE_PODS = {"deployments", "statefulsets", "serviceaccounts"}
"""Kubernetes deletes the pods of these objects with them; a token ends with its account."""


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


def objects(kubectl: Kubectl, cluster: Cluster, kinds: str) -> dict[tuple[str, str], str]:
    """Kind and name of the cluster's objects -> uid."""
    return {
        (found["kind"], found["metadata"]["name"]): found["metadata"]["uid"]
        for found in kubectl.items(kinds, cluster.selector)
    }


@pytest.mark.parametrize("kind", KINDS)
def test_each_object_of_a_kind_alone(cluster: Cluster, client: Client, kubectl: Kubectl, kind: str) -> None:
    cluster.wait_ready()
    before = cluster.restarts()
    for (_, name), uid in objects(kubectl, cluster, kind).items():
        began = time.monotonic()
        kubectl.run("delete", kind, name, "--wait=false")

        def is_back(name: str = name, uid: str = uid) -> bool:
            found = kubectl.find(kind, name)
            return found is not None and found["metadata"]["uid"] != uid

        until(f"{kind}/{name} exists again", is_back, 60, cluster.explain)
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
    before, found = cluster.restarts(), objects(kubectl, cluster, kinds)
    kubectl.run("delete", kinds, f"--selector={cluster.selector}", "--wait=false")
    until(
        "all exist again",
        lambda: objects(kubectl, cluster, kinds).keys() >= found.keys(),
        60,
        cluster.explain,
    )
    until("a write succeeds", lambda: write(cluster, client), 90, cluster.explain)
    cluster.wait_ready()
    assert cluster.restarts() == before
