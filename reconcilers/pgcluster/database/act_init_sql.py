"""Act: run the SQL of `spec.databaseInitSQL` once in a new cluster.

The SQL runs as superuser in the database `postgres`, after users and databases were created. `init-sql.sh`
ensures that it never runs twice at once and never again after a success: SQL may take longer than the command
that starts it, and longer than a pass. The database and the status keep its success. SQL that failed runs
again when its text has changed, and every ten minutes.
"""

from datetime import timedelta

import structlog

from pgoperator import naming
from pgoperator.context import Context
from pgoperator.digest import digest
from pgoperator.errors import CommandFailed, CommandTimedOut
from pgoperator.kube import kinds
from pgoperator.kube.errors import ApiError, NotFound, Unreachable
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.credentials import read_references
from reconcilers.pgcluster.database import act_sql
from reconcilers.pgcluster.pods import build_pod
from reconcilers.pgcluster.state.cache import ClusterCache, InitSqlCache
from reconcilers.pgcluster.state.findings import Problem
from reconcilers.pgcluster.state.view import View

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 20
"""The operator waits this long for the SQL; longer SQL goes on without it."""
RETRY = timedelta(minutes=10)
CHECK = timedelta(seconds=10)
"""From the start of SQL whose end is not known to the next question about it."""
UNKNOWN = (74, 75)
"""Exit statuses of the script: the SQL arrived incompletely, or an earlier call still runs SQL."""
_PATH = "spec.databaseInitSQL"


def done(view: View, cache: ClusterCache) -> str | None:
    """Name of the ConfigMap whose SQL has run; None before, and for a spec without `databaseInitSQL`."""
    if view.cluster.spec.database_init_sql is None:
        return None
    return view.cluster.status.database_init_sql or cache.init_sql.done or None


async def act(ctx: Context, view: View, cache: ClusterCache) -> Wait | None:
    """Run the SQL if it has not run; a failure is kept as the problem in `cache.init_sql`."""
    source, primary, own = view.cluster.spec.database_init_sql, view.observed.primary, cache.init_sql
    own.problem = None
    if source is None:
        own.done = ""
    if source is None or done(view, cache) or view.restoring is not None:
        return None
    if primary is None or not act_sql.is_current(view, cache.sql):
        return None
    try:
        live = await ctx.client.get(kinds.CONFIG_MAP, view.namespace, source.name)
    except NotFound:
        live = {}
    text = (live.get("data") or {}).get(source.key)
    if text is None:
        missing = f"ConfigMap {source.name!r} with the key {source.key!r} does not exist"
        own.problem = Problem("ConfigMapMissing", f"{_PATH}: {missing}")
        return Wait(missing, read_references.SECONDS)
    return await _once(ctx, view, primary.pod_name, text, own)


async def _once(ctx: Context, view: View, pod: str, text: str, own: InitSqlCache) -> Wait | None:
    """Run the text, unless the next try is not due yet."""
    source = view.cluster.spec.database_init_sql
    if own.tried != digest(text):
        own.tried, own.error, own.retry_at = digest(text), "", None
    if own.retry_at is None or view.now >= own.retry_at:
        # Before the command: a pass that is cancelled must not repeat it at once.
        own.retry_at = view.now + CHECK
        error = await _run(ctx, view, pod, text, own)
        if error == "":
            own.done = source.name if source is not None else ""
            return None
        if error is not None:
            own.error, own.retry_at = error, view.now + RETRY
    if not own.error:
        return Wait("the SQL for the new cluster is running", CHECK.total_seconds())
    own.problem = Problem("DatabaseInitSQLFailed", f"{_PATH}: {own.error}")
    return Wait("retrying the SQL of spec.databaseInitSQL, which failed", read_references.SECONDS)


async def _run(ctx: Context, view: View, pod: str, text: str, own: InitSqlCache) -> str | None:
    """Run the SQL; return PostgreSQL's errors, "" without any, None while the result is unknown."""
    # A known failure has been reported: the SQL runs again.
    words = [str(len(text.encode())), digest(text), *(["again"] if own.error else [])]
    command = build_pod.script("init-sql.sh", *words)
    container = naming.DATABASE_CONTAINER
    try:
        await ctx.client.exec(
            view.namespace, pod, container, command, stdin=text.encode(), timeout=TIMEOUT_SECONDS
        )
    except (CommandTimedOut, Unreachable) as error:
        log.info("the SQL for a new cluster has not finished yet", error=str(error))
        return None
    except ApiError:
        # Refused, so nothing runs: the next pass meets the same refusal, and shows the same status.
        own.retry_at = None
        raise
    except CommandFailed as error:
        if error.code in UNKNOWN:
            return None
        lines = [line for line in error.stderr.splitlines() if "ERROR" in line or "FATAL" in line]
        log.warning("databaseInitSQL failed", status=error.code)
        return "; ".join(lines)[:500] or f"psql exited with status {error.code}"
    log.info("ran databaseInitSQL")
    return ""
