"""Repositories and backups in the status of a cluster, and the backups that the operator asks for."""

import json
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from pgoperator import labels
from pgoperator.errors import InvalidSpec
from reconcilers.pgcluster.backups import act_backups, build_backup_status, decide_removal, inventory
from reconcilers.pgcluster.backups import conditions as backup_conditions
from reconcilers.pgcluster.state import archiver
from reconcilers.pgcluster.state.findings import Finding, Problem
from reconcilers.pgcluster.status import conditions
from tests.support.views import CLAIM, NOW, filled_store, view
from tests.unit.pgcluster import observed

REPO = {"name": "repo1", "volume": {"volumeClaimSpec": CLAIM}}


def backup(name: str, state: str = "Succeeded", **more: Any) -> dict[str, Any]:
    at = more.pop("at", NOW - timedelta(minutes=1))
    return {
        "metadata": {
            "name": name,
            "namespace": "ns1",
            "uid": f"uid-{name}",
            "creationTimestamp": at.isoformat(),
            "annotations": more.pop("annotations", {}),
        },
        "spec": {"pgCluster": "cluster1", "repoName": "repo1"},
        "status": {"state": state, "completed": at.isoformat(), **more},
    }


def scheduled(cron: str, handled: Any) -> Any:
    repo = REPO | {"schedules": {"full": cron}}
    record = {
        "cronJobName": "cluster1-repo1-full",
        "startTime": handled.isoformat(),
        "schedule": cron,
        "repo": "repo1",
        "type": "full",
    }
    return view(
        status={"pgbackrest": {"scheduledBackups": [record]}}, backups={"pgbackrest": {"repos": [repo]}}
    )


def facts(seen: Any, known: inventory.BackupInventory, stanza: str | None = "h") -> dict[str, Finding]:
    return {fact[0]: fact for fact in backup_conditions.conditions(seen, known, stanza)}


def test_the_first_backup_makes_the_cluster_ready_for_others() -> None:
    seen = view()
    name = inventory.first_name(seen, inventory.NO_BACKUPS)
    empty = inventory.book(seen, [])
    assert not inventory.first_is_complete(seen, empty, "h")
    assert facts(seen, empty)["PGBackRestReplicaCreate"][2] == "RepoBackupNotComplete"
    failed = inventory.book(seen, [backup(name, "Failed", error="no space")])
    assert "no space" in facts(seen, failed)["PGBackRestReplicaCreate"][3]
    done = inventory.book(seen, [backup(name)])
    assert inventory.first_is_complete(seen, done, "h")
    assert not inventory.first_is_complete(seen, done, None)
    status = build_backup_status.status(seen, done, "h", [])
    assert status is not None
    assert status.repos[0].replica_create_backup_complete
    found = facts(seen, done)
    assert found["ReadyForBackup"][2] == "PGBackRestRepoHostReady"
    assert list(found)[:4] == [
        "ReadyForBackup",
        "PGBackRestRepoHostReady",
        "PGBackRestReplicaRepoReady",
        "PGBackRestReplicaCreate",
    ]


def test_why_the_stanza_cannot_be_made_stays_until_it_is() -> None:
    def shown(seen: Any, stanza: str | None, error: str) -> Finding:
        problem = Problem("StanzaFailed", error) if error else None
        return next(f for f in backup_conditions.conditions(seen, known, stanza, problem) if f[0] == kind)

    kind, seen = "PGBackRestReplicaRepoReady", view()
    known = inventory.book(seen, [])
    assert shown(seen, None, "")[2] == "StanzaNotCreated"
    _, _, reason, message = shown(seen, None, "ERROR: [039]: forbidden")
    assert message.endswith("WAL accumulates on the primary: ERROR: [039]: forbidden")
    before = {"type": kind, "status": "False", "reason": reason, "message": message}
    later = view(status={"conditions": [before | {"lastTransitionTime": NOW.isoformat()}]})
    assert shown(later, None, "")[2:] == (reason, message)
    assert "another" in shown(later, None, "another")[3]
    assert shown(later, "h", "")[2] == "StanzaCreated"


def test_the_status_remembers_a_first_backup_whose_object_has_gone() -> None:
    repo = {"name": "repo1", "stanzaCreated": True, "replicaCreateBackupComplete": True}
    repo |= {"repoOptionsHash": "h", "systemIdentifier": "7"}
    seen = view(status={"pgbackrest": {"repos": [repo]}})
    assert inventory.first_is_complete(seen, inventory.NO_BACKUPS, "h")
    assert not inventory.first_is_complete(seen, inventory.NO_BACKUPS, "another")


def test_another_first_backup_follows_one_that_no_replica_can_start_from() -> None:
    seen = view()
    name = inventory.first_name(seen, inventory.NO_BACKUPS)
    old = inventory.book(seen, [backup(name, annotations={labels.SUPERSEDED: "true"})])
    assert inventory.first_name(seen, old) != name
    assert not inventory.first_is_complete(seen, old, "h")


def test_backups_of_other_clusters_are_not_ours() -> None:
    own, other = {"kind": "PerconaPGBackup", **backup("w")}, {"kind": "PerconaPGBackup", **backup("x")}
    other["spec"] = other["spec"] | {"pgCluster": "cluster2"}
    ctx: Any = SimpleNamespace(store=filled_store([own, other]))
    assert [one.name for one in act_backups.look(ctx, view()).backups] == ["w"]


def test_an_overdue_schedule_is_told() -> None:
    seen = scheduled("0 * * * *", NOW - timedelta(hours=3))
    own = {labels.PGBACKREST_CRONJOB: "cluster1-repo1-full"}
    late = inventory.book(seen, [backup("a", at=NOW - timedelta(hours=3), annotations=own)])
    assert "3:00:00 ago" in facts(seen, late)["BackupOverdue"][3]
    good = inventory.book(seen, [backup("a", at=NOW - timedelta(hours=2), annotations=own)])
    assert "BackupOverdue" not in facts(seen, good)
    never = inventory.book(seen, [backup("a", "Failed", at=NOW - timedelta(hours=4), annotations=own)])
    assert "no successful backup for 4:00:00" in facts(seen, never)["BackupOverdue"][3]
    fresh = scheduled("0 * * * *", NOW)
    assert "BackupOverdue" not in facts(fresh, inventory.book(fresh, []))


def test_the_status_shows_when_a_schedule_is_due_and_when_it_last_succeeded() -> None:
    handled = NOW - timedelta(hours=1)
    seen, own = scheduled("0 * * * *", handled), {labels.PGBACKREST_CRONJOB: "cluster1-repo1-full"}
    (record,) = inventory.book(seen, []).records
    assert record.last_success is None
    assert record.next_run is not None
    assert NOW < record.next_run <= NOW + timedelta(hours=1)
    good = backup("a", at=NOW - timedelta(minutes=50), annotations=own)
    bad = backup("b", "Failed", at=NOW - timedelta(minutes=5), annotations=own)
    known = inventory.book(seen, [good, bad])
    (record,) = known.records
    assert record.last_success == NOW - timedelta(minutes=50)
    # Retention takes the object; that there was a success is known all the same.
    later = view(
        status={"pgbackrest": {"scheduledBackups": [record.to_manifest()]}},
        backups={"pgbackrest": {"repos": [REPO | {"schedules": {"full": "0 * * * *"}}]}},
    )
    assert inventory.book(later, []).success("cluster1-repo1-full") == NOW - timedelta(minutes=50)
    (turn,) = known.turns.turns
    assert inventory.overdue_from(known, turn) == NOW - timedelta(minutes=50) + turn.patience


def test_broken_pages_are_told_until_a_full_backup_has_none() -> None:
    broken = {
        "type": "BackupHasBrokenPages",
        "status": "True",
        "reason": "x",
        "message": "",
        "lastTransitionTime": NOW.isoformat(),
    }

    def shown(*kinds: tuple[str, bool]) -> Finding | None:
        objects = [
            backup(
                f"b{position}",
                at=NOW - timedelta(minutes=60 - position),
                backupType=kind,
                backupName=f"label-{position}",
                conditions=[broken] if bad else [],
            )
            for position, (kind, bad) in enumerate(kinds)
        ]
        return facts(view(), inventory.book(view(), objects)).get("BackupHasBrokenPages")

    assert shown(("full", False)) is None
    found = shown(("full", False), ("full", True))
    assert found is not None
    assert "b1 (label-1) in repo1" in found[3]
    # An incremental one looks at changed files only.
    assert shown(("full", True), ("incr", False)) is not None
    assert shown(("full", True), ("full", False)) is None
    assert shown(("full", True), ("full", False), ("incr", True)) is not None


def test_a_bad_schedule_is_told() -> None:
    seen = scheduled("61 * * * *", NOW)
    assert "61 * * * *" in facts(seen, inventory.book(seen, []))["BackupScheduleInvalid"][3]


def test_the_annotation_of_the_archive() -> None:
    text = '{"wal":"1E","commit":"2026-11-21T09:21:26.393443+00:00","pushed":"2026-11-21T09:24:22Z"}'
    pod = {"metadata": {"annotations": {labels.ARCHIVED: text}}}
    found = archiver.archived(pod)
    assert found is not None
    assert found.commit is not None
    assert found.commit.microsecond == 393443
    pod["metadata"]["annotations"][labels.ARCHIVED] = (
        '{"wal":"x","commit":"","pushed":"2026-11-21T09:24:22Z"}'
    )
    found = archiver.archived(pod)
    assert found is not None
    assert found.commit is None
    for bad in ("", "x", "{}", '{"pushed":1}', '{"pushed":"2026-11-21T09:24:22Z","gaps":[1]}'):
        pod["metadata"]["annotations"][labels.ARCHIVED] = bad
        assert archiver.archived(pod) is None
    assert archiver.archived(None) is None


def serving(status: Any = None, repos: Any = (REPO,), **annotations: str) -> Any:
    """A cluster whose primary has these annotations, and whose repository host is ready."""
    name = "cluster1-instance1-abcd"
    primary = observed.instance_pod(name, "primary", "running")
    primary["metadata"]["annotations"] |= {labels.PERCONA + k: v for k, v in annotations.items()}
    host = observed.repo_host_pod()
    return view(
        [primary, host, observed.leader(name)],
        status=status or {},
        backups={"pgbackrest": {"repos": list(repos)}},
    )


FAILS = (
    '{"since":"2026-01-02T03:00:00Z","cause":"[103]: unable to push: repo2: [ProtocolError] 403 (Forbidden)"}'
)
PUSHED = '{"wal":"1E","commit":"","pushed":"2026-01-02T03:04:05Z"}'
BUCKET = {"name": "repo2", "s3": {"bucket": "b", "endpoint": "e", "region": "r"}}


def test_a_failing_archive_is_a_condition_with_its_cause_as_long_as_it_fails() -> None:
    shown = {"type": "PGBackRestReplicaRepoReady", "status": "True", "reason": "x", "message": ""}
    status = {"conditions": [shown | {"lastTransitionTime": "2026-01-02T02:00:00Z"}]}
    failing = serving(status, repos=(REPO, BUCKET), **{"archive-failure": FAILS, "archived": PUSHED})
    found = facts(failing, inventory.NO_BACKUPS)["ArchivingFailing"]
    assert found[1:3] == (True, "ArchivePushFailed")
    assert "since 2026-01-02T03:00:00Z" in found[3]
    assert "403 (Forbidden)" in found[3]
    assert "ArchivingFailing" not in facts(failing, inventory.NO_BACKUPS, None), "there is no stanza yet"
    for minutes, silent in ((1, True), (3, False)):
        since = (NOW - timedelta(minutes=minutes)).isoformat()
        early = serving({"conditions": [shown | {"lastTransitionTime": since}]}, **{"archive-failure": FAILS})
        assert ("ArchivingFailing" not in facts(early, inventory.NO_BACKUPS)) == silent
        assert (inventory.settling(early) > timedelta()) == silent
    for text in ("", "x", "[]", "{}"):
        assert "ArchivingFailing" not in facts(serving(**{"archive-failure": text}), inventory.NO_BACKUPS)


def test_the_health_of_each_repository() -> None:
    def repos(seen: Any, *manifests: Any) -> Any:
        found = build_backup_status.status(seen, inventory.book(seen, list(manifests)), "h", [])
        assert found is not None
        return found.repos

    volume: dict[str, Any] = {"repoVolume": {"freeBytes": 5, "capacityBytes": 9}}
    (first,) = repos(serving(archived=PUSHED), backup("b", **volume))
    assert (first.reachable, first.free_bytes, first.capacity_bytes) == (True, 5, 9)
    assert first.last_pushed == NOW.replace(second=0)
    assert first.measured == NOW - timedelta(minutes=1)
    # What was known stays when the backup's object or the primary's word has gone.
    before = {"pgbackrest": {"repos": [first.to_manifest()]}}
    (kept,) = repos(serving(before))
    assert kept.model_copy(update={"stanza_created": None}) == first.model_copy(
        update={"stanza_created": None}
    )
    one, two = repos(serving(repos=(REPO, BUCKET), **{"archive-failure": FAILS, "archived": PUSHED}))
    assert (one.reachable, two.reachable) == (True, False)
    assert two.last_pushed is None
    (only,) = repos(serving(**{"archive-failure": FAILS}))
    assert only.reachable is False
    (new,) = repos(serving())
    assert new.reachable is None


def full(repo: str) -> str:
    return (
        f"[103]: archive-push command encountered error(s): {repo}: [FileWriteError] raised from remote-0 "
        f"tls protocol on 'h': unable to write '/pgbackrest/{repo}/archive/db/17-1/x': [28] No space left on "
        "device"
    )


@pytest.mark.parametrize(
    ("free", "cause", "reason"),
    [
        (200, "", ""),
        (99, "", "SpaceLow"),
        (99, full("repo1"), "RepositoryFull"),
        (200, full("repo2"), ""),
        (200, "unable to write '/pgdata/pgbackrest-spool/x': [28] No space left on device", ""),
        (200, "[103]: HTTP request failed with 403 (Forbidden)", ""),
    ],
)
def test_a_volume_without_room_is_told(free: int, cause: str, reason: str) -> None:
    word = {"since": "2026-01-02T03:00:00Z", "cause": cause}
    seen = serving(**({"archive-failure": json.dumps(word)} if cause else {}))
    volume = {"freeBytes": free << 20, "capacityBytes": 1000 << 20}
    known = inventory.book(seen, [backup("a", repoVolume=volume)])
    found = [f for f in backup_conditions.conditions(seen, known, "h") if f.type == "RepositorySpaceLow"]
    assert [fact[2] for fact in found] == ([reason] if reason else [])
    if reason == "SpaceLow":
        assert "repo1 had 99 of 1000 MiB free after the backup of 2026-01-02" in found[0][3]


HOST = {
    "apiVersion": "apps/v1",
    "kind": "StatefulSet",
    "metadata": {
        "name": "cluster1-repo-host",
        "namespace": "ns1",
        "labels": {labels.CLUSTER: "cluster1"},
    },
}


def test_backups_go_off_with_consent_only() -> None:
    off: dict[str, Any] = {"enabled": False, "pgbackrest": {"repos": [REPO]}}
    seen = view([HOST], backups=off)
    assert decide_removal.backups_enabled(seen.cluster, seen.observed)
    going_on = replace(seen, backups_enabled=True)
    found = {f.type: f for f in conditions.findings(going_on, conditions.PassResult(), [], [])}
    assert (found["Progressing"].status, found["Progressing"].reason) == (False, "Paused")
    assert "annotated with pgv2.percona.com/authorizeBackupRemoval=true" in found["Progressing"].message
    for prefix in (labels.PERCONA, labels.CRUNCHY):
        metadata = seen.cluster.metadata.model_copy(
            update={"annotations": {prefix + "authorizeBackupRemoval": "true"}}
        )
        allowed = seen.cluster.model_copy(update={"metadata": metadata})
        assert not decide_removal.backups_enabled(allowed, seen.observed)
    never = view(backups=off)
    assert not decide_removal.backups_enabled(never.cluster, never.observed)


def test_without_repositories_nothing_can_go_on_without_consent() -> None:
    seen = view([HOST], backups={"enabled": False})
    with pytest.raises(InvalidSpec, match="authorizeBackupRemoval") as caught:
        decide_removal.backups_enabled(seen.cluster, seen.observed)
    assert caught.value.reason == "Paused"
