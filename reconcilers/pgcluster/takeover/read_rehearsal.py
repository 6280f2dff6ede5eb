"""Rehearse a pass: this operator's own code on what was read; the API server only checks the writes."""

import copy
from collections.abc import Mapping
from datetime import datetime

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.apply import Applier, ForeignOwner
from pgoperator.kube.client import Client
from pgoperator.kube.errors import Conflict, Forbidden, Invalid, NotFound
from pgoperator.kube.events import Recorder
from pgoperator.kube.manifest import Kind, Manifest, key_of
from pgoperator.kube.store import Store
from pgoperator.settings import Settings
from reconcilers.pgcluster import pipeline, read_view
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.observe import observe
from reconcilers.pgcluster.takeover.plan import Outcome, Rehearsal, Snapshot

THEIR_MANAGER = "postgrescluster-controller"
"""The field manager with which Percona's and Crunchy's operators apply objects.

A write under this name is the one that shows what an object becomes: a field of that operator goes if this
operator does not want it. Under another name it would stay.
"""
REFUSALS = (InvalidSpec, Invalid, Forbidden, ForeignOwner)
WATCHED = (*kinds.PRUNABLE, kinds.PVC, kinds.SECRET, kinds.POD, kinds.JOB, kinds.PG_BACKUP, kinds.PG_RESTORE)


async def rehearse(client: Client, settings: Settings, snapshot: Snapshot, now: datetime) -> Rehearsal:
    """Run the steps of a pass up to its writes, and ask the API server about each write."""
    store = _store(snapshot)
    observed = observe(store, snapshot.namespace, snapshot.name)
    dry = client.rehearsal()
    ctx = Context(dry, store, Applier(dry, store), Recorder(dry), settings, lambda: now)
    try:
        cluster = PGCluster.parse(snapshot.cluster)
        naming.check_names(cluster.metadata.name, [one.name for one in cluster.spec.instance_sets()])
        view = await read_view.observe(ctx, cluster, snapshot.cluster)
        view = await read_view.with_secrets(ctx, view, ClusterCache())
    except REFUSALS as error:
        return Rehearsal(observed, obstacles=(str(error),))
    built = pipeline.build(view)
    outcomes = [await _ask(dry, snapshot, manifest) for manifest in built.manifests]
    obstacles = [
        *(problem.message for problem in (*view.unusable, *built.problems)),
        *(f"this operator would wait: {wait.reason}" for wait in built.waits),
    ]
    secrets = await _own_secrets(dry, snapshot, view.secrets)
    return Rehearsal(observed, tuple(outcomes), secrets, tuple(obstacles), built.complete)


async def _own_secrets(
    client: Client, snapshot: Snapshot, data: Mapping[str, Mapping[str, bytes]]
) -> dict[str, Mapping[str, bytes]]:
    """Without the user's Secrets that the cluster only reads: they exist, and are not in the snapshot."""
    own = {}
    for name, files in data.items():
        known = snapshot.get(kinds.SECRET, name) is not None
        if known or await _read(client, kinds.SECRET, snapshot.namespace, name) is None:
            own[name] = files
    return own


def _store(snapshot: Snapshot) -> Store:
    """The store as this operator's watches would fill it."""
    store = Store(labels.CLUSTER)
    for kind in WATCHED:
        shard = store.open(kind, None)
        for manifest in snapshot.all_of(kind):
            if kind in (kinds.PG_BACKUP, kinds.PG_RESTORE) or labels.CLUSTER in manifest["metadata"].get(
                "labels", {}
            ):
                shard.put(copy.deepcopy(manifest))
    store.open(kinds.PG_CLUSTER, None).put(copy.deepcopy(snapshot.cluster))
    return store


async def _ask(dry: Client, snapshot: Snapshot, desired: Manifest) -> Outcome:
    """Ask the API server what one object would become; its present owner stays, because two are refused."""
    key = key_of(desired)
    stored = snapshot.objects.get(key) or await _read(dry, kinds.kind_of(desired), key.namespace, key.name)
    owners = (stored or {}).get("metadata", {}).get("ownerReferences")
    metadata = desired["metadata"] | ({"ownerReferences": owners} if owners else {})
    try:
        after = await dry.apply(desired | {"metadata": metadata}, manager=THEIR_MANAGER)
    except (Invalid, Forbidden, Conflict) as error:
        return Outcome(desired, stored, None, error.message)
    return Outcome(desired, stored, after)


async def _read(client: Client, kind: Kind, namespace: str, name: str) -> Manifest | None:
    try:
        return await client.get(kind, namespace, name)
    except NotFound:
        return None
