"""Changes of a cluster while a client writes through pgBouncer in transaction mode.

New templates, parameters that need a restart, a switchover on request, a pause: no transaction fails, but for
those of clients whose sessions hold connections, and each pod restarts once.
"""

import time
from collections.abc import Callable
from functools import partial

import pytest

from pgoperator import naming
from tests.support.clients import Client
from tests.support.clusters import Cluster, small, transactional
from tests.support.kubectl import Manifest, until
from tests.support.output import emit
from tests.support.switchovers import answered, ask
from tests.support.workload import Report, Writer


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster]) -> Cluster:
    """A cluster of three instances without backups, with two poolers in transaction mode."""
    made = new_cluster(transactional())
    made.apply()
    made.wait_ready(300)
    return made


def uids(cluster: Cluster) -> dict[str, str]:
    return {str(p["metadata"]["name"]): str(p["metadata"]["uid"]) for p in cluster.instances()}


def started(cluster: Cluster) -> dict[str, str]:
    """When each server started; a former primary may be starting just now."""
    query = partial(cluster.psql, "SELECT pg_postmaster_start_time()")
    return {pod: until(f"{pod} answers", partial(query, pod), 60, cluster.explain) for pod in uids(cluster)}


def judged(cluster: Cluster, writer: Writer, what: str, began: float) -> Report:
    seconds = time.monotonic() - began
    writer.wait_for_writes(time.monotonic(), 60)
    report = writer.report()
    emit(f"{what} took {seconds:.1f} s; " + report.describe("during the change", began))
    assert report.lost == []
    assert report.failed == [], cluster.explain()
    return report


def test_a_new_template_restarts_each_pod_once_and_fails_no_transaction(
    cluster: Cluster, client: Client
) -> None:
    before, old = uids(cluster), cluster.primary_name()
    down: list[int] = []

    def changed() -> bool:
        pods: list[Manifest] = cluster.instances()
        down.append(len(before) - sum(_is_up(p) for p in pods))
        return cluster.is_ready()

    with Writer(client, cluster, "rolling", 30) as writer:
        began = time.monotonic()
        resources = {"requests": {"memory": "96Mi"}}
        cluster.change(lambda spec: spec["instances"][0].update(resources=resources))
        until("the change is rolled out", changed, 240, cluster.explain)
        judged(cluster, writer, "a rolling change of three instances", began)
    after = uids(cluster)
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values()), "a pod was not restarted"
    for pod in cluster.instances():
        [database] = [c for c in pod["spec"]["containers"] if c["name"] == "database"]
        assert database["resources"]["requests"] == {"memory": "96Mi"}
    assert max(down) <= 1, "more than one instance was down"
    assert cluster.primary_name() != old, "the primary changed by a switchover, before its pod was deleted"


def _is_up(pod: Manifest) -> bool:
    found = {c["type"]: c["status"] for c in pod.get("status", {}).get("conditions", [])}
    return "deletionTimestamp" not in pod["metadata"] and found.get("Ready") == "True"


def set_parameter(spec: Manifest, name: str, value: int) -> None:
    configuration = spec.setdefault("patroni", {}).setdefault("dynamicConfiguration", {})
    configuration.setdefault("postgresql", {}).setdefault("parameters", {})[name] = value


@pytest.mark.parametrize(
    ("name", "value"), [("max_connections", 107), pytest.param("max_wal_senders", 8, marks=pytest.mark.long)]
)
def test_a_parameter_that_needs_a_restart_takes_effect_without_one_of_a_pod(
    cluster: Cluster, client: Client, name: str, value: int
) -> None:
    """One value grows, one shrinks: a replica's value must never be lower than the primary's."""
    pods, times = cluster.restarts(), started(cluster)

    def holds(pod: str) -> bool:
        return cluster.psql(f"SHOW {name}", pod) == str(value)

    with Writer(client, cluster, name, 30) as writer:
        began = time.monotonic()
        cluster.change(partial(set_parameter, name=name, value=value))
        for pod in times:
            until(f"{name} holds on {pod}", partial(holds, pod), 180, cluster.explain, 1)
        until("nothing waits", lambda: cluster.condition("PendingRestart") == {}, 60, cluster.explain, 1)
        cluster.wait_ready(60)
        judged(cluster, writer, f"a restart for {name}", began)
    assert cluster.restarts() == pods, "a pod or a container restarted"
    assert all(times[pod] != time for pod, time in started(cluster).items())


def test_a_switchover_on_request(cluster: Cluster, client: Client) -> None:
    target = cluster.replicas()[0]["metadata"]["name"]
    begun = partial(cluster.psql, "SELECT pg_postmaster_start_time()", target)
    at = begun()
    with Writer(client, cluster, "switchover", 30) as writer:
        began = time.monotonic()
        ask(cluster, "first", targetInstance=target.removesuffix("-0"))
        until("it is carried out", lambda: answered(cluster) == "first", 120, cluster.explain)
        assert cluster.primary_name() == target
        cluster.wait_ready(90)
        judged(cluster, writer, "a switchover on request", began)
    assert cluster.condition("Switchover")["status"] == "True"
    assert begun() == at, "the new primary restarted"
    # The same value requests nothing, even if other fields change.
    ask(cluster, "first")
    cluster.wait_ready(60)
    assert cluster.primary_name() == target
    ask(cluster, "second", targetInstance="nobody")
    until(
        "the refusal",
        lambda: cluster.condition("Switchover").get("reason") == "NoCandidate",
        30,
        cluster.explain,
    )
    assert "nobody" in cluster.condition("Switchover")["message"]
    assert cluster.primary_name() == target


def test_a_failover_on_request_goes_to_its_target_once(cluster: Cluster, client: Client) -> None:
    target, other = (str(pod["metadata"]["name"]) for pod in cluster.replicas())
    with Writer(client, cluster, "failover", 30) as writer:
        began = time.monotonic()
        ask(cluster, "failover", type="Failover", targetInstance=target.removesuffix("-0"))
        until("it is carried out", lambda: answered(cluster) == "failover", 120, cluster.explain)
        assert cluster.condition("Switchover")["status"] == "True"
        assert cluster.primary_name() == target
        cluster.wait_ready(120)
        writer.wait_for_writes(time.monotonic(), 60)
        # Clients are not held: a failover must also work when the primary does not answer.
        emit(writer.report().describe("a failover on request", began))
    timeline = [member["TL"] for member in cluster.patronictl() if member["Role"] == "Leader"]
    ask(cluster, "failover", type="Failover", targetInstance=other.removesuffix("-0"))
    cluster.wait_ready(60)
    assert cluster.primary_name() == target
    assert [member["TL"] for member in cluster.patronictl() if member["Role"] == "Leader"] == timeline


def test_a_transaction_that_does_not_end_keeps_the_primary(cluster: Cluster, client: Client) -> None:
    uri = cluster.credentials()["pgbouncer-uri"]
    primary = cluster.primary_name()
    script = "read -r uri; psql -qAt -d \"$uri\" -c 'BEGIN; SELECT pg_sleep(240); COMMIT' >/tmp/long 2>&1 &"
    client.run("bash", "-c", script, stdin=uri + "\n")
    busy = (
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(240)%' AND pid <> pg_backend_pid()"
    )
    until("the transaction runs", lambda: cluster.psql(busy) == "1", 30, cluster.explain)
    ask(cluster, "third")
    until("the status shows it", lambda: answered(cluster) == "third", 180, cluster.explain)
    found = cluster.condition("Switchover")
    assert (found["status"], found["reason"]) == ("False", "Failed")
    assert "did not finish" in found["message"]
    assert cluster.primary_name() == primary
    assert client.sql(uri, "SELECT 1") == "1", "pgBouncer was not resumed"
    cluster.psql(busy.replace("count(*)", "pg_terminate_backend(pid)"))


def test_pgbouncer_goes_on_by_itself(cluster: Cluster, client: Client) -> None:
    """Simulate an operator that died after it had pgBouncer hold its clients."""
    held = ("bash", f"{naming.SCRIPTS_PATH}/pgbouncer-hold.sh", "hold", "5432", "3", "4")
    for pod in cluster.poolers():
        said = cluster.kubectl.exec(str(pod["metadata"]["name"]), *held, container="pgbouncer")
        assert said.strip() == "drained"
    uri = cluster.credentials()["pgbouncer-uri"]
    assert client.sql(uri, "SELECT 1", PGCONNECT_TIMEOUT="50") == "1"


def test_a_template_that_breaks_stops_at_the_first_replica(cluster: Cluster, client: Client) -> None:
    cluster.wait_ready(60)
    before, primary = uids(cluster), cluster.primary_name()
    cluster.change(lambda spec: spec.update(image="localhost/pgoperator/no-such-image:1"))
    until(
        "the condition shows the reason",
        lambda: (
            cluster.condition("Ready").get("reason")
            in ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull")
        ),
        120,
        cluster.explain,
        1,
    )
    assert cluster.condition("Degraded")["status"] == "True"
    same = {pod for pod, uid in uids(cluster).items() if before[pod] == uid}
    assert len(same) == 2
    assert primary in same
    assert client.sql(cluster.credentials()["pgbouncer-uri"], "SELECT 1") == "1"
    cluster.change(lambda spec: spec.pop("image"))
    cluster.wait_ready(180)
    assert {pod for pod, uid in uids(cluster).items() if before[pod] == uid} == same, "too much restarted"


def test_a_pause_keeps_the_data(cluster: Cluster, client: Client) -> None:
    uri = cluster.credentials()["pgbouncer-uri"]
    client.sql(uri, "CREATE TABLE paused AS SELECT g AS n FROM generate_series(1, 100) g")
    primary = cluster.primary_name()
    kept = {
        kind: cluster.kubectl.names(kind, cluster.selector)
        for kind in ("services", "secrets", "persistentvolumeclaims", "statefulsets")
    }
    began = time.monotonic()
    cluster.change(lambda spec: spec.update(pause=True))
    until("it is paused", lambda: cluster.cr()["status"]["state"] == "paused", 120, cluster.explain)
    emit(f"the pause took {time.monotonic() - began:.1f} s")
    assert cluster.pods() == []
    assert {kind: cluster.kubectl.names(kind, cluster.selector) for kind in kept} == kept
    began = time.monotonic()
    cluster.change(lambda spec: spec.update(pause=False))
    cluster.wait_ready(180)
    emit(f"the resumption took {time.monotonic() - began:.1f} s")
    assert cluster.primary_name() == primary, "the last primary did not come first"
    until("the answer", lambda: client.sql(uri, "SELECT count(*) FROM paused") == "100", 30, cluster.explain)
    claim = cluster.kubectl.get("pvc", naming.instance_volume(primary.removesuffix("-0")))
    assert "pgv2.percona.com/paused-primary" not in claim["metadata"]["annotations"]


def test_one_instance_with_sessions_changes_too(new_cluster: Callable[..., Cluster], client: Client) -> None:
    """With session pooling an open session delays no change; an unmanaged cluster does not change."""
    cluster = new_cluster(small("single"))
    cluster.apply()
    cluster.wait_ready(300)
    talk = '(echo "SELECT 1;"; sleep 120) | psql -qAt -d "$uri"'
    script = f"read -r uri; {{ {talk}; }} >/tmp/session 2>&1 </dev/null &"
    client.run("bash", "-c", script, stdin=cluster.credentials()["pgbouncer-uri"] + "\n")
    until(
        "the session is open", lambda: client.run("cat", "/tmp/session").strip() == "1", 30, cluster.explain
    )
    configuration = {"postgresql": {"parameters": {"max_connections": 107}}}
    cluster.change(lambda spec: spec.setdefault("patroni", {}).update(dynamicConfiguration=configuration))
    [pod] = uids(cluster)
    until("the restart", lambda: cluster.psql("SHOW max_connections", pod) == "107", 180, cluster.explain, 1)

    cluster.change(lambda spec: spec.update(unmanaged=True))
    until(
        "the reason is Paused",
        lambda: cluster.condition("Progressing")["reason"] == "Paused",
        30,
        cluster.explain,
    )
    before = uids(cluster)
    resources = {"requests": {"memory": "96Mi"}}
    cluster.change(lambda spec: spec["instances"][0].update(resources=resources))
    time.sleep(5)
    assert uids(cluster) == before
    cluster.change(lambda spec: spec.pop("unmanaged"))
    until("another pod", lambda: not set(uids(cluster).values()) & set(before.values()), 120, cluster.explain)
    cluster.wait_ready(180)
