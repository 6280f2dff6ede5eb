"""Which watch events start a pass of which cluster.

A Watch maps an object to the keys of clusters; its `keep` lets only those changes through that a pass depends
on.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pgoperator import labels
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Key, Kind, Manifest, annotations_of, controller_of, key_of, labels_of
from pgoperator.runtime.source import Watch, on_difference
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.view import Member


def cluster_of(manifest: Manifest) -> Iterable[Key]:
    """The cluster of an object, by its label."""
    name = labels_of(manifest).get(labels.CLUSTER)
    if name:
        yield Key(kinds.PG_CLUSTER.kind, manifest["metadata"].get("namespace", ""), name)


def itself(manifest: Manifest) -> Iterable[Key]:
    """The cluster itself."""
    yield key_of(manifest)


def cluster_of_operation(manifest: Manifest) -> Iterable[Key]:
    """The cluster of a backup or a restore, by `spec.pgCluster`."""
    name = manifest["spec"].get("pgCluster")
    if name:
        yield Key(kinds.PG_CLUSTER.kind, manifest["metadata"].get("namespace", ""), name)


def _restore(manifest: Manifest) -> Any:
    """The progress of a restore."""
    status, metadata = manifest.get("status", {}), manifest["metadata"]
    identity = metadata["uid"], metadata.get("finalizers")
    return identity, status.get("state"), status.get("phase"), status.get("instance")


def _backup(manifest: Manifest) -> Any:
    """The state of a backup."""
    return manifest["metadata"].get("deletionTimestamp"), manifest.get("status", {}).get("state")


def _job(job: Manifest) -> Any:
    """The result of a cluster's own Job; Jobs of backups and restores have reconcilers of their own."""
    reference = controller_of(job)
    if reference is None or reference["kind"] != kinds.PG_CLUSTER.kind:
        return None
    return [(c["type"], c["status"]) for c in job.get("status", {}).get("conditions", [])]


def _metadata(manifest: Manifest) -> tuple[Any, ...]:
    """The metadata that users and controllers change; without resourceVersion and managedFields."""
    metadata = manifest["metadata"]
    names = (
        "uid",
        "generation",
        "labels",
        "annotations",
        "ownerReferences",
        "finalizers",
        "deletionTimestamp",
    )
    return tuple(metadata.get(name) for name in names)


def _spec(manifest: Manifest) -> Any:
    """The object without its status and the metadata that changes with the status."""
    body = {k: v for k, v in manifest.items() if k not in ("metadata", "status")}
    return _metadata(manifest), body


def _pod(pod: Manifest) -> Any:
    """The state of a pod; without WAL positions, which change all the time. Pods of Jobs are ignored."""
    if labels.JOB in labels_of(pod):
        return None
    member, status = Member.of(pod), pod.get("status", {})
    containers = [
        (c["name"], c.get("ready"), c.get("restartCount"), _state(c))
        for c in status.get("containerStatuses", [])
    ]
    conditions = [(c["type"], c["status"], c.get("reason")) for c in status.get("conditions", [])]
    patroni = (
        member.state,
        member.role,
        member.timeline,
        member.streams,
        member.pending_restart,
        member.pending,
        member.version,
    )
    metadata = pod["metadata"]
    return (
        metadata["uid"],
        metadata.get("labels"),
        metadata.get("deletionTimestamp"),
        containers,
        conditions,
        patroni,
        annotations_of(pod).get(labels.ARCHIVED),
        annotations_of(pod).get(labels.ARCHIVE_FAILURE),
        annotations_of(pod).get(labels.WRITE_FAILURE),
        annotations_of(pod).get(labels.ALTERED),
    )


def _state(container: Manifest) -> Any:
    return {state: details.get("reason") for state, details in container.get("state", {}).items()}


def _endpoints(endpoints: Manifest) -> Any:
    """Leader, synchronous members, configuration, addresses; not the lease, which is renewed all the time."""
    annotations = annotations_of(endpoints)
    patroni = [annotations.get(name) for name in ("leader", "sync_standby", "config", "initialize")]
    return (
        patroni,
        endpoints.get("subsets"),
        labels_of(endpoints),
        endpoints["metadata"].get("ownerReferences"),
    )


def _volume(claim: Manifest) -> Any:
    status = claim.get("status", {})
    conditions = [(c["type"], c["status"]) for c in status.get("conditions") or []]
    growth = status.get("capacity"), status.get("allocatedResourceStatuses"), conditions
    return _metadata(claim), claim.get("spec"), status.get("phase"), growth


def _stateful_set(stateful_set: Manifest) -> Any:
    """The spec, and the revision of the current pod template."""
    status = stateful_set.get("status", {})
    return _spec(stateful_set), status.get("updateRevision"), status.get("observedGeneration")


def _owned(kind: Kind, projection: Callable[[Manifest], Any]) -> Watch:
    return Watch(kind, to_keys=cluster_of, selector=labels.ANY_CLUSTER, keep=on_difference(projection))


_SPECIAL: tuple[Watch, ...] = (
    Watch(kinds.PG_CLUSTER, to_keys=itself, keep=on_difference(_spec)),
    Watch(kinds.PG_BACKUP, to_keys=cluster_of_operation, keep=on_difference(_backup)),
    Watch(kinds.PG_RESTORE, to_keys=cluster_of_operation, keep=on_difference(_restore)),
    _owned(kinds.POD, _pod),
    _owned(kinds.JOB, _job),
    _owned(kinds.ENDPOINTS, _endpoints),
    _owned(kinds.PVC, _volume),
    _owned(kinds.STATEFUL_SET, _stateful_set),
    _owned(kinds.SERVICE, lambda service: (_spec(service), service.get("status"))),
    _owned(kinds.SECRET, _spec),
    _owned(kinds.SERVICE_ACCOUNT, _metadata),
)
WATCHES: tuple[Watch, ...] = (
    *_SPECIAL,
    # All other kinds that the operator writes: changes of their spec by a user or another controller.
    *(_owned(kind, _spec) for kind in kinds.PRUNABLE if kind not in {watch.kind for watch in _SPECIAL}),
)


def _forget_all_but_version(manifest: Manifest) -> None:
    """Keep only name and version of a Secret without a cluster's label: annotations may contain data."""
    names = ("name", "namespace", "uid", "resourceVersion")
    metadata = {name: value for name, value in manifest["metadata"].items() if name in names}
    manifest.clear()
    manifest["metadata"] = metadata


def watches(caches: Mapping[Key, ClusterCache]) -> tuple[Watch, ...]:
    """All watches; `caches` show which clusters read which Secrets of their users."""

    def readers(secret: Manifest) -> Iterable[Key]:
        namespace, name = secret["metadata"]["namespace"], secret["metadata"]["name"]
        return [k for k, cache in caches.items() if k.namespace == namespace and name in cache.secrets]

    foreign = Watch(
        kinds.SECRET_METADATA, to_keys=readers, selector=f"!{labels.CLUSTER}", trim=_forget_all_but_version
    )
    # A Secret of another cluster may be shared, for example by two sites of the same data.
    others = Watch(kinds.SECRET, to_keys=readers, selector=labels.ANY_CLUSTER, keep=on_difference(_spec))
    return (*WATCHES, foreign, others)
