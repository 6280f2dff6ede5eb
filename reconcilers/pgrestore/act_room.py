"""Act: measure the free space of the data volume before a restore stops the instances."""

import structlog

from pgoperator import naming
from pgoperator.api.pgrestore import PGRestore
from pgoperator.context import Context
from pgoperator.errors import CommandFailed, CommandTimedOut
from pgoperator.kube.errors import ApiError
from reconcilers.pgcluster.state.view import Observed
from reconcilers.pgrestore import decide_check
from reconcilers.pgrestore.decide_check import Choice
from reconcilers.pgrestore.decide_phase import Snapshot

log = structlog.get_logger(__name__)


async def check(
    ctx: Context, restore: PGRestore, snapshot: Snapshot, observed: Observed, choice: Choice
) -> None:
    """InvalidSpec if the backup certainly does not fit; without an answer the restore goes on.

    Only the instance itself can measure its volume: without a primary the Job finds out.
    """
    if snapshot.overwrites or observed.primary is None:
        return
    command = ["df", "--output=avail", "--block-size=1", naming.DATA_PATH]
    where = restore.namespace, observed.primary.pod_name, naming.DATABASE_CONTAINER
    try:
        text = await ctx.client.exec(*where, command, timeout=5)
        free = int(text.split()[-1])
    except (CommandFailed, CommandTimedOut, ApiError, ValueError, IndexError) as error:
        log.warning("could not measure the free space of the data volume", error=str(error))
        return
    decide_check.check_room(choice, free, naming.instance_volume(observed.primary.name))
