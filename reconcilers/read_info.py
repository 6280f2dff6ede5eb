"""Reads a pgBackRest repository through the container of a repository host."""

from pgoperator import naming
from pgoperator.context import Context
from pgoperator.errors import CommandFailed, CommandTimedOut, InvalidSpec
from pgoperator.kube.errors import Unreachable
from pgoperator.postgres import pgbackrest_info
from pgoperator.postgres.pgbackrest_info import Info

SECONDS = 10
REASON = "RepoNotReachable"
OK = pgbackrest_info.OK
EMPTY = (1, 2, 6)
"""pgBackRest's codes of a repository that was read: no stanza, no backup, or not the backup asked for."""
_BOUNDS = ("--io-timeout=4", "--protocol-timeout=8", "--log-level-console=off", "--log-level-stderr=error")

Place = tuple[str, str]
"""Namespace and name of the pod of a repository host."""


async def info(ctx: Context, host: Place, repo: int, label: str = "") -> Info:
    """The output of `pgbackrest info`; InvalidSpec with the cause if the repository cannot be read.

    `label`: of this backup only, whose manifest is read, too.
    """
    command = ("info", "--output=json", *([f"--set={label}"] if label else []))
    try:
        return pgbackrest_info.parse(await run(ctx, host, repo, *command))
    except (CommandFailed, CommandTimedOut, Unreachable, pgbackrest_info.BadInfo) as error:
        why = error.diagnostics[:800] if isinstance(error, CommandFailed) else str(error)
        raise InvalidSpec(f"repo{repo} cannot be read: {why}", reason=REASON) from error


async def run(ctx: Context, host: Place, repo: int, *command: str) -> str:
    """The output of a command of pgBackRest that ends within `SECONDS`."""
    words = ["pgbackrest", f"--stanza={naming.STANZA}", f"--repo={repo}", *_BOUNDS, *command]
    return await ctx.client.exec(*host, naming.PGBACKREST_CONTAINER, words, timeout=SECONDS)
