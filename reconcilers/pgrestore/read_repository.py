"""Reads a repository through the container of a repository host."""

from collections.abc import Sequence

import structlog

from pgoperator import naming
from pgoperator.context import Context
from pgoperator.errors import CommandFailed, CommandTimedOut, InvalidSpec
from pgoperator.kube.errors import Unreachable
from pgoperator.postgres import pgbackrest_info
from pgoperator.postgres.pgbackrest_info import Info
from pgoperator.postgres.timelines import Timeline
from reconcilers.pgrestore import decide_check

FIRST = 1
"""The timeline without a history."""
log = structlog.get_logger(__name__)

SECONDS = 10
_BOUNDS = ("--io-timeout=4", "--protocol-timeout=8", "--log-level-console=off", "--log-level-stderr=error")

Place = tuple[str, str]
"""Namespace and name of the pod of a repository host."""


async def info(ctx: Context, host: Place, repo: int) -> Info:
    """The output of `pgbackrest info`; InvalidSpec with the cause if the repository cannot be read."""
    try:
        return pgbackrest_info.parse(await _run(ctx, host, repo, "info", "--output=json"))
    except (CommandFailed, CommandTimedOut, Unreachable, pgbackrest_info.BadInfo) as error:
        why = error.diagnostics[:800] if isinstance(error, CommandFailed) else str(error)
        raise InvalidSpec(f"repo{repo} cannot be read: {why}", reason="RepoNotReachable") from error


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
        return Timeline.parse(number, await _run(ctx, host, repo, "repo-get", file))
    except (CommandFailed, CommandTimedOut, Unreachable) as error:
        # Recovery itself will find out whether the backup leads there.
        log.warning("cannot read the history of a timeline", file=file, error=str(error))
        return None


async def _run(ctx: Context, host: Place, repo: int, *command: str) -> str:
    words = ["pgbackrest", f"--stanza={naming.STANZA}", f"--repo={repo}", *_BOUNDS, *command]
    return await ctx.client.exec(*host, naming.PGBACKREST_CONTAINER, words, timeout=SECONDS)
