from datetime import UTC, datetime, timedelta

import pytest

from pgoperator.api.status import ScheduledBackupStatus
from pgoperator.errors import InvalidSpec
from reconcilers.pgcluster.backups import decide_schedules
from tests.support.views import CLAIM, view

REPO = {"name": "repo1", "volume": {"volumeClaimSpec": CLAIM}}
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def wanted(**crons: str) -> list[decide_schedules.Schedule]:
    repos = [REPO | {"schedules": crons}]
    return decide_schedules.schedules(
        "c", view(backups={"pgbackrest": {"repos": repos}}).cluster.spec.backups.repos
    )


def known(cron: str, handled: datetime, name: str = "c-repo1-full") -> ScheduledBackupStatus:
    return ScheduledBackupStatus(
        cron_job_name=name, repo="repo1", type="full", start_time=handled, schedule=cron
    )


def only(found: decide_schedules.ScheduleStates) -> decide_schedules.ScheduleState:
    assert found.bad == ()
    (turn,) = found.turns
    return turn


def test_names_and_options() -> None:
    found = wanted(full="0 0 * * 6", differential="0 1 * * *", incremental="0 * * * *")
    assert [(s.name, s.option) for s in found] == [
        ("c-repo1-full", "--type=full"),
        ("c-repo1-differential", "--type=diff"),
        ("c-repo1-incremental", "--type=incr"),
    ]


def test_a_new_schedule_begins_now_and_catches_up_with_nothing() -> None:
    turn = only(decide_schedules.turns(wanted(full="0 3 * * *"), (), NOW))
    assert not turn.is_due
    assert turn.next == datetime(2026, 1, 3, 3, 0, tzinfo=UTC)
    assert turn.handled == NOW


def test_what_became_due_is_due_once() -> None:
    cron = "0 3 * * *"
    missed = known(cron, NOW - timedelta(days=9))
    turn = only(decide_schedules.turns(wanted(full=cron), [missed], NOW))
    assert turn.is_due
    assert turn.last == datetime(2026, 1, 2, 3, 0, tzinfo=UTC)
    after = decide_schedules.record(turn, None).model_copy(update={"start_time": turn.last})
    assert not only(decide_schedules.turns(wanted(full=cron), [after], NOW)).is_due


def test_on_the_second_it_is_due() -> None:
    cron, due = "4 3 * * *", datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    before = known(cron, due - timedelta(days=1))
    assert not only(decide_schedules.turns(wanted(full=cron), [before], due - timedelta(seconds=1))).is_due
    turn = only(decide_schedules.turns(wanted(full=cron), [before], due))
    assert turn.is_due
    assert turn.next == due + timedelta(days=1)


def test_another_expression_begins_anew() -> None:
    turn = only(
        decide_schedules.turns(wanted(full="0 1 * * *"), [known("0 0 * * 6", NOW - timedelta(days=5))], NOW)
    )
    assert not turn.is_due


@pytest.mark.parametrize(
    "cron", ["61 * * * *", "* * * *", "* * * * * *", "nonsense", "0 0 30 2 *", "R R R R R", "@every 5m"]
)
def test_a_bad_expression_is_named_and_stops_no_other(cron: str) -> None:
    found = decide_schedules.turns(wanted(full=cron, incremental="0 * * * *"), (), NOW)
    assert [turn.schedule.type for turn in found.turns] == ["incremental"]
    (message,) = found.bad
    assert message.startswith("spec.backups.pgbackrest.repos[repo1].schedules.full:")
    assert repr(cron) in message
    with pytest.raises(InvalidSpec):
        decide_schedules.around(cron, NOW)


@pytest.mark.parametrize("cron", ["@daily", "*/5 * * * *", "0 0 * * SAT", "0 2 1,15 * 1-5"])
def test_usual_expressions(cron: str) -> None:
    last, following = decide_schedules.around(cron, NOW)
    assert last <= NOW < following
    assert last.tzinfo is not None


def test_a_clock_that_was_wrong_does_not_hold_a_schedule() -> None:
    ahead = NOW + timedelta(days=400)
    turn = only(decide_schedules.turns(wanted(full="0 * * * *"), [known("0 * * * *", ahead)], NOW))
    assert turn.handled == NOW
    later = NOW + timedelta(hours=1)
    assert only(decide_schedules.turns(wanted(full="0 * * * *"), [known("0 * * * *", NOW)], later)).is_due
