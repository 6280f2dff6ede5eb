"""Which events wake which PerconaPGBackups."""

from collections.abc import Callable, Iterable
from typing import Any

from pgoperator import labels
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Key, Manifest, annotations_of, key_of, labels_of
from pgoperator.runtime.source import Watch, on_difference

Woken = Callable[[str, str], Iterable[Key]]


def watches(woken: Woken) -> tuple[Watch, ...]:
    """Return the watches; `woken` returns the waiting backups of a cluster."""

    def of_cluster(manifest: Manifest) -> Iterable[Key]:
        key = key_of(manifest)
        return woken(key.namespace, key.name)

    def of_lease(manifest: Manifest) -> Iterable[Key]:
        return woken(key_of(manifest).namespace, labels_of(manifest).get(labels.CLUSTER, ""))

    return (
        Watch(kinds.PG_BACKUP, to_keys=lambda manifest: (key_of(manifest),)),
        Watch(kinds.PG_CLUSTER, to_keys=of_cluster, keep=on_difference(_cluster)),
        Watch(kinds.LEASE, to_keys=of_lease, selector=labels.ANY_CLUSTER, keep=on_difference(_holder)),
        Watch(kinds.JOB, to_keys=backup_of, selector=labels.ANY_CLUSTER),
        Watch(kinds.POD, to_keys=backup_of, selector=labels.ANY_CLUSTER, keep=on_difference(_pod)),
    )


def backup_of(manifest: Manifest) -> Iterable[Key]:
    """The backup to which a Job or its pod belongs."""
    name = annotations_of(manifest).get(labels.PGBACKREST_BACKUP)
    if name and labels.PGBACKREST in labels_of(manifest):
        yield Key(kinds.PG_BACKUP.kind, key_of(manifest).namespace, name)


def _cluster(cluster: Manifest) -> Any:
    metadata, status = cluster["metadata"], cluster.get("status") or {}
    # The state changes when the primary returns: the backup that waits for a primary holds the Lease.
    accepted = labels.FINALIZER in (metadata.get("finalizers") or ())
    identity = metadata.get("generation"), metadata.get("deletionTimestamp"), accepted
    return *identity, status.get("state"), status.get("pgbackrest")


def _holder(lease: Manifest) -> Any:
    return (lease.get("spec") or {}).get("holderIdentity")


def _pod(pod: Manifest) -> Any:
    """The status of backup pods only: the pods of databases change all the time."""
    return pod.get("status") if labels.PGBACKREST_BACKUP in annotations_of(pod) else None
