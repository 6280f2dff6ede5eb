"""Which events wake which backup."""

from collections.abc import Callable, Iterable
from typing import Any

from pgoperator import labels
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Key, Manifest, annotations_of, key_of, labels_of
from pgoperator.runtime.source import Watch

Woken = Callable[[str, str], Iterable[Key]]


def watches(woken: Woken) -> tuple[Watch, ...]:
    """`woken` gives the backups that wait for something of a cluster."""

    def of_cluster(manifest: Manifest) -> Iterable[Key]:
        key = key_of(manifest)
        return woken(key.namespace, key.name)

    def of_lease(manifest: Manifest) -> Iterable[Key]:
        return woken(key_of(manifest).namespace, labels_of(manifest).get(labels.CLUSTER, ""))

    return (
        Watch(kinds.PG_BACKUP, to_keys=lambda manifest: (key_of(manifest),)),
        Watch(kinds.PG_CLUSTER, to_keys=of_cluster, keep=_differs(_cluster)),
        Watch(kinds.LEASE, to_keys=of_lease, selector=labels.ANY_CLUSTER, keep=_differs(_holder)),
        Watch(kinds.JOB, to_keys=worked_for, selector=labels.ANY_CLUSTER),
        Watch(kinds.POD, to_keys=worked_for, selector=labels.ANY_CLUSTER, keep=_differs(_pod)),
    )


def worked_for(manifest: Manifest) -> Iterable[Key]:
    """The backup that a Job or its pod works for."""
    name = annotations_of(manifest).get(labels.PGBACKREST_BACKUP)
    if name and labels.PGBACKREST in labels_of(manifest):
        yield Key(kinds.PG_BACKUP.kind, key_of(manifest).namespace, name)


def _differs(facts: Callable[[Manifest], Any]) -> Callable[[Manifest | None, Manifest | None], bool]:
    def keep(old: Manifest | None, new: Manifest | None) -> bool:
        return old is None or new is None or facts(old) != facts(new)

    return keep


def _cluster(cluster: Manifest) -> Any:
    metadata, status = cluster["metadata"], cluster.get("status") or {}
    # The state tells that a primary is back: one that waits for it holds the Lease, and others wait for that.
    whole = metadata.get("generation"), metadata.get("deletionTimestamp")
    return *whole, status.get("state"), status.get("pgbackrest")


def _holder(lease: Manifest) -> Any:
    return (lease.get("spec") or {}).get("holderIdentity")


def _pod(pod: Manifest) -> Any:
    """Not every word of a pod: those of databases change all the time."""
    return pod.get("status") if labels.PGBACKREST_BACKUP in annotations_of(pod) else None
