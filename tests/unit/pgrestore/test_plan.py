from datetime import timedelta

import pytest

from pgoperator.api.pgrestore import PGRestoreStatus
from reconcilers.pgrestore.plan import (
    DEADLINES,
    POD_DEADLINE,
    Do,
    End,
    Facts,
    Hold,
    Job,
    Move,
    decide,
)
from tests.unit.pgrestore.world import INSTANCES, START, UID, new

LENGTH = new().play()
ENDS = 2 * LENGTH


def status(phase: str, **more: object) -> PGRestoreStatus:
    fields = {"state": "Running", "phase": phase, "phase_since": START, "instance": INSTANCES[0], **more}
    return PGRestoreStatus(**fields)  # type: ignore[arg-type]


def facts(**more: object) -> Facts:
    return Facts(**{"now": START, "uid": UID, **more})  # type: ignore[arg-type]


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
    assert decide(status("Stopping"), facts(job=other)) == Do("delete-job")
    waiting = decide(status("Stopping"), facts(job=Job("uid", "another restore", deleting=True)))
    assert isinstance(waiting, Hold)


def test_a_lost_job_is_made_again() -> None:
    assert decide(status("Restoring"), facts()) == Do("create-job")


@pytest.mark.parametrize(
    ("phase", "given", "limit"),
    [
        ("Stopping", {"instances": INSTANCES}, DEADLINES["Stopping"]),
        ("Restoring", {"job": Job("uid", UID, message="no node has room")}, POD_DEADLINE),
    ],
)
def test_what_takes_too_long_is_given_up(phase: str, given: dict[str, object], limit: timedelta) -> None:
    in_time = decide(status(phase), facts(now=START + limit, **given))
    assert isinstance(in_time, Hold)
    assert in_time.seconds >= 1
    late = decide(status(phase), facts(now=START + limit + timedelta(seconds=2), **given))
    assert isinstance(late, Move)
    assert late.phase == "Aborting"
    assert late.error


def test_a_job_that_works_has_no_deadline() -> None:
    working = Job("uid", UID, started=True)
    assert isinstance(decide(status("Restoring"), facts(job=working, now=START + timedelta(days=3))), Hold)


@pytest.mark.parametrize("phase", ["Aborting", "Undoing"])
def test_giving_up_ends_too(phase: str) -> None:
    stuck = facts(
        job=Job("uid", UID, deleting=phase == "Aborting"), pods=("p",), now=START + timedelta(hours=1)
    )
    assert decide(status(phase, error="why"), stuck) == End("Failed", error="why")


def test_no_primary_in_time_is_a_failure_that_keeps_the_restored_data() -> None:
    late = decide(status("Promoting"), facts(now=START + timedelta(hours=1)))
    assert isinstance(late, End)
    assert late.state == "Failed"
    assert "the data is restored" in late.error


def test_replicas_that_never_follow_do_not_undo_a_restore() -> None:
    late = decide(status("Replicas"), facts(now=START + timedelta(days=1), primary=INSTANCES[0]))
    assert isinstance(late, End)
    assert late.state == "Succeeded"


@pytest.mark.parametrize("presence", ["absent", "deleting"])
def test_without_a_cluster_it_fails(presence: str) -> None:
    ended = decide(PGRestoreStatus(), facts(cluster=presence))
    assert isinstance(ended, End)
    assert ended.state == "Failed"
    job = Job("uid", UID, started=True)
    assert decide(status("Restoring"), facts(cluster=presence, job=job)) == Do("delete-job")


def test_an_end_is_an_end() -> None:
    assert decide(PGRestoreStatus(state="Succeeded"), facts()) == Do("clean")
    assert decide(PGRestoreStatus(state="Failed"), facts()) == Do("release")
