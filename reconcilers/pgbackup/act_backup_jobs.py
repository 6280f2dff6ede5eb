"""Act: create and delete the Jobs of backups, and find out why a Job does not start."""

from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import AlreadyExists, Conflict
from pgoperator.kube.manifest import Manifest, name_of, owned, owner_of, uid_of
from reconcilers import read_events
from reconcilers.jobs import JobStatus
from reconcilers.pgbackup.observe import Snapshot


async def create(ctx: Context, wanted: Manifest, owner: Manifest) -> None:
    """Create a Job owned by a backup; an existing Job of this backup is left unchanged."""
    try:
        await ctx.client.create(owned(wanted, owner))
    except AlreadyExists:
        present = await ctx.client.get(kinds.JOB, wanted["metadata"]["namespace"], name_of(wanted))
        if owner_of(present) != uid_of(owner):
            raise


async def with_event_cause(ctx: Context, snapshot: Snapshot) -> JobStatus | None:
    """Return the Job's status; if no pod starts, with the cause that only an Event shows."""
    if snapshot.job is None:
        return None
    return await read_events.with_cause(ctx, snapshot.namespace, snapshot.job, snapshot.event_subject)


async def remove(ctx: Context, snapshot: Snapshot) -> None:
    """Delete the backup's Job; its pod receives SIGTERM and stops pgBackRest."""
    if snapshot.job is None:
        return
    try:
        await ctx.client.delete(kinds.JOB, snapshot.namespace, snapshot.job.name, uid=snapshot.job_uid)
    except Conflict:
        return  # another Job has the name: the backup's Job no longer exists
