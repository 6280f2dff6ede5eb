"""Backups: on demand, by themselves, on schedule; what is refused, what a deletion does, who may die when."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pgoperator import labels
from tests.support.clusters import Cluster, example
from tests.support.host_operator import HostOperator
from tests.support.kubectl import Kubectl, Manifest, condition, until
from tests.support.operators import DEPLOYMENT, Operator
from tests.support.restores import BACKUPS, ENDED, backup, first_backup
from tests.support.s3 import BUCKET, S3, server
from tests.support.tell import tell

NAME = "saved"


def backups(manifest: Manifest) -> dict[str, Any]:
    found: dict[str, Any] = manifest["spec"]["backups"]["pgbackrest"]
    return found


@pytest.fixture(scope="module")
def s3(kubectl: Kubectl) -> Iterator[S3]:
    with server(kubectl) as found:
        yield found


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster], s3: S3) -> Cluster:
    manifest = example(NAME, instances=1, poolers=1)
    settings = backups(manifest)
    settings["configuration"] = [*s3.configuration(), {"secret": {"name": "cipher"}}]
    settings["repos"] = [*settings["repos"], s3.repo("repo2")]
    settings["global"] = s3.options("repo2", "/pgbackrest/repo2") | {
        "repo1-retention-full": "9",
        "repo2-retention-full": "9",
        "repo2-cipher-type": "aes-256-cbc",
        "repo2-block": "y",
        "compress-type": "zst",
    }
    made = new_cluster(manifest)
    made.kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "cipher"},
            "stringData": {"cipher.conf": "[global]\nrepo2-cipher-pass=a-long-passphrase\n"},
        }
    )
    made.apply()
    made.wait_ready()
    return made


def ask(cluster: Cluster, name: str, *options: str, **spec: Any) -> None:
    """Ask for a backup, without waiting."""
    wanted = {"pgCluster": cluster.name, "repoName": "repo1", "options": list(options)} | spec
    cluster.kubectl.apply(
        {
            "apiVersion": "pgv2.percona.com/v2",
            "kind": "PerconaPGBackup",
            "metadata": {"name": name},
            "spec": wanted,
        }
    )


def ended(cluster: Cluster, name: str, seconds: float = 90) -> Manifest:
    """Wait for a backup's end and return its status."""

    def status() -> Manifest | None:
        found: Manifest = cluster.kubectl.get(BACKUPS, name).get("status", {})
        return found if found.get("state") in ENDED else None

    found: Manifest = until(f"backup {name} ends", status, seconds, cluster.explain)
    return found


@contextmanager
def without(operator: Operator) -> Iterator[None]:
    """While the context lasts, no operator runs."""
    on_host = isinstance(operator, HostOperator)
    if on_host:
        operator.stop()
    else:
        operator.kubectl.run("scale", "deployment", DEPLOYMENT, "--replicas=0")
    yield
    if on_host:
        operator.restart()
    else:
        operator.kubectl.run("scale", "deployment", DEPLOYMENT, "--replicas=1")
        operator.wait()


def in_repository(cluster: Cluster, repo: int = 1) -> set[str]:
    """Labels that pgBackRest has."""
    command = ("pgbackrest", "--stanza=db", f"--repo={repo}", "--output=json", "info")
    text = cluster.kubectl.exec(f"{cluster.name}-repo-host-0", *command, container="pgbackrest")
    return {b["label"] for b in json.loads(text)[0]["backup"]}


def gone(cluster: Cluster, name: str) -> bool:
    return cluster.kubectl.find(BACKUPS, name) is None


def events(cluster: Cluster, reason: str) -> list[str]:
    return [e["message"] for e in cluster.kubectl.items("events") if e["reason"] == reason]


def test_the_first_backup_is_taken_by_itself(cluster: Cluster) -> None:
    first_backup(cluster)
    (found,) = cluster.kubectl.items(BACKUPS, cluster.selector)
    job = cluster.kubectl.get("job", found["status"]["jobName"])
    assert job["metadata"]["labels"][labels.PGBACKREST_BACKUP] == "replica-create"
    assert job["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]
    until("it is told", lambda: cluster.condition("ReadyForBackup").get("status") == "True", 10)
    repos = cluster.cr()["status"]["pgbackrest"]["repos"]
    assert repos[0]["replicaCreateBackupComplete"] is True
    assert all(r["stanzaCreated"] for r in repos)
    generation = cluster.cr()["metadata"]["generation"]
    assert generation == 1, "the operator has changed the spec"


def test_full_and_incremental_on_demand(cluster: Cluster) -> None:
    for name, kind in (("full1", "full"), ("incr1", "incr")):
        began = time.monotonic()
        backup(cluster, name, f"--type={kind}")
        tell(f"{kind} backup: {time.monotonic() - began:.1f} s from the object to Succeeded")
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
        ({"pgCluster": "nobody"}, "no PerconaPGCluster nobody"),
        ({"options": ["--repo=2"]}, "--repo cannot be used"),
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


def test_deletion_removes_the_backup_or_says_why_not(cluster: Cluster) -> None:
    full = backup(cluster, "keep", "--type=full")
    incr = backup(cluster, "drop", "--type=incr")
    assert incr.startswith(full)
    cluster.kubectl.delete(BACKUPS, "drop")
    until("the object is gone", lambda: gone(cluster, "drop"), 60, cluster.explain)
    assert incr not in in_repository(cluster)
    # The name is free again.
    incr = backup(cluster, "drop", "--type=incr")
    cluster.kubectl.delete(BACKUPS, "keep")
    until("the object is gone", lambda: gone(cluster, "keep"), 30, cluster.explain)
    assert full in in_repository(cluster)
    assert any(full in message and "drop" in message for message in events(cluster, "BackupKept"))
    cluster.kubectl.delete(BACKUPS, "drop")
    until("the object is gone", lambda: gone(cluster, "drop"), 60, cluster.explain)


def test_the_operator_may_die_at_every_step(cluster: Cluster, operator: Operator) -> None:
    for step, pause in enumerate((0.0, 0.3, 0.8, 1.5, 3.0)):
        name = f"killed{step}"
        ask(cluster, name, "--type=incr")
        time.sleep(pause)
        operator.kill()
        operator.wait()
        assert ended(cluster, name)["state"] == "Succeeded"
        assert cluster.kubectl.get(BACKUPS, name)["status"]["backupName"] in in_repository(cluster)


def test_a_job_that_vanishes_is_told_and_the_next_one_runs(cluster: Cluster) -> None:
    ask(cluster, "vanished", "--type=full")
    ask(cluster, "next", "--type=incr")
    running = lambda: cluster.kubectl.get(BACKUPS, "vanished").get("status", {}).get("state") == "Running"  # noqa: E731
    until("it runs", running, 60, cluster.explain, 0.05)
    cluster.kubectl.delete("job", cluster.kubectl.get(BACKUPS, "vanished")["status"]["jobName"])
    status = ended(cluster, "vanished", 30)
    assert status["state"] == "Failed"
    assert "vanished" in status["error"]
    assert ended(cluster, "next")["state"] == "Succeeded"


def test_until_when_one_can_restore(cluster: Cluster) -> None:
    backup(cluster, "restorable", "--type=incr")
    assert "latestRestorableTime" not in cluster.kubectl.get(BACKUPS, "restorable")["status"]
    cluster.psql("CREATE TABLE IF NOT EXISTS noted (at timestamptz)")
    cluster.psql("INSERT INTO noted VALUES (now())")
    cluster.psql("SELECT pg_switch_wal()")
    commit = "pg_xact_commit_timestamp(xmin) AT TIME ZONE 'UTC'"
    text = f"to_char({commit}, 'YYYY-MM-DD HH24:MI:SS.US')"
    at = cluster.psql(f"SELECT {text} FROM noted ORDER BY at DESC LIMIT 1")
    told = lambda: cluster.kubectl.get(BACKUPS, "restorable")["status"].get("latestRestorableTime")  # noqa: E731
    began = time.monotonic()
    found = until("the time is told", told, 60, cluster.explain)
    tell(f"restorable until: told {time.monotonic() - began:.1f} s after the segment")
    assert found == f"{at}+0000"
    before = cluster.psql("SELECT archived_count FROM pg_stat_archiver")
    time.sleep(12)
    assert told() == found, "it moved although nothing was written"
    assert cluster.psql("SELECT archived_count FROM pg_stat_archiver") == before


def test_retention_removes_objects(cluster: Cluster) -> None:
    cluster.change(lambda spec: spec["backups"]["pgbackrest"]["global"].update({"repo1-retention-full": "2"}))
    time.sleep(1)
    for name in ("r1", "r2", "r3"):
        backup(cluster, name, "--type=full")
    until("the oldest is gone", lambda: gone(cluster, "full1"), 60, cluster.explain)
    until("and the next", lambda: gone(cluster, "r1"), 60, cluster.explain)
    assert not gone(cluster, "r2")
    left = cluster.kubectl.items(BACKUPS)
    own = {
        b["status"]["backupName"]
        for b in left
        if b["spec"]["repoName"] == "repo1" and b["status"].get("backupName")
    }
    assert own == in_repository(cluster)


def test_s3_with_encryption_blocks_bundles_and_zst(cluster: Cluster, s3: S3) -> None:
    for name, kind in (("s3full", "full"), ("s3incr", "incr")):
        began = time.monotonic()
        label = backup(cluster, name, f"--type={kind}", repo="repo2")
        tell(f"{kind} backup to S3: {time.monotonic() - began:.1f} s")
        status = cluster.kubectl.get(BACKUPS, name)["status"]
        assert status["storageType"] == "s3"
        assert status["destination"] == f"s3://{BUCKET}/pgbackrest/repo2"
        assert label in in_repository(cluster, 2)
    assert any("/bundle/" in path for path in s3.files())
    cluster.kubectl.delete(BACKUPS, "s3incr")
    until("the object is gone", lambda: gone(cluster, "s3incr"), 60, cluster.explain)
    assert label not in in_repository(cluster, 2)


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
    bad = lambda: "61 * * * *" in cluster.condition("BackupScheduleInvalid").get("message", "")  # noqa: E731
    until("a bad expression is told", bad, 15, cluster.explain)
    schedule("* * * * *")
    until("it fires", lambda: len(scheduled()) == 1, 75, cluster.explain)
    assert ended(cluster, scheduled()[0])["state"] == "Succeeded"
    record = cluster.cr()["status"]["pgbackrest"]["scheduledBackups"]
    assert record[0]["cronJobName"] == f"{NAME}-repo1-incremental"
    known = set(scheduled())
    with without(operator):
        time.sleep(130)
        assert set(scheduled()) == known
    fresh = lambda: set(scheduled()) - known  # noqa: E731
    until("it catches up", fresh, 20, cluster.explain)
    assert len(fresh()) == 1
    schedule(None)


def test_backups_go_off_with_consent_and_come_back(cluster: Cluster) -> None:
    cluster.change(lambda spec: spec["backups"].update(enabled=False))
    paused = lambda: cluster.condition("Progressing").get("reason") == "Paused"  # noqa: E731
    until("consent is asked for", paused, 20, cluster.explain)
    assert "authorize backup removal" in cluster.condition("Progressing")["message"]
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
    ready = lambda: cluster.condition("ReadyForBackup").get("status") == "True"  # noqa: E731
    until("a new first backup is complete", ready, 90, cluster.explain)
    backup(cluster, "on-again", "--type=incr")


def test_the_finalizer_deletes_every_backup(cluster: Cluster, s3: S3) -> None:
    backup(cluster, "last", "--type=full", repo="repo2")
    finalizers = {"metadata": {"finalizers": [labels.FINALIZER_DELETE_BACKUPS, labels.FINALIZER]}}
    cluster.kubectl.patch("perconapgclusters", NAME, finalizers)
    began = time.monotonic()
    cluster.kubectl.delete("perconapgclusters", NAME)
    until(
        "the cluster is gone",
        lambda: not cluster.kubectl.find("perconapgclusters", NAME),
        120,
        cluster.explain,
    )
    tell(f"the cluster and its backups were gone after {time.monotonic() - began:.1f} s")
    until("no object is left", lambda: not cluster.kubectl.items(BACKUPS), 20)
    assert not [path for path in s3.files() if "/backup/db/" in path or "/archive/db/" in path]
    assert cluster.kubectl.find("persistentvolumeclaim", f"{NAME}-repo1")
