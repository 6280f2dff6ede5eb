"""Act: create PerconaPGBackups for the backups in the repositories that have none.

Once for each value of the annotation. The status records the value only after all repositories were read and
all objects created: an import that is interrupted is repeated, and finds the objects that exist.
"""

from contextlib import suppress

import structlog

from pgoperator import naming
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.errors import AlreadyExists, Conflict, NotFound
from pgoperator.kube.manifest import name_of, uid_of
from pgoperator.postgres.pgbackrest_info import Info
from pgoperator.runtime.result import Wait
from reconcilers import read_info
from reconcilers.pgcluster.backups import decide_readiness
from reconcilers.pgcluster.imports import decide_import
from reconcilers.pgcluster.imports.decide_import import Imports
from reconcilers.pgcluster.state import provenance, repositories
from reconcilers.pgcluster.state.cache import ClusterCache, ImportCache
from reconcilers.pgcluster.state.findings import Finding
from reconcilers.pgcluster.state.view import View

log = structlog.get_logger(__name__)

RETRY_SECONDS = 30
REPO_SECONDS = 25
"""For one repository; four of them fit into a pass."""


async def act(ctx: Context, view: View, cache: ClusterCache) -> Wait | None:
    """Import the backups of all repositories if a new value of the annotation asks for it."""
    if not view.backups_enabled or not decide_import.value(view):
        cache.imports = ImportCache()
        return None
    value = decide_import.requested(view)
    if not value or value == cache.imports.handled:
        return None
    if not decide_readiness.host_ready(view) or not repositories.is_checked(view):
        # An event wakes the pass in which they are ready.
        _pending(cache, "Waiting", "the import waits for the repositories: see ReadyForBackup")
        return None
    try:
        found = await _read(ctx, view)
    except InvalidSpec as error:
        return _pending(cache, error.reason, f"no backup was imported: {error}")
    system = int(provenance.system_identifier(view.cluster, view.observed))
    wanted = decide_import.imports(view, found, ctx.store.select(kinds.PG_BACKUP, view.namespace, {}), system)
    if not await _create(ctx, wanted):
        return _pending(cache, "Waiting", "the import waits until its objects are seen", 2)
    log.info("imported backups", backups=len(wanted.wanted), foreign=dict(wanted.foreign))
    cache.imports = ImportCache(value, decide_import.result(wanted))
    return None


def _pending(cache: ClusterCache, reason: str, message: str, seconds: float = RETRY_SECONDS) -> Wait:
    cache.imports = ImportCache("", Finding(decide_import.CONDITION, False, reason, message))
    return Wait(message, seconds)


async def _read(ctx: Context, view: View) -> dict[str, Info]:
    """The content of each repository; InvalidSpec if one cannot be read."""
    host, found = (view.namespace, naming.pod(naming.repo_host(view.name))), {}
    for repo in view.repos:
        info = await read_info.info(ctx, host, repo.number, seconds=REPO_SECONDS)
        status = info.status_of(repo.number)
        if status is not None and status.code not in (read_info.OK, *read_info.EMPTY):
            raise InvalidSpec(f"{repo.name} cannot be read: {status.message}", reason=read_info.REASON)
        found[repo.name] = info
    return found


async def _create(ctx: Context, wanted: Imports) -> bool:
    """Replace failed objects and create the new ones; False if the store does not have all objects yet."""
    for manifest in wanted.replaced:
        with suppress(NotFound, Conflict):
            where = manifest["metadata"]["namespace"], name_of(manifest)
            await ctx.client.delete(kinds.PG_BACKUP, *where, uid=uid_of(manifest))
    complete = True
    for manifest in wanted.wanted:
        try:
            await ctx.client.create(manifest)
        except AlreadyExists:
            complete = False  # created by an interrupted pass, or another object that is not in the store yet
    return complete
