"""Reads the history and the end of a timeline from a repository."""

from collections.abc import Sequence
from datetime import datetime

import structlog

from pgoperator import naming
from pgoperator.context import Context
from pgoperator.errors import CommandFailed, CommandTimedOut
from pgoperator.kube.errors import ApiError, Unreachable
from pgoperator.postgres.pgbackrest_info import Info
from pgoperator.postgres.timelines import Timeline
from reconcilers import read_info
from reconcilers.pgcluster.pods import build_pod
from reconcilers.pgrestore import decide_check
from reconcilers.read_info import Place

FIRST = 1
"""The timeline without a history."""
END_SECONDS = 30
log = structlog.get_logger(__name__)


async def timeline(  # noqa: PLR0917 - the last four as `decide_check.choose` has them
    ctx: Context, host: Place, found: Info, repo: int, arguments: Sequence[str], system: int | None
) -> Timeline | None:
    """The timeline that recovery follows, from the archive; None if its history cannot be known."""
    which = decide_check.followed(found, repo, arguments, system)
    if which is None:
        return None
    archive, number = which
    if number == FIRST:
        return Timeline(FIRST, {})
    file = f"archive/{naming.STANZA}/{archive}/{number:08X}.history"
    try:
        return Timeline.parse(number, await read_info.run(ctx, host, repo, "repo-get", file))
    except (CommandFailed, CommandTimedOut, Unreachable) as error:
        # Recovery itself will find out whether the backup leads there.
        log.warning("cannot read the history of a timeline", file=file, error=str(error))
        return None


async def last_transaction(
    ctx: Context, primary: Place, repo: int, archive: str, number: int
) -> datetime | None:
    """When the last transaction of a timeline ended, as far as the archive has it; None if that is unknown.

    `primary`: namespace and pod, whose container has the programs to read WAL.
    """
    command = build_pod.script("archive-end.sh", str(repo), archive, str(number))
    try:
        text = await ctx.client.exec(*primary, naming.DATABASE_CONTAINER, command, timeout=END_SECONDS)
        return datetime.fromisoformat(text.strip()) if text.strip() else None
    except (CommandFailed, CommandTimedOut, ApiError, ValueError) as error:
        # Recovery itself will find out whether it gets to the target.
        log.warning("cannot read the end of a timeline", timeline=number, error=str(error))
        return None
