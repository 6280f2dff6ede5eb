"""Act: a restore in place, requested by an annotation as users of Percona's operator do.

A new value of the annotation `pgbackrest-restore` requests one restore as `spec.backups.pgbackrest.restore`
describes it: the operator creates a PerconaPGRestore. The status keeps the value, so that neither a restart
of the operator nor the deletion of the object repeats the restore. The annotation of a new cluster requests
nothing: a cluster that is created again from a file must not be restored to a forgotten time.
"""

from collections.abc import Sequence
from datetime import datetime

from pgoperator import labels, naming
from pgoperator.api.states import FAILED, FINISHED, RUNNING, SUCCEEDED
from pgoperator.api.status import RequestedJobStatus
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest, annotations_of, name_of
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.view import View


async def act(ctx: Context, view: View, cache: ClusterCache) -> None:
    """Create the PerconaPGRestore; only then may the status record the value as handled."""
    restores = ctx.store.owned_by(kinds.PG_RESTORE, view.namespace, view.name)
    recorded, manifest = look(view, restores)
    if manifest is not None:
        await ctx.applier.apply(manifest, view.manifest)
    cache.requested = recorded


def look(view: View, restores: Sequence[Manifest]) -> tuple[RequestedJobStatus | None, Manifest | None]:
    """The record for the status, and the PerconaPGRestore to create for a new value, else None. Pure.

    `restores` are the PerconaPGRestores of the cluster.
    """
    previous = view.cluster.status.pgbackrest
    record, value = previous.restore if previous else None, _requested(view)
    name = naming.requested_restore(view.name, value)
    found = next((r for r in restores if name_of(r) == name), None)
    if not value or (record is not None and record.id == value):
        if record is not None and value and found is not None:
            return _result(value, found), None
        ended = record is not None and not record.finished and not value
        return (record.model_copy(update={"finished": True}) if record and ended else record), None
    patroni = view.cluster.status.patroni
    if patroni is None or patroni.status is None or not patroni.status.system_identifier:
        return RequestedJobStatus(id=value, finished=True), None
    # Percona's operator sets the value to the name of the PerconaPGRestore that requested the restore.
    if any(name_of(r) == value and r["spec"].get("pgCluster") == view.name for r in restores):
        return RequestedJobStatus(id=value, finished=True), None
    return _result(value, found or {}), _restore(view, name)


def _result(value: str, restore: Manifest) -> RequestedJobStatus:
    """The record of a restore, with the fields that Percona's operator has."""
    status, begun = restore.get("status") or {}, restore.get("metadata", {}).get("creationTimestamp")
    state, completed = status.get("state"), status.get("completed")
    return RequestedJobStatus(
        id=value,
        finished=state in FINISHED,
        start_time=datetime.fromisoformat(begun) if begun else None,
        completion_time=datetime.fromisoformat(completed) if completed and state in FINISHED else None,
        active=1 if state == RUNNING else None,
        succeeded=1 if state == SUCCEEDED else None,
        failed=1 if state == FAILED else None,
    )


def _requested(view: View) -> str:
    """The annotation's value; "" if the restore is disabled or names another cluster."""
    spec = view.cluster.spec.backups.pgbackrest.restore
    if spec is None or not spec.enabled or not view.backups_enabled:
        return ""
    source = spec.cluster_name or view.name, spec.cluster_namespace or view.namespace
    if source != (view.name, view.namespace):
        return ""
    return labels.request(annotations_of(view.manifest), labels.PGBACKREST_RESTORE)


def _restore(view: View, name: str) -> Manifest:
    request = view.cluster.spec.backups.pgbackrest.restore
    assert request is not None
    spec: Manifest = {"pgCluster": view.name, "repoName": request.repo_name}
    if request.options:
        spec["options"] = list(request.options)
    variables = {"env": list(request.env), "envFrom": list(request.env_from)}
    if any(variables.values()):
        spec["containerOptions"] = {key: value for key, value in variables.items() if value}
    return {
        "apiVersion": kinds.PG_RESTORE.api_version,
        "kind": kinds.PG_RESTORE.kind,
        "metadata": view.metadata(name, {}),
        "spec": spec,
    }
