"""Act: keep Patroni's dynamic configuration right, in the Endpoints where Patroni itself keeps it.

This is what `patronictl edit-config` does, without a process in a pod: the members watch the object and
follow within moments (https://patroni.readthedocs.io/en/latest/dynamic_configuration.html). Written only
where it differs, and with a precondition, so that a change made by another hand at the same moment is not
lost unseen.
"""

import json

import structlog

from pgoperator import naming
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster import configuration
from reconcilers.pgcluster.view import View

log = structlog.get_logger(__name__)


async def act(ctx: Context, view: View) -> Wait | None:
    """Replace the dynamic configuration if it is not what it should be."""
    current, dcs = view.observed.dynamic_configuration, view.observed.dcs
    if current is None or dcs is None or not view.observed.system_identifier:
        # The first member to start takes it from its file.
        return None
    wanted = configuration.dynamic_configuration(view)
    if current == wanted:
        return None
    patch = {
        "metadata": {
            "resourceVersion": dcs["metadata"]["resourceVersion"],
            "annotations": {"config": json.dumps(wanted, sort_keys=True)},
        }
    }
    name = naming.patroni_config(view.name)
    await ctx.client.merge_patch(kinds.ENDPOINTS, view.namespace, name, patch)
    log.info("changed Patroni's dynamic configuration")
    return None
