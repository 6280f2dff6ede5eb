"""Reads why a Job gets no pod: a quota, a missing volume. Only Events show it."""

from dataclasses import replace
from datetime import datetime, timedelta

from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import Forbidden
from pgoperator.kube.manifest import Manifest
from reconcilers.jobs import JobStatus

SOON = timedelta(seconds=5)


async def with_cause(ctx: Context, namespace: str, status: JobStatus, subject: str) -> JobStatus:
    """Return the status of a Job; if no pod starts, with the cause that an Event of `subject`, a UID, shows.

    A pod needs a moment to start: no cause is reported before `SOON`.
    """
    if status.started or status.ended or status.cause:
        return status
    if ctx.clock() - datetime.fromisoformat(status.created) < SOON:
        return status
    cause = await newest_warning(ctx, namespace, subject)
    return replace(status, cause=cause) if cause else status


async def newest_warning(ctx: Context, namespace: str, subject: str) -> str:
    """Reason and message of the newest warning about an object, by its UID; "" without one."""
    fields = f"type=Warning,involvedObject.uid={subject}"
    try:
        events, _ = await ctx.client.list(kinds.EVENT, namespace, fields=fields)
    except Forbidden:
        return ""  # the RBAC rules of an earlier version do not allow to list Events
    newest = max(events, key=_last_seen, default=None)
    return f"{newest.get('reason')}: {newest.get('message')}" if newest is not None else ""


def _last_seen(event: Manifest) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])
