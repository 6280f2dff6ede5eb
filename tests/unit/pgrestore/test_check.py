import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pgoperator.errors import InvalidSpec
from pgoperator.postgres import pgbackrest_info
from reconcilers.pgrestore import check

SYSTEM = 7710542435342479406
STOP = datetime(2026, 11, 21, 8, 47, 55, tzinfo=UTC)
NOW = STOP + timedelta(hours=1)


def info(**change: Any) -> pgbackrest_info.Info:
    backup = {
        "archive": {"start": "000000010000000000000007", "stop": "000000010000000000000007"},
        "database": {"id": 1, "repo-key": 1},
        "info": {"delta": 1, "repository": {"delta": 1, "size": 1}, "size": 1},
        "label": "20261121-084753F",
        "lsn": {"start": "0/70000D8", "stop": "0/70001D0"},
        "timestamp": {"start": int(STOP.timestamp()) - 2, "stop": int(STOP.timestamp())},
        "type": "full",
    }
    archive = {
        "database": {"id": 1, "repo-key": 1},
        "id": "17-1",
        "max": "0000000200000000000000FF",
        "min": "0",
    }
    entry = {
        "name": "db",
        "archive": [archive],
        "backup": [backup],
        "db": [{"id": 1, "repo-key": 1, "system-id": SYSTEM, "version": "17"}],
        "repo": [{"cipher": "none", "key": 1, "status": {"code": 0, "message": "ok"}}],
        "status": {"code": 0, "message": "ok"},
    }
    return pgbackrest_info.parse(json.dumps([entry | change]))


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--set=20261121-084753F"],
        ["--type=immediate", "--set=20261121-084753F"],
        ["--type=time", '--target="2026-11-21 09:00:00+00"'],
        ['--type=time --target="2026-11-21 09:00:00.123456+00:00"'],
        ["--type=lsn", "--target=0/8000000"],
        ["--type=xid", "--target=1234"],
        ["--type=name", "--target=before"],
        ["--db-include=app", "--process-max=2"],
    ],
)
def test_what_can_be_is_let_through(options: list[str]) -> None:
    words = check.words(options)
    check.against(info(), 1, words, SYSTEM, NOW)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--type=standby"], "does not end in a primary"),
        (["--type=none"], "does not end in a primary"),
        (["--type=preserve"], "does not end in a primary"),
        (["--type=time"], "needs a --target"),
        (["--type=time", "--target=yesterday"], "is not a time"),
        (["--type=lsn", "--target=12"], "is not a position"),
        (["--type=xid", "--target=x"], "is not the number"),
        (["--target=2026-11-21 09:00:00"], "belongs to no option"),
        (['--target="2026-11-21 09:00:00"'], "needs a --type"),
        (["--type=immediate", "--target=0/1"], "needs a --type"),
        (["--repo=2"], "spec.repoName"),
        (["--stanza=x"], "spec.pgCluster"),
        (["--pg1-path=/x"], "spec.pgCluster"),
        (["--target-action=pause"], "the operator sets it"),
        (["--link-map=pg_wal=/x"], "the operator sets it"),
    ],
)
def test_options_that_cannot_be_are_named(options: list[str], why: str) -> None:
    with pytest.raises(InvalidSpec, match=why):
        check.words(options)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--set=20200101-000000F"], "has no backup 20200101-000000F; it has 20261121-084753F"),
        (["--type=time", '--target="2099-01-01 00:00:00+00"'], "in the future"),
        (["--type=time", '--target="2026-11-21 08:47:54+00"'], "before the end of backup 20261121-084753F"),
        (["--type=time", '--target="2026-11-21 10:47:54+02"'], "before the end of backup"),
        (["--type=lsn", "--target=0/70001CF"], "before the end of backup"),
    ],
)
def test_targets_outside_of_the_repository_are_refused(options: list[str], why: str) -> None:
    with pytest.raises(InvalidSpec, match=why):
        check.against(info(), 1, check.words(options), SYSTEM, NOW)


def test_a_repository_without_a_backup_is_refused() -> None:
    status = {"code": 2, "message": "no valid backups"}
    empty = info(backup=[], repo=[{"cipher": "none", "key": 1, "status": status}])
    with pytest.raises(InvalidSpec, match="has no backup to restore: no valid backups"):
        check.against(empty, 1, [], SYSTEM, NOW)


def test_a_repository_that_is_broken_is_refused() -> None:
    status = {"code": 1, "message": "missing stanza path"}
    broken = info(repo=[{"cipher": "none", "key": 1, "status": status}])
    with pytest.raises(InvalidSpec, match="missing stanza path"):
        check.against(broken, 1, [], SYSTEM, NOW)


def test_backups_of_another_database_are_refused_but_for_a_new_cluster() -> None:
    with pytest.raises(InvalidSpec, match="another database system"):
        check.against(info(), 1, [], SYSTEM + 1, NOW)
    check.against(info(), 1, [], None, NOW)


def test_only_a_restore_to_the_end_is_held_against_the_end_of_the_archive() -> None:
    assert check.against(info(), 1, [], SYSTEM, NOW) == "0000000200000000000000FF"
    assert check.against(info(), 1, ["--set=20261121-084753F"], SYSTEM, NOW) == "0000000200000000000000FF"
    assert check.against(info(), 1, ["--type=immediate"], SYSTEM, NOW) is None
    assert check.against(info(), 1, ["--target-timeline=1"], SYSTEM, NOW) is None


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21 09:00:00+00",
        "2026-11-21 09:00:00 UTC",
        "2026-11-21T09:00:00Z",
        "2026-11-21 11:00:00+02",
        "2026-11-21 11:00:00 +02:00",
        "2026-11-21 09:00:00",
        "2026-11-21 09:00:00.000000+0000",
    ],
)
def test_times_as_people_write_them(text: str) -> None:
    assert check.moment(text) == datetime(2026, 11, 21, 9, tzinfo=UTC)
