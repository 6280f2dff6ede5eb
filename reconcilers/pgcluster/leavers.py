"""Act: a user that leaves the list loses the Secret that was generated for it; the role stays where it is.

What somebody else made stays, and so does the Secret of the default user, which nobody ever took off a list.
"""

from collections.abc import Iterator

from pgoperator import labels
from pgoperator.api.cluster import PGCluster
from pgoperator.api.users import RESERVED_USERS
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest, annotations_of, labels_of, name_of
from reconcilers.pgcluster import users
from reconcilers.pgcluster.view import View


async def act(ctx: Context, view: View) -> None:
    """Delete what is left over, if the custom resource as it is now says the same."""
    own = labels.of_cluster(view.name) | {labels.ROLE: labels.ROLE_PGUSER}
    stored = ctx.store.select(kinds.SECRET, view.namespace, own)
    if not list(_left(view.cluster, stored)):
        return
    live = PGCluster.parse(await ctx.client.get(kinds.PG_CLUSTER, view.namespace, view.name))
    if live.metadata.uid != view.cluster.metadata.uid or live.metadata.is_deleting:
        return
    for secret in _left(live, stored):
        metadata = secret["metadata"]
        await ctx.client.delete(
            kinds.SECRET,
            view.namespace,
            name_of(secret),
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"],
        )


def _left(cluster: PGCluster, secrets: list[Manifest]) -> Iterator[Manifest]:
    """The generated Secrets of users that are not wanted."""
    wanted = {user.name for user in users.effective(cluster)} | RESERVED_USERS | {cluster.metadata.name}
    for secret in secrets:
        generated = annotations_of(secret).get(labels.GENERATED) == "true"
        if generated and labels_of(secret).get(labels.PGUSER) not in wanted:
            yield secret
