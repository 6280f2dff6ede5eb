"""Which events wake which PerconaPGRestores."""

from collections.abc import Callable, Iterable
from typing import Any

from pgoperator import labels
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Key, Kind, Manifest, annotations_of, key_of, labels_of
from pgoperator.runtime.source import Watch, on_difference
from reconcilers.pgcluster.state.view import Member, is_ready
from reconcilers.pgcluster.watches import cluster_of
from reconcilers.pgrestore.observe import problem

Restores = Callable[[Key], Iterable[Key]]


def watches(restores: Restores) -> tuple[Watch, ...]:
    """Return the watches; `restores` returns the restores of a cluster that may not have ended."""

    def of_cluster(manifest: Manifest) -> Iterable[Key]:
        return [key for cluster in cluster_of(manifest) for key in restores(cluster)]

    def of_backup(manifest: Manifest) -> Iterable[Key]:
        name = manifest["spec"].get("pgCluster", "")
        return restores(Key(kinds.PG_CLUSTER.kind, manifest["metadata"].get("namespace", ""), name))

    def owned(kind: Kind, part: Callable[[Manifest], Any]) -> Watch:
        return Watch(kind, to_keys=of_cluster, selector=labels.ANY_CLUSTER, keep=on_difference(part))

    return (
        Watch(kinds.PG_RESTORE, to_keys=lambda m: (key_of(m),), keep=on_difference(_restore)),
        Watch(kinds.PG_CLUSTER, to_keys=lambda m: restores(key_of(m)), keep=on_difference(_cluster)),
        Watch(kinds.PG_BACKUP, to_keys=of_backup, keep=on_difference(_state)),
        owned(kinds.POD, _pod),
        owned(kinds.STATEFUL_SET, lambda m: m["metadata"].get("deletionTimestamp")),
        owned(kinds.ENDPOINTS, lambda m: annotations_of(m).get("leader")),
        owned(kinds.JOB, lambda m: (m["metadata"].get("deletionTimestamp"), m.get("status"))),
    )


def _restore(manifest: Manifest) -> Any:
    """The fields that others change; the operator's own writes are handled in the same reconciliation."""
    meta = manifest["metadata"]
    return meta["uid"], meta.get("generation"), meta.get("deletionTimestamp"), manifest["spec"]


def _cluster(manifest: Manifest) -> Any:
    status = manifest.get("status") or {}
    progress = [c["reason"] for c in status.get("conditions", []) if c["type"] == "PGBackRestoreProgressing"]
    metadata, spec = manifest["metadata"], manifest["spec"]
    accepted = labels.FINALIZER in (metadata.get("finalizers") or ())
    identity = metadata.get("deletionTimestamp"), accepted, spec.get("pause"), spec.get("unmanaged")
    return identity, status.get("state"), progress, problem(manifest)


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
