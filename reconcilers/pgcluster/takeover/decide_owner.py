"""Whose the objects of a cluster are, and whether that owner may give them up. Pure."""

from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest, controller_of, is_deleting, name_of, owner_of, uid_of
from reconcilers.pgcluster.lifecycle.decide_hands_off import INNER
from reconcilers.pgcluster.takeover.plan import Blocker, Snapshot

_INVESTIGATE = "find out what owns these objects; a takeover needs one owner of the kind PostgresCluster"
OWNED = (*kinds.PRUNABLE, kinds.SECRET)
"""Kinds of objects that the inner resource owns."""


def owners(cluster: Manifest, objects: list[Manifest]) -> list[Manifest]:
    """The different controllers of these objects, other than the cluster itself, by kind and name."""
    found = {str(ref["uid"]): ref for one in objects if (ref := controller_of(one)) is not None}
    found.pop(uid_of(cluster), None)
    return sorted(found.values(), key=lambda ref: (ref["kind"] != INNER, ref["kind"], ref["name"]))


def inner_owner(snapshot: Snapshot) -> Manifest | None:
    """The reference to the inner resource of this cluster; None if it owns nothing."""
    every = owners(snapshot.cluster, snapshot.all_of(*OWNED))
    wanted = (INNER, snapshot.name)
    return next((ref for ref in every if (ref["kind"], ref["name"]) == wanted), None)


def is_theirs(snapshot: Snapshot, manifest: Manifest) -> bool:
    """Whether the inner resource owns the object."""
    owner = inner_owner(snapshot)
    return owner is not None and owner_of(manifest) == owner["uid"]


def blockers(snapshot: Snapshot) -> list[Blocker]:
    """Owners from which the objects cannot be taken."""
    found = [_stranger(snapshot, ref) for ref in owners(snapshot.cluster, snapshot.all_of(*OWNED))]
    result = [blocker for blocker in found if blocker is not None]
    if is_deleting(snapshot.cluster):
        cause = f"PerconaPGCluster {snapshot.name} is being deleted"
        result.append(Blocker(cause, "nothing can be taken over; create the cluster again from its data"))
    if (owner := inner_owner(snapshot)) is not None:
        return result + _of_inner(snapshot, owner)
    cause = f"no object belongs to the {INNER} of this cluster"
    step = "wait until Percona's operator has made the cluster; if it is gone for good, remove its finalizer"
    return [*result, Blocker(cause, step)]


def _stranger(snapshot: Snapshot, ref: Manifest) -> Blocker | None:
    """Another owner than the inner resource of this cluster."""
    owner = inner_owner(snapshot)
    if owner is not None and ref["uid"] == owner["uid"]:
        return None
    held = [o for o in snapshot.all_of(*OWNED) if owner_of(o) == ref["uid"]]
    names = ", ".join(f"{one['kind']} {name_of(one)}" for one in held[:3])
    return Blocker(f"{names} belong to {ref['kind']} {ref['name']} (uid {ref['uid']})", _INVESTIGATE)


def _of_inner(snapshot: Snapshot, owner: Manifest) -> list[Blocker]:
    title = f"{INNER} {owner['name']}"
    if snapshot.inner_unread:
        step = "give this operator's account the right to get it, as manifests/rbac.yaml does"
        return [Blocker(f"{title} cannot be read: {snapshot.inner_unread}", step)]
    if snapshot.inner is None:
        step = "Kubernetes removes its objects: restore it, or create another cluster from the data"
        return [Blocker(f"{title} does not exist, but owns the cluster's objects", step)]
    if uid_of(snapshot.inner) != owner["uid"]:
        cause = f"{title} was created again: it is not the one that owns the cluster's objects"
        return [Blocker(cause, "wait until Percona's operator has taken its objects, and plan again")]
    if is_deleting(snapshot.inner):
        cause = f"{title} is being deleted, and its objects with it"
        return [Blocker(cause, "nothing can be taken over; create the cluster again from its data")]
    if owner_of(snapshot.inner) != uid_of(snapshot.cluster):
        return [Blocker(f"{title} does not belong to PerconaPGCluster {snapshot.name}", _INVESTIGATE)]
    return []
