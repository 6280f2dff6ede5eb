"""Act: write Patroni's dynamic configuration to the Endpoints where Patroni keeps it.

This does the same as `patronictl edit-config`, without a process in a pod: the members watch the object and
apply a change immediately (https://patroni.readthedocs.io/en/latest/dynamic_configuration.html). The
configuration is written only when it differs, and with a resourceVersion, so that a concurrent change is not
lost.
"""

import json
from collections.abc import Mapping
from typing import Any

import structlog

from pgoperator import naming
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.patroni import act_trial, build_dynamic_config
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.view import View

log = structlog.get_logger(__name__)


async def act(ctx: Context, view: View, cache: ClusterCache) -> Wait | None:
    """Replace the dynamic configuration if it differs from the desired one.

    Parameters with which PostgreSQL does not start stay as they are, and InvalidSpec has the cause.
    """
    current, dcs = view.observed.dynamic_configuration, view.observed.dcs
    if current is None or dcs is None or not view.observed.system_identifier:
        # Not bootstrapped: the first member reads the configuration from its file.
        return None
    desired = build_dynamic_config.dynamic_configuration(view)
    if current == desired:
        return None
    before, after = _parameters(current), _parameters(desired)
    if cause := await act_trial.refusal(ctx, view, cache, before, after):
        desired["postgresql"]["parameters"] = before
    if current != desired:
        await _write(ctx, view, dcs, desired)
    if cause:
        raise InvalidSpec(
            f"PostgreSQL does not start with the changed parameters: {cause}. That was tried beside the "
            "primary. Correct them; until then, no parameter changes, and the instances keep theirs",
            reason="ParameterImpossible",
        )
    return None


async def _write(ctx: Context, view: View, dcs: Manifest, desired: dict[str, Any]) -> None:
    patch = {
        "metadata": {
            "resourceVersion": dcs["metadata"]["resourceVersion"],
            "annotations": {"config": json.dumps(desired, sort_keys=True)},
        }
    }
    name = naming.patroni_config(view.name)
    await ctx.client.merge_patch(kinds.ENDPOINTS, view.namespace, name, patch)
    log.info("changed Patroni's dynamic configuration")


def _parameters(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """PostgreSQL's parameters in a dynamic configuration; empty where a person has left something else."""
    postgresql = configuration.get("postgresql")
    values = postgresql.get("parameters") if isinstance(postgresql, dict) else None
    return dict(values) if isinstance(values, dict) else {}
