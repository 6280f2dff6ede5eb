"""The Lease of a cluster's repositories: one backup, expiry or restore at a time.

pgBackRest's own locks are files of one pod, and every Job has its own pod. The holder is `<name>|<uid>` of a
PerconaPGBackup or a PerconaPGRestore. The Lease does not expire by time, because a backup has no maximum
duration: a holder is valid as long as its object exists and has not finished.
"""

from pgoperator import labels, naming
from pgoperator.api.base import Resource
from pgoperator.api.states import FINISHED
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import AlreadyExists, Conflict, NotFound
from pgoperator.kube.manifest import Manifest, annotations_of, is_deleting, uid_of
from pgoperator.kube.store import Store


def holder_of(resource: Resource) -> str:
    """The holder identity of an object in the Lease."""
    return f"{resource.name}|{resource.metadata.uid}"


def held_by(store: Store, namespace: str, cluster: str) -> str:
    """The holder of the Lease according to the store; "" if nobody holds it."""
    return _holder(store.get(kinds.LEASE, namespace, naming.backup_lease(cluster)))


def is_alive(store: Store, namespace: str, holder: str) -> bool:
    """Whether the holder's object exists and may still use the repositories."""
    name, _, uid = holder.rpartition("|")
    for kind in (kinds.PG_BACKUP, kinds.PG_RESTORE):
        found = store.get(kind, namespace, name) if name else None
        if found is not None and uid_of(found) == uid:
            ended = (found.get("status") or {}).get("state") in FINISHED
            # A backup under deletion uses the repository until its object is gone, unless it has expired.
            return not ended or (is_deleting(found) and labels.BACKUP_EXPIRED not in annotations_of(found))
    return False


async def acquire(  # noqa: PLR0911 - one for each outcome
    ctx: Context, namespace: str, cluster: str, holder: str
) -> str:
    """Take the Lease for `holder`; return "" when the lease is held by `holder`, else the present holder.

    A holder that is no longer alive is replaced. If two try at once, the API server accepts one of them.
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
    """Release the Lease if `holder` holds it; the watch on Leases wakes the next backup."""
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
        return  # changed since it was read: the next reconciliation reads the present holder


def _holder(lease: Manifest | None) -> str:
    return str(((lease or {}).get("spec") or {}).get("holderIdentity") or "")
