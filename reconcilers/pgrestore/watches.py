"""Which events wake which restore."""

from collections.abc import Callable, Iterable
from typing import Any

from pgoperator import labels
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Key, Kind, Manifest, annotations_of, key_of, labels_of
from pgoperator.runtime.source import Watch
from reconcilers.pgcluster.view import Member, is_ready
from reconcilers.pgcluster.watches import cluster_of
from reconcilers.pgrestore.observe import trouble

Restores = Callable[[Key], Iterable[Key]]


def watches(restores: Restores) -> tuple[Watch, ...]:
    """`restores` gives the restores of a cluster that may not have ended."""

    def of_cluster(manifest: Manifest) -> Iterable[Key]:
        return [key for cluster in cluster_of(manifest) for key in restores(cluster)]

    def of_backup(manifest: Manifest) -> Iterable[Key]:
        name = manifest["spec"].get("pgCluster", "")
        return restores(Key(kinds.PG_CLUSTER.kind, manifest["metadata"].get("namespace", ""), name))

    def owned(kind: Kind, facts: Callable[[Manifest], Any]) -> Watch:
        return Watch(kind, to_keys=of_cluster, selector=labels.ANY_CLUSTER, keep=_differs(facts))

    return (
        Watch(kinds.PG_RESTORE, to_keys=lambda m: (key_of(m),), keep=_differs(_restore)),
        Watch(kinds.PG_CLUSTER, to_keys=lambda m: restores(key_of(m)), keep=_differs(_cluster)),
        Watch(kinds.PG_BACKUP, to_keys=of_backup, keep=_differs(_state)),
        owned(kinds.POD, _pod),
        owned(kinds.STATEFUL_SET, lambda m: m["metadata"].get("deletionTimestamp")),
        owned(kinds.ENDPOINTS, lambda m: annotations_of(m).get("leader")),
        owned(kinds.JOB, lambda m: (m["metadata"].get("deletionTimestamp"), m.get("status"))),
    )


def _differs(facts: Callable[[Manifest], Any]) -> Callable[[Manifest | None, Manifest | None], bool]:
    def keep(old: Manifest | None, new: Manifest | None) -> bool:
        return old is None or new is None or facts(old) != facts(new)

    return keep


def _restore(manifest: Manifest) -> Any:
    """What others do to it; our own writes are followed up in the same pass."""
    meta = manifest["metadata"]
    return meta["uid"], meta.get("generation"), meta.get("deletionTimestamp"), manifest["spec"]


def _cluster(manifest: Manifest) -> Any:
    status = manifest.get("status") or {}
    progress = [c["reason"] for c in status.get("conditions", []) if c["type"] == "PGBackRestoreProgressing"]
    spec = manifest["spec"]
    stands = manifest["metadata"].get("deletionTimestamp"), spec.get("pause"), spec.get("unmanaged")
    return stands, status.get("state"), progress, trouble(manifest)


def _state(manifest: Manifest) -> Any:
    return (manifest.get("status") or {}).get("state")


def _pod(pod: Manifest) -> Any:
    status = pod.get("status", {})
    return (
        pod["metadata"].get("deletionTimestamp"),
        labels_of(pod).get(labels.ROLE),
        Member.of(pod).role,
        status.get("phase"),
        is_ready(pod),
        [c.get("state") for c in status.get("containerStatuses", [])],
        [c.get("message") for c in status.get("conditions", []) if c["type"] == "PodScheduled"],
    )
