"""A toy cluster on which a restore's plan is played out, act by act, with a crash wherever one wants."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from pgoperator.api import states
from pgoperator.api.pgrestore import PGRestoreStatus
from reconcilers.pgcluster.bootstrap import decide_restore_gate
from reconcilers.pgcluster.state.view import Restoring
from reconcilers.pgrestore.decide_phase import Action, Decision, End, Job, Move, Pause, Snapshot, decide

UID = "restore-uid"
START = datetime(2026, 1, 1, tzinfo=UTC)
INSTANCES = ("c-a-1111", "c-a-2222", "c-a-3333")


class ViolatedError(AssertionError):
    """The plan did what it never may."""


@dataclass
class World:
    """What exists; `data` is old, new, between (killed amid the renames) or half (of a restore over it)."""

    status: PGRestoreStatus
    instances: tuple[str, ...] = INSTANCES
    primary: str = INSTANCES[0]
    ready: bool = True
    job: Job | None = None
    pod: bool = False
    data: str = "old"
    leader_known: bool = True
    deleting: bool = False
    released: bool = False
    now: datetime = START
    job_fails: str = ""
    refused: bool = True
    unmanaged: bool = False
    overwrites: bool = False
    mark: str = INSTANCES[0]
    """The instance that starts first."""

    def facts(self) -> Snapshot:
        return Snapshot(
            now=self.now,
            uid=UID,
            deleting=self.deleting,
            instances=self.instances,
            primary=self.primary,
            role_reported=bool(self.primary),
            ready=self.ready and self.status.phase == "Replicas",
            settled=self.ready and self._mode() is None,
            job=self.job,
            pods=("job-pod",) if self.pod else (),
            overwrites=self.overwrites,
        )

    def _is_busy(self) -> bool:
        """As `restoring.is_busy`: the finalizer stands until the restore is released."""
        return self.status.phase not in (None, "Checking") and not self.released

    def settle(self) -> None:
        """Let time pass: the other reconciler, the Job controller and kubelet do their parts."""
        self.now += timedelta(seconds=1)
        if self._is_busy() or not self.unmanaged:
            self._reconcile()
        self._run_job()

    def _reconcile(self) -> None:
        mode = self._mode()
        wanted = tuple(i for i in INSTANCES if decide_restore_gate.may_run(mode, i))
        if wanted and self.pod:
            raise ViolatedError("instances are started while the Job's pod has the volume")
        self.instances = wanted
        self._run_instances()

    def _run_instances(self) -> None:
        wanted = self.instances
        if self.primary not in wanted:
            self.primary = ""
        if wanted and not self.primary:
            if self.data == "between":
                raise ViolatedError("instances start on half a restore")
            if self.data == "new" and len(wanted) == len(INSTANCES):
                raise ViolatedError("former replicas may become the primary with data of before")
            if self.data == "new" and self.leader_known:
                raise ViolatedError("Patroni still knows the former primary's position")
            if self.data == "half" and self.mark == INSTANCES[0]:
                raise ViolatedError("all wait for an instance that cannot start")
            if self.data == "half" and self.leader_known:
                raise ViolatedError("no replica need have reached the former primary's position")
            self.primary, self.leader_known = self.mark, True
        self.ready = len(wanted) == len(INSTANCES) and bool(self.primary)

    def _run_job(self) -> None:
        if self.job is None:
            self.pod = False
        elif self.job.deleting:
            self.job, self.pod = None, False
        elif not self.job.works and not (self.job.succeeded or self.job.failed):
            self.job, self.pod = replace(self.job, works=True), True
            if not self.job.undoes and self.data == "old":
                self.data = "half" if self.overwrites else "between"
        elif not (self.job.succeeded or self.job.failed):
            self._end_job()

    def _end_job(self) -> None:
        assert self.job is not None
        self.pod = False
        if self.job.undoes and self.data in ("half", "new") and self.overwrites:
            self.data, self.job = "half", replace(self.job, failed=True, lost=True, message="lost")
        elif self.job.undoes:
            self.data, self.job = "old", replace(self.job, succeeded=True)
        elif self.job_fails:
            if self.refused and not self.overwrites:
                self.data = "old"
            lost, refused = self.overwrites and self.refused, not self.overwrites and self.refused
            self.job = replace(self.job, failed=True, message=self.job_fails, lost=lost, refused=refused)
        else:
            self.data, self.job = "new", replace(self.job, succeeded=True)

    def _mode(self) -> Restoring | None:
        status = self.status
        if status.state in states.FINISHED or status.phase in (None, "Checking"):
            return None
        return Restoring("r", status.phase or "", INSTANCES[0])

    def act(self, decision: Decision) -> PGRestoreStatus | None:  # noqa: C901, PLR0911 - one for each decision
        """Do what is decided; gives the status to write after it."""
        match decision:
            case Move(phase, _, error):
                return self._status("Running", phase, error=error or self.status.error)
            case End(state, _, error, lost):
                if lost:
                    self.mark, self.leader_known = INSTANCES[1], False
                return self.status.model_copy(update={"state": state, "error": error or None})
            case Pause():
                return None
            case Action("check"):
                return self._status("Starting", "Stopping", instance=INSTANCES[0])
            case Action("delete-job"):
                assert self.job is not None
                self.job = replace(self.job, deleting=True)
            case Action("create-job" | "undo-job" as what):
                return self._create(undo=what == "undo-job")
            case Action("forget-leader"):
                if self.instances or self.data != "new":
                    raise ViolatedError("the leader is forgotten too early")
                self.leader_known = False
                return self._status("Running", "Promoting")
            case Action("clean" | "release"):
                self.released = True
        return None

    def _create(self, *, undo: bool) -> PGRestoreStatus:
        if self.instances or self.pod:
            raise ViolatedError("two processes in one data directory")
        if self.job is None:
            self.job = Job("job-uid", UID, undoes=undo)
        phase = "Undoing" if undo else "Restoring"
        return self._status("Running", phase, error=self.status.error, job_name="job")

    def _status(self, state: str, phase: str, **more: object) -> PGRestoreStatus:
        return self.status.model_copy(
            update={"state": state, "phase": phase, "phase_since": self.now, **more}
        )

    def play(self, *, crash_at: int = -1, delete_at: int = -1, steps: int = 80) -> int:
        """Until the end; the operator dies after the act of step `crash_at`, before it writes the status."""
        for step in range(steps):
            if step == delete_at:
                self.deleting = True
            status = self.act(decide(self.status, self.facts()))
            if self.released:
                return step
            if status is not None and step != crash_at:
                self.status = status
            self.settle()
        raise ViolatedError(f"it never ends: {self.status}, {self.facts()}")


def new(**fields: object) -> World:
    return World(PGRestoreStatus(), **fields)  # type: ignore[arg-type]
