"""Objects of the user that pods refer to: whether they are there, and whether they have changed.

Those that are mounted become files, which kubelet renews. It tells of a missing one in events only, while the
pod waits without a word in its status. So they are looked at, and only while the cluster is not ready: a
cluster that serves has found its files.

Those that become variables are read by a process once, when it starts. So they are looked at in every pass,
as they are in the API server: they are not ours, and the store does not hold what is not ours.
"""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pgoperator.api.cluster import PGCluster
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound
from pgoperator.kube.manifest import Kind, Manifest
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster import brought, extras
from reconcilers.pgcluster.problems import Problem
from reconcilers.pgcluster.secrets import expected
from reconcilers.pgcluster.view import Planned, Reference, View

# Nothing tells when an object of the user appears that is not labelled as ours.
SECONDS = 15.0


async def digests(ctx: Context, cluster: PGCluster) -> Mapping[Reference, str]:
    """Digests of all that variables are taken from; without one is what is not there."""
    wanted = {use.reference for part in extras.parts(cluster.spec) for use in extras.uses(part)}
    objects = sorted({(reference.kind, reference.name) for reference in wanted})
    found = await asyncio.gather(
        *(_data(ctx, cluster.metadata.namespace, kind, name) for kind, name in objects)
    )
    data = dict(zip(objects, found, strict=True))
    return {one: digest for one in wanted if (digest := _digest(data[one.kind, one.name], one.key))}


async def _data(ctx: Context, namespace: str, kind: str, name: str) -> Mapping[str, str] | None:
    try:
        live = await ctx.client.get(kinds.BY_NAME[kind], namespace, name)
    except NotFound:
        return None
    return {**(live.get("binaryData") or {}), **(live.get("data") or {})}


def _digest(data: Mapping[str, str] | None, key: str) -> str:
    if data is None or (key and key not in data):
        return ""
    text = json.dumps(data[key] if key else data, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def awaited(view: View) -> list[Wait]:
    """What pods must have for their variables and do not."""
    return [
        Wait(extras.absent(use.reference, view.namespace), SECONDS)
        for part in extras.parts(view.cluster.spec)
        for use in extras.uses(part)
        if not use.optional and use.reference not in view.referenced
    ]


def secrets(cluster: PGCluster, planned: Sequence[Planned]) -> frozenset[str]:
    """The names of all Secrets of the author's that a pass looks at."""
    variables = (use.reference for part in extras.parts(cluster.spec) for use in extras.uses(part))
    files = (one for _, kind, one in _references(cluster) if kind == kinds.SECRET)
    return frozenset(
        {
            *brought.names(cluster),
            *([cluster.spec.pmm.secret] if cluster.spec.pmm else ()),
            *expected(cluster, planned),
            *(one.name for one in variables if one.kind == kinds.SECRET.kind),
            *(str(one.get("name", "")) for one in files),
        }
    )


async def missing(ctx: Context, cluster: PGCluster) -> list[Problem]:
    """What the CR refers to and the namespace does not have, a sentence for each."""
    found = []
    for path, kind, reference in _references(cluster):
        problem = await _missing(ctx, cluster.metadata.namespace, path, kind, reference)
        if problem is not None:
            found.append(problem)
    return found


def _projections(cluster: PGCluster) -> Iterator[tuple[str, Sequence[Mapping[str, Any]]]]:
    """Files of the user: where they are asked for, and what they are made of."""
    if cluster.spec.backups.enabled:
        yield "spec.backups.pgbackrest.configuration", cluster.spec.backups.pgbackrest.configuration
    yield "spec.config.files", cluster.spec.config.files
    if cluster.spec.pg_bouncer is not None:
        yield "spec.proxy.pgBouncer.config.files", cluster.spec.pg_bouncer.config.files


def _references(cluster: PGCluster) -> Iterator[tuple[str, Kind, Mapping[str, object]]]:
    """Path in the CR, kind and projection (name, items, optional) of each reference."""
    for path, sources in _projections(cluster):
        for index, source in enumerate(sources):
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
