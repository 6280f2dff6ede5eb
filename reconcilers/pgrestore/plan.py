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
    # A backup that is under way ends first.
    CHECKING: timedelta(hours=12),
    STOPPING: timedelta(minutes=5),
    PROMOTING: timedelta(minutes=15),
    REPLICAS: timedelta(hours=12),
    ABORTING: timedelta(minutes=5),
    UNDOING: timedelta(minutes=30),
}
POD_DEADLINE = timedelta(minutes=10)
"""How long the Job may be without a pod that works. One that works depends on the database: `job.py`."""
RETURN_DEADLINE = timedelta(minutes=15)
"""In which a cluster whose restore failed serves again."""


@dataclass(frozen=True, slots=True)
class Job:
    """The Job of a restore, as observed."""

    uid: str
    owner: str
    """UID of the PerconaPGRestore that it is of."""
    undoes: bool = False
    succeeded: bool = False
    failed: bool = False
    works: bool = False
    """A pod of it runs, and is not told to stop."""
    idle_since: datetime | None = None
    """Since when none does."""
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
    told: bool = False
    """Patroni's status of it says so, too, which is written up to a round later than its label."""
    ready: bool = False
    """Every promised instance serves."""
    settled: bool = False
    """The same, of a time when no restore is active."""
    paused: bool = False
    trouble: str = ""
    """What keeps the cluster from being ready, as its status says it."""
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
        return _failed(status, facts)
    phase = status.phase or CHECKING
    if facts.cluster != "present":
        return _without_cluster(phase, facts)
    if facts.deleting and phase == CHECKING:
        return End(FAILED, error="the restore was deleted before it began")
    if phase == CHECKING:
        return Do("check")
    return _STEPS[phase](status, facts)


def overdue(status: PGRestoreStatus, facts: Facts, waiting: str) -> Decision | None:
    """What an act leads to that has to wait for longer than its phase may last; None while it may."""
    phase = status.phase or CHECKING
    if phase == RESTORING:
        # The deadline of what stops is that of the phase in which it does.
        return Move(STOPPING, waiting)
    if not _late(status, facts):
        return None
    if phase == CHECKING:
        return End(FAILED, error=f"given up after {_hours(DEADLINES[CHECKING])}: {waiting}")
    if phase == STOPPING:
        return Move(ABORTING, error=f"the restore could not begin in time: {waiting}")
    return _given_up(status, waiting)


def _hours(limit: timedelta) -> str:
    return f"{limit.total_seconds() / 3600:g} hours"


def _failed(status: PGRestoreStatus, facts: Facts) -> Decision:
    """The restore holds the cluster until it is as it was: nobody may leave it alone before."""
    began = status.phase not in (None, CHECKING)
    if not began or facts.cluster != "present" or facts.settled or facts.paused:
        return Do("release")
    left = RETURN_DEADLINE - (facts.now - (status.completed or facts.now))
    if left <= timedelta():
        return Do("release")
    return Hold(_because("waiting for every instance to serve again", facts), left.total_seconds() + 1)


def _without_cluster(phase: str, facts: Facts) -> Decision:
    job = facts.job
    if job is not None and not job.deleting and not (job.succeeded or job.failed):
        return Do("delete-job")
    what = "does not exist" if facts.cluster == "absent" else "is being deleted"
    return End(FAILED, error=f"the cluster {what}" if phase == CHECKING else f"the cluster {what} by now")


def _late(status: PGRestoreStatus, facts: Facts) -> bool:
    limit = DEADLINES[status.phase or CHECKING]
    return status.phase_since is not None and facts.now - status.phase_since > limit


def _left(status: PGRestoreStatus, facts: Facts) -> float:
    """Seconds until the deadline, when to look again if no event comes."""
    since = status.phase_since or facts.now
    return max(1.0, (since + DEADLINES[status.phase or CHECKING] - facts.now).total_seconds() + 1)


def _because(what: str, facts: Facts) -> str:
    return f"{what}; the cluster says: {facts.trouble}" if facts.trouble else what


def _own_job(facts: Facts) -> Job | None:
    return facts.job if facts.job is not None and facts.job.owner == facts.uid else None


def _stopping(status: PGRestoreStatus, facts: Facts) -> Decision:
    if facts.deleting:
        return Move(ABORTING, error="the restore was deleted")
    if facts.job is not None and facts.job.owner != facts.uid and not facts.job.deleting:
        return Do("delete-job")
    waiting = ", ".join(facts.instances or facts.pods)
    if not waiting and (facts.job is None or facts.job.owner == facts.uid):
        return Do("create-job")
    waiting = waiting or "a former restore's Job"
    if _late(status, facts):
        return Move(ABORTING, error=_because(f"they did not stop in time: {waiting}", facts))
    return Hold(_because(f"waiting for {waiting} to stop", facts), _left(status, facts))


def _restoring(status: PGRestoreStatus, facts: Facts) -> Decision:
    job = _own_job(facts)
    if job is not None and job.succeeded:
        return Do("forget-leader")
    if facts.deleting:
        return Move(ABORTING, error="the restore was deleted")
    if job is None:
        # Lost, with whatever deleted it: the script goes on from where the volume is.
        gone = facts.job is None and not facts.pods
        return Do("create-job") if gone else Move(STOPPING, "the Job is lost; what is left of it stops")
    if job.failed:
        return Move(ABORTING, error=job.message or "the Job failed without a word")
    return _at_work(job, status, facts)


def _at_work(job: Job, status: PGRestoreStatus, facts: Facts) -> Decision:
    if job.works:
        return Hold(job.message or "restoring", 600)
    left = POD_DEADLINE - (facts.now - (job.idle_since or status.phase_since or facts.now))
    if left < timedelta():
        return Move(ABORTING, error=f"the Job's pod does not start: {job.message or 'it is not scheduled'}")
    return Hold(job.message or "waiting for the Job's pod", left.total_seconds() + 1)


def _promoting(status: PGRestoreStatus, facts: Facts) -> Decision:
    if facts.primary and facts.told:
        return Move(REPLICAS, "writes are accepted; the replicas follow")
    if _late(status, facts):
        # The instance stays marked as the one that starts first, so the former data leads nowhere.
        why = f"the data is restored, but {status.instance} did not become the primary in time"
        return End(FAILED, error=_because(why, facts))
    return Hold(_because(f"waiting for {status.instance} to become the primary", facts), _left(status, facts))


def _replicas(status: PGRestoreStatus, facts: Facts) -> Decision:
    if facts.ready:
        return End(SUCCEEDED, "the cluster is restored, and every instance serves")
    if facts.deleting:
        return End(SUCCEEDED, "the cluster is restored; the object was deleted before all replicas followed")
    if _late(status, facts):
        return End(SUCCEEDED, _because("the cluster is restored, but not every instance serves", facts))
    waiting = _because("writes are accepted; waiting for every instance to serve", facts)
    return Hold(waiting, _left(status, facts))


def _aborting(status: PGRestoreStatus, facts: Facts) -> Decision:
    job = _own_job(facts)
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
        return _given_up(status, "the Job's pod did not stop in time")
    return Hold("waiting for the Job's pod to stop", _left(status, facts))


def _undoing(status: PGRestoreStatus, facts: Facts) -> Decision:
    job = _own_job(facts)
    if job is None:
        late = "putting the former data back took too long"
        return _given_up(status, late) if _late(status, facts) else Do("undo-job")
    if job.succeeded:
        return _given_up(status)
    if job.failed:
        return _given_up(status, f"the former data could not be put back: {job.message}")
    if _late(status, facts):
        # It must not touch the volume any more when the instances start.
        return Do("delete-job") if not job.deleting else _given_up(status, job.message)
    return Hold(job.message or "putting the former data back", _left(status, facts))


def _given_up(status: PGRestoreStatus, more: str = "") -> Decision:
    why = status.error or "the restore was given up"
    return End(FAILED, error=f"{why}; {more}" if more else why)


_STEPS = {
    STOPPING: _stopping,
    RESTORING: _restoring,
    PROMOTING: _promoting,
    REPLICAS: _replicas,
    ABORTING: _aborting,
    UNDOING: _undoing,
}
