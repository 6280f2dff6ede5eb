import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pgoperator.errors import InvalidSpec
from pgoperator.postgres import pgbackrest_info
from reconcilers.pgrestore import decide_check

SYSTEM = 7710542435342479406
STOP = datetime(2026, 11, 21, 8, 47, 55, tzinfo=UTC)
NOW = STOP + timedelta(hours=1)


def stanza(**change: Any) -> dict[str, Any]:
    """What pgBackRest reports of the stanza."""
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
    return entry | change


def info(**change: Any) -> pgbackrest_info.Info:
    return pgbackrest_info.parse(json.dumps([stanza(**change)]))


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
    words = decide_check.arguments(options)
    decide_check.choose(info(), 1, words, SYSTEM, NOW)


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
        (["--target=2026-11-21 09:00:00"], "is not part of an option"),
        (['--target="2026-11-21 09:00:00"'], "needs a --type"),
        (["--type=immediate", "--target=0/1"], "needs a --type"),
        (["--type=immediate", "--target-timeline=1"], "--target-timeline=1 cannot be used with --type"),
        (
            ["--type=name", "--target=x", "--target-exclusive"],
            "--target-exclusive cannot be used with --type",
        ),
        (["--repo=2"], "spec.repoName"),
        (["--stanza=x"], "spec.pgCluster"),
        (["--pg1-path=/x"], "spec.pgCluster"),
        (["--target-action=pause"], "the operator sets it"),
        (["--link-map=pg_wal=/x"], "the operator sets it"),
    ],
)
def test_options_that_cannot_be_are_named(options: list[str], why: str) -> None:
    with pytest.raises(InvalidSpec, match=why):
        decide_check.arguments(options)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--set=20200101-000000F"], "has no backup 20200101-000000F; it has 20261121-084753F"),
        (["--type=time", '--target="2099-01-01 00:00:00+00"'], "in the future"),
        (
            ["--type=time", '--target="2026-11-21 08:47:54+00"'],
            "not after the end of backup 20261121-084753F",
        ),
        (["--type=time", '--target="2026-11-21 10:47:54+02"'], "not after the end of backup"),
        # pgBackRest wants a backup that ended in an earlier second.
        (["--type=time", '--target="2026-11-21 08:47:55.5+00"'], "not after the end of backup"),
        (["--type=lsn", "--target=0/70001CF"], "before the end of backup"),
    ],
)
def test_targets_outside_of_the_repository_are_refused(options: list[str], why: str) -> None:
    with pytest.raises(InvalidSpec, match=why):
        decide_check.choose(info(), 1, decide_check.arguments(options), SYSTEM, NOW)


def test_a_repository_without_a_backup_is_refused() -> None:
    status = {"code": 2, "message": "no valid backups"}
    empty = info(backup=[], repo=[{"cipher": "none", "key": 1, "status": status}])
    with pytest.raises(InvalidSpec, match="has no backup to restore: no valid backups"):
        decide_check.choose(empty, 1, [], SYSTEM, NOW)


def test_a_repository_that_is_broken_is_refused() -> None:
    status = {"code": 1, "message": "missing stanza path"}
    broken = info(repo=[{"cipher": "none", "key": 1, "status": status}])
    with pytest.raises(InvalidSpec, match="missing stanza path"):
        decide_check.choose(broken, 1, [], SYSTEM, NOW)


def test_backups_of_another_database_are_refused_but_for_a_new_cluster() -> None:
    with pytest.raises(InvalidSpec, match="another database system"):
        decide_check.choose(info(), 1, [], SYSTEM + 1, NOW)
    decide_check.choose(info(), 1, [], None, NOW)


def test_only_a_restore_to_the_end_is_held_against_the_end_of_the_archive() -> None:
    def last(*options: str) -> str | None:
        return decide_check.choose(info(), 1, options, SYSTEM, NOW).wal_last

    assert last() == "0000000200000000000000FF"
    assert last("--set=20261121-084753F") == "0000000200000000000000FF"
    assert last("--type=immediate") is None
    assert last("--target-timeline=1") is None


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21 09:00:00+00",
        "2026-11-21 09:00:00 UTC",
        "2026-11-21T09:00:00Z",
        "2026-11-21t09:00:00z",
        "2026-11-21 09:00:00Z",
        "2026-11-21T09:00:00.000Z",
        "2026-11-21T09:00:00+00:00",
        "2026-11-21 09:00:00 +00",
        "2026-11-21 11:00:00+02",
        "2026-11-21 11:00:00 +02:00",
        "2026-11-21T04:00:00-05:00",
        "2026-11-21 09:00:00",
        "2026-11-21 09:00",
        "2026-11-21T09",
        "20261121T090000",
        "20261121T090000Z",
        "2026-W47-6T09:00",
        "2026-11-21 09:00:00.000000+0000",
    ],
)
def test_times_as_people_write_them_reach_pgbackrest_in_its_own_form(text: str) -> None:
    assert decide_check.moment(text) == datetime(2026, 11, 21, 9, tzinfo=UTC)
    # pgBackRest refuses most of the others.
    words = decide_check.arguments(["--type=time", f'--target="{text}"', "--delta"])
    assert words == ["--type=time", "--target=2026-11-21 09:00:00.000000+00", "--delta"]


def entry(label: str, minute: int, database: int = 1) -> dict[str, Any]:
    """A backup that ended so many minutes after the first one, at 0/<minute>0000."""
    stop = int(STOP.timestamp()) + minute * 60
    return {
        "archive": {"start": "000000010000000000000007", "stop": "000000010000000000000007"},
        "database": {"id": database, "repo-key": 1},
        "info": {"delta": 1, "repository": {"delta": 1, "size": 1}, "size": 1},
        "label": label,
        "lsn": {"start": "0/1", "stop": f"0/{minute:X}0000"},
        "timestamp": {"start": stop - 2, "stop": stop},
        "type": "full",
    }


def upgraded() -> pgbackrest_info.Info:
    """A repository with two backups of this system, one of the system before it and one of a stranger."""
    systems = {1: SYSTEM - 1, 2: SYSTEM, 3: SYSTEM + 1}
    ends = {1: "000000050000004200000000", 2: "000000010000000100000009", 3: "000000030000000300000000"}
    return info(
        backup=[
            entry("20260101-000000F", 1, 1),
            entry("20260102-000000F", 2, 2),
            entry("20260103-000000F", 3, 2),
            entry("20260104-000000F", 4, 3),
        ],
        archive=[
            {"database": {"id": n, "repo-key": 1}, "id": f"17-{n}", "max": end, "min": "0"}
            for n, end in ends.items()
        ],
        db=[{"id": n, "repo-key": 1, "system-id": system, "version": "17"} for n, system in systems.items()],
    )


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ([], "20260103-000000F"),
        (["--set=latest"], "20260103-000000F"),
        (["--set=20260102-000000F"], "20260102-000000F"),
        (["--type=immediate"], "20260103-000000F"),
        (["--type=time", '--target="2026-11-21 08:50:00"'], "20260102-000000F"),
        (["--type=time", '--target="2026-11-21 09:40:00"'], "20260103-000000F"),
        (["--type=lsn", "--target=0/20000"], "20260102-000000F"),
        (["--type=lsn", "--target=0/2FFFF"], "20260102-000000F"),
        (["--type=lsn", "--target=0/30000"], "20260103-000000F"),
        (["--type=xid", "--target=7"], "20260103-000000F"),
    ],
)
def test_the_backup_is_one_of_this_database(options: list[str], label: str) -> None:
    """pgBackRest would begin with the newest of any."""
    assert decide_check.choose(upgraded(), 1, decide_check.arguments(options), SYSTEM, NOW).label == label


def test_the_end_of_the_archive_is_that_of_the_backups_own_database() -> None:
    assert decide_check.choose(upgraded(), 1, [], SYSTEM, NOW).wal_last == "000000010000000100000009"
    of_a_new_cluster = decide_check.choose(upgraded(), 1, [], None, NOW)
    assert of_a_new_cluster == decide_check.Choice(
        "20260104-000000F", "000000030000000300000000", 1, timeline=3
    )
    named = decide_check.choose(upgraded(), 1, ["--set=20260101-000000F"], None, NOW)
    assert named == decide_check.Choice("20260101-000000F", "000000050000004200000000", 1, timeline=5)


@pytest.mark.parametrize(
    ("options", "timeline"),
    [
        (["--type=xid", "--target=7"], 5),
        (["--type=xid", "--target=7", "--target-timeline=2"], 2),
        (["--target-timeline=0x1a"], 26),
        (["--target-timeline=current"], 1),
        (["--type=immediate"], 1),
    ],
)
def test_the_timeline_that_recovery_follows(options: list[str], timeline: int) -> None:
    found = decide_check.choose(upgraded(), 1, [*options, "--set=20260101-000000F"], None, NOW)
    assert found.timeline == timeline


def test_a_backup_of_another_version_is_refused_before_anything_stops() -> None:
    with pytest.raises(InvalidSpec, match=r"is of PostgreSQL 17, but spec\.postgresVersion is 18"):
        decide_check.choose(info(), 1, [], SYSTEM, NOW, version=18)
    decide_check.choose(info(), 1, [], SYSTEM, NOW, version=17)


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("--traget=x", "--traget is not an option .* is it --target"),
        ("--proces-max=4", "is it --process-max"),
        ("--compress-level=3", "is it --compress-level-network"),
        ("--resume", "is not an option"),
        ("--delta=please", "has no value that --delta may have"),
        ("--delta=", "has no value that --delta may have"),
        ("--no-delta=y", "cannot be negated so"),
        ("--no-set", "cannot be negated so"),
        ("--process-max=0", "has no value that --process-max may have"),
        ("--process-max", "has no value that --process-max may have"),
        ("--buffer-size=3MiB", "has no value that --buffer-size may have"),
        ("--target-timeline=latset", "has no value that --target-timeline may have"),
        ("--set=x", "has no value that --set may have"),
        ("--process-max=2 --process-max=3", "more than once"),
        ("--delta --no-delta", "more than once"),
    ],
)
def test_options_are_refused_by_name_and_by_value(option: str, why: str) -> None:
    """pgBackRest itself refuses each of them, but then the cluster has been stopped."""
    with pytest.raises(InvalidSpec, match=why):
        decide_check.arguments([option])


@pytest.mark.parametrize(
    "option",
    [
        "--delta",
        "--delta=y",
        "--delta=n",
        "--no-delta",
        "--reset-delta",
        "--db-include=a --db-include=b",
        "--buffer-size=4MiB",
        "--io-timeout=1m",
        "--protocol-timeout=1830.5",
        "--tablespace-map=cold=/elsewhere",
        "--target-timeline=0x1A",
        "--set=20260101-000000F_20260102-000000I",
    ],
)
def test_options_that_pgbackrest_knows_are_handed_on(option: str) -> None:
    assert decide_check.arguments([option]) == option.split()
