"""Gaps in the archive: what is told of them, and when a backup is taken behind one."""

import json
from datetime import timedelta
from typing import Any

from reconcilers.pgcluster import archive, gaps
from tests.support.views import NOW
from tests.unit.pgcluster.test_archive import BUCKET, FAILS, REPO, backup, serving

BEFORE, BEHIND = "20260101-000000F_20260102-000000I", "20260101-000000F_20260102-030000D"
GAP = {"repo": 1, "wal": "0000000100000000000000A5", "after": BEFORE}


def told(*found: Any, **more: str) -> Any:
    says = {"wal": "1E", "commit": "2026-01-02T03:04:05Z", "pushed": "2026-01-02T03:04:05Z", "gaps": found}
    return serving(repos=(REPO, BUCKET), archived=json.dumps(says), **more)


def book(seen: Any, *manifests: Any) -> archive.Book:
    return archive.book(seen, list(manifests))


def test_a_gap_is_told_until_a_backup_is_behind_it() -> None:
    seen = told(GAP)
    old = backup("old", backupName=BEFORE, at=NOW - timedelta(hours=3))
    (fact,) = gaps.facts(seen, book(seen, old))
    assert fact[:3] == ("ArchiveGap", True, "WALMissing")
    assert "repo1 lacks WAL from 0000000100000000000000A5" in fact[3]
    assert BEFORE in fact[3]
    assert gaps.facts(seen, book(seen)), "also when the object of the backup before it has gone"
    new = backup("new", backupName=BEHIND)
    assert gaps.facts(seen, book(seen, old, new)) == []
    elsewhere = backup("new", backupName=BEHIND)
    elsewhere["spec"]["repoName"] = "repo2"
    assert gaps.facts(seen, book(seen, old, elsewhere)), "it is in another repository"
    failed = backup(gaps.backup_name(seen, gaps.known(seen, book(seen))[0]), "Failed", error="no space")
    assert "no space" in gaps.facts(seen, book(seen, old, failed))[0][3]
    assert gaps.facts(told(), book(seen, old)) == []
    assert gaps.facts(told(GAP | {"repo": 3}), book(seen, old)) == [], (
        "the repository is not the cluster's any more"
    )


def test_one_backup_is_taken_behind_each_gap_when_wal_is_archived_again() -> None:
    seen = told(GAP, GAP | {"repo": 2})
    old = backup("old", backupName=BEFORE, at=NOW - timedelta(hours=3))
    due = gaps.due(seen, book(seen, old))
    assert [gap.repo for gap in due] == ["repo1", "repo2"]
    names = [gaps.backup_name(seen, gap) for gap in due]
    assert len(set(names)) == 2
    assert names == [gaps.backup_name(seen, gap) for gap in gaps.due(seen, book(seen, old))]
    running = backup("running", "Running")
    assert [gap.repo for gap in gaps.due(seen, book(seen, old, running))] == ["repo2"]
    assert gaps.due(told(GAP, **{"archive-failure": FAILS}), book(seen, old)) == []
    (later,) = gaps.due(told(GAP | {"after": BEHIND}), book(seen, old))
    assert gaps.backup_name(seen, later) not in names
