"""Whether a target time is on the present timeline, given the earlier restores of a cluster. Pure.

A restore to an earlier moment begins a new timeline at that moment. What was committed between the moment and
the restore is only on the former timeline, but recovery follows the newest one: it would end at the moment of
the earlier restore, and report success. So such a target needs the user's word for a timeline.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from pgoperator import naming
from pgoperator.api.pgrestore import PGRestore
from pgoperator.api.states import SUCCEEDED
from pgoperator.errors import InvalidSpec
from pgoperator.postgres import pgbackrest_options
from reconcilers.pgrestore import decide_check
from reconcilers.pgrestore.decide_phase import CHECKING, REPLICAS

_LABEL = re.compile(r"(\d{8}-\d{6})[FDI]$")


def check(cluster: str, options: Sequence[str], earlier: Iterable[PGRestore]) -> None:
    """InvalidSpec if the target time is on a timeline that an earlier restore of the cluster has left."""
    value = pgbackrest_options.option_value
    if value(options, "type") != "time" or value(options, "target-timeline") is not None:
        return
    target = decide_check.moment(value(options, "target") or "")
    for restore in earlier:
        left, until = _left_at(restore), _ended_at(restore)
        if left and until and left < target < until:
            raise InvalidSpec(
                f"the target {target:%Y-%m-%d %H:%M:%S%z} is between {left:%Y-%m-%d %H:%M:%S%z}, to which "
                f"restore {restore.name} took the cluster, and its end at {until:%Y-%m-%d %H:%M:%S%z}: what "
                "was committed then is only on a former timeline. Name the timeline with --target-timeline "
                f"(patronictl history {naming.patroni_scope(cluster)} shows them), or choose a time outside",
                reason="AmbiguousTimeline",
            )


def left_timeline(options: Sequence[str], present: int) -> int | None:
    """The timeline that a target time names if it is not the present one of the cluster; else None."""
    value = pgbackrest_options.option_value
    named = value(options, "target-timeline") or ""
    if value(options, "type") != "time" or not re.fullmatch("0x[0-9A-Fa-f]+|[0-9]+", named):
        return None
    number = int(named, 16) if named.startswith("0x") else int(named)
    return number if number != present else None


def check_end(options: Sequence[str], timeline: int, last: datetime | None) -> None:
    """InvalidSpec if the target time is behind the last transaction of a timeline that was left.

    PostgreSQL looks for a transaction behind the target. On a timeline that was left there will be none.
    """
    target = decide_check.moment(pgbackrest_options.option_value(options, "target") or "")
    if last is not None and last < target:
        raise InvalidSpec(
            f"the target {target:%Y-%m-%d %H:%M:%S.%f%z} is behind the last transaction that the archive has "
            f"of timeline {timeline}, which ended at {last:%Y-%m-%d %H:%M:%S.%f%z}: choose this time, or an "
            "earlier one",
            reason="InvalidTarget",
        )


def _ended_at(restore: PGRestore) -> datetime | None:
    """When the cluster accepted writes again; None if the restore did not succeed, or was a dry run."""
    status = restore.status
    if status.state != SUCCEEDED or status.phase == CHECKING:
        return None
    return status.phase_since if status.phase == REPLICAS else status.completed


def _left_at(restore: PGRestore) -> datetime | None:
    """The moment to which a restore took the cluster, or one before it; None for the newest data."""
    try:
        options = decide_check.arguments(restore.spec.options)
    except InvalidSpec:
        return None
    if decide_check.needs_end(options):
        return None
    if pgbackrest_options.option_value(options, "type") == "time":
        return decide_check.moment(pgbackrest_options.option_value(options, "target") or "")
    # A position, a transaction, a name: after the beginning of the backup, whose label has it.
    found = _LABEL.search(restore.status.backup_set or "")
    if found is None:
        return restore.metadata.creation_timestamp
    return datetime.strptime(found[1], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
