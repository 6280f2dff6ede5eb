"""Prometheus with the shipped configuration, alerts and dashboard, on a cluster with failures."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pgoperator import labels, naming
from tests.support.backups import BACKUPS
from tests.support.clusters import Cluster, example, small
from tests.support.kubectl import Kubectl, Manifest, until
from tests.support.namespaces import empty
from tests.support.operators import ACCOUNT, Operator
from tests.support.prometheus import MONITORING, Prometheus, kubelets
from tests.support.small_volume import small_volume

PATIENCE = 300.0
BOARD = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
QUERIES = [
    pytest.param(target["expr"], id=panel["title"])
    for panel in BOARD["panels"]
    for target in panel.get("targets", [])
]


@pytest.fixture(scope="module")
def prometheus(kubectl: Kubectl, operator: Operator) -> Iterator[Prometheus]:
    """Prometheus, started before the cluster, so that it sees the passes that create the cluster."""
    started = Prometheus.start(kubectl, operator)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def watched(prometheus: Prometheus, kubectl: Kubectl, operator: Operator) -> Cluster:
    """A cluster of a primary and a replica with its first backup and scraped metrics."""
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
    return {
        (t["labels"]["job"], t["labels"].get("pod") or t["labels"]["instance"]): t["health"]
        for t in prometheus.targets()
    }


def test_every_target_is_up(watched: Cluster, prometheus: Prometheus) -> None:
    instances = {("patroni", pod["metadata"]["name"]) for pod in watched.instances()}
    operator = ("pgoperator", str(prometheus.operator.pod()["metadata"]["name"]))
    nodes = [("kubelet", address) for address in kubelets(watched.kubectl)]
    wanted = dict.fromkeys([*instances, operator, *nodes], "up")
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
    """Wait until an alert has fired after a given time; during a creation every alert fires."""
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
    # The alert's end is not enough: the next test may promote the replica, which must have received this.
    until("the replica streams", lambda: prometheus.query(streams), PATIENCE, lambda: explain(prometheus))
    over(prometheus, "PostgresReplicaNotStreaming")


def test_a_cluster_without_a_primary_is_told(watched: Cluster, prometheus: Prometheus) -> None:
    over(prometheus, "PostgresNoPrimary")
    begun = time.time()
    for pod in watched.instances():
        watched.kubectl.delete("pod", pod["metadata"]["name"])
    where = {"namespace": watched.kubectl.namespace, "cluster": watched.name}
    for alert in ("PostgresNoPrimary", "PostgresClusterNotReady"):
        seen(prometheus, alert, begun, **where)
    seen(prometheus, "PostgresInstanceUnreachable", begun, namespace=watched.kubectl.namespace)
    watched.wait_ready(PATIENCE)
    prometheus.discover()
    for alert in ("PostgresNoPrimary", "PostgresClusterNotReady", "PostgresInstanceUnreachable"):
        over(prometheus, alert)


def test_an_archive_that_fails_and_a_backup_that_is_late_are_told(
    watched: Cluster, prometheus: Prometheus
) -> None:
    """A backup is late after two periods and ten minutes: the test moves the successes an hour back."""
    host, archive = f"{watched.name}-repo-host-0", "/pgbackrest/repo1/archive"
    alerts = ("PostgresArchiveFailing", "PostgresBackupOverdue")

    def repo(spec: Manifest) -> Any:
        return spec["backups"]["pgbackrest"]["repos"][0]

    for alert in alerts:
        over(prometheus, alert)
    begun = time.time()
    where = {"namespace": watched.kubectl.namespace, "cluster": watched.name}
    watched.change(lambda spec: repo(spec).update(schedules={"full": "* * * * *"}))
    try:
        until("a backup on schedule succeeds", lambda: on_schedule(watched), PATIENCE, watched.explain)
        watched.kubectl.exec(host, "chmod", "0", archive, container="pgbackrest")
        watched.psql("CREATE TABLE written AS SELECT 1; SELECT pg_switch_wal()")
        old = f"{datetime.now(UTC) - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
        for name in on_schedule(watched):
            watched.kubectl.patch(BACKUPS, name, {"status": {"completed": old}}, "--subresource=status")
        records = watched.cr()["status"]["pgbackrest"]["scheduledBackups"]
        aged = {"pgbackrest": {"scheduledBackups": [record | {"lastSuccess": old} for record in records]}}
        watched.kubectl.patch("perconapgclusters", watched.name, {"status": aged}, "--subresource=status")
        for alert in alerts:
            seen(prometheus, alert, begun, **where)
    finally:
        watched.kubectl.exec(host, "chmod", "750", archive, container="pgbackrest")
        watched.change(lambda spec: repo(spec).pop("schedules"))
    for alert in alerts:
        over(prometheus, alert)


def test_a_backup_that_is_not_proven_is_told(watched: Cluster, prometheus: Prometheus) -> None:
    begun = time.time()
    where = {"namespace": watched.kubectl.namespace, "cluster": watched.name}

    def annotate(cron: str | None) -> None:
        annotations = {"metadata": {"annotations": {labels.RESTORE_DRILL: cron}}}
        watched.kubectl.patch("perconapgclusters", watched.name, annotations)

    annotate("not a schedule")
    seen(prometheus, "PostgresRestoreNotProven", begun, **where)
    annotate(None)
    over(prometheus, "PostgresRestoreNotProven")


def on_schedule(cluster: Cluster) -> list[str]:
    """The scheduled backups that succeeded."""
    found = cluster.kubectl.items(BACKUPS, cluster.selector)
    done = [b["metadata"]["name"] for b in found if b.get("status", {}).get("state") == "Succeeded"]
    return [name for name in done if name.startswith(f"{cluster.name}-repo1-full-")]


def test_a_certificate_that_ends_soon_is_told(watched: Cluster, prometheus: Prometheus) -> None:
    over(prometheus, "PostgresCertificateExpires")
    begun = time.time()
    where = {"namespace": watched.kubectl.namespace, "cluster": watched.name}
    watched.change(lambda spec: spec.update(tls={"certValidityDuration": "1h"}))
    seen(prometheus, "PostgresCertificateExpires", begun, **where)
    # Without a duration, the existing series would suffice.
    watched.change(lambda spec: spec.update(tls={"certValidityDuration": "8760h"}))
    over(prometheus, "PostgresCertificateExpires")


def test_passes_that_fail_are_told(watched: Cluster, prometheus: Prometheus) -> None:
    """The operator loses the permission to write statuses."""
    over(prometheus, "PostgresOperatorFails")
    begun = time.time()
    kubectl = prometheus.operator.kubectl
    role = kubectl.get("role", ACCOUNT)
    kept = [rule for rule in role["rules"] if "perconapgclusters/status" not in rule["resources"]]
    assert len(kept) < len(role["rules"])
    kubectl.patch("role", ACCOUNT, {"rules": kept})
    try:
        watched.change(lambda spec: spec.update(tls={"certValidityDuration": "4380h"}))
        seen(prometheus, "PostgresOperatorFails", begun, controller="perconapgcluster")
    finally:
        kubectl.patch("role", ACCOUNT, {"rules": role["rules"]})
    watched.wait_ready(PATIENCE)


def test_an_operator_that_is_gone_is_told(watched: Cluster, prometheus: Prometheus) -> None:
    over(prometheus, "PostgresOperatorWithoutLeader")
    begun = time.time()
    prometheus.operator.kill()
    seen(prometheus, "PostgresOperatorWithoutLeader", begun)
    prometheus.operator.wait()
    prometheus.discover()
    over(prometheus, "PostgresOperatorWithoutLeader")


def test_a_volume_that_fills_is_told(kubectl: Kubectl, operator: Operator, prometheus: Prometheus) -> None:
    """On a volume whose driver reports its usage."""
    with small_volume(kubectl) as volume:
        manifest = small("filled")
        manifest["spec"]["instances"][0]["dataVolumeClaimSpec"]["storageClassName"] = volume.name
        filled = Cluster(kubectl, manifest, operator)
        filled.apply()
        filled.wait_ready(PATIENCE)
        [claim] = kubectl.names(
            "persistentvolumeclaims", f"{filled.selector},{labels.ROLE}={labels.ROLE_PGDATA}"
        )
        of_claim = f'{{namespace="{kubectl.namespace}",persistentvolumeclaim="{claim}"}}'

        def known() -> Any:
            return prometheus.query(f"kubelet_volume_stats_available_bytes{of_claim}")

        until("its kubelet reports the volume", known, PATIENCE, lambda: explain(prometheus))
        where = {"namespace": kubectl.namespace, "persistentvolumeclaim": claim}
        for alert, free in (("PostgresVolumeFills", 0.25), ("PostgresVolumeAlmostFull", 0.03)):
            over(prometheus, alert)
            begun = time.time()
            volume.fill(free)
            seen(prometheus, alert, begun, **where)
        volume.fill(1)
        for alert in ("PostgresVolumeFills", "PostgresVolumeAlmostFull"):
            over(prometheus, alert)
        empty(kubectl)
