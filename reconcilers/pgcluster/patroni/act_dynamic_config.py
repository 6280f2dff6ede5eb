"""Act: write Patroni's dynamic configuration to the Endpoints where Patroni keeps it.

This does the same as `patronictl edit-config`, without a process in a pod: the members watch the object and
apply a change immediately (https://patroni.readthedocs.io/en/latest/dynamic_configuration.html). The
configuration is written only when it differs, and with a resourceVersion, so that a concurrent change is not
lost.
"""

import json

import structlog

from pgoperator import naming
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.patroni import build_dynamic_config
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.view import View

log = structlog.get_logger(__name__)


async def act(ctx: Context, view: View, _cache: ClusterCache) -> Wait | None:
    """Replace the dynamic configuration if it differs from the desired one."""
    current, dcs = view.observed.dynamic_configuration, view.observed.dcs
    if current is None or dcs is None or not view.observed.system_identifier:
        # Not bootstrapped: the first member reads the configuration from its file.
        return None
    desired = build_dynamic_config.dynamic_configuration(view)
    if current == desired:
        return None
    patch = {
        "metadata": {
            "resourceVersion": dcs["metadata"]["resourceVersion"],
            "annotations": {"config": json.dumps(desired, sort_keys=True)},
        }
    }
    name = naming.patroni_config(view.name)
    await ctx.client.merge_patch(kinds.ENDPOINTS, view.namespace, name, patch)
    log.info("changed Patroni's dynamic configuration")
    return None
