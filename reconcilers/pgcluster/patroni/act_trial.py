"""Act: start a server with changed parameters beside the primary, before Patroni gets them.

Patroni writes a parameter that needs a restart into postgresql.conf at once, so PostgreSQL would start with
it after the next crash. A value with which it cannot start must therefore not reach Patroni.
"""

from collections.abc import Mapping
from typing import Any

import structlog

from pgoperator import naming
from pgoperator.context import Context
from pgoperator.errors import CommandFailed
from pgoperator.kube.manifest import uid_of
from pgoperator.postgres import parameters
from reconcilers.pgcluster.pods import build_pod
from reconcilers.pgcluster.state.cache import ClusterCache, Trial
from reconcilers.pgcluster.state.view import View, is_ready

log = structlog.get_logger(__name__)

SECONDS = 40
"""Limit of the script: `initdb` on a slow disk, and 15 s for the start."""
_DOES_NOT_START = 3


async def refusal(
    ctx: Context, view: View, cache: ClusterCache, before: Mapping[str, Any], after: Mapping[str, Any]
) -> str:
    """Why PostgreSQL does not start with the parameters `after`; "" when it does.

    Nothing is tried without a ready primary: there is no server that a wrong value could stop, and the
    change may be what lets it start. A refused set of parameters is tried once in each pod. Raises
    OperatorError when it cannot be tried.
    """
    primary = view.observed.primary
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if not names or primary is None or primary.pod is None or not is_ready(primary.pod):
        return ""
    trial = cache.trial
    if trial is not None and (trial.pod, trial.parameters) == (uid_of(primary.pod), after):
        return trial.refusal
    command = build_pod.script("try-parameters.sh", *names)
    lines = parameters.file_lines(after).encode()
    cause = ""
    try:
        await ctx.client.exec(
            view.namespace,
            primary.pod_name,
            naming.DATABASE_CONTAINER,
            command,
            stdin=lines,
            timeout=SECONDS,
        )
    except CommandFailed as error:
        if error.code != _DOES_NOT_START:
            raise
        cause = error.stderr.strip()[-500:]
        log.warning("PostgreSQL does not start with the changed parameters", cause=cause)
    cache.trial = Trial(uid_of(primary.pod), after, cause)
    return cause
