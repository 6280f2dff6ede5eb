"""Read: the user's Secrets and ConfigMaps that pods refer to: whether they exist, and whether they changed.

Mounted objects become files, which kubelet updates. Kubelet reports a missing object only in events, and the
status of the waiting pod shows no cause. So these objects are checked while the cluster is not ready; a ready
cluster has all its files.

A process reads its environment variables once, at its start. So their sources are checked in every
reconciliation, and read live: they do not carry our label, so the store does not hold them.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pgoperator.api.cluster import PGCluster
from pgoperator.context import Context
from pgoperator.digest import digest
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound
from pgoperator.kube.manifest import Kind, Manifest
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.credentials import read_user_secrets
from reconcilers.pgcluster.credentials.act_secrets import expected
from reconcilers.pgcluster.database import decide_users
from reconcilers.pgcluster.pods import build_customization
from reconcilers.pgcluster.state.findings import Problem
from reconcilers.pgcluster.state.view import Planned, Reference, View

# Seconds between two reads: no event shows the creation of an object without our label.
SECONDS = 15.0
# Objects in memory at a time; each can have 1 MiB.
_AT_ONCE = 4


async def digests(ctx: Context, cluster: PGCluster, *, backups_enabled: bool) -> Mapping[Reference, str]:
    """Digests of all sources of environment variables; a missing source has none."""
    references = {
        use.reference
        for part in build_customization.parts(cluster.spec, backups_enabled=backups_enabled)
        for use in build_customization.uses(part)
    }
    keys: dict[tuple[str, str], list[Reference]] = {}
    for one in sorted(references):
        keys.setdefault((one.kind, one.name), []).append(one)
    slots = asyncio.Semaphore(_AT_ONCE)

    async def look(kind: str, name: str) -> dict[Reference, str]:
        async with slots:
            data = await _data(ctx, cluster.metadata.namespace, kind, name)
            return {one: text for one in keys[kind, name] if (text := _digest(data, one.key))}

    found = await asyncio.gather(*(look(kind, name) for kind, name in keys))
    return {one: text for some in found for one, text in some.items()}


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
    return digest(text)


def awaited(view: View) -> list[Wait]:
    """A wait for each missing source of environment variables that is not optional."""
    return [
        Wait(build_customization.absent(use.reference, view.namespace), SECONDS)
        for part in build_customization.parts(view.cluster.spec, backups_enabled=view.backups_enabled)
        for use in build_customization.uses(part)
        if not use.optional and use.reference not in view.referenced
    ]


def secrets(cluster: PGCluster, planned: Sequence[Planned], *, backups_enabled: bool) -> frozenset[str]:
    """The names of all Secrets of the user that a reconciliation reads."""
    variables = (
        use.reference
        for part in build_customization.parts(cluster.spec, backups_enabled=backups_enabled)
        for use in build_customization.uses(part)
    )
    files = (
        projection
        for _, kind, projection in _references(cluster, backups_enabled=backups_enabled)
        if kind == kinds.SECRET
    )
    return frozenset(
        {
            *read_user_secrets.names(cluster),
            *(user.secret_name for user in decide_users.effective(cluster) if user.secret_name),
            *([cluster.spec.pmm.secret] if cluster.spec.pmm else ()),
            *expected(cluster, planned),
            *(str(secret.get("name", "")) for secret in cluster.spec.image_pull_secrets),
            *(reference.name for reference in variables if reference.kind == kinds.SECRET.kind),
            *(str(projection.get("name", "")) for projection in files),
        }
    )


async def missing(ctx: Context, cluster: PGCluster, *, backups_enabled: bool) -> list[Problem]:
    """A problem for each Secret, ConfigMap or key that the spec refers to and that does not exist."""
    problems = []
    for path, kind, reference in _references(cluster, backups_enabled=backups_enabled):
        problem = await _missing(ctx, cluster.metadata.namespace, path, kind, reference)
        if problem is not None:
            problems.append(problem)
    return problems


async def missing_pull_secrets(ctx: Context, cluster: PGCluster) -> list[Problem]:
    """A problem for each pull Secret that does not exist; Kubernetes uses the others and reports nothing."""
    found = [
        await _missing(ctx, cluster.metadata.namespace, f"spec.imagePullSecrets[{i}]", kinds.SECRET, secret)
        for i, secret in enumerate(cluster.spec.image_pull_secrets)
    ]
    return [problem for problem in found if problem is not None]


def _projections(
    cluster: PGCluster, *, backups_enabled: bool
) -> Iterator[tuple[str, Sequence[Mapping[str, Any]]]]:
    """Path in the spec, and sources, of each projected volume of the user."""
    if backups_enabled:
        yield "spec.backups.pgbackrest.configuration", cluster.spec.backups.pgbackrest.configuration
    yield "spec.config.files", cluster.spec.config.files
    if cluster.spec.pg_bouncer is not None:
        yield "spec.proxy.pgBouncer.config.files", cluster.spec.pg_bouncer.config.files


def _references(
    cluster: PGCluster, *, backups_enabled: bool
) -> Iterator[tuple[str, Kind, Mapping[str, object]]]:
    """Path in the spec, kind and projection (name, items, optional) of each reference."""
    for path, sources in _projections(cluster, backups_enabled=backups_enabled):
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
        return Problem(reason, f"{path}: {kind.kind} {name!r} does not exist in namespace {namespace!r}")
    items = reference.get("items") or []
    assert isinstance(items, list)
    absent = [item["key"] for item in items if item["key"] not in (live.get("data") or {})]
    if absent:
        return Problem(reason, f"{path}: {kind.kind} {name!r} lacks the key {', '.join(map(repr, absent))}")
    return None
