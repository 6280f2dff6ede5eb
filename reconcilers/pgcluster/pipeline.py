"""The parts of a pass over one cluster, as data: builders of its objects, then actions, in their order.

A builder maps a View to manifests. A disabled component is an empty list, "not yet" is a Wait, and an
impossible spec is an InvalidSpec: the other builders still run, but nothing is pruned in that pass. An action
changes state that is not in a manifest; when it fails, the other actions still run.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from pgoperator.context import Context
from pgoperator.errors import InvalidSpec, OperatorError
from pgoperator.kube.errors import Forbidden, Invalid
from pgoperator.kube.manifest import Manifest
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.backups import build_repo_host
from reconcilers.pgcluster.bootstrap import (
    act_bootstrap,
    act_clone_cleanup,
    act_restore_gate,
    act_restore_request,
)
from reconcilers.pgcluster.credentials import act_orphaned_secrets
from reconcilers.pgcluster.database import act_init_sql, act_sql
from reconcilers.pgcluster.imports import act_import
from reconcilers.pgcluster.instances import (
    act_scale_down,
    build_disruption_budgets,
    build_rbac,
    build_services,
    build_statefulsets,
)
from reconcilers.pgcluster.lifecycle import act_pause
from reconcilers.pgcluster.patroni import act_dynamic_config, build_config_files
from reconcilers.pgcluster.pooler import act_pooler_pause, build_pgbouncer
from reconcilers.pgcluster.rollout import act_changes, act_departure
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.findings import Problem
from reconcilers.pgcluster.state.view import View

Builder = Callable[[View], list[Manifest] | Wait]
Action = Callable[[Context, View, ClusterCache], Awaitable[Wait | None]]

BUILDERS: dict[str, Builder] = {
    "rbac": build_rbac.desired,
    "services": build_services.desired,
    "configuration": build_config_files.desired,
    "repository": build_repo_host.desired,
    "instances": build_statefulsets.desired,
    "pgbouncer": build_pgbouncer.desired,
    "disruption": build_disruption_budgets.desired,
}

ACTIONS: tuple[Action, ...] = (
    # The deleted pod waits for it for a moment only.
    act_departure.act,
    # Which instances may run: before all actions that need a running server.
    act_bootstrap.act,
    act_restore_gate.act,
    act_restore_request.act,
    act_clone_cleanup.act,
    act_pause.act,
    # PostgreSQL's parameters: before SQL that may need an extension's library.
    act_dynamic_config.act,
    act_sql.act,
    # Actions that depend on users and databases.
    act_pooler_pause.act,
    act_orphaned_secrets.act,
    act_init_sql.act,
    # Scale down before rolling updates, which must not restart a surplus pod.
    act_scale_down.act,
    act_changes.act,
    act_import.act,
)


@dataclass(slots=True)
class Built:
    """The result of all builders."""

    manifests: list[Manifest] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every desired object is among the manifests: only then may other objects be pruned."""
        return not self.waits and not self.problems


@dataclass(slots=True)
class Acted:
    """The result of all actions."""

    waits: list[Wait] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    errors: list[OperatorError] = field(default_factory=list)
    """Failures after which the pass is retried; a refusal of the API server is a problem, too."""


def build(view: View) -> Built:
    """Run every builder; an InvalidSpec becomes a Problem."""
    built = Built()
    for builder in BUILDERS.values():
        try:
            result = builder(view)
        except InvalidSpec as error:
            built.problems.append(Problem(error.reason, str(error)))
            continue
        if isinstance(result, Wait):
            built.waits.append(result)
        else:
            built.manifests += result
    return built


async def act(ctx: Context, view: View, cache: ClusterCache) -> Acted:
    """Run every action, one after another; errors are collected."""
    acted = Acted()
    for action in ACTIONS:
        try:
            wait = await action(ctx, view, cache)
        except InvalidSpec as error:
            acted.problems.append(Problem(error.reason, str(error)))
        except OperatorError as error:
            acted.errors.append(error)
            acted.problems += refusals(error)
        else:
            acted.waits += [wait] if wait is not None else []
    return acted


def refusals(error: OperatorError) -> list[Problem]:
    """A request that the API server refuses is for the user to fix, as an invalid spec is."""
    unauthorized = 401  # concerns the operator's credentials
    if not isinstance(error, (Forbidden, Invalid)) or error.status == unauthorized:
        return []
    return [Problem(error.reason or "Refused", f"the API server refuses {error}")]
