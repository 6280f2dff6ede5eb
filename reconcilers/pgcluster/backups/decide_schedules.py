"""When scheduled backups are due, from the schedules, the records in the status, and the time (UTC). Pure.

A schedule's record is the last due time that was handled. All due times since then lead to one backup, even
if several passed while the operator or the cluster was down. A schedule without a record starts now.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from croniter import croniter
from croniter.croniter import CroniterError

from pgoperator.api.repositories import Repository
from pgoperator.api.status import ScheduledBackupStatus
from pgoperator.errors import InvalidSpec

FIELDS = 5
# croniter accepts R and H (of Jenkins) for random times, which would change with each evaluation.
_BY_LOT = re.compile(r"(^|[\s,])[RH]($|[\s,/(])", re.IGNORECASE)
TYPES: Mapping[str, str] = {"full": "full", "differential": "diff", "incremental": "incr"}
"""Key in `schedules` -> backup type of pgBackRest."""

GRACE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Schedule:
    """One schedule of a cluster."""

    name: str
    """`<cluster>-<repo>-<full|differential|incremental>`"""
    repo: str
    type: str
    cron: str

    @property
    def option(self) -> str:
        """The option of `pgbackrest backup`."""
        return f"--type={TYPES[self.type]}"


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """A schedule at a moment: its last and next due times, and the last due time that was handled."""

    schedule: Schedule
    last: datetime
    next: datetime
    handled: datetime

    @property
    def is_due(self) -> bool:
        """Whether the last due time has not been handled."""
        return self.last > self.handled

    @property
    def patience(self) -> timedelta:
        """How old the last success may be: two periods, and a grace period for the backup itself."""
        return 2 * (self.next - self.last) + GRACE


@dataclass(frozen=True, slots=True)
class ScheduleStates:
    """All valid schedules; `bad` has a message for each invalid schedule."""

    turns: tuple[ScheduleState, ...] = ()
    bad: tuple[str, ...] = ()


def schedules(cluster: str, repos: Iterable[Repository]) -> list[Schedule]:
    """The schedules of the repositories; `cluster` is the cluster's name."""
    return [
        Schedule(f"{cluster}-{repo.name}-{kind}", repo.name, kind, cron.strip())
        for repo in repos
        for kind in TYPES
        if (cron := getattr(repo.schedules, kind))
    ]


def turns(
    configured: Iterable[Schedule], recorded: Sequence[ScheduledBackupStatus], now: datetime
) -> ScheduleStates:
    """The state of each schedule at `now`."""
    records = {record.cron_job_name: record for record in recorded}
    states, bad = [], []
    for schedule in configured:
        try:
            last, following = around(schedule.cron, now)
        except InvalidSpec as error:
            path = f"spec.backups.pgbackrest.repos[{schedule.repo}].schedules.{schedule.type}"
            bad.append(f"{path}: {error}")
            continue
        record = records.get(schedule.name)
        # A schedule whose expression has changed starts now: due times of the old expression do not count.
        same = record is not None and record.start_time is not None and record.schedule == schedule.cron
        # A time in the future is from a clock that was wrong: it must not hold the schedule until then.
        handled = min(record.start_time, now) if record is not None and record.start_time and same else now
        states.append(ScheduleState(schedule, last, following, handled))
    return ScheduleStates(tuple(states), tuple(bad))


def around(cron: str, now: datetime) -> tuple[datetime, datetime]:
    """The last due time at or before `now`, and the next; InvalidSpec for an invalid expression."""
    if (len(cron.split()) != FIELDS and not cron.startswith("@")) or _BY_LOT.search(cron):
        raise InvalidSpec(
            f"{cron!r} is not a cron expression: expected minute, hour, day of month, month and day of week",
            reason="InvalidSchedule",
        )
    try:
        last: datetime = croniter(cron, now + timedelta(seconds=1)).get_prev(datetime)
        following: datetime = croniter(cron, now).get_next(datetime)
    except (CroniterError, ValueError, KeyError, AttributeError) as error:
        raise InvalidSpec(f"{cron!r} is not a cron expression: {error}", reason="InvalidSchedule") from None
    return last, following


def record(turn: ScheduleState, success: datetime | None) -> ScheduledBackupStatus:
    """The record of a schedule for the status; `success` is when a backup of it last succeeded."""
    return ScheduledBackupStatus(
        cron_job_name=turn.schedule.name,
        repo=turn.schedule.repo,
        type=turn.schedule.type,
        start_time=turn.handled,
        schedule=turn.schedule.cron,
        next_run=turn.next,
        last_success=success,
    )
