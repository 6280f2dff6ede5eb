"""Read whose a cluster is, and whether its backups and restores are this operator's.

The API server is asked where the store may be late, or lacks an object because it has no label.
"""

from contextlib import suppress

from pgoperator import labels, naming
from pgoperator.api.states import RUNNING, STARTING
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound
from pgoperator.kube.manifest import Manifest, is_deleting, name_of
from reconcilers.pgcluster.lifecycle import decide_hands_off


async def find(ctx: Context, cluster: Manifest) -> str:
    """The evidence that the cluster is another operator's; "" without evidence.

    The API server is asked only before this operator's first write to the cluster. An error is raised: a
    cluster that cannot be examined is not free to take.
    """
    found = decide_hands_off.in_store(ctx.store, cluster)
    if found or decide_hands_off.is_accepted(cluster):
        return found
    namespace, name = cluster["metadata"]["namespace"], name_of(cluster)
    objects: list[Manifest] = []
    for kind in kinds.PRUNABLE:
        objects += (await ctx.client.list(kind, namespace, labels=f"{labels.CLUSTER}={name}"))[0]
    # Percona's operator makes this Secret early, with an owner and without the cluster's label.
    with suppress(NotFound):
        objects.append(await ctx.client.get(kinds.SECRET, namespace, naming.cluster_ca(name)))
    return decide_hands_off.evidence(cluster, objects)


async def may_serve(ctx: Context, operation: Manifest, *, begun_here: bool) -> bool:
    """Whether this operator may write to a PerconaPGBackup or PerconaPGRestore, which need not be valid.

    Not if its cluster belongs to another operator, or was not accepted yet. Without a cluster, what another
    operator has begun is left to that operator. `begun_here`: whether this operator has begun it.
    """
    namespace, name = operation["metadata"]["namespace"], str(operation["spec"].get("pgCluster") or "")
    cluster = ctx.store.get(kinds.PG_CLUSTER, namespace, name)
    if cluster is not None:
        accepted = begun_here or decide_hands_off.is_accepted(cluster)
        return accepted and not decide_hands_off.in_store(ctx.store, cluster)
    with suppress(NotFound):
        await ctx.client.get(kinds.PG_CLUSTER, namespace, name)
        return False  # the watch is late; its event wakes the operation
    begun = (operation.get("status") or {}).get("state") in (STARTING, RUNNING)
    return begun_here or not begun or is_deleting(operation)
