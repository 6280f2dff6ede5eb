"""Jobs are made once and never changed: the two writes that concern them, and why they do not begin."""

from dataclasses import replace
from datetime import datetime, timedelta

from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import AlreadyExists, Conflict, Forbidden
from pgoperator.kube.manifest import Manifest, name_of, owner_of, uid_of
from reconcilers.pgbackup.job import Seen
from reconcilers.pgbackup.look import Look
from reconcilers.pgcluster.jobs import owned

SOON = timedelta(seconds=5)


async def create(ctx: Context, wanted: Manifest, owner: Manifest) -> None:
    """Make a Job that belongs to a backup; one that is there stays as it is."""
    try:
        await ctx.client.create(owned(wanted, owner))
    except AlreadyExists:
        present = await ctx.client.get(kinds.JOB, wanted["metadata"]["namespace"], name_of(wanted))
        if owner_of(present) != uid_of(owner):
            raise


async def explained(ctx: Context, look: Look) -> Seen | None:
    """The Job with why no pod of it begins, where only an Event says so: a quota, a volume.

    The usual second or two are nobody's business.
    """
    seen = look.job
    if seen is None or seen.started or seen.ended or seen.cause:
        return seen
    if ctx.clock() - datetime.fromisoformat(seen.created) < SOON:
        return seen
    fields = f"type=Warning,involvedObject.uid={look.subject}"
    try:
        events, _ = await ctx.client.list(kinds.EVENT, look.namespace, fields=fields)
    except Forbidden:
        return seen  # rights of a former version: better to tell less than nothing
    newest = max(events, key=_told_at, default=None)
    return seen if newest is None else replace(seen, cause=f"{newest.get('reason')}: {newest.get('message')}")


def _told_at(event: Manifest) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])


async def remove(ctx: Context, look: Look) -> None:
    """Stop the backup's Job; pgBackRest in it is told to end."""
    if look.job is None:
        return
    try:
        await ctx.client.delete(kinds.JOB, look.namespace, look.job.name, uid=look.job_uid)
    except Conflict:
        return  # another one has its name: ours is gone
