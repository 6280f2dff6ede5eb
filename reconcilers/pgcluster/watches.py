"""Which events wake which cluster."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pgoperator import labels
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Key, Kind, Manifest, annotations_of, controller_of, key_of, labels_of
from pgoperator.runtime.source import Watch
from reconcilers.pgcluster import archiving
from reconcilers.pgcluster.memory import Memory
from reconcilers.pgcluster.view import Member

Keep = Callable[[Manifest | None, Manifest | None], bool]


def cluster_of(manifest: Manifest) -> Iterable[Key]:
    """The cluster that an object belongs to, by its label."""
    name = labels_of(manifest).get(labels.CLUSTER)
    if name:
        yield Key(kinds.PG_CLUSTER.kind, manifest["metadata"].get("namespace", ""), name)


def itself(manifest: Manifest) -> Iterable[Key]:
    """A cluster wakes itself."""
    yield key_of(manifest)


def restored(manifest: Manifest) -> Iterable[Key]:
    """The cluster that a backup or a restore is of."""
    name = manifest["spec"].get("pgCluster")
    if name:
        yield Key(kinds.PG_CLUSTER.kind, manifest["metadata"].get("namespace", ""), name)


def _restore(manifest: Manifest) -> Any:
    """How far a restore is."""
    status, metadata = manifest.get("status", {}), manifest["metadata"]
    stands = metadata["uid"], metadata.get("finalizers")
    return stands, status.get("state"), status.get("phase"), status.get("instance")


def _backup(manifest: Manifest) -> Any:
    """Whether a backup has come to its end."""
    return manifest["metadata"].get("deletionTimestamp"), manifest.get("status", {}).get("state")


def _job(job: Manifest) -> Any:
    """How a Job of the cluster's own ended; who asked for a backup or a restore looks after theirs."""
    reference = controller_of(job)
    if reference is None or reference["kind"] != kinds.PG_CLUSTER.kind:
        return None
    return [(c["type"], c["status"]) for c in job.get("status", {}).get("conditions", [])]


def _metadata(manifest: Manifest) -> tuple[Any, ...]:
    """The part of metadata that a person or a controller changes on purpose."""
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


def _differs(facts: Callable[[Manifest], Any]) -> Keep:
    """Wake for what appears, goes, or changes in these facts."""

    def keep(old: Manifest | None, new: Manifest | None) -> bool:
        return old is None or new is None or facts(old) != facts(new)

    return keep


def _spec(manifest: Manifest) -> Any:
    """Everything but the status, and the counters that change with it."""
    body = {k: v for k, v in manifest.items() if k not in ("metadata", "status")}
    return _metadata(manifest), body


def _pod(pod: Manifest) -> Any:
    """What a cluster's state depends on; not how far a member's WAL has come, nor a Job's pod."""
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
        annotations_of(pod).get(archiving.ARCHIVED),
        annotations_of(pod).get(archiving.FAILURE),
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
    """The spec, and the template that Kubernetes would make pods from."""
    status = stateful_set.get("status", {})
    return _spec(stateful_set), status.get("updateRevision"), status.get("observedGeneration")


def _owned(kind: Kind, facts: Callable[[Manifest], Any]) -> Watch:
    return Watch(kind, to_keys=cluster_of, selector=labels.ANY_CLUSTER, keep=_differs(facts))


WATCHES: tuple[Watch, ...] = (
    Watch(kinds.PG_CLUSTER, to_keys=itself, keep=_differs(_spec)),
    Watch(kinds.PG_BACKUP, to_keys=restored, keep=_differs(_backup)),
    Watch(kinds.PG_RESTORE, to_keys=restored, keep=_differs(_restore)),
    _owned(kinds.POD, _pod),
    _owned(kinds.JOB, _job),
    _owned(kinds.ENDPOINTS, _endpoints),
    _owned(kinds.PVC, _volume),
    _owned(kinds.STATEFUL_SET, _stateful_set),
    _owned(kinds.DEPLOYMENT, _spec),
    _owned(kinds.SERVICE, lambda service: (_spec(service), service.get("status"))),
    _owned(kinds.SECRET, _spec),
    _owned(kinds.CONFIG_MAP, _spec),
    _owned(kinds.SERVICE_ACCOUNT, _metadata),
    _owned(kinds.ROLE, _spec),
    _owned(kinds.ROLE_BINDING, _spec),
    _owned(kinds.POD_DISRUPTION_BUDGET, _spec),
)


def _forget_all_but_version(manifest: Manifest) -> None:
    """Keep of a stranger's Secret only what tells that it changed: annotations may hold its data, too."""
    names = ("name", "namespace", "uid", "resourceVersion")
    metadata = {name: value for name, value in manifest["metadata"].items() if name in names}
    manifest.clear()
    manifest["metadata"] = metadata


def watches(memories: Mapping[Key, Memory]) -> tuple[Watch, ...]:
    """All watches; `memories` tell which clusters read which Secrets of their authors."""

    def readers(secret: Manifest) -> Iterable[Key]:
        namespace, name = secret["metadata"]["namespace"], secret["metadata"]["name"]
        return [k for k, memory in memories.items() if k.namespace == namespace and name in memory.secrets]

    strangers = Watch(
        kinds.SECRET_METADATA, to_keys=readers, selector=f"!{labels.CLUSTER}", trim=_forget_all_but_version
    )
    # One that belongs to another cluster, which two sites of the same data may share.
    others = Watch(kinds.SECRET, to_keys=readers, selector=labels.ANY_CLUSTER, keep=_differs(_spec))
    return (*WATCHES, strangers, others)
