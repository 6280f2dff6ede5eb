"""Backups are taken whenever they can be, not only while everything else of the cluster is well."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from pgoperator import labels
from pgoperator.kube.manifest import Manifest, name_of
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.backups import act_backups, decide_readiness, inventory
from reconcilers.pgcluster.backups import conditions as backup_conditions
from reconcilers.pgcluster.state.view import Restoring, View
from tests.support.views import NOW, filled_store
from tests.unit.pgcluster.observed import leader, repo_host_pod
from tests.unit.pgcluster.test_archive import REPO, backup, serving

SCHEDULE = REPO | {"schedules": {"full": "0 * * * *"}}
GAP = {"repo": 1, "wal": "0000000100000000000000A5", "after": "20260101-000000F"}


def status(*, since: timedelta = timedelta(minutes=5), first: bool = True) -> Manifest:
    handled = (NOW - timedelta(hours=3)).isoformat()
    record = {"cronJobName": "cluster1-repo1-full", "startTime": handled, "schedule": "0 * * * *"}
    stanza = {"type": "PGBackRestReplicaRepoReady", "status": "True", "reason": "x", "message": ""}
    return {
        "pgbackrest": {
            "repos": [
                {"name": "repo1", "repoOptionsHash": "h", "stanzaCreated": True}
                | ({"replicaCreateBackupComplete": True} if first else {})
            ],
            "scheduledBackups": [record | {"repo": "repo1", "type": "full"}],
        },
        "patroni": {"status": {"systemIdentifier": "7"}},
        "conditions": [stanza | {"lastTransitionTime": (NOW - since).isoformat()}],
    }


def cluster(*, gap: bool = False, **how: Any) -> View:
    """Three instances are asked for, and only the primary exists: never Ready."""
    says = {"wal": "1E", "commit": "", "pushed": "2026-01-02T03:04:05Z", "gaps": [GAP] if gap else []}
    return serving(status(**how), repos=(SCHEDULE,), archived=json.dumps(says))


async def created(seen: View, *, ready: bool = False) -> tuple[list[str], list[Wait]]:
    """Why backups were created, by their labels."""
    made: list[Manifest] = []

    async def create(manifest: Manifest) -> None:
        made.append(manifest)

    ctx: Any = SimpleNamespace(client=SimpleNamespace(create=create), store=filled_store([]))
    known = inventory.book(seen, [])
    _, waits = await act_backups.act(ctx, seen, known, stanza_hash="h", ready=ready)
    assert len({name_of(one) for one in made}) == len(made)
    return [next(v for k, v in one["metadata"]["labels"].items() if "backup" in k) for one in made], waits


async def test_a_schedule_is_kept_while_replicas_are_missing() -> None:
    made, _ = await created(cluster())
    assert made == ["scheduled"]


async def test_a_gap_gets_its_backup_while_replicas_are_missing() -> None:
    made, _ = await created(cluster(gap=True))
    assert made == ["archive-gap", "scheduled"]


async def test_the_first_backup_waits_for_replicas_but_not_for_long() -> None:
    made, waits = await created(cluster(first=False, since=timedelta(seconds=10)))
    assert made == ["scheduled"]
    assert any(wait.reason == "the first backup waits for the replicas" for wait in waits)
    made, _ = await created(cluster(first=False, since=timedelta(seconds=10)), ready=True)
    assert made == ["replica-create", "scheduled"]
    made, _ = await created(cluster(first=False, since=decide_readiness.FIRST_PATIENCE))
    assert made == ["replica-create", "scheduled"]


def without_primary(seen: View) -> View:
    return replace(seen, observed=replace(seen.observed, leader=leader("cluster1-instance1-other")))


NOT_NOW: dict[str, Callable[[View], View]] = {
    "no primary accepts writes": without_primary,
    "the repository host is not ready": lambda v: replace(
        v, observed=replace(v.observed, repo_host_pod=repo_host_pod(ready=False))
    ),
    "a restore decides": lambda v: replace(v, restoring=Restoring("r", "Restoring", "i")),
    "the cluster is paused": lambda v: replace(
        v, cluster=v.cluster.model_copy(update={"spec": v.cluster.spec.model_copy(update={"pause": True})})
    ),
}


@pytest.mark.parametrize("case", NOT_NOW)
async def test_nothing_is_created_that_could_not_begin(case: str) -> None:
    assert (await created(NOT_NOW[case](cluster(gap=True)), ready=True))[0] == []


def test_the_condition_agrees() -> None:
    def summary(seen: View) -> tuple[bool, str]:
        found = backup_conditions.conditions(seen, inventory.book(seen, []), "h")
        return next((f.status, f.reason) for f in found if f.type == "ReadyForBackup")

    assert summary(cluster()) == (True, "AllConditionsAreTrue")
    assert {case: summary(change(cluster())) for case, change in NOT_NOW.items()} == {
        "no primary accepts writes": (False, "NoPrimary"),
        "the repository host is not ready": (False, "PGBackRestRepoHostReady"),
        "a restore decides": (False, "RestoreInProgress"),
        "the cluster is paused": (False, "Paused"),
    }


def test_the_stanza_of_an_incomplete_cluster_has_a_wake_up() -> None:
    seen = cluster()
    host = repo_host_pod()
    for seconds, due, waits in ((10, False, 1), (31, True, 0)):
        host["metadata"]["creationTimestamp"] = (NOW - timedelta(seconds=seconds)).isoformat()
        one = replace(seen, observed=replace(seen.observed, repo_host_pod=host))
        assert decide_readiness.is_due(one, ready=False) is due
        assert (decide_readiness.patience(one) is not None) == waits


async def restorable(report: Manifest, ended: datetime | None = None) -> list[str]:
    """The latest restorable times that are written after this report of the primary."""
    says = {"wal": "1E", "commit": "2026-01-02T03:04:00Z", "pushed": "2026-01-02T03:04:05Z", **report}
    seen, written = serving(status(), repos=(REPO,), archived=json.dumps(says)), []

    async def merge_patch(kind: object, namespace: str, name: str, patch: Manifest, **how: str) -> None:
        written.append(patch["status"]["latestRestorableTime"])

    ctx: Any = SimpleNamespace(client=SimpleNamespace(merge_patch=merge_patch), store=filled_store([]))
    old = backup("old", backupName="20260101-000000F", at=NOW - timedelta(hours=3))
    old["status"]["completed"] = (ended or NOW - timedelta(hours=3)).isoformat()
    await act_backups.act(ctx, seen, inventory.book(seen, [old]), stanza_hash=None, ready=True)
    return written


async def test_the_latest_restorable_time_stands_still_while_it_may_not_be_restorable() -> None:
    assert await restorable({}) == ["2026-01-02 03:04:00.000000+0000"]
    assert await restorable({"unknown": [2]}) == ["2026-01-02 03:04:00.000000+0000"]
    assert await restorable({"unknown": [1]}) == []
    for gap in (GAP, GAP | {"wal": ""}, GAP | {"after": "20260102-020000"}):
        assert await restorable({"gaps": [gap]}) == []


async def test_a_backup_cannot_be_restored_to_a_time_before_its_end() -> None:
    begun = NOW - timedelta(hours=3)  # when the backup of `restorable` was created; it ended then, too
    assert await restorable({"commit": (begun + timedelta(seconds=1)).isoformat()}) != []
    assert await restorable({"commit": begun.isoformat()}) == []
    ended = begun + timedelta(hours=1)
    assert await restorable({"commit": ended.isoformat()}, ended=ended) == []
    assert await restorable({"commit": (ended + timedelta(seconds=1)).isoformat()}, ended=ended) != []


def failed(number: int, minutes: float, state: str = "Failed") -> Manifest:
    """An attempt for the last due time of the schedule that ended so many minutes ago."""
    turn = inventory.book(handled(), []).turns.turns[0]
    own = {labels.PGBACKREST_CRONJOB: "cluster1-repo1-full"}
    at = NOW - timedelta(minutes=minutes)
    return backup(inventory.attempt_name(turn, number), state, at=at, annotations=own)


def handled() -> View:
    """A cluster whose weekly backup has been requested."""
    cron, since = "0 0 * * 5", (NOW - timedelta(hours=3)).isoformat()
    known = status()
    known["pgbackrest"]["scheduledBackups"][0] |= {"schedule": cron, "startTime": since}
    return serving(known, repos=(REPO | {"schedules": {"full": cron}},))


@pytest.mark.parametrize(
    ("attempts", "made"),
    [
        ([], None),
        ([failed(0, 9)], None),
        ([failed(0, 11)], 1),
        ([failed(0, 40), failed(1, 19)], None),
        ([failed(0, 40), failed(1, 21)], 2),
        ([failed(3, 70), failed(4, 81)], None),
        ([failed(4, 161)], 5),
        ([failed(5, 1000)], None),
        ([failed(0, 60), failed(1, 30, "Succeeded")], None),
        ([failed(0, 60), failed(1, 30, "Running")], None),
    ],
)
async def test_a_scheduled_backup_that_failed_is_tried_again(
    attempts: list[Manifest], made: int | None
) -> None:
    seen, created = handled(), []

    async def create(manifest: Manifest) -> None:
        created.append(name_of(manifest))

    async def delete(*_: Any, **__: Any) -> None: ...

    client = SimpleNamespace(create=create, delete=delete)
    ctx: Any = SimpleNamespace(client=client, store=filled_store([]))
    known = inventory.book(seen, attempts)
    _, waits = await act_backups.act(ctx, seen, known, stanza_hash="h", ready=True)
    turn = known.turns.turns[0]
    assert created == ([inventory.attempt_name(turn, made)] if made else [])
    soon = min(wait.seconds for wait in waits if wait.reason == "next scheduled backup")
    if attempts in ([failed(0, 9)], [failed(0, 40), failed(1, 19)]):
        assert 60 <= soon <= 61
