"""Act: create a cluster from a backup, with a PerconaPGRestore that the operator creates.

The object `<cluster>-bootstrap` is reconciled like every restore, and shows the progress to the user.
"""

from pgoperator import labels, naming
from pgoperator.api.states import FAILED
from pgoperator.api.storage import ClusterSource
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.bootstrap import act_volume_import, decide_source
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.findings import Problem
from reconcilers.pgcluster.state.view import View


async def act(ctx: Context, view: View, _cache: ClusterCache) -> Wait | None:
    """Create the restore, or the Jobs that copy volumes, while the cluster waits for its data."""
    if not decide_source.is_waiting(view):
        return None
    if decide_source.copies(view.cluster):
        return await act_volume_import.act(ctx, view)
    name = naming.bootstrap_restore(view.name)
    if ctx.store.get(kinds.PG_RESTORE, view.namespace, name) is None:
        await ctx.applier.apply(_restore(view), view.manifest)
    return Wait(f"waiting for restore {name} to create the cluster's data", 600)


def problems(ctx: Context, view: View) -> list[Problem]:
    """Why the restore or the copy failed; read from the store."""
    if not decide_source.is_waiting(view):
        return []
    if decide_source.copies(view.cluster):
        return act_volume_import.problems(ctx, view)
    name = naming.bootstrap_restore(view.name)
    status = (ctx.store.get(kinds.PG_RESTORE, view.namespace, name) or {}).get("status") or {}
    if status.get("state") != FAILED:
        return []
    error = status.get("error")
    text = f"restore {name} failed: {error}; fix the cause, then delete the restore to retry"
    return [Problem("BootstrapFailed", text)]


def _restore(view: View) -> Manifest:
    source = decide_source.backup_of(view.cluster)
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
