"""Act: delete the objects of backups that pgBackRest has expired. The repository is not changed."""

import structlog

from pgoperator import labels
from pgoperator.api import states
from pgoperator.api.pgbackup import PGBackup
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import Conflict, NotFound
from pgoperator.kube.manifest import Manifest, is_deleting, name_of, uid_of
from reconcilers.pgbackup import report

log = structlog.get_logger(__name__)


async def sync(ctx: Context, newest: PGBackup, text: str) -> None:
    """Delete the objects of backups that the report of `newest` no longer lists; `text` is that report."""
    try:
        found = report.parse(text)
    except report.BadReport:
        return
    backups = ctx.store.owned_by(kinds.PG_BACKUP, newest.namespace, newest.spec.pg_cluster)
    for manifest in lost(backups, newest, found):
        mark = {"metadata": {"annotations": {labels.BACKUP_EXPIRED: "true"}}}
        where = kinds.PG_BACKUP, newest.namespace, name_of(manifest)
        try:
            await ctx.client.merge_patch(*where, mark)
            await ctx.client.delete(*where, uid=uid_of(manifest))
        except (Conflict, NotFound):
            continue  # deleted, or another object has its name
        log.info("deleted the object of an expired backup", backup=name_of(manifest))


def lost(manifests: list[Manifest], newest: PGBackup, found: report.Report) -> list[Manifest]:
    """Return those of the cluster's objects whose backups are no longer in the repository. Pure."""
    result = []
    for manifest in manifests:
        spec, status = manifest["spec"], manifest.get("status") or {}
        label = status.get("backupName")
        if (
            spec.get("repoName") != newest.spec.repo_name
            or status.get("state") != states.SUCCEEDED
            or not label
            or is_deleting(manifest)
        ):
            continue
        # A backup that is younger than the report cannot be in it. A label ends with the backup's own time.
        younger = label.rpartition("_")[2] > found.backup.label.rpartition("_")[2]
        if not younger and found.has_lost(label):
            result.append(manifest)
    return result
