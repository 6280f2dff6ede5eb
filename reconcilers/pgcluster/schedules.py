"""When scheduled backups are due: pure, from the schedules, what the status has recorded, and the time (UTC).

A schedule's record is the last due time that was dealt with. Whatever became due since is one backup, however
much was missed while the operator or the cluster was away; a schedule without a record begins now.
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
# Jenkins' letters for a time chosen by lot, which would be another one each time that it is asked for.
_BY_LOT = re.compile(r"(^|[\s,])[RH]($|[\s,/(])", re.IGNORECASE)
TYPES: Mapping[str, str] = {"full": "full", "differential": "diff", "incremental": "incr"}
"""Name of a schedule to the type of backup that pgBackRest takes."""

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
        """The option of pgBackRest."""
        return f"--type={TYPES[self.type]}"


@dataclass(frozen=True, slots=True)
class Turn:
    """A schedule at a moment: its last due time, the next one, and when it was last dealt with."""

    schedule: Schedule
    last: datetime
    next: datetime
    handled: datetime

    @property
    def is_due(self) -> bool:
        """Whether a time has come that nobody has dealt with."""
        return self.last > self.handled

    @property
    def patience(self) -> timedelta:
        """How old the last success may be: two periods, and the time that a backup takes."""
        return 2 * (self.next - self.last) + GRACE


@dataclass(frozen=True, slots=True)
class Turns:
    """All schedules; `bad` says what is wrong with those that cannot be understood."""

    turns: tuple[Turn, ...] = ()
    bad: tuple[str, ...] = ()


def schedules(cluster: str, repos: Iterable[Repository]) -> list[Schedule]:
    """The schedules that the custom resource asks for."""
    return [
        Schedule(f"{cluster}-{repo.name}-{kind}", repo.name, kind, cron.strip())
        for repo in repos
        for kind in TYPES
        if (cron := getattr(repo.schedules, kind))
    ]


def turns(wanted: Iterable[Schedule], recorded: Sequence[ScheduledBackupStatus], now: datetime) -> Turns:
    """Where each schedule stands now."""
    known = {record.cron_job_name: record for record in recorded}
    found, bad = [], []
    for schedule in wanted:
        try:
            last, following = around(schedule.cron, now)
        except InvalidSpec as error:
            path = f"spec.backups.pgbackrest.repos[{schedule.repo}].schedules.{schedule.type}"
            bad.append(f"{path}: {error}")
            continue
        record = known.get(schedule.name)
        # One whose expression has changed begins anew: what the former would have done is nobody's wish now.
        same = record is not None and record.start_time is not None and record.schedule == schedule.cron
        handled = record.start_time if record is not None and record.start_time and same else now
        found.append(Turn(schedule, last, following, handled))
    return Turns(tuple(found), tuple(bad))


def around(cron: str, now: datetime) -> tuple[datetime, datetime]:
    """The last time at or before `now` and the next one; InvalidSpec for an expression that has none."""
    if (len(cron.split()) != FIELDS and not cron.startswith("@")) or _BY_LOT.search(cron):
        raise InvalidSpec(
            f"{cron!r} is not a cron expression: wanted minute, hour, day of month, month and day of week",
            reason="InvalidSchedule",
        )
    try:
        last: datetime = croniter(cron, now + timedelta(seconds=1)).get_prev(datetime)
        following: datetime = croniter(cron, now).get_next(datetime)
    except (CroniterError, ValueError, KeyError, AttributeError) as error:
        raise InvalidSpec(f"{cron!r} is not a cron expression: {error}", reason="InvalidSchedule") from None
    return last, following


def record(turn: Turn, success: datetime | None) -> ScheduledBackupStatus:
    """What the status keeps of a schedule."""
    return ScheduledBackupStatus(
        cron_job_name=turn.schedule.name,
        repo=turn.schedule.repo,
        type=turn.schedule.type,
        start_time=turn.handled,
        schedule=turn.schedule.cron,
        next_run=turn.next,
        last_success=success,
    )
