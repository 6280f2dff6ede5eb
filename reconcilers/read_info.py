"""Reads a pgBackRest repository through the container of a repository host."""

from pgoperator import naming
from pgoperator.context import Context
from pgoperator.errors import CommandFailed, CommandTimedOut, InvalidSpec
from pgoperator.kube.errors import Unreachable
from pgoperator.postgres import pgbackrest_info
from pgoperator.postgres.pgbackrest_info import Info

SECONDS = 40
"""An object store may be slow; two such commands fit into a reconciliation."""
REASON = "RepoNotReachable"
OK = pgbackrest_info.OK
EMPTY = (1, 2, 6)
"""pgBackRest's codes of a repository that was read: no stanza, no backup, or not the backup asked for."""
_QUIET = ("--log-level-console=off", "--log-level-stderr=error")

Place = tuple[str, str]
"""Namespace and name of the pod of a repository host."""


async def info(ctx: Context, host: Place, repo: int, label: str = "", *, seconds: int = SECONDS) -> Info:
    """The output of `pgbackrest info`; InvalidSpec with the cause if the repository cannot be read.

    `label`: of this backup only, whose manifest is read, too.
    """
    command = ("info", "--output=json", *([f"--set={label}"] if label else []))
    try:
        return pgbackrest_info.parse(await run(ctx, host, repo, *command, seconds=seconds))
    except (CommandFailed, CommandTimedOut, Unreachable, pgbackrest_info.BadInfo) as error:
        why = error.diagnostics[:800] if isinstance(error, CommandFailed) else str(error)
        raise InvalidSpec(f"repo{repo} cannot be read: {why}", reason=REASON) from error


async def run(ctx: Context, host: Place, repo: int, *command: str, seconds: int = SECONDS) -> str:
    """The output of a command of pgBackRest that ends within `seconds`.

    pgBackRest gives up earlier, so that its message is known.
    """
    bounds = f"--io-timeout={seconds * 2 // 5}", f"--protocol-timeout={seconds * 4 // 5}"
    words = ["pgbackrest", f"--stanza={naming.STANZA}", f"--repo={repo}", *bounds, *_QUIET, *command]
    return await ctx.client.exec(*host, naming.PGBACKREST_CONTAINER, words, timeout=seconds)
