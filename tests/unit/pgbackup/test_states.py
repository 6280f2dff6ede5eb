"""What becomes of a backup, and how its Job and its report are read."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from pgoperator import labels
from pgoperator.api import states
from pgoperator.api.pgbackup import PGBackup
from reconcilers.jobs import JobStatus
from reconcilers.pgbackup import act_retention, build_backup_jobs, decide_state, report
from reconcilers.pgbackup.decide_state import Act
from reconcilers.pgrestore import decide_check
from tests.support.golden import assert_golden
from tests.support.views import CLAIM, NOW, view
from tests.unit.postgres.test_pgbackrest_info import FULL, INCR

REPO = {"name": "repo1", "volume": {"volumeClaimSpec": CLAIM}}
S3 = {"name": "repo2", "s3": {"bucket": "b", "endpoint": "e", "region": "r"}}
LABELS = "20261121-084407F 20261121-090000I 091000D 20261122-000000F 20261122-010000I"


def backup(state: str | None = None, **spec: Any) -> PGBackup:
    status: dict[str, Any] = {"state": state, "jobName": "j"} if state else {}
    if state:
        condition = {"type": decide_state.LEASE, "status": "True", "reason": "x", "message": ""}
        status["conditions"] = [condition | {"lastTransitionTime": NOW.isoformat()}]
    return PGBackup.parse(
        {
            "metadata": {
                "name": "b1",
                "namespace": "ns1",
                "uid": "uid-b1",
                "creationTimestamp": NOW.isoformat(),
            },
            "spec": {"pgCluster": "cluster1", "repoName": "repo1"} | spec,
            "status": status,
        }
    )


def text(entry: dict[str, Any] = FULL, labels: str = LABELS) -> str:
    return json.dumps({"backup": {k: v for k, v in entry.items() if k != "annotation"}, "labels": labels})


def test_the_space_of_a_volume_is_told_and_that_of_a_store_is_not() -> None:
    shown = json.dumps(json.loads(text()) | {"volume": {"size": 9, "free": 5}})
    assert report.parse(text()).volume is None
    volume = report.parse(shown).volume
    assert volume is not None
    assert (volume.free_bytes, volume.capacity_bytes) == (5, 9)
    cluster = view(backups={"pgbackrest": {"repos": [REPO, S3]}}).cluster
    seen = JobStatus("j", created=NOW.isoformat(), succeeded=True, report=shown)
    for repo, wanted in (("repo1", volume), ("repo2", None)):
        step = decide_state.running(backup(states.RUNNING, repoName=repo), cluster, seen, NOW)
        assert step.status.repo_volume == wanted


def test_the_labels_of_a_report_are_whole_again() -> None:
    found = report.parse(text())
    assert found.complete
    assert found.labels == {
        "20261121-084407F",
        "20261121-084407F_20261121-090000I",
        "20261121-084407F_20261121-091000D",
        "20261122-000000F",
        "20261122-000000F_20261122-010000I",
    }
    assert found.has_lost("20261120-000000F")
    cut = report.parse(text(labels="20261121-084407F ..."))
    assert cut.has_lost("20261120-000000F")
    assert not cut.has_lost("20261122-000000F")


@pytest.mark.parametrize("bad", ["", "x", "{}", '{"backup": {}, "labels": ""}', "[]"])
def test_what_is_no_report(bad: str) -> None:
    with pytest.raises(report.BadReport):
        report.parse(bad)


@pytest.mark.parametrize(
    ("spec", "cause"),
    [
        ({"repoName": "repo3"}, "has no repository repo3; it has repo1, repo2"),
        ({"method": "volumeSnapshot"}, "volumeSnapshot is not supported"),
        ({"options": ["--repo=2"]}, "--repo is not allowed"),
        ({}, ""),
    ],
)
def test_what_is_refused(spec: dict[str, Any], cause: str) -> None:
    cluster = view(backups={"pgbackrest": {"repos": [REPO, S3]}}).cluster
    refused = decide_state.refusal(backup(**spec), cluster)
    assert cause in refused
    assert bool(cause) is bool(refused)


def test_a_cluster_that_is_not_there_or_takes_no_backups() -> None:
    assert "PerconaPGCluster cluster1 does not exist" in decide_state.refusal(backup(), None)
    assert "disabled" in decide_state.refusal(backup(), view(backups={"enabled": False}).cluster)
    cluster = view().cluster
    going = cluster.model_copy(
        update={"metadata": cluster.metadata.model_copy(update={"deletion_timestamp": NOW})}
    )
    assert "being deleted" in decide_state.refusal(backup(), going)


def test_a_new_backup_waits_for_a_cluster_that_is_applied_after_it() -> None:
    one = backup()
    created = one.metadata.creation_timestamp
    assert created is not None
    assert decide_state.awaits_cluster(one, None, created + timedelta(minutes=9)) == timedelta(minutes=1)
    assert not decide_state.awaits_cluster(one, None, created + timedelta(minutes=10))
    assert not decide_state.awaits_cluster(one, view().cluster, created)
    assert not decide_state.awaits_cluster(backup("Running"), None, created), "its cluster was deleted"


def test_starting_waits_and_gives_up() -> None:
    one = backup("Starting")
    assert decide_state.starting(one, "", None, NOW).act is Act.CREATE
    step = decide_state.starting(one, "no primary", None, NOW + timedelta(seconds=119))
    assert (step.status.state, step.wait, step.seconds) == ("Starting", "no primary", 1.5)
    step = decide_state.starting(one, "no primary", None, NOW + timedelta(seconds=120))
    assert step.status.state == "Failed"
    assert "no primary" in (step.status.error or "")


def test_what_a_backup_waits_for_is_told_until_it_begins() -> None:
    def waiting(status: Any) -> str:
        return next((c.message for c in status.conditions if c.type == decide_state.WAITING), "")

    one, cluster, later = backup("Running"), view().cluster, NOW + timedelta(seconds=8)
    step = decide_state.running(one, cluster, seen(cause="FailedCreate: exceeded quota"), NOW)
    assert step.seconds <= 10, "nobody tells when a quota has room again"
    stuck = decide_state.with_waiting(step, NOW)
    assert waiting(stuck) == "FailedCreate: exceeded quota"
    stuck = decide_state.with_waiting(replace(step, status=stuck), later)
    assert stuck.conditions[-1].last_transition_time == NOW
    one = one.model_copy(update={"status": stuck})
    for begun in (seen(started=True), seen(succeeded=True, report=text()), seen(failed=True)):
        assert not waiting(decide_state.with_waiting(decide_state.running(one, cluster, begun, later), later))
    refused = decide_state.starting(
        backup("Starting"), "the API server rejected the Job: exceeded quota", None, NOW
    )
    assert "exceeded quota" in waiting(decide_state.with_waiting(refused, NOW))


def seen(**facts: Any) -> JobStatus:
    return JobStatus(name="j", created=NOW.isoformat(), **facts)


def test_running_ends_in_one_of_two_ways() -> None:
    one, cluster = backup("Running"), view().cluster
    gone = decide_state.running(one, cluster, None, NOW)
    assert (gone.status.state, gone.act) == ("Failed", Act.NOTHING)
    assert "was deleted before it finished" in (gone.status.error or "")
    failed = decide_state.running(one, cluster, seen(failed=True, cause="ERROR: [055]: x"), NOW)
    assert (failed.status.state, failed.status.error) == ("Failed", "ERROR: [055]: x")
    good = decide_state.running(one, cluster, seen(succeeded=True, report=text()), NOW).status
    assert (good.state, good.backup_name, good.backup_type) == ("Succeeded", "20261121-084407F", "full")
    # The check of a restore refuses a target that is not later than the end of the backup, in whole seconds.
    earliest = decide_check.moment(good.earliest_restorable_time or "")
    assert earliest - report.parse(text()).backup.stop == timedelta(seconds=1)
    assert (good.size, good.storage_type, good.destination) == (4041868, "filesystem", None)
    working = decide_state.running(one, cluster, seen(started=True), NOW)
    assert working.status == one.status


@pytest.mark.parametrize("broken", [True, False, None])
def test_broken_pages_are_told_of_a_backup_that_succeeded(broken: bool | None) -> None:
    done = seen(succeeded=True, report=text(FULL | {"error": broken}))
    found = decide_state.running(backup("Running"), view().cluster, done, NOW).status
    assert (found.state, found.error) == ("Succeeded", None)
    shown = [c for c in found.conditions if c.type == "BackupHasBrokenPages"]
    assert [(c.status, c.reason) for c in shown] == ([("True", "PagesWithWrongChecksums")] if broken else [])


def test_a_lost_report_is_asked_for_again() -> None:
    step = decide_state.running(backup("Running"), view().cluster, seen(succeeded=True), NOW)
    assert (step.status.state, step.act) == ("Starting", Act.REMOVE)


def test_a_pod_that_does_not_begin() -> None:
    one, cluster = backup("Running"), view().cluster
    step = decide_state.running(one, cluster, seen(cause="no node"), NOW + timedelta(minutes=9))
    assert step.status.state == "Running"
    step = decide_state.running(one, cluster, seen(cause="no node"), NOW + timedelta(minutes=11))
    assert (step.status.state, step.act) == ("Failed", Act.REMOVE)
    assert "no node" in (step.status.error or "")


def test_a_pod_that_was_lost_with_its_node_is_reported_with_the_way_out() -> None:
    one, cluster = backup("Running"), view().cluster
    job = seen(started=True, idle_since=NOW)
    assert decide_state.running(one, cluster, job, NOW + decide_state.LOST).cause == ""
    step = decide_state.running(one, cluster, job, NOW + decide_state.LOST + timedelta(seconds=1))
    assert step.status.state == "Running", "pgBackRest may still work on the node"
    assert step.act == Act.NOTHING
    assert "no pod of Job j has run since 2026-01-02T03:04:05Z" in step.cause
    assert "kubectl delete pod --force" in step.cause


def test_destinations() -> None:
    repos = [
        REPO,
        S3,
        {"name": "repo3", "gcs": {"bucket": "g"}},
        {"name": "repo4", "azure": {"container": "a"}},
    ]
    cluster = view(backups={"pgbackrest": {"repos": repos}}).cluster
    found = [decide_state.destination(r, {"repo2-path": "/own"}) for r in cluster.spec.backups.repos]
    assert found == ["", "s3://b/own", "gs://g/pgbackrest/repo3", "azure://a/pgbackrest/repo4"]


def test_retention_takes_what_is_gone_and_nothing_younger() -> None:
    newest = backup("Running")
    found = report.parse(text(INCR, "20261121-084407F 20261121-090000I"))
    names = {
        "kept": "20261121-084407F",
        "gone": "20261120-000000F",
        "younger": "20261121-084407F_20261121-093000I",
        "gone-incr": "20261120-000000F_20261121-080000I",
    }
    manifests = [
        {
            "metadata": {"name": name},
            "spec": {"pgCluster": "cluster1", "repoName": "repo1"},
            "status": {"state": "Succeeded", "backupName": label},
        }
        for name, label in names.items()
    ]
    other = manifests[1] | {"spec": {"pgCluster": "cluster1", "repoName": "repo2"}}
    lost = act_retention.lost([*manifests, other], newest, found)
    assert [m["metadata"]["name"] for m in lost] == ["gone", "gone-incr"]


@pytest.mark.parametrize(
    ("name", "backups"),
    [
        ("volume", {"repos": [REPO]}),
        ("s3", {"repos": [S3 | {"name": "repo1"}]}),
        (
            "settings",
            {
                "repos": [REPO, S3],
                "image": "own:1",
                "jobs": {
                    "resources": {"limits": {"cpu": "1"}},
                    "priorityClassName": "high",
                    "tolerations": [{"key": "a", "operator": "Exists"}],
                    "affinity": {"nodeAffinity": {}},
                    "backoffLimit": 3,
                    "securityContext": {"runAsUser": 5},
                },
            },
        ),
    ],
)
def test_a_jobs_manifest(name: str, backups: dict[str, Any]) -> None:
    host = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "cluster1-repo-host-0", "namespace": "ns1"},
    }
    host["metadata"]["labels"] = labels.repo_host("cluster1")  # type: ignore[index]
    seen = view([host], backups={"pgbackrest": backups})
    one = backup(options=["--type=full"], containerOptions={"env": [{"name": "TZ", "value": "1"}]})
    repo = seen.cluster.spec.backups.repos[0]
    assert_golden([build_backup_jobs.backup(seen, one, repo, ["--type=full"], "manual")], f"pgbackup/{name}")


@pytest.mark.parametrize(
    ("sizes", "hours"), [(["1Gi"], 24), (["100Gi"], 24), (["1Gi", "1Ti"], 72.8), (["10Ti"], 728.2)]
)
def test_the_deadline_grows_with_the_largest_volume(sizes: list[str], hours: float) -> None:
    sets = [
        {"name": f"s{n}", "dataVolumeClaimSpec": CLAIM | {"resources": {"requests": {"storage": size}}}}
        for n, size in enumerate(sizes)
    ]
    seen = view(instances=sets)
    repo = decide_state.find_repo(backup(), seen.cluster)
    assert repo is not None
    job = build_backup_jobs.backup(seen, backup(), repo, [], "manual")
    assert round(job["spec"]["activeDeadlineSeconds"] / 3600, 1) == hours


@pytest.mark.parametrize(("size", "seconds"), [("10Gi", 300), ("1Ti", 16384)])
def test_the_deadline_of_a_removal_grows_too(size: str, seconds: int) -> None:
    claim = CLAIM | {"resources": {"requests": {"storage": size}}}
    half = [{"name": "t", "dataVolumeClaimSpec": claim}]
    for one in (
        {"name": "s", "dataVolumeClaimSpec": claim},
        {"name": "s", "dataVolumeClaimSpec": CLAIM, "tablespaceVolumes": half},
    ):
        seen = view(instances=[one])
        repo = decide_state.find_repo(backup(), seen.cluster)
        assert repo is not None
        found = build_backup_jobs.expire(seen, backup(), repo)["spec"]["activeDeadlineSeconds"]
        assert seconds <= found <= seconds + 20
