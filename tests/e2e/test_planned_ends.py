"""Pods that are asked to end, and a Patroni that dies alone: nothing is lost, and little or nothing fails."""

import time
from collections.abc import Callable

import pytest

from pgoperator import naming
from tests.support import faults, pgbench
from tests.support.clients import Client
from tests.support.clusters import Cluster, small, transactional
from tests.support.kubectl import until
from tests.support.operators import Operator
from tests.support.output import emit
from tests.support.workload import Report, Writer

PATIENCE = 30.0
"""A client's timeout in seconds: longer than any planned change."""


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster]) -> Cluster:
    """Three instances, and poolers whose clients wait during planned changes."""
    made = new_cluster(transactional("ends"))
    made.apply()
    made.wait_ready(300)
    return made


@pytest.fixture(autouse=True)
def ready_again(cluster: Cluster) -> None:
    """Every test begins with a healthy cluster whose replicas stream."""
    cluster.wait_ready(300)
    states = ["running", "streaming", "streaming"]
    until(
        "all replicas stream",
        lambda: sorted(m["State"] for m in cluster.patronictl()) == states,
        180,
        cluster.explain,
    )


def postmaster_start(cluster: Cluster) -> str:
    return cluster.psql("SELECT pg_postmaster_start_time()")


def strike(client: Client, cluster: Cluster, what: str, blow: Callable[[], object]) -> Report:
    """Write while something happens, until writes are acknowledged without a break; none may be lost."""
    with Writer(client, cluster, what, PATIENCE) as writer:
        since = time.monotonic()
        blow()
        time.sleep(1)
        writer.wait_for_writes(since + 1, 120)
        report = writer.report()
    emit(report.describe(what, since))
    assert report.lost == []
    return report


def delete_primary(cluster: Cluster) -> None:
    """Delete the primary's pod, and wait until another leads: the pod still serves for some seconds."""
    old = cluster.primary_name()
    faults.delete_pod(cluster)
    until("another leads", lambda: cluster.primary_name() != old, 90, cluster.explain)


def test_a_primary_that_is_deleted_hands_over_without_an_error(cluster: Cluster, client: Client) -> None:
    report = strike(client, cluster, "deleted", lambda: delete_primary(cluster))
    assert report.failed == [], report.errors()


@pytest.mark.long
def test_without_the_operator_the_pod_hands_over_by_itself(
    cluster: Cluster, client: Client, operator: Operator
) -> None:
    with operator.away():
        strike(client, cluster, "alone", lambda: delete_primary(cluster))


def test_a_drained_node_fails_no_transaction(
    cluster: Cluster, client_on: Callable[[str], Client], nodes: list[str]
) -> None:
    """Through a pooler that stays; the clients of one on the drained node have to connect to another."""
    old = cluster.primary()
    node = old["spec"]["nodeName"]
    pooler = next(p for p in cluster.poolers() if p["spec"]["nodeName"] != node)
    client = client_on(next(one for one in nodes if one != node))
    with pgbench.pgbench(client, cluster, host=pooler["status"]["podIP"]) as running:
        until("1,000 transactions", lambda: running.figures()[0] > 1000, 60, running.said, 1)
        with faults.node_drained(cluster):
            assert cluster.primary_name() != old["metadata"]["name"]
            until("3,000 transactions", lambda: running.figures()[0] > 3000, 240, running.said, 1)
            done, aborted = running.figures()
    emit(f"drained {node}: {done} transactions, {aborted} clients aborted")
    assert aborted == 0, running.said()


def leads(cluster: Cluster, pod: str) -> bool:
    answer = 'curl --silent --insecure --fail "https://localhost:8008/primary" || true'
    return "running" in cluster.exec(pod, "bash", "-c", answer)


def restart_patroni(cluster: Cluster) -> str:
    """Kill the primary's Patroni, wait until another runs, and return its process id."""
    pod = cluster.primary_name()
    former = faults.patroni(cluster, pod)
    faults.kill_patroni(cluster)

    def another() -> str:
        found = faults.patroni(cluster, pod)
        return found if found != former else ""

    return str(until("Patroni runs again", another, 30, cluster.explain, 0.05))


def test_a_patroni_that_dies_alone_interrupts_nothing(cluster: Cluster, client: Client) -> None:
    restarts, started, primary = cluster.restarts(), postmaster_start(cluster), cluster.primary_name()

    def kill_three_times() -> None:
        for _ in range(3):
            restart_patroni(cluster)
            until("it leads", lambda: leads(cluster, primary), 60, cluster.explain)
            time.sleep(2)

    report = strike(client, cluster, "patroni", kill_three_times)
    assert report.failed == [], report.errors()
    assert cluster.restarts() == restarts
    assert postmaster_start(cluster) == started
    assert cluster.primary_name() == primary


@pytest.mark.long
def test_the_watchdog_counts_on_while_patroni_is_away(cluster: Cluster) -> None:
    """Patroni dies, and the one that is started again hangs: the server ends before the lease does."""
    primary = cluster.primary_name()
    path = naming.data_directory(cluster.manifest["spec"]["postgresVersion"])
    server = cluster.exec(primary, "head", "-n", "1", f"{path}/postmaster.pid").strip()
    hung = restart_patroni(cluster)
    cluster.exec(primary, "bash", "-c", f"kill -STOP {hung}")
    since = time.monotonic()
    gone = f"kill -0 {server} 2>/dev/null && echo runs || echo gone"
    until(
        "the watchdog kills the server",
        lambda: "gone" in cluster.exec(primary, "bash", "-c", gone),
        60,
        cluster.explain,
    )
    emit(f"the server was killed {time.monotonic() - since:.1f} s after Patroni hung")
    # Without a server the end of Patroni ends the container.
    cluster.exec(primary, "bash", "-c", f"kill -9 {hung}")


@pytest.mark.long
def test_all_pods_at_once(cluster: Cluster, client: Client) -> None:
    names = [pod["metadata"]["name"] for pod in cluster.instances()]

    def delete_all() -> None:
        cluster.kubectl.delete("pod", *names)
        time.sleep(15)

    strike(client, cluster, "all", delete_all)


@pytest.mark.long
def test_while_patroni_is_paused_no_replica_takes_over(cluster: Cluster, client: Client) -> None:
    """Nor does Patroni start a server that has ended; the former primary leads again after the pause."""
    primary = cluster.primary_name()
    ctl = ("patronictl", "pause", "--wait", naming.patroni_scope(cluster.name))
    cluster.exec(primary, *ctl)
    with Writer(client, cluster, "paused", PATIENCE) as writer:
        since = time.monotonic()
        try:
            faults.delete_pod(cluster)
            time.sleep(20)
        finally:
            other = next(p for p in cluster.instances() if p["metadata"]["name"] != primary)
            cluster.exec(other["metadata"]["name"], "patronictl", "resume", ctl[-1])
        writer.wait_for_writes(since + 20, 180)
        report = writer.report()
    assert report.lost == []
    assert cluster.primary_name() == primary


@pytest.mark.long
def test_a_single_instance(new_cluster: Callable[..., Cluster], client: Client) -> None:
    one = new_cluster(small("single"))
    one.apply()
    one.wait_ready()
    uid = one.primary()["metadata"]["uid"]

    def replace_pod() -> None:
        faults.delete_pod(one)
        until("a new pod leads", lambda: one.primary()["metadata"]["uid"] != uid, 120, one.explain)

    strike(client, one, "single", replace_pod)
    one.wait_ready()
    started = postmaster_start(one)
    report = strike(client, one, "singlepatroni", lambda: faults.kill_patroni(one))
    assert report.failed == [], report.errors()
    assert postmaster_start(one) == started
