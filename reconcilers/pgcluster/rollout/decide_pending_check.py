"""When every Patroni should compute again which parameters need a restart. Pure.

Patroni computes them one second after it has asked PostgreSQL to reload, and drops them when PostgreSQL is
starting at that moment (`ConfigHandler.reload_config`). On a slow node a member then reports that nothing is
pending while PostgreSQL keeps the old value. A reload of a configuration that PostgreSQL has already loaded
has neither weakness.
"""

from datetime import timedelta

from pgoperator import naming
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.rollout.decide_restarts import patroni_loop
from reconcilers.pgcluster.state.cache import PendingCheck
from reconcilers.pgcluster.state.view import View

# From the loop in which a member reads the configuration until PostgreSQL has reloaded it.
RELOAD = timedelta(seconds=5)


def updated(view: View, check: PendingCheck | None) -> PendingCheck:
    """The check after a look at the dynamic configuration: due when the configuration has changed.

    The configuration that a new process finds needs no check: it has not seen it change.
    """
    digest = view.observed.configuration_digest
    if check is None:
        return PendingCheck(digest, None)
    if check.digest == digest:
        return check
    return PendingCheck(digest, view.now + patroni_loop(view) + RELOAD)


def after_restart(view: View) -> PendingCheck:
    """The check after a restart of PostgreSQL for its pending parameters."""
    return PendingCheck(view.observed.configuration_digest, view.now + patroni_loop(view) + RELOAD)


def obstacle(view: View, serving: frozenset[str], check: PendingCheck) -> Wait | None:
    """Why a check that is due waits; None when the members can be asked. `serving` are names of instances."""
    assert check.due is not None
    if view.now < check.due:
        seconds = (check.due - view.now).total_seconds()
        return Wait("waiting for PostgreSQL to load the changed configuration", seconds)
    absent = [naming.pod(p.name) for p in view.planned if p.name not in serving]
    if absent:
        return Wait(
            f"the check of pending parameters waits for {', '.join(absent)}",
            patroni_loop(view).total_seconds(),
        )
    return None
