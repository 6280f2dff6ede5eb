"""A restore that is asked for as the users of the original do, beside `spec.backups.pgbackrest.restore`.

A new value of the annotation `pgbackrest-restore` asks once: it becomes a PerconaPGRestore, and the status
keeps the value, so that neither a restart nor the deletion of that object repeats it. What a new cluster
comes with asks for nothing: one that is created anew from a file must not go back to a forgotten moment.
"""

from collections.abc import Sequence

from pgoperator import labels, naming
from pgoperator.api.status import RequestedJobStatus
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest, annotations_of, name_of
from reconcilers.pgcluster.memory import Memory
from reconcilers.pgcluster.restoring import FINISHED
from reconcilers.pgcluster.view import View


async def act(ctx: Context, view: View, memory: Memory) -> None:
    """Create the object, and only then have the status say that the value is known."""
    restores = ctx.store.select(kinds.PG_RESTORE, view.namespace, {})
    noted, manifest = look(view, restores)
    if manifest is not None:
        await ctx.applier.apply(manifest, view.manifest)
    memory.requested = noted


def look(view: View, restores: Sequence[Manifest]) -> tuple[RequestedJobStatus | None, Manifest | None]:
    """What the status shall keep, and the object to create if there is something new. Pure."""
    before = view.cluster.status.pgbackrest
    known, value = before.restore if before else None, _wanted(view)
    name = naming.requested_restore(view.name, value)
    state = next(((r.get("status") or {}).get("state") for r in restores if name_of(r) == name), None)
    if not value or (known is not None and known.id == value):
        gone = known is not None and not known.finished and (not value or state in FINISHED)
        return (known.model_copy(update={"finished": True}) if known and gone else known), None
    patroni = view.cluster.status.patroni
    if patroni is None or patroni.status is None or not patroni.status.system_identifier:
        return RequestedJobStatus(id=value, finished=True), None
    # In the original the value is the name of the PerconaPGRestore that wrote it.
    if any(name_of(r) == value and r["spec"].get("pgCluster") == view.name for r in restores):
        return RequestedJobStatus(id=value, finished=True), None
    return RequestedJobStatus(id=value, finished=state in FINISHED), _restore(view, name)


def _wanted(view: View) -> str:
    """The annotation's value, if this cluster's own repositories are meant."""
    spec = view.cluster.spec.backups.pgbackrest.restore
    if spec is None or not spec.enabled or not view.cluster.spec.backups.enabled:
        return ""
    place = spec.cluster_name or view.name, spec.cluster_namespace or view.namespace
    if place != (view.name, view.namespace):
        return ""
    return labels.request(annotations_of(view.manifest), labels.PGBACKREST_RESTORE)


def _restore(view: View, name: str) -> Manifest:
    wanted = view.cluster.spec.backups.pgbackrest.restore
    assert wanted is not None
    spec: Manifest = {"pgCluster": view.name, "repoName": wanted.repo_name}
    if wanted.options:
        spec["options"] = list(wanted.options)
    variables = {"env": list(wanted.env), "envFrom": list(wanted.env_from)}
    if any(variables.values()):
        spec["containerOptions"] = {key: value for key, value in variables.items() if value}
    return {
        "apiVersion": kinds.PG_RESTORE.api_version,
        "kind": kinds.PG_RESTORE.kind,
        "metadata": view.metadata(name, {}),
        "spec": spec,
    }
