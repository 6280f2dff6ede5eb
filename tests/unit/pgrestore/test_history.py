"""A second restore to a moment: whether the present timeline still has it."""

from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from pgoperator.api.pgrestore import PGRestore, PGRestoreStatus
from pgoperator.errors import CommandFailed, CommandTimedOut, InvalidSpec
from reconcilers.pgrestore import act_check, decide_check, decide_history
from tests.support.views import NAMESPACE

FIRST = ("--type=time", '--target="2026-01-31 12:05:00+00"')
"""It ended at 13:00: what was committed from 12:05 to 13:00 is on the former timeline."""


def restore(
    *options: str, state: str = "Succeeded", label: str = "20260131-110000F", name: str = "first"
) -> PGRestore:
    status: dict[str, Any] = {"state": state, "completed": "2026-01-31T13:00:00Z", "backupSet": label}
    return PGRestore.parse(
        {
            "apiVersion": "pgv2.percona.com/v2",
            "kind": "PerconaPGRestore",
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "uid": name,
                "creationTimestamp": "2026-01-31T12:50:00Z",
            },
            "spec": {"pgCluster": "cluster1", "repoName": "repo1", "options": list(options)},
            "status": status,
        }
    )


def is_refused(time: str, *earlier: PGRestore, more: tuple[str, ...] = ()) -> bool:
    options = decide_check.arguments(["--type=time", f'--target="2026-01-31 {time}+00"', *more])
    try:
        decide_history.check("cluster1", options, earlier)
    except InvalidSpec:
        return True
    return False


@pytest.mark.parametrize(
    ("time", "refused"),
    [("12:04:59", False), ("12:05:00", False), ("12:30:00", True), ("12:59:59", True), ("13:00:01", False)],
)
def test_a_moment_that_an_earlier_restore_has_left_is_refused(time: str, refused: bool) -> None:
    assert is_refused(time, restore(*FIRST)) is refused


def test_the_message_names_the_restore_and_the_next_step() -> None:
    options = decide_check.arguments(["--type=time", '--target="2026-01-31 12:30:00+00"'])
    with pytest.raises(InvalidSpec) as refused:
        decide_history.check("cluster1", options, [restore(*FIRST)])
    assert refused.value.reason == "AmbiguousTimeline"
    for part in (
        "12:05:00",
        "restore first",
        "13:00:00",
        "--target-timeline",
        "patronictl history cluster1-ha",
    ):
        assert part in str(refused.value)


@pytest.mark.parametrize("timeline", ["1", "latest"])
def test_a_named_timeline_is_the_users_word(timeline: str) -> None:
    assert not is_refused("12:30:00", restore(*FIRST), more=(f"--target-timeline={timeline}",))


def test_restores_that_left_nothing_behind_do_not_count() -> None:
    assert not is_refused("12:30:00", restore(*FIRST, state="Failed"))
    assert not is_refused("12:30:00", restore()), "to the newest data"
    assert not is_refused("12:30:00", restore("--no-such-option=1"))


@pytest.mark.parametrize("options", [("--type=immediate",), ("--type=xid", "--target=4711")])
def test_the_end_of_a_restore_to_no_time_is_unknown(options: tuple[str, ...]) -> None:
    """It is after the beginning of its backup."""
    assert is_refused("11:30:00", restore(*options))
    assert not is_refused("10:30:00", restore(*options))
    later = restore(*options, label="20260131-110000F_20260131-120000I")
    assert not is_refused("11:30:00", later)
    assert is_refused("12:30:00", later)


def test_writes_are_accepted_before_all_replicas_are_back() -> None:
    first = restore(*FIRST)
    began = {"phase": "Replicas", "phase_since": "2026-01-31T12:51:00Z"}
    status = PGRestoreStatus.model_validate(first.status.model_dump() | began)
    first = first.model_copy(update={"status": status})
    assert is_refused("12:50:00", first)
    assert not is_refused("12:52:00", first)


def test_a_position_needs_no_timeline() -> None:
    options = decide_check.arguments(["--type=lsn", "--target=0/5000000"])
    decide_history.check("cluster1", options, [restore(*FIRST)])


def options_of(*more: str) -> list[str]:
    return decide_check.arguments(["--type=time", '--target="2026-01-31 12:30:00+00"', *more])


@pytest.mark.parametrize(
    ("more", "present", "found"),
    [
        ((), 3, None),
        (("--target-timeline=latest",), 3, None),
        (("--target-timeline=current",), 3, None),
        (("--target-timeline=3",), 3, None),
        (("--target-timeline=2",), 3, 2),
        (("--target-timeline=0xA",), 3, 10),
        (("--target-timeline=03",), 3, None),
    ],
)
def test_a_named_timeline_other_than_the_present_one_was_left(
    more: tuple[str, ...], present: int, found: int | None
) -> None:
    assert decide_history.left_timeline(options_of(*more), present) == found
    assert decide_history.left_timeline(["--type=lsn", "--target=0/3000060", *more], present) is None


@pytest.mark.parametrize(
    ("last", "refused"),
    [("12:29:59.999999", True), ("12:30:00", False), ("12:31:00", False), (None, False)],
)
def test_a_target_behind_the_end_of_a_timeline_is_refused(last: str | None, refused: bool) -> None:
    """Recovery to the time of the last transaction itself works: see `ends_at_target` in restore-end.sh."""
    at = datetime.fromisoformat(f"2026-01-31 {last}+00:00") if last else None
    if not refused:
        decide_history.check_end(options_of(), 2, at)
        return
    with pytest.raises(InvalidSpec, match=r"timeline 2, which ended at 2026-01-31 12:29:59\.999999\+0000"):
        decide_history.check_end(options_of(), 2, at)


class Database:
    """A primary on timeline 3, and what the archive has of the others."""

    def __init__(self, answer: str | Exception) -> None:
        self.answer, self.asked = answer, list[list[str]]()

    async def exec(self, _namespace: str, _pod: str, _container: str, command: list[str], **_: Any) -> str:
        self.asked.append(command)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def end_is_checked(answer: str | Exception, *more: str, primary: bool = True) -> Database:
    database = Database(answer)
    member = SimpleNamespace(pod_name="p", member=SimpleNamespace(timeline=3))
    observed: Any = SimpleNamespace(primary=member if primary else None)
    ctx: Any = SimpleNamespace(client=database)
    asked = restore("--type=time", '--target="2026-01-31 12:30:00+00"', *more)
    await act_check._check_end(ctx, asked, observed, 1, ("17-1", 2))
    return database


async def test_the_end_of_a_left_timeline_is_asked_for() -> None:
    with pytest.raises(InvalidSpec):
        await end_is_checked("2026-01-31 12:00:00.123+00\n", "--target-timeline=2")
    database = await end_is_checked("2026-01-31 12:31:00.123+00\n", "--target-timeline=2")
    assert database.asked[0][-3:] == ["1", "17-1", "2"]
    for more in ((), ("--target-timeline=3",)):
        assert (await end_is_checked("", *more)).asked == []


@pytest.mark.parametrize("answer", ["", "?", CommandTimedOut("no answer"), CommandFailed("x", 1, "")])
async def test_an_end_that_is_not_known_is_left_to_recovery(answer: str | Exception) -> None:
    await end_is_checked(answer, "--target-timeline=2")
    await end_is_checked(answer, "--target-timeline=2", primary=False)
