"""The Lease of a cluster's repositories: one backup, expiry or restore at a time.

pgBackRest's own locks are files of one pod, and every Job has a pod of its own. The holder is `<name>|<uid>`
of a PerconaPGBackup or a PerconaPGRestore. The Lease does not end by the clock, because a backup may last: a
holder counts as long as its object is there and has not ended.
"""

from pgoperator import labels, naming
from pgoperator.api.base import Resource
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import AlreadyExists, Conflict, NotFound
from pgoperator.kube.manifest import Manifest, annotations_of, is_deleting, uid_of
from pgoperator.kube.store import Store

FINISHED = ("Succeeded", "Failed")


def holder_of(resource: Resource) -> str:
    """How an object appears in the Lease."""
    return f"{resource.name}|{resource.metadata.uid}"


def held_by(store: Store, namespace: str, cluster: str) -> str:
    """Who holds the Lease, as the watch saw it last; "" for nobody."""
    return _holder(store.get(kinds.LEASE, namespace, naming.backup_lease(cluster)))


def is_alive(store: Store, namespace: str, holder: str) -> bool:
    """Whether a holder still works on the repositories."""
    name, _, uid = holder.rpartition("|")
    for kind in (kinds.PG_BACKUP, kinds.PG_RESTORE):
        found = store.get(kind, namespace, name) if name else None
        if found is not None and uid_of(found) == uid:
            ended = (found.get("status") or {}).get("state") in FINISHED
            # One that is being deleted works until it is gone, unless the data is gone already.
            return not ended or (is_deleting(found) and labels.BACKUP_EXPIRED not in annotations_of(found))
    return False


async def acquire(  # noqa: PLR0911 - one for each way that it may go
    ctx: Context, namespace: str, cluster: str, holder: str
) -> str:
    """Take the Lease for `holder`; returns "" when it is his now, else who has it.

    A holder that works no more is evicted. Two who try at once: the API server lets one of them win.
    """
    name = naming.backup_lease(cluster)
    known = held_by(ctx.store, namespace, cluster)
    if known and known != holder and is_alive(ctx.store, namespace, known):
        return known
    stamp = ctx.clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {"holderIdentity": holder, "acquireTime": stamp, "renewTime": stamp}
    try:
        lease = await ctx.client.get(kinds.LEASE, namespace, name)
    except NotFound:
        metadata = {"name": name, "namespace": namespace, "labels": labels.of_cluster(cluster)}
        manifest = {
            "apiVersion": kinds.LEASE.api_version,
            "kind": kinds.LEASE.kind,
            "metadata": metadata,
            "spec": spec,
        }
        try:
            await ctx.client.create(manifest)
        except AlreadyExists:
            return "another backup"
        return ""
    present = _holder(lease)
    if present == holder:
        return ""
    if present and is_alive(ctx.store, namespace, present):
        return present
    transitions = (lease["spec"].get("leaseTransitions") or 0) + 1
    version = {"resourceVersion": lease["metadata"]["resourceVersion"], "labels": labels.of_cluster(cluster)}
    patch = {"metadata": version, "spec": spec | {"leaseTransitions": transitions}}
    try:
        await ctx.client.merge_patch(kinds.LEASE, namespace, name, patch)
    except (Conflict, NotFound):
        return "another backup"
    return ""


async def release(ctx: Context, namespace: str, cluster: str, holder: str) -> None:
    """Give the Lease up if it is `holder`'s; who waits for it is woken by the watch on it."""
    lease = ctx.store.get(kinds.LEASE, namespace, naming.backup_lease(cluster))
    if lease is None or _holder(lease) != holder:
        return
    patch = {
        "metadata": {"resourceVersion": lease["metadata"]["resourceVersion"]},
        "spec": {"holderIdentity": None, "acquireTime": None},
    }
    try:
        await ctx.client.merge_patch(kinds.LEASE, namespace, naming.backup_lease(cluster), patch)
    except (Conflict, NotFound):
        return  # somebody has evicted us, or has looked at it: the next pass sees whom it belongs to


def _holder(lease: Manifest | None) -> str:
    return str(((lease or {}).get("spec") or {}).get("holderIdentity") or "")
