"""Failures of the primary and of the API server: writes resume without intervention."""

import time
from collections.abc import Callable

import pytest

from pgoperator import naming
from tests.support import faults
from tests.support.busy import SPIN
from tests.support.clients import Client
from tests.support.clusters import Cluster
from tests.support.kubectl import until
from tests.support.operators import Operator
from tests.support.output import emit
from tests.support.workload import Report, Writer


@pytest.fixture(autouse=True)
def ready_again(cluster: Cluster) -> None:
    """Every test begins with a healthy cluster."""
    cluster.wait_ready(180)


def away_from_primary(cluster: Cluster, client_on: Callable[[str], Client], nodes: list[str]) -> Client:
    primary = cluster.primary()["spec"]["nodeName"]
    return client_on(next(node for node in nodes if node != primary))


HEALTHY = ["running", "streaming", "streaming"]


def states(cluster: Cluster) -> list[str]:
    """The last state of each member in Patroni's store, which members update every ten seconds."""
    return sorted(m["State"] for m in cluster.patronictl())


def timeline(cluster: Cluster) -> int:
    return int(cluster.psql("SELECT timeline_id FROM pg_control_checkpoint()"))


def transitions(cluster: Cluster) -> str:
    """How often the leader lock has changed its holder."""
    lock = cluster.kubectl.get("endpoints", naming.patroni_scope(cluster.name))
    return str(lock["metadata"]["annotations"].get("transitions"))


def finish(writer: Writer, what: str, since: float) -> Report:
    report = writer.report()
    emit(f"{report.describe(what, since)}")
    if report.lost:
        emit(f"lost: {report.lost[:20]}")
    return report


@pytest.mark.parametrize(
    "strike",
    [faults.kill_postmaster, faults.kill_main_process, faults.delete_pod, faults.delete_pod_by_force],
)
def test_primary_dies(cluster: Cluster, client: Client, strike: Callable[[Cluster], None]) -> None:
    with Writer(client, cluster, strike.__name__) as writer:
        since = time.monotonic()
        strike(cluster)
        time.sleep(1)
        writer.wait_for_writes(since + 1, 90)
        report = finish(writer, strike.__name__, since)
    assert len(report.acknowledged) > 20
    cluster.wait_ready(120)
    until("all replicas stream", lambda: states(cluster) == HEALTHY, 40, cluster.explain)


def test_a_session_that_outlives_its_server_commits_nothing_beside_the_next_one(cluster: Cluster) -> None:
    """A busy backend does not notice that the postmaster was killed, and goes on for minutes."""
    primary, before = cluster.primary_name(), transitions(cluster)
    cluster.psql("DROP TABLE IF EXISTS committed")
    cluster.psql(SPIN)
    call = "setsid psql -Xqc 'CALL spin()' postgres >/dev/null 2>&1 &"
    cluster.exec(primary, "bash", "-c", call)
    until("the session commits", lambda: cluster.psql("SELECT count(*) > 100 FROM committed") == "t", 30)
    began = time.monotonic()
    faults.kill_postmaster(cluster)
    new = "SELECT pg_postmaster_start_time() > (SELECT max(at) FROM committed)"
    serves = "SELECT NOT pg_is_in_recovery()"
    until("it serves again", lambda: cluster.psql(serves, primary) == "t", 60, cluster.explain)
    emit(f"a killed server with a busy session serves again after {time.monotonic() - began:.1f} s")
    assert cluster.psql(new, primary) == "t", "a commit of the former server beside the new one"
    assert transitions(cluster) == before, "another instance led meanwhile"
    cluster.psql("DROP TABLE committed")


def test_node_of_the_primary_is_cut_off(
    cluster: Cluster, operator: Operator, client_on: Callable[[str], Client], nodes: list[str]
) -> None:
    client = away_from_primary(cluster, client_on, nodes)
    with Writer(client, cluster, "cut") as writer:
        since = time.monotonic()
        with faults.node_cut_off(cluster) as old:
            writer.wait_for_writes(since + 5, 150)
            new = cluster.primary_name()
            assert new != old["metadata"]["name"]
            # The status must not show a ready cluster; an operator on that node cannot update it.
            if operator.node() != old["spec"]["nodeName"]:
                until(
                    "the status shows that a member is missing",
                    lambda: not cluster.is_ready(),
                    60,
                    cluster.explain,
                )
            written = writer.count()
        # The old primary returns as a replica, and no write to it is lost.
        cluster.wait_ready(180)
        assert cluster.primary_name() == new
        assert writer.count() > written
        finish(writer, "node cut off", since)
    until("all replicas stream", lambda: states(cluster) == HEALTHY, 40, cluster.explain)


def test_writes_go_on_without_the_api_server(cluster: Cluster, client: Client) -> None:
    before, primary, line = cluster.restarts(), cluster.primary_name(), timeline(cluster)
    with Writer(client, cluster, "api") as writer:
        with faults.api_server_stopped() as stopped:
            time.sleep(60)
            started = time.monotonic()
        until("the API server answers", cluster.cr, 30)
        cluster.wait_ready(60)
        report = finish(writer, "API server stopped for 60 s", stopped)
    # In every ten seconds of the outage, also after Patroni's lease of 30 s has expired.
    for begin in range(0, 60, 10):
        assert report.between(stopped + begin, stopped + begin + 10) > 0, f"no write {begin} s after the stop"
    assert started - stopped >= 60
    assert report.lost == []
    assert cluster.primary_name() == primary
    assert timeline(cluster) == line
    assert cluster.restarts() == before
