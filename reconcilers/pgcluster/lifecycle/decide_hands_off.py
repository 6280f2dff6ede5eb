"""Whether a cluster belongs to another operator; then no controller writes anything but its condition. Pure.

Evidence is, in this order: a workload of the cluster that another controller owns; unless this operator owns
a workload or Service, the finalizer of Percona's operator on the custom resource, or any of the cluster's
objects that an inner resource of Percona's or Crunchy's operator owns. Objects of a former PerconaPGCluster
with the same name are no evidence: they go by themselves. Neither are objects without an owner, such as
claims and most Secrets: a deleted cluster leaves them too.

The absence of evidence is none: `read_other_owner` asks the API server before this operator's first write.
The finalizer of this operator on the custom resource shows that this has been done.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from pgoperator import labels, naming
from pgoperator.kube import kinds
from pgoperator.kube.manifest import (
    Manifest,
    controller_of,
    is_deleting,
    labels_of,
    name_of,
    owner_of,
    uid_of,
)
from pgoperator.kube.store import Store

REASON = "NameTaken"
INNER = "PostgresCluster"
"""Kind of the inner resource; its group differs between Crunchy's operator, Percona's 2.x and 3.x."""
THEIRS = (labels.FINALIZER_STOP_WATCHERS, labels.FINALIZER_STOP_WATCHERS_FORMER)
LASTING = (kinds.STATEFUL_SET.kind, kinds.DEPLOYMENT.kind, kinds.SERVICE.kind)
"""Kinds of which one object is enough to show that this operator runs the cluster."""
SUMMARY = ("Ready", "Progressing", "Degraded")


def is_accepted(cluster: Manifest) -> bool:
    """Whether this operator has found the cluster to be its own: the finalizer precedes every other write."""
    return labels.FINALIZER in _finalizers(cluster)


def in_store(store: Store, cluster: Manifest) -> str:
    """The evidence that the watches have received; "" without evidence."""
    own = cluster["metadata"].get("namespace", ""), labels.of_cluster(name_of(cluster))
    return evidence(cluster, [found for kind in kinds.PRUNABLE for found in store.select(kind, *own)])


def evidence(cluster: Manifest, objects: Iterable[Manifest]) -> str:
    """Why the cluster belongs to another operator, as a clause; "" without evidence.

    `objects` are those with the cluster's label, and the Secret of its certificate authority.
    """
    known = list(objects)
    others = [found for found in known if _is_foreign(cluster, found)]
    if workloads := [found for found in others if _is_workload(cluster, found)]:
        # StatefulSets first, by name: the message must not change with each object that comes or goes.
        return _belongs(min(workloads, key=lambda w: (w["kind"] != kinds.STATEFUL_SET.kind, name_of(w))))
    if any(owner_of(o) == uid_of(cluster) for o in known if o["kind"] in LASTING):
        return ""
    if finalizer := next((f for f in _finalizers(cluster) if f in THEIRS), None):
        return f"it has the finalizer {finalizer} of Percona's operator"
    if part := next((found for found in others if _owner(found)["kind"] == INNER), None):
        return _belongs(part)
    if is_deleting(cluster) and not is_accepted(cluster) and _was_refused(cluster):
        # The other operator removes its finalizer and objects first, then what the user's finalizers name.
        return "it did when its deletion began"
    return ""


def _finalizers(cluster: Manifest) -> Sequence[str]:
    return cluster["metadata"].get("finalizers") or ()


def _owner(manifest: Manifest) -> Manifest:
    return controller_of(manifest) or {"kind": "", "name": "", "uid": ""}


def _belongs(manifest: Manifest) -> str:
    owner = _owner(manifest)
    return f"{manifest['kind']} {name_of(manifest)} belongs to {owner['kind']} {owner['name']}"


def _is_foreign(cluster: Manifest, manifest: Manifest) -> bool:
    """Whether another controller owns the object, which is not a former cluster of the same name."""
    owner = _owner(manifest)
    former = (owner["kind"], owner["name"]) == (kinds.PG_CLUSTER.kind, name_of(cluster))
    return bool(owner["uid"]) and owner["uid"] != uid_of(cluster) and not former


def _is_workload(cluster: Manifest, manifest: Manifest) -> bool:
    """Whether the object would count as the cluster's own workload; users may label workloads of theirs."""
    kind, name, own = manifest["kind"], name_of(manifest), labels_of(manifest)
    if kind == kinds.STATEFUL_SET.kind:
        is_instance = labels.INSTANCE in own and own.get(labels.DATA) == labels.DATA_POSTGRES
        return is_instance or name == naming.repo_host(name_of(cluster))
    return kind == kinds.DEPLOYMENT.kind and name == naming.pgbouncer(name_of(cluster))


def _was_refused(cluster: Manifest) -> bool:
    return any(c["type"] == "Degraded" and c.get("reason") == REASON for c in stored_conditions(cluster))


def stored_conditions(cluster: Manifest) -> list[Manifest]:
    """The conditions in the status, of any writer."""
    return list((cluster.get("status") or {}).get("conditions") or ())


def message(cluster: Manifest, found: str) -> str:
    """What is the matter and what to do, for the user."""
    text = (
        f"PerconaPGCluster {name_of(cluster)} belongs to another operator: {found}. This operator changes "
        "nothing of it, and carries out none of its backups and restores"
    )
    if is_deleting(cluster):
        return f"{text}; its other finalizers wait for the other operator, or for you to remove them"
    return f"{text}. Let one operator manage this namespace; to move the data, create another cluster from it"


def conditions(cluster: Manifest, found: str, now: datetime) -> list[Manifest]:
    """The conditions of a cluster of another operator: those of the other operator, and `Degraded`.

    Without a state no other operator reports on the cluster, so `Ready` and `Progressing` are false as well.
    """
    stored = stored_conditions(cluster)
    reported = bool((cluster.get("status") or {}).get("state"))
    types = SUMMARY[-1:] if reported else SUMMARY
    ours = {type_: _condition(cluster, stored, type_, found, now) for type_ in types}
    # Each in its place: the other operator may write the list in an order of its own.
    kept = [ours.pop(c["type"], c) for c in stored if c["type"] in types or c.get("reason") != REASON]
    return [*kept, *ours.values()]


def _condition(cluster: Manifest, stored: list[Manifest], type_: str, found: str, now: datetime) -> Manifest:
    word = "True" if type_ == "Degraded" else "False"
    same = (c["lastTransitionTime"] for c in stored if (c["type"], c["status"]) == (type_, word))
    return {
        "type": type_,
        "status": word,
        "observedGeneration": cluster["metadata"].get("generation", 0),
        "lastTransitionTime": next(same, now.strftime("%Y-%m-%dT%H:%M:%SZ")),
        "reason": REASON,
        "message": message(cluster, found),
    }
