"""Reads the history of a timeline from a repository, through the container of a repository host."""

from collections.abc import Sequence

import structlog

from pgoperator import naming
from pgoperator.context import Context
from pgoperator.errors import CommandFailed, CommandTimedOut
from pgoperator.kube.errors import Unreachable
from pgoperator.postgres.pgbackrest_info import Info
from pgoperator.postgres.timelines import Timeline
from reconcilers import read_info
from reconcilers.pgrestore import decide_check
from reconcilers.read_info import Place

FIRST = 1
"""The timeline without a history."""
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
