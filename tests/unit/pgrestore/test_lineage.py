"""The backup of a restore is one from which recovery can get to the timeline that it follows."""

from datetime import UTC, datetime

import pytest

from pgoperator.errors import InvalidSpec
from pgoperator.postgres.pgbackrest_info import Archive, Backup, Database, Info, RepoStatus
from pgoperator.postgres.timelines import Timeline
from reconcilers.pgrestore import decide_check

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
# A restore took the cluster back to 0/500 of timeline 1. The second backup was taken after that position.
OLD, LEFT, NEW = "20260101-010000F", "20260101-020000F", "20260101-040000F"
SECOND = Timeline(2, {1: 0x500})


def backup(label: str, hour: int, timeline: int, lsn: str) -> Backup:
    moment = datetime(2026, 1, 1, hour, tzinfo=UTC)
    segment = f"{timeline:08X}0000000000000001"
    return Backup(
        label=label,
        type="full",
        repo=1,
        database=1,
        start=moment,
        stop=moment,
        lsn_start=lsn,
        lsn_stop=lsn,
        wal_start=segment,
        wal_stop=segment,
        size=1,
        delta=1,
        repo_size=1,
        repo_delta=1,
        error=False,
        prior=None,
    )


def info(*backups: Backup, last: int = 2) -> Info:
    archive = Archive("17-1", 1, 1, "000000010000000000000001", f"{last:08X}0000000000000009")
    return Info(
        backups=backups
        or (backup(OLD, 1, 1, "0/400"), backup(LEFT, 2, 1, "0/600"), backup(NEW, 4, 2, "0/700")),
        archives=(archive,),
        databases=(Database(1, 1, 7, "17"),),
        repos=(RepoStatus(1, 0, "ok", "none"),),
        code=0,
        message="ok",
    )


def chosen(*options: str, found: Info | None = None, timeline: Timeline | None = SECOND) -> str:
    words = decide_check.arguments(options)
    return decide_check.choose(found or info(), 1, words, 7, NOW, timeline=timeline).label


def test_a_backup_that_the_timeline_has_left_is_not_chosen() -> None:
    target = "--target=2026-01-01T03:30:00Z"
    assert chosen("--type=time", target) == OLD
    assert chosen("--type=time", target, timeline=None) == LEFT, "without the history, it is not known"
    assert chosen("--type=time", "--target=2026-01-01T05:00:00Z") == NEW


def test_to_the_end_before_the_first_backup_of_the_new_timeline() -> None:
    before = info(backup(OLD, 1, 1, "0/400"), backup(LEFT, 2, 1, "0/600"))
    assert chosen(found=before) == OLD


def test_a_backup_that_was_named_is_refused_with_the_way_out() -> None:
    with pytest.raises(InvalidSpec, match=rf"backup {LEFT} does not lead to timeline 2.*--target-timeline"):
        chosen(f"--set={LEFT}")
    assert chosen(f"--set={OLD}") == OLD


def test_without_any_backup_that_leads_there_nothing_begins() -> None:
    with pytest.raises(InvalidSpec, match="does not lead to timeline 2"):
        chosen(found=info(backup(LEFT, 2, 1, "0/600")))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ("17-1", 2)),
        (("--type=time", "--target=2026-01-01T03:30:00Z"), ("17-1", 2)),
        (("--type=time", "--target=2026-01-01T03:30:00Z", "--target-timeline=4"), ("17-1", 4)),
        (("--target-timeline=1",), ("17-1", 1)),
        (("--target-timeline=current",), None),
        (("--type=immediate",), None),
    ],
)
def test_the_history_to_read(options: tuple[str, ...], expected: tuple[str, int] | None) -> None:
    assert decide_check.followed(info(), 1, decide_check.arguments(options), 7) == expected


def test_a_backup_of_a_later_timeline_does_not_lead_to_the_first() -> None:
    options = ("--type=time", "--target=2026-01-01T05:00:00Z", "--target-timeline=1")
    assert chosen(*options, timeline=Timeline(1, {})) == LEFT
