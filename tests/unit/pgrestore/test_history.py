"""A second restore to a moment: whether the present timeline still has it."""

from typing import Any

import pytest

from pgoperator.api.pgrestore import PGRestore, PGRestoreStatus
from pgoperator.errors import InvalidSpec
from reconcilers.pgrestore import decide_check, decide_history
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
