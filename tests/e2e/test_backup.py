"""Backups: automatic and on demand, refusals, deletion, and kills of the operator and of Jobs."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from pgoperator import labels, naming
from tests.support.backups import BACKUPS, ask, backup, ended, first_backup, gone, in_repository
from tests.support.clusters import Cluster, example
from tests.support.kubectl import Event, Manifest, Watch, condition, until
from tests.support.operators import Operator
from tests.support.output import emit

NAME = "saved"


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster]) -> Cluster:
    manifest = example(NAME, instances=1, poolers=1)
    manifest["spec"]["backups"]["pgbackrest"]["global"] = {"repo1-retention-full": "9"}
    made = new_cluster(manifest)
    made.apply()
    made.wait_ready()
    return made


def events(cluster: Cluster, reason: str) -> list[str]:
    return [e["message"] for e in cluster.kubectl.items("events") if e["reason"] == reason]


def test_the_first_backup_is_taken_by_itself(cluster: Cluster) -> None:
    first_backup(cluster)
    (found,) = cluster.kubectl.items(BACKUPS, cluster.selector)
    job = cluster.kubectl.get("job", found["status"]["jobName"])
    assert job["metadata"]["labels"][labels.PGBACKREST_BACKUP] == "replica-create"
    assert job["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]
    until("ReadyForBackup is True", lambda: cluster.condition("ReadyForBackup").get("status") == "True", 10)
    repos = cluster.cr()["status"]["pgbackrest"]["repos"]
    assert repos[0]["replicaCreateBackupComplete"] is True
    assert all(r["stanzaCreated"] for r in repos)
    generation = cluster.cr()["metadata"]["generation"]
    assert generation == 1, "the operator has changed the spec"


def test_full_differential_and_incremental_on_demand(cluster: Cluster) -> None:
    for name, kind in (("full1", "full"), ("diff1", "diff"), ("incr1", "incr")):
        began = time.monotonic()
        backup(cluster, name, f"--type={kind}")
        emit(f"{kind} backup: {time.monotonic() - began:.1f} s from the object to Succeeded")
        status = cluster.kubectl.get(BACKUPS, name)["status"]
        assert status["backupType"] == kind
        assert status["storageType"] == "filesystem"
        assert status["size"] > 0
        assert status["repo"]["name"] == "repo1"
        assert status["image"]
        assert status["crVersion"]
        assert status["completed"]
        assert status["jobName"].startswith(f"{NAME}-backup-")
        assert condition({"status": status}, "BackupLeaseAcquired")["status"] == "True"
        assert status["backupName"] in in_repository(cluster)


def test_two_at_once_run_one_after_another(cluster: Cluster) -> None:
    names = ("both1", "both2", "both3")
    for name in names:
        ask(cluster, name, "--type=incr")
    for name in names:
        assert ended(cluster, name)["state"] == "Succeeded"
    own = {cluster.kubectl.get(BACKUPS, n)["status"]["backupName"] for n in names}
    assert len(own) == 3
    assert own <= in_repository(cluster)


@pytest.mark.parametrize(
    ("spec", "cause"),
    [
        ({"repoName": "repo4"}, "has no repository repo4"),
        ({"options": ["--repo=2"]}, "--repo is not allowed"),
        ({"options": ["--type=huge"]}, "--type=huge"),
        ({"options": ["--frob=1"]}, "invalid option '--frob=1'"),
        ({"method": "volumeSnapshot"}, "volumeSnapshot"),
    ],
)
def test_what_cannot_be_is_said(cluster: Cluster, spec: dict[str, Any], cause: str) -> None:
    name = "bad"
    ask(cluster, name, **spec)
    status = ended(cluster, name, 30)
    assert status["state"] == "Failed"
    assert cause in status["error"], status["error"]
    cluster.kubectl.delete(BACKUPS, name)
    until("it goes at once", lambda: gone(cluster, name), 10, cluster.explain)


def test_a_backup_waits_for_a_cluster_that_may_be_applied_after_it(cluster: Cluster) -> None:
    ask(cluster, "early", pgCluster="nobody")

    def waits() -> bool:
        conditions = cluster.kubectl.get(BACKUPS, "early").get("status", {}).get("conditions", [])
        return any(
            c["reason"] == "ClusterNotFound" and "PerconaPGCluster nobody does not exist" in c["message"]
            for c in conditions
        )

    until("it waits", waits, 30, cluster.explain)
    assert "state" not in cluster.kubectl.get(BACKUPS, "early")["status"]
    cluster.kubectl.delete(BACKUPS, "early")
    until("it goes at once", lambda: gone(cluster, "early"), 10, cluster.explain)


def remove(cluster: Cluster, name: str) -> None:
    """Delete the object, and its backup."""
    asked = {"metadata": {"annotations": {labels.DELETE_FROM_REPOSITORY: "true"}}}
    cluster.kubectl.patch(BACKUPS, name, asked)
    cluster.kubectl.delete(BACKUPS, name)


def test_deletion_removes_the_backup_or_says_why_not(cluster: Cluster) -> None:
    full = backup(cluster, "keep", "--type=full")
    incr = backup(cluster, "drop", "--type=incr")
    assert incr.startswith(full)
    cluster.kubectl.delete(BACKUPS, "drop")
    until("the object is gone", lambda: gone(cluster, "drop"), 60, cluster.explain)
    assert incr in in_repository(cluster), "nobody asked for its removal"
    incr = backup(cluster, "drop", "--type=incr")
    remove(cluster, "drop")
    until("the object is gone", lambda: gone(cluster, "drop"), 60, cluster.explain)
    assert incr not in in_repository(cluster)
    # The name can be used again.
    incr = backup(cluster, "drop", "--type=incr")
    remove(cluster, "keep")
    until("the object is gone", lambda: gone(cluster, "keep"), 30, cluster.explain)
    assert full in in_repository(cluster)
    assert any(full in message and "drop" in message for message in events(cluster, "BackupKept"))
    cluster.kubectl.delete(BACKUPS, "drop")
    until("the object is gone", lambda: gone(cluster, "drop"), 60, cluster.explain)


def steps(name: str) -> dict[str, Callable[[Event], bool]]:
    """The steps of a backup as its watches show them, in order."""

    def state(*states: str) -> Callable[[Event], bool]:
        return lambda e: (
            e.object["metadata"].get("name") == name and e.object.get("status", {}).get("state") in states
        )

    def work(kind: str, check: Callable[[Manifest], bool]) -> Callable[[Event], bool]:
        def of(event: Event) -> bool:
            annotations = event.object["metadata"].get("annotations", {})
            mine = annotations.get(labels.PGBACKREST_BACKUP) == name
            return event.object["kind"] == kind and mine and check(event.object)

        return of

    return {
        "asked for": lambda e: e.object["metadata"].get("name") == name,
        "Starting": state("Starting", "Running", "Succeeded"),
        "its Job is made": work("Job", lambda job: True),
        "Running": state("Running", "Succeeded"),
        "its pod is there": work("Pod", lambda pod: True),
        "its pod works": work("Pod", lambda pod: pod["status"].get("phase") in ("Running", "Succeeded")),
        "its pod has ended": work("Pod", lambda pod: pod["status"].get("phase") == "Succeeded"),
        "its Job has ended": work("Job", lambda job: bool(job.get("status", {}).get("succeeded"))),
        "Succeeded": state("Succeeded"),
        "the Job's end is set": work("Job", lambda job: "ttlSecondsAfterFinished" in job["spec"]),
    }


def test_the_operator_may_die_at_every_step(cluster: Cluster, operator: Operator) -> None:
    """At any step: one Job, one backup, and the Lease is free afterwards."""
    namespace = cluster.kubectl.namespace
    paths = (
        f"/apis/pgv2.percona.com/v2/namespaces/{namespace}/{BACKUPS}",
        f"/apis/batch/v1/namespaces/{namespace}/jobs",
        f"/api/v1/namespaces/{namespace}/pods",
    )
    for number, step in enumerate(steps("")):
        name = f"killed{number}"
        before = in_repository(cluster)
        with ExitStack() as stack:
            watches = [stack.enter_context(Watch(cluster.kubectl, path)) for path in paths]
            check = steps(name)[step]
            ask(cluster, name, "--type=incr")
            until(step, lambda: any(w.first(check) for w in watches), 60, cluster.explain, 0.01)  # noqa: B023
            operator.kill()
        operator.wait()
        status = ended(cluster, name)
        assert status["state"] == "Succeeded", (step, status)
        assert in_repository(cluster) - before == {status["backupName"]}, step
        until("the Lease is free", lambda: not holder(cluster), 30, cluster.explain)

        def job() -> Manifest:
            return cluster.kubectl.get("job", status["jobName"])  # noqa: B023

        until("the Job's end is set", lambda: job()["spec"].get("ttlSecondsAfterFinished"), 30)
        mine = {labels.PGBACKREST_BACKUP: name}.items()
        jobs = [
            j for j in cluster.kubectl.items("jobs") if mine <= j["metadata"].get("annotations", {}).items()
        ]
        assert len(jobs) == 1, step


def holder(cluster: Cluster) -> str:
    """The holder of the repositories' Lease."""
    lease = cluster.kubectl.find("lease", naming.backup_lease(NAME)) or {}
    return str(lease.get("spec", {}).get("holderIdentity") or "")


def test_a_job_that_vanishes_is_told_and_the_next_one_runs(cluster: Cluster) -> None:
    ask(cluster, "vanished", "--type=full")
    ask(cluster, "next", "--type=incr")

    def running() -> bool:
        return cluster.kubectl.get(BACKUPS, "vanished").get("status", {}).get("state") == "Running"

    until("it runs", running, 60, cluster.explain, 0.05)
    cluster.kubectl.delete("job", cluster.kubectl.get(BACKUPS, "vanished")["status"]["jobName"])
    status = ended(cluster, "vanished", 30)
    assert status["state"] == "Failed"
    assert "was deleted before it finished" in status["error"]
    assert ended(cluster, "next")["state"] == "Succeeded"


@contextmanager
def quota(cluster: Cluster, what: str) -> Iterator[None]:
    """A quota that allows no more objects of a kind in the namespace."""
    manifest = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}}
    cluster.kubectl.apply(manifest | {"spec": {"hard": {what: "0"}}})

    def enforced() -> Any:
        return cluster.kubectl.get("resourcequota", "none").get("status", {}).get("used")

    until("the quota is in force", enforced, 60)
    try:
        yield
    finally:
        cluster.kubectl.delete("resourcequota", "none")


def waits_for(cluster: Cluster, name: str) -> str:
    """The reason in the status why a backup does not run."""
    return str(condition(cluster.kubectl.get(BACKUPS, name), "Waiting").get("message", ""))


def test_a_quota_that_keeps_a_backup_from_its_work_is_named(cluster: Cluster) -> None:
    with quota(cluster, "pods"):
        ask(cluster, "no-pod", "--type=incr")
        began = time.monotonic()

        def named() -> bool:
            return "exceeded quota" in waits_for(cluster, "no-pod")

        until("the status names it", named, 60, cluster.explain)
        emit(f"a quota of pods: {time.monotonic() - began:.0f} s, {waits_for(cluster, 'no-pod')}")
        assert cluster.kubectl.get(BACKUPS, "no-pod")["status"]["state"] == "Running"
    assert ended(cluster, "no-pod", 300)["state"] == "Succeeded"
    assert waits_for(cluster, "no-pod") == ""
    with quota(cluster, "count/jobs.batch"):
        ask(cluster, "no-job", "--type=incr")
        until("it has begun", lambda: waits_for(cluster, "no-job"), 60, cluster.explain)
        ask(cluster, "next-in-turn", "--type=incr")
        assert "exceeded quota" in waits_for(cluster, "no-job")
        status = ended(cluster, "no-job", 240)
        assert status["state"] == "Failed"
        assert "exceeded quota" in status["error"]
    assert ended(cluster, "next-in-turn")["state"] == "Succeeded"


def test_an_annotation_asks_for_one_backup(cluster: Cluster, operator: Operator) -> None:
    """Once for each value, even if the operator dies in between."""

    def annotate(value: str) -> None:
        annotation = f"{labels.PGBACKREST_BACKUP}={value}"
        cluster.kubectl.run("annotate", "--overwrite", "perconapgclusters", NAME, annotation)

    def reported(value: str) -> bool:
        status = cluster.cr()["status"]["pgbackrest"].get("manualBackup", {})
        return status.get("id") == value and status.get("succeeded") == 1

    manual = {"repoName": "repo1", "options": ["--type=incr"]}
    cluster.change(lambda spec: spec["backups"]["pgbackrest"].update(manual=manual))
    known = set(cluster.kubectl.names(BACKUPS))

    def fresh() -> set[str]:
        return set(cluster.kubectl.names(BACKUPS)) - known

    annotate("first value")
    operator.kill()
    operator.wait()
    until("it is complete", lambda: reported("first value"), 120, cluster.explain)
    (name,) = fresh()
    assert cluster.kubectl.get(BACKUPS, name)["status"]["backupType"] == "incr"
    assert cluster.condition("PGBackRestManualBackupSuccessful")["status"] == "True"
    cluster.kubectl.delete(BACKUPS, name)
    until("it is gone", lambda: gone(cluster, name), 60, cluster.explain)
    annotate("another")
    until("the other is complete", lambda: reported("another"), 120, cluster.explain)
    assert len(fresh()) == 1
    assert fresh() != {name}
    cluster.kubectl.run("annotate", "perconapgclusters", NAME, f"{labels.PGBACKREST_BACKUP}-")
    cluster.change(lambda spec: spec["backups"]["pgbackrest"].pop("manual"))


def test_until_when_one_can_restore(cluster: Cluster) -> None:
    backup(cluster, "restorable", "--type=incr")
    assert "latestRestorableTime" not in cluster.kubectl.get(BACKUPS, "restorable")["status"]
    cluster.psql("CREATE TABLE IF NOT EXISTS noted (at timestamptz)")
    cluster.psql("INSERT INTO noted VALUES (now())")
    text = "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+0000')"
    commit = text.format("pg_xact_commit_timestamp(xmin)")
    at = cluster.psql(f"SELECT {commit} FROM noted ORDER BY at DESC LIMIT 1")
    cluster.psql("SELECT pg_switch_wal()")
    switched = cluster.psql(f"SELECT {text.format('clock_timestamp()')}")

    def reported() -> str:
        return str(cluster.kubectl.get(BACKUPS, "restorable")["status"].get("latestRestorableTime", ""))

    began = time.monotonic()
    until("latestRestorableTime has the commit", lambda: reported() >= at, 60, cluster.explain)
    emit(f"latestRestorableTime is set {time.monotonic() - began:.1f} s after the segment")
    found = reported()
    # The check of writes may have committed, too.
    assert at <= found <= switched
    before = cluster.psql("SELECT archived_count FROM pg_stat_archiver")
    time.sleep(12)
    assert reported() == found, "it moved although nothing was written"
    assert cluster.psql("SELECT archived_count FROM pg_stat_archiver") == before
