"""Act: serve a repository on a volume to a restore in another namespace (`build_clone_server`).

The Job is in the namespace of the source and belongs to the source cluster. It ends with its restore, and if
that was deleted, with a pass of the source: `reconcilers.pgcluster.bootstrap.act_clone_cleanup`.
"""

import structlog

from pgoperator import labels
from pgoperator.api.pgrestore import PGRestore
from pgoperator.api.storage import ClusterSource
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.errors import AlreadyExists, Conflict, Forbidden, NotFound
from pgoperator.kube.manifest import (
    Kind,
    Manifest,
    annotations_of,
    files_of,
    is_deleting,
    owned,
    owner_of,
    uid_of,
)
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.state.observe import observe_for_job
from reconcilers.pgcluster.state.view import is_ready
from reconcilers.pgrestore import build_clone_server
from reconcilers.pgrestore.build_source import Shared

log = structlog.get_logger(__name__)


async def serve(ctx: Context, restore: PGRestore, shared: Shared) -> dict[str, bytes] | Wait:
    """Create the server and return the files that its client needs, once it is ready; read live."""
    view = observe_for_job(ctx, shared.cluster, shared.manifest)
    name = build_clone_server.name(view.name, restore)
    wanted = owned(build_clone_server.job(view, restore, shared.repo), shared.manifest)
    job = await _created(ctx, kinds.JOB, wanted)
    if annotations_of(job).get(labels.CLONE_FOR) != build_clone_server.owner(restore):
        raise InvalidSpec(
            f"Job {name} in namespace {view.namespace!r} exists and is not for this restore",
            reason="NameTaken",
        )
    if is_deleting(job):
        return Wait(f"waiting for Job {name} in namespace {view.namespace!r} to be deleted", 2)
    secret = build_clone_server.secret(view, restore, shared.repo, job, ctx.clock())
    present = await _created(ctx, kinds.SECRET, secret)
    if owner_of(present) != uid_of(job):
        return Wait(f"waiting for the Secret of a former Job {name} to be deleted", 2)
    pods, _ = await ctx.client.list(kinds.POD, view.namespace, labels=f"{labels.JOB}={name}")
    if not any(is_ready(pod) and owner_of(pod) == uid_of(job) for pod in pods):
        return Wait(f"waiting for Job {name} in namespace {view.namespace!r} to serve {shared.repo.name}", 2)
    return build_clone_server.client_files(files_of(present))


async def remove(ctx: Context, restore: PGRestore, source: ClusterSource) -> None:
    """Delete the Job, if there is one; its Secret goes with it."""
    namespace = source.cluster_namespace or restore.namespace
    name = build_clone_server.name(source.cluster_name or restore.spec.pg_cluster, restore)
    if namespace == restore.namespace:
        return
    try:
        job = await ctx.client.get(kinds.JOB, namespace, name)
        if annotations_of(job).get(labels.CLONE_FOR) == build_clone_server.owner(restore):
            await ctx.client.delete(kinds.JOB, namespace, name, uid=uid_of(job))
    except (NotFound, Conflict):
        return
    except Forbidden as error:
        log.warning("could not end the server of a clone", error=str(error))


async def _created(ctx: Context, kind: Kind, wanted: Manifest) -> Manifest:
    """The object as it is on the server; created if it does not exist."""
    namespace, name = wanted["metadata"]["namespace"], wanted["metadata"]["name"]
    try:
        return await ctx.client.get(kind, namespace, name)
    except NotFound:
        pass
    try:
        return await ctx.client.create(wanted)
    except AlreadyExists:
        return await ctx.client.get(kind, namespace, name)
