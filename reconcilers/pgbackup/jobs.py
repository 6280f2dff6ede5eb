"""Jobs are made once and never changed; these are the two writes that concern them."""

from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import AlreadyExists, Conflict
from pgoperator.kube.manifest import Manifest, name_of, owner_of, uid_of
from reconcilers.pgbackup.look import Look
from reconcilers.pgcluster.jobs import owned


async def create(ctx: Context, wanted: Manifest, owner: Manifest) -> None:
    """Make a Job that belongs to a backup; one that is there stays as it is."""
    try:
        await ctx.client.create(owned(wanted, owner))
    except AlreadyExists:
        present = await ctx.client.get(kinds.JOB, wanted["metadata"]["namespace"], name_of(wanted))
        if owner_of(present) != uid_of(owner):
            raise


async def remove(ctx: Context, look: Look) -> None:
    """Stop the backup's Job; pgBackRest in it is told to end."""
    if look.job is None:
        return
    try:
        await ctx.client.delete(kinds.JOB, look.namespace, look.job.name, uid=look.job_uid)
    except Conflict:
        return  # another one has its name: ours is gone
