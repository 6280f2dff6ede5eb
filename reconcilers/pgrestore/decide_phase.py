"""The state machine of a restore, from its status and a snapshot of what exists now. Pure.

Phases: Checking, Stopping, Restoring, Promoting, Replicas; Aborting and Undoing after a failure. The only
memory is the status, so a restarted operator continues in the same phase. Until the end of Restoring, a
failure or the deletion of the object leads back to the former data. If a restore over that data has lost it,
another instance becomes the primary. From Promoting on the restore only continues forward.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from pgoperator.api.pgrestore import PGRestoreStatus
from pgoperator.api.states import FAILED, SUCCEEDED

CHECKING: Final = "Checking"
STOPPING: Final = "Stopping"
RESTORING: Final = "Restoring"
PROMOTING: Final = "Promoting"
REPLICAS: Final = "Replicas"
ABORTING: Final = "Aborting"
UNDOING: Final = "Undoing"

DEADLINES = {
    CHECKING: timedelta(hours=12),  # a running backup finishes first
    STOPPING: timedelta(minutes=5),
    PROMOTING: timedelta(minutes=15),
    REPLICAS: timedelta(hours=12),
    ABORTING: timedelta(minutes=5),
    UNDOING: timedelta(minutes=30),
}
POD_DEADLINE = timedelta(minutes=10)  # without a running pod; a running one has that of the Job
RETURN_DEADLINE = timedelta(minutes=15)  # until the instances are ready again after a failure
LOST_DEADLINE = timedelta(minutes=1)  # if an instance has lost its data: the user may need another restore


@dataclass(frozen=True, slots=True)
class Job:
    """The Job of a restore, as observed."""

    uid: str
    owner: str  # UID of its PerconaPGRestore
    undoes: bool = False
    succeeded: bool = False
    failed: bool = False
    ran: bool = True  # a pod of this Job, or of a former one, may have run
    works: bool = False  # a pod of the Job runs and is not being deleted
    idle_since: datetime | None = None  # since when no pod runs
    refused: bool = False  # the script's exit status: it cannot succeed, and the former data is in place
    lost: bool = False  # the script's exit status: the former data of the instance is lost
    message: str = ""
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What exists around a restore."""

    now: datetime
    uid: str
    deleting: bool = False
    cluster: Literal["present", "deleting", "absent"] = "present"
    instances: tuple[str, ...] = ()  # pods and StatefulSets of the cluster's instances
    primary: str = ""  # the present primary instance; "" if there is none
    role_reported: bool = False  # also by Patroni's status, up to one loop later than the label
    ready: bool = False  # every instance of the spec is ready
    settled: bool = False  # the same, while no restore is active
    paused: bool = False
    overwrites: bool = False  # the restore works in the former data
    problem: str = ""  # why the cluster is not ready, according to its status
    job: Job | None = None
    pods: tuple[str, ...] = ()  # pods of restore Jobs that have not ended


@dataclass(frozen=True, slots=True)
class Move:
    """Change to another phase."""

    phase: str
    message: str = ""
    error: str = ""
    untouched: bool = False  # no pod of the Job has run: the volume is as it was, and needs no undo Job


@dataclass(frozen=True, slots=True)
class Action:
    """Execute an act, then decide again."""

    act: Literal["check", "delete-job", "create-job", "undo-job", "forget-leader", "clean", "release"]


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for an event, at most until the deadline."""

    message: str
    seconds: float


@dataclass(frozen=True, slots=True)
class End:
    """The restore has ended."""

    state: Literal["Succeeded", "Failed"]
    message: str = ""
    error: str = ""
    lost: bool = False  # the instance has no data: another instance must become the primary


Decision = Move | Action | Pause | End


def decide(status: PGRestoreStatus, seen: Snapshot) -> Decision:
    """Decide the next step."""
    if status.state == SUCCEEDED:
        return Action("clean")
    if status.state == FAILED:
        return _after_failure(status, seen)
    phase = status.phase or CHECKING
    if seen.cluster != "present":
        return _without_cluster(seen)
    if seen.deleting and phase == CHECKING:
        return End(FAILED, error="the restore was deleted before it started")
    if phase == CHECKING:
        return Action("check")
    return _STEPS[phase](status, seen)


def overdue(status: PGRestoreStatus, seen: Snapshot, waiting: str) -> Decision | None:
    """What happens if an act waits beyond the deadline of its phase; None before the deadline."""
    phase = status.phase or CHECKING
    if phase == RESTORING:
        # Pods that still stop have the deadline of Stopping.
        return Move(STOPPING, waiting)
    if not _late(status, seen):
        return None
    if phase == CHECKING:
        hours = DEADLINES[CHECKING].total_seconds() / 3600
        return End(FAILED, error=f"the check did not finish within {hours:g} hours: {waiting}")
    if phase == STOPPING:
        return Move(ABORTING, error=f"the restore did not start in time: {waiting}")
    return _fail(status, waiting, lost=seen.overwrites)


def _after_failure(status: PGRestoreStatus, seen: Snapshot) -> Decision:
    """Release the cluster once its instances are ready again, or after a deadline."""
    began = status.phase not in (None, CHECKING)
    job = _own_job(seen)
    lost = job is not None and job.lost
    if not began or seen.cluster != "present" or seen.settled or seen.paused or (lost and seen.primary):
        return Action("release")
    left = (LOST_DEADLINE if lost else RETURN_DEADLINE) - (seen.now - (status.completed or seen.now))
    if left <= timedelta():
        return Action("release")
    return Pause(_explain("waiting for all instances to become ready again", seen), left.total_seconds() + 1)


def _without_cluster(seen: Snapshot) -> Decision:
    job = seen.job
    if job is not None and not job.deleting and not (job.succeeded or job.failed):
        return Action("delete-job")
    state = "does not exist" if seen.cluster == "absent" else "is being deleted"
    return End(FAILED, error=f"the cluster {state}")


def _late(status: PGRestoreStatus, seen: Snapshot) -> bool:
    limit = DEADLINES[status.phase or CHECKING]
    return status.phase_since is not None and seen.now - status.phase_since > limit


def _remaining(status: PGRestoreStatus, seen: Snapshot) -> float:
    """Seconds until the deadline of the phase, when the next decision is due without an event."""
    since = status.phase_since or seen.now
    return max(1.0, (since + DEADLINES[status.phase or CHECKING] - seen.now).total_seconds() + 1)


def _explain(text: str, seen: Snapshot) -> str:
    return f"{text}; problem of the cluster: {seen.problem}" if seen.problem else text


def _own_job(seen: Snapshot) -> Job | None:
    return seen.job if seen.job is not None and seen.job.owner == seen.uid else None


def _stopping(status: PGRestoreStatus, seen: Snapshot) -> Decision:
    if seen.deleting:
        return Move(ABORTING, error="the restore was deleted")
    if seen.job is not None and seen.job.owner != seen.uid and not seen.job.deleting:
        return Action("delete-job")
    waiting = ", ".join(seen.instances or seen.pods)
    if not waiting and (seen.job is None or seen.job.owner == seen.uid):
        return Action("create-job")
    waiting = waiting or "the Job of an earlier restore"
    if _late(status, seen):
        return Move(ABORTING, error=_explain(f"did not stop in time: {waiting}", seen))
    return Pause(_explain(f"waiting for {waiting} to stop", seen), _remaining(status, seen))


def _restoring(status: PGRestoreStatus, seen: Snapshot) -> Decision:
    job = _own_job(seen)
    if job is not None and job.succeeded:
        return Action("forget-leader")
    if seen.deleting:
        return Move(ABORTING, error="the restore was deleted", untouched=_is_untouched(job, seen))
    if job is None:
        # Deleted by somebody else: a new Job continues from the state of the volume.
        if seen.job is None and not seen.pods:
            return Action("create-job")
        return Move(STOPPING, "the Job was deleted; waiting for its pods to stop")
    if job.failed:
        return Move(ABORTING, error=job.message or "the restore Job failed without a termination message")
    return _job_running(job, status, seen)


def _job_running(job: Job, status: PGRestoreStatus, seen: Snapshot) -> Decision:
    if job.works:
        return Pause(job.message or "restoring", 600)
    left = POD_DEADLINE - (seen.now - (job.idle_since or status.phase_since or seen.now))
    if left < timedelta():
        why = f"the Job's pod does not start: {job.message or 'no cause is reported'}"
        return Move(ABORTING, error=why, untouched=_is_untouched(job, seen))
    return Pause(job.message or "waiting for the Job's pod to start", min(left.total_seconds() + 1, 10))


def _is_untouched(job: Job | None, seen: Snapshot) -> bool:
    # A pod that starts now is killed long before a restore beside the former data replaces it.
    return job is not None and not job.ran and not seen.overwrites


def _promoting(status: PGRestoreStatus, seen: Snapshot) -> Decision:
    if seen.primary and seen.role_reported:
        return Move(REPLICAS, "the cluster accepts writes; waiting for the replicas")
    if _late(status, seen):
        # The instance stays marked to start first, so no instance with the former data becomes the primary.
        why = f"the data is restored, but {status.instance} did not become the primary in time"
        return End(FAILED, error=_explain(why, seen))
    waiting = _explain(f"waiting for {status.instance} to become the primary", seen)
    return Pause(waiting, _remaining(status, seen))


def _replicas(status: PGRestoreStatus, seen: Snapshot) -> Decision:
    if seen.ready:
        return End(SUCCEEDED, "the cluster is restored, and all instances are ready")
    if seen.deleting:
        return End(
            SUCCEEDED,
            "the cluster is restored; the PerconaPGRestore was deleted before all replicas were ready",
        )
    if _late(status, seen):
        return End(SUCCEEDED, _explain("the cluster is restored, but not all instances are ready", seen))
    waiting = _explain("the cluster accepts writes; waiting for all instances to become ready", seen)
    return Pause(waiting, _remaining(status, seen))


def _aborting(status: PGRestoreStatus, seen: Snapshot) -> Decision:
    job = _own_job(seen)
    if job is not None and job.undoes:
        return Move(UNDOING, status.message or "")
    if job is not None and (job.refused or job.lost):
        return _fail(status, lost=job.lost)
    if job is not None and not job.deleting:
        return Action("delete-job")
    if job is None and not seen.pods:
        # The pod may have stopped between two renames: the undo Job inspects the volume.
        return Action("undo-job") if status.job_name else _fail(status)
    if _late(status, seen):
        return _fail(status, "the Job's pod did not stop in time", lost=seen.overwrites)
    return Pause("waiting for the Job's pod to stop", _remaining(status, seen))


def _undoing(status: PGRestoreStatus, seen: Snapshot) -> Decision:
    job = _own_job(seen)
    if job is None:
        late = "the former data was not put back in time"
        return _fail(status, late, lost=seen.overwrites) if _late(status, seen) else Action("undo-job")
    if job.succeeded:
        return _fail(status)
    if job.failed:
        return _fail(status, f"the former data could not be put back: {job.message}", lost=job.lost)
    if _late(status, seen):
        # The Job must not change the volume when the instances start.
        return _fail(status, job.message, lost=seen.overwrites) if job.deleting else Action("delete-job")
    return Pause(job.message or "putting the former data back", _remaining(status, seen))


def _fail(status: PGRestoreStatus, more: str = "", *, lost: bool = False) -> Decision:
    next_step = "restore again, or delete its volume claim and pod once another instance is the primary"
    gone = f"{status.instance} has no data to start from: {next_step}" if lost else ""
    why = (status.error or "the restore was aborted", more, gone)
    return End(FAILED, error="; ".join(filter(None, why)), lost=lost)


_STEPS = {
    STOPPING: _stopping,
    RESTORING: _restoring,
    PROMOTING: _promoting,
    REPLICAS: _replicas,
    ABORTING: _aborting,
    UNDOING: _undoing,
}
