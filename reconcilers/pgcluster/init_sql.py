"""Act: the SQL that a user wants in a new cluster, once.

It runs when users and databases are there, as superuser in the database `postgres`. Its success is kept in
the status; what fails is tried again when its text has changed, and at the resync.
"""

import hashlib
from datetime import timedelta

import structlog

from pgoperator import naming
from pgoperator.context import Context
from pgoperator.errors import CommandFailed
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster import databases, references
from reconcilers.pgcluster.memory import Memory
from reconcilers.pgcluster.problems import Problem
from reconcilers.pgcluster.view import View

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 300
RETRY = timedelta(minutes=10)
_PATH = "spec.databaseInitSQL"
_KEY = "init-sql"


def known(view: View, memory: Memory) -> str | None:
    """Name of the ConfigMap whose SQL has been run; a spec without any forgets it."""
    if view.cluster.spec.database_init_sql is None:
        return None
    return view.cluster.status.database_init_sql or memory.init_sql or None


async def act(ctx: Context, view: View, memory: Memory) -> Wait | None:
    """Run the SQL if it has not been run."""
    wanted, primary = view.cluster.spec.database_init_sql, view.observed.primary
    memory.init_problem = None
    if wanted is None:
        memory.init_sql = ""
    if wanted is None or known(view, memory) or view.restoring is not None:
        return None
    if primary is None or not databases.is_current(view, memory):
        return None
    try:
        live = await ctx.client.get(kinds.CONFIG_MAP, view.namespace, wanted.name)
    except NotFound:
        live = {}
    text = (live.get("data") or {}).get(wanted.key)
    if text is None:
        what = f"there is no ConfigMap {wanted.name!r} with the key {wanted.key!r}"
        memory.init_problem = Problem("ConfigMapMissing", f"{_PATH}: {what}")
        return Wait(what, references.SECONDS)
    digest = f"{_KEY} {hashlib.sha256(text.encode()).hexdigest()}"
    if view.now >= memory.retry_at.get(digest, view.now):
        memory.init_error = await _run(ctx, view, primary.pod_name, text)
        if not memory.init_error:
            memory.init_sql = wanted.name
            return None
        memory.retry_at[digest] = view.now + RETRY
    memory.init_problem = Problem("DatabaseInitSQLFailed", f"{_PATH}: {memory.init_error}")
    return Wait("SQL for the new cluster failed", references.SECONDS)


async def _run(ctx: Context, view: View, pod: str, text: str) -> str:
    """PostgreSQL's complaint, empty when there was none."""
    try:
        await ctx.client.exec(
            view.namespace,
            pod,
            naming.DATABASE_CONTAINER,
            databases.PSQL,
            stdin=text.encode(),
            timeout=TIMEOUT_SECONDS,
        )
    except CommandFailed as error:
        lines = [line for line in error.output.splitlines() if "ERROR" in line or "FATAL" in line]
        log.warning("the SQL for a new cluster failed", status=error.code)
        return "; ".join(lines)[:500] or f"psql ended with status {error.code}"
    log.info("ran the SQL for a new cluster")
    return ""
