"""What a restore does next: a pure decision from its status and from what exists now.

Phases: Checking, Stopping, Restoring, Promoting, Replicas; Aborting and Undoing for a restore that is given
up. Nothing is remembered besides the status: whoever dies when, the next pass finds the same place again. Up
to the end of Restoring the former data is in place, and a failure or the deletion of the object leads back to
it; from Promoting on there is only forward.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from pgoperator.api.pgrestore import PGRestoreStatus

CHECKING: Final = "Checking"
STOPPING: Final = "Stopping"
RESTORING: Final = "Restoring"
PROMOTING: Final = "Promoting"
REPLICAS: Final = "Replicas"
ABORTING: Final = "Aborting"
UNDOING: Final = "Undoing"
STARTING: Final = "Starting"
RUNNING: Final = "Running"
SUCCEEDED: Final = "Succeeded"
FAILED: Final = "Failed"

DEADLINES = {
    STOPPING: timedelta(minutes=5),
    PROMOTING: timedelta(minutes=15),
    REPLICAS: timedelta(hours=12),
    ABORTING: timedelta(minutes=5),
    UNDOING: timedelta(minutes=5),
}
POD_DEADLINE = timedelta(minutes=10)
"""In which the Job's pod must run; how long it then works depends on the database."""


@dataclass(frozen=True, slots=True)
class Job:
    """The Job of a restore, as observed."""

    uid: str
    owner: str
    """UID of the PerconaPGRestore that it is of."""
    undoes: bool = False
    succeeded: bool = False
    failed: bool = False
    started: bool = False
    """Its container runs, or has run."""
    refused: bool = False
    """The script said that it cannot succeed, and that it left the former data in place."""
    message: str = ""
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What is observed around a restore."""

    now: datetime
    uid: str
    deleting: bool = False
    cluster: Literal["present", "deleting", "absent"] = "present"
    instances: tuple[str, ...] = ()
    """Pods and StatefulSets of the cluster's instances."""
    primary: str = ""
    """Instance that is the primary now."""
    ready: bool = False
    """Every promised instance serves."""
    job: Job | None = None
    pods: tuple[str, ...] = ()
    """Pods of restore Jobs that have not ended."""


@dataclass(frozen=True, slots=True)
class Move:
    """Go on to another phase."""

    phase: str
    message: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Do:
    """An act; after it, decide again."""

    act: Literal["check", "delete-job", "create-job", "undo-job", "forget-leader", "clean", "release"]


@dataclass(frozen=True, slots=True)
class Hold:
    """Wait for an event, at most until the deadline."""

    message: str
    seconds: float


@dataclass(frozen=True, slots=True)
class End:
    """The last state."""

    state: Literal["Succeeded", "Failed"]
    message: str = ""
    error: str = ""


Decision = Move | Do | Hold | End


def decide(status: PGRestoreStatus, facts: Facts) -> Decision:
    """What to do now."""
    if status.state == SUCCEEDED:
        return Do("clean")
    if status.state == FAILED:
        return Do("release")
    phase = status.phase or CHECKING
    if facts.cluster != "present":
        return _without_cluster(phase, facts)
    if facts.deleting and phase == CHECKING:
        return End(FAILED, error="the restore was deleted before it began")
    if phase == CHECKING:
        return Do("check")
    return _STEPS[phase](status, facts)


def _without_cluster(phase: str, facts: Facts) -> Decision:
    if facts.job is not None and not facts.job.deleting and not (facts.job.succeeded or facts.job.failed):
        return Do("delete-job")
    what = "does not exist" if facts.cluster == "absent" else "is being deleted"
    return End(FAILED, error=f"the cluster {what}" if phase == CHECKING else f"the cluster {what} by now")


def _late(status: PGRestoreStatus, facts: Facts, limit: timedelta | None = None) -> bool:
    limit = limit or DEADLINES[status.phase or CHECKING]
    return status.phase_since is not None and facts.now - status.phase_since > limit


def _left(status: PGRestoreStatus, facts: Facts, limit: timedelta | None = None) -> float:
    """Seconds until the deadline, when to look again if no event comes."""
    limit = limit or DEADLINES[status.phase or CHECKING]
    since = status.phase_since or facts.now
    return max(1.0, (since + limit - facts.now).total_seconds() + 1)


def _stopping(status: PGRestoreStatus, facts: Facts) -> Decision:
    if facts.deleting:
        return Move(ABORTING, error="the restore was deleted")
    if facts.job is not None and facts.job.owner != facts.uid:
        return Hold("waiting for a former restore's Job to go", 5) if facts.job.deleting else Do("delete-job")
    if not facts.instances and not facts.pods:
        return Do("create-job")
    if _late(status, facts):
        names = ", ".join(facts.instances or facts.pods)
        return Move(ABORTING, error=f"the instances did not stop in time: {names}")
    return Hold(f"waiting for {', '.join(facts.instances or facts.pods)} to stop", _left(status, facts))


def _restoring(status: PGRestoreStatus, facts: Facts) -> Decision:
    job = facts.job
    if job is None:
        # Lost, with whatever deleted it: the script goes on from where the volume is.
        return Move(ABORTING, error="the restore was deleted") if facts.deleting else Do("create-job")
    if job.succeeded:
        return Do("forget-leader")
    if facts.deleting:
        return Move(ABORTING, error="the restore was deleted")
    if job.failed:
        return Move(ABORTING, error=job.message or "the Job failed without a word")
    if not job.started and _late(status, facts, POD_DEADLINE):
        return Move(ABORTING, error=f"the Job's pod does not start: {job.message or 'it is not scheduled'}")
    seconds = 600 if job.started else _left(status, facts, POD_DEADLINE)
    return Hold(job.message or ("restoring" if job.started else "waiting for the Job's pod"), seconds)


def _promoting(status: PGRestoreStatus, facts: Facts) -> Decision:
    if facts.primary:
        return Move(REPLICAS, "writes are accepted; the replicas follow")
    if _late(status, facts):
        # The data is restored and in place; what keeps PostgreSQL from it is told by the cluster's status.
        return End(
            FAILED, error="the data is restored, but no primary came up in time: see the cluster's status"
        )
    return Hold(f"waiting for {status.instance} to become the primary", _left(status, facts))


def _replicas(status: PGRestoreStatus, facts: Facts) -> Decision:
    if facts.ready:
        return End(SUCCEEDED, "the cluster is restored, and every instance serves")
    if facts.deleting:
        return End(SUCCEEDED, "the cluster is restored; the object was deleted before all replicas followed")
    if _late(status, facts):
        return End(SUCCEEDED, "the cluster is restored, but not every instance serves: see its status")
    return Hold("writes are accepted; waiting for every instance to serve", _left(status, facts))


def _aborting(status: PGRestoreStatus, facts: Facts) -> Decision:
    job = facts.job if facts.job is not None and facts.job.owner == facts.uid else None
    if job is not None and job.undoes:
        return Move(UNDOING, status.message or "")
    if job is not None and job.refused:
        return _given_up(status)
    if job is not None and not job.deleting:
        return Do("delete-job")
    if job is None and not facts.pods:
        # Its pod may have been between two renames: only a look at the volume tells.
        return Do("undo-job") if status.job_name else _given_up(status)
    if _late(status, facts):
        return _given_up(status)
    return Hold("waiting for the Job's pod to stop", _left(status, facts))


def _undoing(status: PGRestoreStatus, facts: Facts) -> Decision:
    job = facts.job
    if job is None:
        return Do("undo-job")
    if job.succeeded or job.failed or _late(status, facts):
        return _given_up(status)
    return Hold("putting the former data back", _left(status, facts))


def _given_up(status: PGRestoreStatus) -> Decision:
    return End(FAILED, error=status.error or "the restore was given up")


_STEPS = {
    STOPPING: _stopping,
    RESTORING: _restoring,
    PROMOTING: _promoting,
    REPLICAS: _replicas,
    ABORTING: _aborting,
    UNDOING: _undoing,
}
