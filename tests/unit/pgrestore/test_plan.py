from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from pgoperator.api.pgrestore import PGRestoreStatus
from reconcilers.pgrestore.decide_phase import (
    DEADLINES,
    POD_DEADLINE,
    RETURN_DEADLINE,
    Action,
    End,
    Job,
    Move,
    Pause,
    Snapshot,
    decide,
    overdue,
)
from tests.unit.pgrestore.world import INSTANCES, START, UID, new

LENGTH = new().play()
ENDS = 2 * LENGTH


def status(phase: str, **more: Any) -> PGRestoreStatus:
    fields: dict[str, Any] = {
        "state": "Running",
        "phase": phase,
        "phase_since": START,
        "instance": INSTANCES[0],
        **more,
    }
    return PGRestoreStatus(**fields)


def facts(**more: Any) -> Snapshot:
    return Snapshot(**{"now": START, "uid": UID, **more})


def test_a_restore_goes_to_its_end() -> None:
    world = new()
    world.play()
    assert (world.status.state, world.data, world.ready) == ("Succeeded", "new", True)


@pytest.mark.parametrize("crash_at", range(LENGTH + 1))
def test_the_operator_may_die_after_any_act(crash_at: int) -> None:
    world = new()
    world.play(crash_at=crash_at)
    assert (world.status.state, world.data, world.ready) == ("Succeeded", "new", True)


@pytest.mark.parametrize("crash_at", range(ENDS))
@pytest.mark.parametrize("refused", [True, False], ids=["refused", "killed"])
def test_a_failure_brings_the_former_data_back(crash_at: int, refused: bool) -> None:
    world = new(job_fails="no such backup", refused=refused)
    world.play(crash_at=crash_at)
    assert (world.status.state, world.status.error) == ("Failed", "no such backup")
    world.settle()
    assert (world.data, world.ready, world.leader_known) == ("old", True, True)


@pytest.mark.parametrize("crash_at", range(ENDS))
@pytest.mark.parametrize("refused", [True, False], ids=["reported", "killed"])
def test_a_failure_that_loses_the_former_data_lets_another_instance_lead(
    crash_at: int, refused: bool
) -> None:
    world = new(job_fails="no answer", refused=refused, overwrites=True)
    world.play(crash_at=crash_at)
    assert world.status.state == "Failed"
    assert (world.status.error or "").startswith("no answer")
    world.settle()
    assert (world.data, world.primary, world.ready) == ("half", INSTANCES[1], True)


@pytest.mark.parametrize("delete_at", range(LENGTH + 1))
@pytest.mark.parametrize("crash_after", [-1, 0, 1, 2, 3])
def test_deletion_of_one_over_the_former_data_leaves_a_primary(delete_at: int, crash_after: int) -> None:
    world = new(overwrites=True)
    world.play(delete_at=delete_at, crash_at=delete_at + crash_after if crash_after >= 0 else -1)
    world.settle()
    world.settle()
    assert world.ready
    if world.status.state == "Failed" and world.data != "old":
        assert world.primary == INSTANCES[1]


def test_a_volume_that_is_not_seen_again_is_not_waited_for_after_a_restore_over_it() -> None:
    late = facts(job=Job("uid", UID, deleting=True), now=START + timedelta(hours=1), overwrites=True)
    for phase in ("Aborting", "Undoing"):
        ended = decide(status(phase), late)
        assert isinstance(ended, End)
        assert ended.lost


@pytest.mark.parametrize("delete_at", range(LENGTH + 1))
@pytest.mark.parametrize("crash_after", [-1, 0, 1, 2, 3])
def test_deletion_at_any_time_brings_the_cluster_back(delete_at: int, crash_after: int) -> None:
    world = new()
    world.play(delete_at=delete_at, crash_at=delete_at + crash_after if crash_after >= 0 else -1)
    world.settle()
    world.settle()
    assert world.ready
    assert world.data == ("new" if world.status.state == "Succeeded" else "old")


def test_a_former_job_goes_first() -> None:
    other = Job("uid", "another restore", succeeded=True)
    assert decide(status("Stopping"), facts(job=other)) == Action("delete-job")
    waiting = decide(status("Stopping"), facts(job=Job("uid", "another restore", deleting=True)))
    assert isinstance(waiting, Pause)


def test_a_lost_job_is_made_again_once_its_pod_has_stopped() -> None:
    assert decide(status("Restoring"), facts()) == Action("create-job")
    stops = decide(status("Restoring", job_name="job"), facts(pods=("left",)))
    assert isinstance(stops, Move)
    assert stops.phase == "Stopping"
    assert decide(status("Stopping", job_name="job"), facts()) == Action("create-job")


WAITS: dict[str, tuple[dict[str, Any], timedelta, str]] = {
    "Stopping": ({"instances": INSTANCES}, DEADLINES["Stopping"], "did not stop in time: c-a-1111"),
    "Restoring": (
        {"job": Job("uid", UID, message="no node has room", idle_since=START)},
        POD_DEADLINE,
        "no node has room",
    ),
    "Promoting": ({"problem": "OOM: too big"}, DEADLINES["Promoting"], "OOM: too big"),
    "Replicas": ({"problem": "OOM: too big"}, DEADLINES["Replicas"], "OOM: too big"),
    "Aborting": ({"pods": ("left",)}, DEADLINES["Aborting"], "did not stop in time"),
    "Undoing": (
        {"job": Job("uid", UID, message="no node has room", deleting=True)},
        DEADLINES["Undoing"],
        "no node has room",
    ),
}


@pytest.mark.parametrize("phase", WAITS)
def test_no_phase_waits_for_ever_and_its_end_has_the_cause(phase: str) -> None:
    given, limit, cause = WAITS[phase]
    in_time = decide(status(phase), facts(now=START + limit, **given))
    assert isinstance(in_time, Pause)
    assert 1 <= in_time.seconds <= 2
    late = decide(status(phase), facts(now=START + limit + timedelta(seconds=2), **given))
    assert isinstance(late, Move | End)
    assert cause in f"{late}"


@pytest.mark.parametrize("phase", ["Stopping", "Promoting", "Replicas"])
def test_what_keeps_the_cluster_from_its_part_is_told_at_once(phase: str) -> None:
    held = decide(status(phase), facts(instances=INSTANCES, problem="NameTooLong: too long"))
    assert isinstance(held, Pause)
    assert "NameTooLong: too long" in held.message


@pytest.mark.parametrize("phase", ["Checking", "Stopping", "Aborting", "Undoing"])
def test_an_act_that_must_wait_has_the_deadline_of_its_phase(phase: str) -> None:
    why, limit = "a backup is under way", DEADLINES[phase]
    assert overdue(status(phase), facts(now=START + limit), why) is None
    late = overdue(status(phase), facts(now=START + limit + timedelta(seconds=2)), why)
    assert isinstance(late, Move | End)
    assert why in f"{late}"


def test_a_job_that_works_may_take_as_long_as_the_database_is_large() -> None:
    working = Job("uid", UID, works=True)
    assert isinstance(decide(status("Restoring"), facts(job=working, now=START + timedelta(days=3))), Pause)


def test_a_job_that_has_worked_for_long_has_time_to_start_another_pod() -> None:
    now = START + timedelta(days=3)
    moved = Job("uid", UID, idle_since=now - timedelta(minutes=1))
    assert isinstance(decide(status("Restoring"), facts(job=moved, now=now)), Pause)


@pytest.mark.parametrize("deleting", [False, True])
@pytest.mark.parametrize(
    ("ran", "overwrites", "untouched"), [(False, False, True), (False, True, False), (True, False, False)]
)
def test_a_job_that_never_ran_needs_no_undo(
    ran: bool, overwrites: bool, untouched: bool, deleting: bool
) -> None:
    """A Job that undoes could not run either, and would keep the cluster down for its own deadline."""
    waits, late = Job("uid", UID, ran=ran, idle_since=START), START + POD_DEADLINE + timedelta(seconds=2)
    given = {"job": waits, "now": late, "overwrites": overwrites, "deleting": deleting}
    move = decide(status("Restoring", job_name="job"), facts(**given))
    assert isinstance(move, Move)
    assert (move.phase, move.untouched) == ("Aborting", untouched)
    after = decide(status("Aborting", job_name=None if untouched else "job", error="why"), facts())
    assert isinstance(after, End) if untouched else after == Action("undo-job")


@pytest.mark.parametrize("phase", ["Aborting", "Undoing"])
def test_giving_up_ends_too(phase: str) -> None:
    stuck = facts(job=Job("uid", UID, deleting=True), pods=("p",), now=START + timedelta(hours=1))
    ended = decide(status(phase, error="why"), stuck)
    assert isinstance(ended, End)
    assert ended.error.startswith("why")


def test_a_job_that_undoes_for_too_long_goes_before_the_instances_start() -> None:
    late = facts(job=Job("uid", UID, works=True), now=START + timedelta(hours=1))
    assert decide(status("Undoing"), late) == Action("delete-job")


def test_former_data_that_cannot_be_put_back_is_told() -> None:
    ended = decide(status("Undoing", error="why"), facts(job=Job("uid", UID, failed=True, message="no room")))
    assert ended == End("Failed", error="why; the former data could not be put back: no room")


def test_replicas_start_when_patroni_itself_calls_the_primary_one() -> None:
    """One that starts between the label and that is not rewound, and never gets on its way."""
    labelled = facts(primary=INSTANCES[0])
    assert isinstance(decide(status("Promoting"), labelled), Pause)
    done = decide(status("Promoting"), replace(labelled, role_reported=True))
    assert isinstance(done, Move)
    assert done.phase == "Replicas"


def failed(phase: str = "Undoing") -> PGRestoreStatus:
    return status(phase, state="Failed", completed=START)


def test_a_failed_restore_holds_the_cluster_until_it_serves_again() -> None:
    assert isinstance(decide(failed(), facts(primary=INSTANCES[0])), Pause)
    assert decide(failed(), facts(settled=True)) == Action("release")
    assert decide(failed(), facts(now=START + RETURN_DEADLINE)) == Action("release")
    assert decide(failed(), facts(paused=True)) == Action("release")
    assert decide(failed(), facts(cluster="absent")) == Action("release")
    assert decide(failed("Checking"), facts()) == Action("release")


def test_a_restore_that_lost_the_data_makes_room_for_the_next_one() -> None:
    lost = Job("uid", UID, failed=True, lost=True)
    assert isinstance(decide(failed(), facts(job=lost)), Pause)
    assert decide(failed(), facts(job=lost, primary=INSTANCES[1])) == Action("release")
    assert decide(failed(), facts(job=lost, now=START + timedelta(minutes=1))) == Action("release")


def test_the_error_names_the_instance_that_has_lost_its_data_and_the_next_step() -> None:
    lost = facts(job=Job("uid", UID, failed=True, lost=True, message="why"))
    ended = decide(status("Aborting", error="no answer"), lost)
    assert isinstance(ended, End)
    assert ended.error.startswith(f"no answer; {INSTANCES[0]} has no data to start from: restore again, or")


@pytest.mark.parametrize("fails", ["", "no such backup"])
def test_a_cluster_that_is_to_be_left_alone_is_so_afterwards(fails: str) -> None:
    world = new(job_fails=fails, refused=False)
    world.unmanaged = True
    world.play()
    assert world.ready
    assert world.data == ("old" if fails else "new")


def test_replicas_that_never_follow_do_not_undo_a_restore() -> None:
    late = decide(status("Replicas"), facts(now=START + timedelta(days=1), primary=INSTANCES[0]))
    assert isinstance(late, End)
    assert late.state == "Succeeded"


@pytest.mark.parametrize("presence", ["absent", "deleting"])
def test_without_a_cluster_it_fails(presence: str) -> None:
    ended = decide(PGRestoreStatus(), facts(cluster=presence))
    assert isinstance(ended, End)
    assert ended.state == "Failed"
    job = Job("uid", UID, works=True)
    assert decide(status("Restoring"), facts(cluster=presence, job=job)) == Action("delete-job")


def test_an_end_is_an_end() -> None:
    assert decide(PGRestoreStatus(state="Succeeded"), facts()) == Action("clean")
    assert decide(PGRestoreStatus(state="Failed"), facts()) == Action("release")
