"""Backups over time: schedule, retention, and backups that are disabled and enabled again."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from pgoperator import labels
from tests.support.backups import BACKUPS, ask, backup, ended, first_backup, gone, in_repository
from tests.support.clusters import Cluster, example
from tests.support.kubectl import Manifest, until
from tests.support.operators import Operator

NAME = "timely"


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster]) -> Cluster:
    """A single instance with its first backup; retention keeps two full backups."""
    manifest = example(NAME, instances=1, poolers=1)
    manifest["spec"]["backups"]["pgbackrest"]["global"] = {"repo1-retention-full": "2"}
    made = new_cluster(manifest)
    made.apply()
    made.wait_ready()
    first_backup(made)
    return made


def test_retention_removes_objects(cluster: Cluster) -> None:
    [first] = cluster.kubectl.names(BACKUPS)
    for name in ("r1", "r2", "r3"):
        backup(cluster, name, "--type=full")
    until("the oldest is gone", lambda: gone(cluster, first), 60, cluster.explain)
    until("and the next", lambda: gone(cluster, "r1"), 60, cluster.explain)
    assert not gone(cluster, "r2")
    left = cluster.kubectl.items(BACKUPS)
    own = {
        b["status"]["backupName"]
        for b in left
        if b["spec"]["repoName"] == "repo1" and b["status"].get("backupName")
    }
    assert own == in_repository(cluster)


def test_a_schedule_fires_and_catches_up_once(cluster: Cluster, operator: Operator) -> None:
    def schedule(cron: str | None) -> None:
        def edit(spec: Manifest) -> None:
            repo = spec["backups"]["pgbackrest"]["repos"][0]
            repo.pop("schedules", None)
            if cron:
                repo["schedules"] = {"incremental": cron}

        cluster.change(edit)

    def scheduled() -> list[str]:
        return [n for n in cluster.kubectl.names(BACKUPS) if n.startswith(f"{NAME}-repo1-incremental-")]

    schedule("61 * * * *")

    def bad() -> bool:
        return "61 * * * *" in cluster.condition("BackupScheduleInvalid").get("message", "")

    until("the condition names the bad expression", bad, 15, cluster.explain)
    schedule("* * * * *")
    until("it fires", scheduled, 120, cluster.explain)
    assert ended(cluster, scheduled()[0])["state"] == "Succeeded"
    record = cluster.cr()["status"]["pgbackrest"]["scheduledBackups"]
    assert record[0]["cronJobName"] == f"{NAME}-repo1-incremental"
    with operator.away():
        known = set(scheduled())
        # Two scheduled times pass; the next one is far away when the operator returns.
        time.sleep(120 + (15 - time.time()) % 60)
        assert set(scheduled()) == known

    def fresh() -> set[str]:
        return set(scheduled()) - known

    until("it catches up", fresh, 20, cluster.explain)
    assert len(fresh()) == 1
    schedule(None)


def test_an_overdue_schedule_is_told_until_it_succeeds(cluster: Cluster, operator: Operator) -> None:
    """Instead of waiting, the test moves the times in the status into the past while no operator runs."""

    def edit(spec: Manifest) -> None:
        # Half an hour from the next scheduled time, and from the last one.
        spec["backups"]["pgbackrest"]["repos"][0]["schedules"] = {
            "differential": f"{(datetime.now(UTC).minute + 30) % 60} * * * *"
        }

    def record() -> Manifest:
        found = cluster.cr()["status"]["pgbackrest"].get("scheduledBackups", [])
        return next((r for r in found if r["type"] == "differential"), {})

    cluster.change(edit)
    until("the status shows the next run", lambda: record().get("nextRun"), 60, cluster.explain)
    assert "lastSuccess" not in record()
    with operator.away():
        past = (datetime.now(UTC) - timedelta(hours=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
        old = record() | {"startTime": past, "lastSuccess": past}
        status = {"status": {"pgbackrest": {"scheduledBackups": [old]}}}
        cluster.kubectl.patch("perconapgclusters", NAME, status, "--subresource=status")

    def reported() -> bool:
        return any(
            e["reason"] == "BackupOverdue" and "differential of repo1" in e["message"]
            for e in cluster.kubectl.items("events")
        )

    until("an event is recorded", reported, 60, cluster.explain)
    until("it succeeds", lambda: record()["lastSuccess"] > past, 120, cluster.explain)
    until("the condition goes", lambda: not cluster.condition("BackupOverdue"), 30, cluster.explain)
    cluster.change(lambda spec: spec["backups"]["pgbackrest"]["repos"][0].pop("schedules"))


def test_backups_go_off_with_consent_and_come_back(cluster: Cluster) -> None:
    cluster.change(lambda spec: spec["backups"].update(enabled=False))

    def paused() -> bool:
        return cluster.condition("Progressing").get("reason") == "Paused"

    until("consent is asked for", paused, 20, cluster.explain)
    assert "authorizeBackupRemoval=true" in cluster.condition("Progressing")["message"]
    assert cluster.kubectl.find("statefulset", f"{NAME}-repo-host")
    consent = f"{labels.PERCONA}authorizeBackupRemoval"
    cluster.kubectl.run("annotate", "perconapgclusters", NAME, f"{consent}=true")
    until(
        "the host goes",
        lambda: not cluster.kubectl.find("statefulset", f"{NAME}-repo-host"),
        60,
        cluster.explain,
    )
    assert cluster.kubectl.find("persistentvolumeclaim", f"{NAME}-repo1")
    cluster.wait_ready()
    ask(cluster, "off")
    assert "disabled" in ended(cluster, "off", 15)["error"]
    cluster.change(lambda spec: spec["backups"].update(enabled=True))
    cluster.wait_ready()

    def ready() -> bool:
        return cluster.condition("ReadyForBackup").get("status") == "True"

    until("a new first backup is complete", ready, 90, cluster.explain)
    backup(cluster, "on-again", "--type=incr")
