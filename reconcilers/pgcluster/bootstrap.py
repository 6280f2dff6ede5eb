"""A new cluster from a backup: it waits for its data, and a PerconaPGRestore of its own fetches that.

The object `<cluster>-bootstrap` goes the way of every restore, so that a person sees there how far it is.
Once there is data, `dataSource` has no effect any more.
"""

from datetime import datetime

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.api.storage import ClusterSource, RepositorySource
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest
from pgoperator.kube.store import Store
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster import adoption
from reconcilers.pgcluster.problems import Problem
from reconcilers.pgcluster.view import Observed, Restoring, View


def source_of(cluster: PGCluster) -> ClusterSource | RepositorySource | None:
    """The backup that the cluster begins with, if any."""
    data = cluster.spec.data_source
    return (data.postgres_cluster or data.pgbackrest) if data is not None else None


def held(store: Store, cluster: PGCluster, observed: Observed) -> Restoring | None:
    """Keep the instances from starting empty while the cluster waits for data; None when it does not."""
    if observed.system_identifier or _is_old(cluster, observed):
        return None
    if adoption.pending(store, cluster):
        return Restoring(naming.move_job(cluster.name, adoption.DATA), "Checking", "", bootstrap=True)
    if source_of(cluster) is None:
        return None
    return Restoring(naming.bootstrap_restore(cluster.name), "Checking", "", bootstrap=True)


def _is_old(cluster: PGCluster, observed: Observed) -> bool:
    """Whether a volume is older than the cluster: a former one of this name left its data, which stays."""
    since = cluster.metadata.creation_timestamp
    return since is not None and any(
        datetime.fromisoformat(v["metadata"]["creationTimestamp"]) < since for v in observed.volumes
    )


def is_waiting(view: View) -> bool:
    """Whether the cluster waits for its data."""
    return view.restoring is not None and view.restoring.bootstrap


async def act(ctx: Context, view: View) -> Wait | None:
    """Ask for the restore."""
    restoring = view.restoring
    if restoring is None or not restoring.bootstrap:
        return None
    if adoption.wanted(view.cluster):
        return await adoption.act(ctx, view)
    name = naming.bootstrap_restore(view.name)
    if ctx.store.get(kinds.PG_RESTORE, view.namespace, name) is None:
        await ctx.applier.apply(_restore(view), view.manifest)
    return Wait(f"restore {name} fills the cluster", 600)


def found(ctx: Context, view: View) -> list[Problem]:
    """Why the data could not be fetched."""
    if view.restoring is None or not view.restoring.bootstrap:
        return []
    if adoption.wanted(view.cluster):
        return adoption.found(ctx, view)
    name = naming.bootstrap_restore(view.name)
    status = (ctx.store.get(kinds.PG_RESTORE, view.namespace, name) or {}).get("status") or {}
    if status.get("state") != "Failed":
        return []
    text = f"restore {name} failed: {status.get('error')}; correct spec.dataSource, then delete the restore"
    return [Problem("BootstrapFailed", f"{text} to have it tried again")]


def _restore(view: View) -> Manifest:
    source = source_of(view.cluster)
    assert source is not None
    repo = source.repo_name if isinstance(source, ClusterSource) else source.repo.name
    spec: Manifest = {"pgCluster": view.name, "repoName": repo}
    if source.options:
        spec["options"] = list(source.options)
    return {
        "apiVersion": kinds.PG_RESTORE.api_version,
        "kind": kinds.PG_RESTORE.kind,
        "metadata": view.metadata(
            naming.bootstrap_restore(view.name), {}, annotations={labels.BOOTSTRAP_RESTORE: "true"}
        ),
        "spec": spec,
    }
