"""Read everything that a plan is about, once, from the API server."""

import asyncio
from contextlib import suppress

from pgoperator import labels, naming
from pgoperator.kube import kinds
from pgoperator.kube.client import Client
from pgoperator.kube.errors import Forbidden, NotFound
from pgoperator.kube.manifest import Key, Kind, Manifest, key_of, labels_of, owner_of
from reconcilers.pgcluster.lifecycle.decide_hands_off import INNER
from reconcilers.pgcluster.takeover import decide_owner
from reconcilers.pgcluster.takeover.plan import Snapshot

LABELLED = (kinds.PVC, kinds.SECRET, kinds.POD, kinds.JOB)
OPERATIONS = (kinds.PG_BACKUP, kinds.PG_RESTORE)


async def read(client: Client, namespace: str, name: str) -> Snapshot:
    """Read the cluster and its objects; NotFound without the PerconaPGCluster."""
    cluster = await client.get(kinds.PG_CLUSTER, namespace, name)
    own = f"{labels.CLUSTER}={name}"
    # Without a selector: the inner resource may own objects that have no label.
    lists = [client.list(kind, namespace) for kind in (*kinds.PRUNABLE, *OPERATIONS)]
    lists += [client.list(kind, namespace, labels=own) for kind in LABELLED]
    found = [manifest for manifests, _ in await asyncio.gather(*lists) for manifest in manifests]
    for kind, one in ((kinds.SECRET, naming.cluster_ca(name)), (kinds.LEASE, naming.backup_lease(name))):
        with suppress(NotFound):
            found.append(await client.get(kind, namespace, one))
    objects = {key_of(manifest): manifest for manifest in found}
    snapshot = Snapshot(cluster, {key: one for key, one in objects.items() if _is_of(name, one)})
    return await _with_owner(client, snapshot, objects)


def _is_of(cluster: str, manifest: Manifest) -> bool:
    """Whether the object has the cluster's label or name, or is one of its operations."""
    if manifest["kind"] in {kind.kind for kind in OPERATIONS}:
        return bool(manifest["spec"].get("pgCluster") == cluster)
    unlabelled = (naming.cluster_ca(cluster), naming.backup_lease(cluster))
    return labels_of(manifest).get(labels.CLUSTER) == cluster or manifest["metadata"]["name"] in unlabelled


async def _with_owner(client: Client, snapshot: Snapshot, objects: dict[Key, Manifest]) -> Snapshot:
    """Add the inner resource, all that it owns, and the pods of operators in the namespace."""
    namespace, inner, unread = snapshot.namespace, None, ""
    mine = dict(snapshot.objects)
    owner = decide_owner.inner_owner(snapshot)
    if owner is not None:
        mine |= {key: one for key, one in objects.items() if owner_of(one) == owner["uid"]}
        # Its group differs between Crunchy's operator, Percona's 2.x and 3.x.
        kind = Kind(owner["apiVersion"], INNER, "postgresclusters")
        try:
            inner = await client.get(kind, namespace, owner["name"])
        except NotFound:
            inner = None
        except Forbidden as error:
            unread = str(error)
    operators, _ = await client.list(kinds.POD, namespace, labels=labels.CONTROL_PLANE)
    return Snapshot(snapshot.cluster, mine, inner, unread, tuple(operators))
