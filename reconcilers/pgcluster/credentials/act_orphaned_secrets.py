"""Act: delete the generated Secrets of database users that were removed from `spec.users`.

The role stays in the database. Secrets that the operator did not generate stay, and so does the Secret of the
default user, which was never in the list.
"""

from collections.abc import Iterator

from pgoperator import labels
from pgoperator.api.cluster import PGCluster
from pgoperator.api.users import RESERVED_USERS
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest, annotations_of, labels_of, name_of
from reconcilers.pgcluster.database import decide_users
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.view import View


async def act(ctx: Context, view: View, _cache: ClusterCache) -> None:
    """Delete orphaned Secrets, if they are orphaned by the spec that is read live as well."""
    own = labels.of_cluster(view.name) | {labels.ROLE: labels.ROLE_PGUSER}
    stored = ctx.store.select(kinds.SECRET, view.namespace, own)
    if not list(_orphaned(view.cluster, stored)):
        return
    live = PGCluster.parse(await ctx.client.get(kinds.PG_CLUSTER, view.namespace, view.name))
    if live.metadata.uid != view.cluster.metadata.uid or live.metadata.is_deleting:
        return
    for secret in _orphaned(live, stored):
        metadata = secret["metadata"]
        await ctx.client.delete(
            kinds.SECRET,
            view.namespace,
            name_of(secret),
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"],
        )


def _orphaned(cluster: PGCluster, secrets: list[Manifest]) -> Iterator[Manifest]:
    """The generated Secrets whose database user the spec does not list."""
    users = {user.name for user in decide_users.effective(cluster)} | RESERVED_USERS | {cluster.metadata.name}
    for secret in secrets:
        generated = annotations_of(secret).get(labels.GENERATED) == "true"
        if generated and labels_of(secret).get(labels.PGUSER) not in users:
            yield secret
