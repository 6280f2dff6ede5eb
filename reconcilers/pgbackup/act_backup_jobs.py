"""Act: create and delete the Jobs of backups, and find out why a Job does not start."""

from dataclasses import replace
from datetime import datetime, timedelta

from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import AlreadyExists, Conflict, Forbidden
from pgoperator.kube.manifest import Manifest, name_of, owned, owner_of, uid_of
from reconcilers.jobs import JobStatus
from reconcilers.pgbackup.observe import Snapshot

SOON = timedelta(seconds=5)


async def create(ctx: Context, wanted: Manifest, owner: Manifest) -> None:
    """Create a Job owned by a backup; an existing Job of this backup is left unchanged."""
    try:
        await ctx.client.create(owned(wanted, owner))
    except AlreadyExists:
        present = await ctx.client.get(kinds.JOB, wanted["metadata"]["namespace"], name_of(wanted))
        if owner_of(present) != uid_of(owner):
            raise


async def with_event_cause(ctx: Context, snapshot: Snapshot) -> JobStatus | None:
    """Return the Job's status; if no pod starts, with the cause that only an Event shows: a quota, a volume.

    A pod needs a moment to start: no cause is reported before `SOON`.
    """
    status = snapshot.job
    if status is None or status.started or status.ended or status.cause:
        return status
    if ctx.clock() - datetime.fromisoformat(status.created) < SOON:
        return status
    fields = f"type=Warning,involvedObject.uid={snapshot.event_subject}"
    try:
        events, _ = await ctx.client.list(kinds.EVENT, snapshot.namespace, fields=fields)
    except Forbidden:
        return status  # the RBAC rules of an earlier version do not allow to list Events
    newest = max(events, key=_last_seen, default=None)
    if newest is None:
        return status
    return replace(status, cause=f"{newest.get('reason')}: {newest.get('message')}")


def _last_seen(event: Manifest) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])


async def remove(ctx: Context, snapshot: Snapshot) -> None:
    """Delete the backup's Job; its pod receives SIGTERM and stops pgBackRest."""
    if snapshot.job is None:
        return
    try:
        await ctx.client.delete(kinds.JOB, snapshot.namespace, snapshot.job.name, uid=snapshot.job_uid)
    except Conflict:
        return  # another Job has the name: the backup's Job no longer exists
