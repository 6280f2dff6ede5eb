"""Gaps in the archive: what is reported of them, and when a backup is taken behind one."""

import json
from datetime import timedelta
from typing import Any

from pgoperator import labels
from reconcilers.pgcluster.backups import decide_wal_gaps, inventory
from tests.support.views import NOW
from tests.unit.pgcluster.test_archive import BUCKET, FAILS, REPO, backup, serving

BEFORE, BEHIND = "20260101-000000F_20260102-000000I", "20260101-000000F_20260102-030000D"
GAP = {"repo": 1, "wal": "0000000100000000000000A5", "after": BEFORE}


def reported(*found: Any, unknown: Any = (), **more: str) -> Any:
    says = {"wal": "1E", "commit": "2026-01-02T03:04:05Z", "pushed": "2026-01-02T03:04:05Z", "gaps": found}
    says |= {"unknown": unknown}
    return serving(repos=(REPO, BUCKET), archived=json.dumps(says), **more)


def book(seen: Any, *manifests: Any) -> inventory.BackupInventory:
    return inventory.book(seen, list(manifests))


def test_a_gap_is_told_until_a_backup_is_behind_it() -> None:
    seen = reported(GAP)
    old = backup("old", backupName=BEFORE, at=NOW - timedelta(hours=3))
    (fact,) = decide_wal_gaps.conditions(seen, book(seen, old))
    assert fact[:3] == ("ArchiveGap", True, "WALMissing")
    assert "repo1 is missing WAL from segment 0000000100000000000000A5" in fact[3]
    assert f"Backups up to {BEFORE} cannot be used" in fact[3]
    assert fact[3].endswith("A new backup will be requested.")
    assert decide_wal_gaps.conditions(seen, book(seen)), (
        "also when the object of the backup before it has gone"
    )
    new = backup("new", backupName=BEHIND)
    assert decide_wal_gaps.conditions(seen, book(seen, old, new)) == []
    elsewhere = backup("new", backupName=BEHIND)
    elsewhere["spec"]["repoName"] = "repo2"
    assert decide_wal_gaps.conditions(seen, book(seen, old, elsewhere)), "it is in another repository"
    failed = backup(
        decide_wal_gaps.backup_name(seen, decide_wal_gaps.known(seen, book(seen))[0]),
        "Failed",
        error="no space",
    )
    assert "no space" in decide_wal_gaps.conditions(seen, book(seen, old, failed))[0][3]
    running = failed | {"status": {"state": "Running"}}
    assert "has been requested" in decide_wal_gaps.conditions(seen, book(seen, old, running))[0][3]
    assert decide_wal_gaps.conditions(reported(), book(seen, old)) == []
    assert decide_wal_gaps.conditions(reported(GAP | {"repo": 3}), book(seen, old)) == [], (
        "the repository is not the cluster's any more"
    )


def test_one_backup_is_taken_behind_each_gap_when_wal_is_archived_again() -> None:
    seen = reported(GAP, GAP | {"repo": 2})
    old = backup("old", backupName=BEFORE, at=NOW - timedelta(hours=3))
    due = decide_wal_gaps.due(seen, book(seen, old))
    assert [gap.repo for gap in due] == ["repo1", "repo2"]
    names = [decide_wal_gaps.backup_name(seen, gap) for gap in due]
    assert len(set(names)) == 2
    assert names == [
        decide_wal_gaps.backup_name(seen, gap) for gap in decide_wal_gaps.due(seen, book(seen, old))
    ]
    running = backup("running", "Running")
    assert [gap.repo for gap in decide_wal_gaps.due(seen, book(seen, old, running))] == ["repo2"]
    assert decide_wal_gaps.due(reported(GAP, **{"archive-failure": FAILS}), book(seen, old)) == []
    (later,) = decide_wal_gaps.due(reported(GAP | {"after": BEHIND}), book(seen, old))
    assert decide_wal_gaps.backup_name(seen, later) not in names


def test_a_backup_that_a_restore_has_left_behind_is_a_gap() -> None:
    seen = reported(GAP | {"wal": ""})
    old = backup("old", backupName=BEFORE, at=NOW - timedelta(hours=3))
    (fact,) = decide_wal_gaps.conditions(seen, book(seen, old))
    assert fact[:3] == ("ArchiveGap", True, "OtherTimeline")
    assert f"Backup {BEFORE} is the newest in repo1, and not in the history" in fact[3]
    assert decide_wal_gaps.due(seen, book(seen, old))
    assert decide_wal_gaps.conditions(seen, book(seen, old, backup("new", backupName=BEHIND))) == []


def test_wal_that_was_dropped_is_a_gap_until_a_backup_begins_after_it() -> None:
    seen = reported(GAP | {"after": "20260102-020000"})
    old = backup("old", backupName=BEFORE, at=NOW - timedelta(hours=3))
    (fact,) = decide_wal_gaps.conditions(seen, book(seen, old))
    assert "dropped (archive-push-queue-max)" in fact[3]
    assert "before 20260102-020000 (UTC)" in fact[3]
    assert decide_wal_gaps.conditions(seen, book(seen, old, backup("new", backupName=BEHIND))) == []


def test_a_hole_is_ended_by_a_backup_that_was_requested_after_it_whatever_its_label() -> None:
    """The time in a label is a local time of the Job; the clock of the primary may be ahead."""
    seen = reported(GAP | {"after": "20260102-020000"})
    for hour, ends in ((1, False), (3, True)):
        made = backup("new", backupName="20260102-110000F")
        made["metadata"]["creationTimestamp"] = f"2026-01-02T0{hour}:00:00Z"
        assert (decide_wal_gaps.known(seen, book(seen, made)) == []) is ends
    ahead = reported(GAP | {"after": f"{NOW + timedelta(seconds=30):%Y%m%d-%H%M%S}"})
    assert decide_wal_gaps.known(ahead, book(ahead))
    assert decide_wal_gaps.due(ahead, book(ahead)) == []


def test_while_a_repository_does_not_answer_nothing_is_known() -> None:
    seen = reported(unknown=[1])
    old = backup("old", backupName=BEFORE, at=NOW - timedelta(hours=3))
    (fact,) = decide_wal_gaps.conditions(seen, book(seen, old))
    assert fact[:3] == ("ArchiveGap", False, "Unknown")
    assert "repo1 did not answer" in fact[3]
    assert decide_wal_gaps.holds(seen, book(seen, old), "repo1")
    assert not decide_wal_gaps.holds(seen, book(seen, old), "repo2")
    assert decide_wal_gaps.due(seen, book(seen, old)) == []
    assert decide_wal_gaps.conditions(reported(unknown=[3]), book(seen, old)) == [], "it is not the cluster's"


def test_the_reports_of_a_pod_are_no_reason_for_one_backup_after_another() -> None:
    seen = reported(GAP, GAP | {"after": "20260102-020000"})
    (latest,) = decide_wal_gaps.due(seen, book(seen))
    assert latest.after == "20260102-020000", "one backup ends both"
    own = {"annotations": {labels.BACKUP_JOB_TYPE: decide_wal_gaps.REASON}}
    behind = backup("behind", backupName="20260102-010000F", at=NOW - timedelta(minutes=4))
    behind["metadata"] |= own | {"creationTimestamp": "2026-01-02T01:00:00Z"}
    assert decide_wal_gaps.due(seen, book(seen, behind)) == []
    assert decide_wal_gaps.pause(seen, book(seen, behind)) == timedelta(minutes=1)
    behind["status"]["completed"] = f"{NOW - timedelta(minutes=6):%Y-%m-%dT%H:%M:%SZ}"
    assert decide_wal_gaps.due(seen, book(seen, behind)) == [latest]
    assert decide_wal_gaps.pause(seen, book(seen, behind)) is None
    future = f"{NOW + timedelta(hours=1):%Y%m%d-%H%M%S}"
    for after in (future, "99999999-999999F", "next week", "x" * 9000):
        assert decide_wal_gaps.known(reported(GAP | {"after": after}), book(seen)) == []
