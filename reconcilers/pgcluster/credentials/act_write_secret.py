"""Write one Secret, without ever replacing a password because of a stale view.

A Secret that the store does not hold is read live before anything is generated, and written with `create` or
with a precondition.
"""

import asyncio

from pgoperator import labels
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound
from pgoperator.kube.manifest import Manifest, annotations_of, encoded, files_of, labels_of
from reconcilers.pgcluster.credentials.build_passwords import Data, DesiredData


async def ensure(
    ctx: Context, metadata: Manifest, desired: DesiredData, *, borrowed: DesiredData | None = None
) -> Data:
    """Create or update one Secret so that it has the desired data, and return the data.

    `metadata` has name, namespace and labels, and annotations that are set only when the Secret is created.
    `borrowed`: what the cluster uses of a Secret without its label, which is not written unless its owner
    allows it; with None such a Secret is taken over, because its name can only mean this cluster. An
    unchanged Secret costs no request. InvalidSpec for a Secret of another cluster.
    """
    namespace, name = metadata["namespace"], metadata["name"]

    async def computed(old: Data, wanted: DesiredData = desired) -> dict[str, bytes]:
        # In a thread: verifiers and keys take CPU time, and other clusters must not wait for it.
        return await asyncio.to_thread(wanted, old)

    stored = ctx.store.get(kinds.SECRET, namespace, name)
    if stored is not None:
        data = files_of(stored)
        if await computed(data) == data and metadata["labels"].items() <= labels_of(stored).items():
            return data
    try:
        live = await ctx.client.get(kinds.SECRET, namespace, name)
    except NotFound:
        data = await computed({})
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded(data)}
        await ctx.client.create(secret)
        return data
    _refuse_foreign(metadata, live)
    old = files_of(live)
    if borrowed is not None and not _may_write(metadata, live):
        return await computed(old, borrowed)
    data = await computed(old)
    if data != old or not metadata["labels"].items() <= labels_of(live).items():
        version = {"resourceVersion": live["metadata"]["resourceVersion"], "labels": metadata["labels"]}
        gone = dict.fromkeys(old.keys() - data.keys())
        patch = {"metadata": version, "data": gone | encoded(data)}
        await ctx.client.merge_patch(kinds.SECRET, namespace, name, patch)
    return data


def _may_write(metadata: Manifest, live: Manifest) -> bool:
    """Whether a Secret has the cluster's label, or its owner lets the cluster take it over."""
    cluster = metadata["labels"][labels.CLUSTER]
    marks = labels_of(live).get(labels.CLUSTER), annotations_of(live).get(labels.ALLOW_ADOPTION_BY)
    return cluster in marks


def _refuse_foreign(metadata: Manifest, live: Manifest) -> None:
    """InvalidSpec for a Secret of another cluster: both clusters would overwrite it in turns."""
    other = labels_of(live).get(labels.CLUSTER, "")
    if other and other != metadata["labels"][labels.CLUSTER]:
        raise InvalidSpec(
            f"Secret {metadata['name']!r} belongs to the cluster {other!r}; two clusters cannot share it",
            reason="SecretInvalid",
        )
