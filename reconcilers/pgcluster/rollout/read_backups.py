"""Whether a backup runs that the restart or the change of the primary would end."""

from datetime import datetime, timedelta

from pgoperator.api.states import RUNNING
from pgoperator.context import Context
from pgoperator.kube.manifest import name_of
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.state import observe
from reconcilers.pgcluster.state.view import View

PATIENCE = timedelta(hours=6)
"""Age of a backup from which changes do not wait for it."""


def awaited(ctx: Context, view: View) -> Wait | None:
    """A Wait for the end of a backup that runs; None without one, or if it is too old to wait for.

    Nothing waits for the backup of a primary that is down: the change may be what brings it back.
    """
    if view.observed.primary is None or not view.observed.primary.is_ready:
        return None
    for backup in observe.backups(ctx.store, view.namespace, view.name):
        if backup.get("status", {}).get("state") != RUNNING:
            continue
        until = datetime.fromisoformat(backup["metadata"]["creationTimestamp"]) + PATIENCE
        if view.now < until:
            text = f"waiting for backup {name_of(backup)}, at most until {until:%Y-%m-%dT%H:%M:%SZ}"
            return Wait(text, min((until - view.now).total_seconds(), 60))
    return None
