"""Clients of pgBouncer in transaction mode while the primary is killed: those that wait do not fail."""

import time
from collections.abc import Callable

import pytest

from tests.support.clients import Client
from tests.support.clusters import Cluster, transactional
from tests.support.kubectl import until
from tests.support.output import emit
from tests.support.workload import Writer

FAILED = 12
"""In flight, and the first query of each pool after the release."""


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster]) -> Cluster:
    """Two instances without backups, and two poolers in transaction mode."""
    made = new_cluster(transactional(instances=2))
    made.apply()
    made.wait_ready(300)
    return made


def logs(cluster: Cluster) -> str:
    return "".join(
        cluster.kubectl.logs(pod["metadata"]["name"], "--container=pgbouncer") for pod in cluster.poolers()
    )


def test_a_killed_primary_fails_what_is_in_flight_and_little_else(cluster: Cluster, client: Client) -> None:
    with Writer(client, cluster, "outage", 30) as writer:
        began = time.monotonic()
        kill = "kill -9 $(head -n 1 $PGDATA/postmaster.pid)"
        cluster.kubectl.exec(cluster.primary_name(), "bash", "-c", kill, container="database")
        writer.wait_for_writes(time.monotonic(), 90)
        report = writer.report()
    emit(report.describe("postmaster killed", began) + f"; {len(report.failed)} failed")
    assert report.lost == []
    until("a pooler held its clients", lambda: "holding clients" in logs(cluster), 10, lambda: logs(cluster))
    assert len(report.failed) <= FAILED, report.errors()
