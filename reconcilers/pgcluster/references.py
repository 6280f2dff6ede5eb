"""Objects of the user that pods mount: whether they are there, with the keys that are asked for.

kubelet tells of a missing one in events only, while the pod waits without a word in its status. So they are
looked at, and only while the cluster is not ready: a cluster that serves has found its files.
"""

from collections.abc import Iterator, Mapping

from pgoperator.api.cluster import PGCluster
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound
from pgoperator.kube.manifest import Kind, Manifest
from reconcilers.pgcluster.problems import Problem


async def missing(ctx: Context, cluster: PGCluster) -> list[Problem]:
    """What the CR refers to and the namespace does not have, a sentence for each."""
    found = []
    for path, kind, reference in _references(cluster):
        problem = await _missing(ctx, cluster.metadata.namespace, path, kind, reference)
        if problem is not None:
            found.append(problem)
    return found


def _references(cluster: PGCluster) -> Iterator[tuple[str, Kind, Mapping[str, object]]]:
    """Path in the CR, kind and projection (name, items, optional) of each reference."""
    if cluster.spec.backups.enabled:
        path = "spec.backups.pgbackrest.configuration"
        for index, source in enumerate(cluster.spec.backups.pgbackrest.configuration):
            for key, kind in (("secret", kinds.SECRET), ("configMap", kinds.CONFIG_MAP)):
                if source.get(key):
                    yield f"{path}[{index}]", kind, source[key]


async def _missing(
    ctx: Context, namespace: str, path: str, kind: Kind, reference: Mapping[str, object]
) -> Problem | None:
    name = str(reference.get("name", ""))
    if reference.get("optional"):
        return None
    reason = f"{kind.kind}Missing"
    try:
        live: Manifest = await ctx.client.get(kind, namespace, name)
    except NotFound:
        return Problem(reason, f"{path}: there is no {kind.kind} {name!r} in namespace {namespace!r}")
    items = reference.get("items") or []
    assert isinstance(items, list)
    absent = [item["key"] for item in items if item["key"] not in (live.get("data") or {})]
    if absent:
        return Problem(reason, f"{path}: {kind.kind} {name!r} lacks the key {', '.join(map(repr, absent))}")
    return None
