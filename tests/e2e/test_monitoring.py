"""Prometheus with the shipped configuration, alerts and dashboard, on a cluster that lives and breaks."""

import json
import time
from collections.abc import Iterator

import pytest

from pgoperator import naming
from tests.support.clusters import Cluster, example
from tests.support.kubectl import Kubectl, until
from tests.support.operators import Operator
from tests.support.prometheus import MONITORING, Prometheus

PATIENCE = 300.0
BOARD = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
QUERIES = [
    pytest.param(target["expr"], id=panel["title"])
    for panel in BOARD["panels"]
    for target in panel.get("targets", [])
]


@pytest.fixture(scope="module")
def prometheus(kubectl: Kubectl, operator: Operator) -> Iterator[Prometheus]:
    """Prometheus, running before the cluster is made: it sees the passes that make it."""
    started = Prometheus.start(kubectl, operator)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def watched(prometheus: Prometheus, kubectl: Kubectl, operator: Operator) -> Cluster:
    """A cluster of a primary and a replica that has its first backup, and is scraped."""
    made = Cluster(kubectl, example(instances=2, poolers=1), operator)
    made.apply()
    made.wait_ready(PATIENCE)
    until("the first backup is complete", lambda: first_backup(made), PATIENCE, made.explain)
    prometheus.discover()
    return made


def first_backup(cluster: Cluster) -> bool:
    return cluster.condition("PGBackRestReplicaCreate").get("status") == "True"


def explain(prometheus: Prometheus) -> str:
    return json.dumps(prometheus.targets(), indent=1) + prometheus.log()


def up(prometheus: Prometheus) -> dict[tuple[str, str], str]:
    return {(t["labels"]["job"], t["labels"]["pod"]): t["health"] for t in prometheus.targets()}


def test_every_target_is_up(watched: Cluster, prometheus: Prometheus) -> None:
    instances = {("patroni", pod["metadata"]["name"]) for pod in watched.instances()}
    operator = ("pgoperator", str(prometheus.operator.pod()["metadata"]["name"]))
    wanted = dict.fromkeys([*instances, operator], "up")
    until("every target is up", lambda: up(prometheus) == wanted, PATIENCE, lambda: explain(prometheus))


@pytest.mark.parametrize("expression", QUERIES)
def test_a_query_of_the_dashboard_has_data(expression: str, watched: Cluster, prometheus: Prometheus) -> None:
    for variable, value in {
        "$namespace": watched.kubectl.namespace,
        "$cluster": watched.name,
        "$__rate_interval": "5m",
    }.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    until(
        f"data for {expression}", lambda: prometheus.query(expression), PATIENCE, lambda: explain(prometheus)
    )


def seen(prometheus: Prometheus, alert: str, since: float, **labels: str) -> None:
    """Wait until an alert has fired after a moment: all of them do while the cluster is being made."""
    until(
        f"{alert} fires",
        lambda: prometheus.has_fired(alert, since, **labels),
        PATIENCE,
        lambda: explain(prometheus),
    )


def over(prometheus: Prometheus, alert: str) -> None:
    until(f"{alert} is over", lambda: not prometheus.fires(alert), PATIENCE, lambda: explain(prometheus))


def test_a_replica_that_does_not_stream_is_told(watched: Cluster, prometheus: Prometheus) -> None:
    role, replica = naming.REPLICATION_USER, watched.replicas()[0]["metadata"]["name"]
    streams = f'patroni_postgres_streaming{{pod="{replica}"}} == 1'
    until("the replica streams", lambda: prometheus.query(streams), PATIENCE, lambda: explain(prometheus))
    begun = time.time()
    watched.psql(f'ALTER ROLE "{role}" NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_replication;')
    try:
        seen(prometheus, "PostgresReplicaNotStreaming", begun, pod=replica)
    finally:
        watched.psql(f'ALTER ROLE "{role}" LOGIN')
    # Not only that the alert is over: the next test may make a primary of the replica, which must have this.
    until("the replica streams", lambda: prometheus.query(streams), PATIENCE, lambda: explain(prometheus))
    over(prometheus, "PostgresReplicaNotStreaming")


def test_a_cluster_without_a_primary_is_told(watched: Cluster, prometheus: Prometheus) -> None:
    over(prometheus, "PostgresNoPrimary")
    begun = time.time()
    for pod in watched.instances():
        watched.kubectl.delete("pod", pod["metadata"]["name"])
    where = {"namespace": watched.kubectl.namespace, "cluster": watched.name}
    seen(prometheus, "PostgresNoPrimary", begun, **where)
    watched.wait_ready(PATIENCE)
    prometheus.discover()
    over(prometheus, "PostgresNoPrimary")


def test_an_operator_that_is_gone_is_told(watched: Cluster, prometheus: Prometheus) -> None:
    over(prometheus, "PostgresOperatorWithoutLeader")
    begun = time.time()
    prometheus.operator.kill()
    seen(prometheus, "PostgresOperatorWithoutLeader", begun)
    prometheus.operator.wait()
    prometheus.discover()
    over(prometheus, "PostgresOperatorWithoutLeader")
