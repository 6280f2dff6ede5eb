"""What a pass over a backup sees: its cluster, its Job, the Job's pods, and who else wants to work."""

from dataclasses import dataclass
from datetime import UTC, datetime

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.api.pgbackup import PGBackup
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound
from pgoperator.kube.manifest import Manifest, owner_of, uid_of
from reconcilers.pgbackup import lease, states
from reconcilers.pgbackup.job import Seen
from reconcilers.pgbackup.job import look as look_at
from reconcilers.pgcluster.observe import observe
from reconcilers.pgcluster.view import View, is_ready


@dataclass(frozen=True, slots=True)
class Look:
    """One look; `view` is None when there is no cluster."""

    namespace: str
    cluster: PGCluster | None
    view: View | None
    job: Seen | None
    job_uid: str
    subject: str
    """UID of what an Event would be about that tells why the Job does not begin: its pod, or itself."""
    pods_work: bool
    """Whether a container of a Job of ours runs, even if the Job is gone."""
    ttl: int | None
    ahead: str
    """The backup that was asked for earlier and still waits, "" for none."""

    @classmethod
    async def of(cls, ctx: Context, backup: PGBackup) -> "Look":
        """Look, into the store; the server is asked only whether a missing Job is really missing."""
        namespace, cluster = backup.namespace, _cluster(ctx, backup)
        pods = [
            pod
            for pod in ctx.store.select(kinds.POD, namespace, labels.of_cluster(backup.spec.pg_cluster))
            if pod["metadata"].get("annotations", {}).get(labels.PGBACKREST_BACKUP) == backup.name
        ]
        job = await _job(ctx, backup)
        own = [pod for pod in pods if job is not None and owner_of(pod) == uid_of(job)]
        return cls(
            namespace=namespace,
            cluster=cluster[0] if cluster else None,
            view=_view(ctx, *cluster) if cluster else None,
            job=look_at(job, own) if job is not None else None,
            job_uid=uid_of(job) if job is not None else "",
            subject=uid_of(own[-1] if own else job) if job is not None else "",
            pods_work=any(pod.get("status", {}).get("phase") in ("Pending", "Running") for pod in pods),
            ttl=job["spec"].get("ttlSecondsAfterFinished") if job is not None else None,
            ahead=_ahead(ctx, backup) if not backup.status.state else "",
        )

    def pause(self) -> tuple[str, str]:
        """Reason and message of what keeps every backup of the cluster waiting; empty for nothing."""
        assert self.cluster is not None
        if self.cluster.spec.pause:
            return "ClusterPaused", "waiting until the cluster is no longer paused"
        if self.cluster.spec.unmanaged:
            return "ClusterUnmanaged", "waiting until the cluster is managed again"
        return "", ""

    def obstacle(self, backup: PGBackup) -> str:
        """What of the cluster a backup cannot begin without; "" when all is there."""
        assert self.view is not None
        view = self.view
        if view.observed.primary is None:
            return "the cluster has no primary"
        host = view.observed.repo_host_pod
        if host is None or not is_ready(host):
            return "the repository host is not ready"
        status = view.cluster.status.pgbackrest
        known = {repo.name: repo for repo in status.repos} if status else {}
        found = known.get(backup.spec.repo_name or "")
        if found is None or not found.stanza_created:
            archive = view.cluster.status.condition("PGBackRestReplicaRepoReady")
            return f"{backup.spec.repo_name} is not initialised yet" + (
                f": {archive.message}" if archive is not None and archive.status == "False" else ""
            )
        return ""

    def reason(self, backup: PGBackup) -> str:
        """Why the backup is taken: manual, scheduled or replica-create."""
        known = backup.metadata.annotations.get(labels.BACKUP_JOB_TYPE)
        return known or backup.metadata.labels.get(labels.PGBACKREST_BACKUP) or "manual"


def _cluster(ctx: Context, backup: PGBackup) -> tuple[PGCluster, Manifest] | None:
    manifest = ctx.store.get(kinds.PG_CLUSTER, backup.namespace, backup.spec.pg_cluster)
    if manifest is None:
        return None
    try:
        return PGCluster.parse(manifest), manifest
    except InvalidSpec:
        return None


def _view(ctx: Context, cluster: PGCluster, manifest: Manifest) -> View:
    observed = observe(ctx.store, cluster.namespace, cluster.name)
    return View(cluster, manifest, observed, (), ctx.settings, ctx.clock(), {}, {})


async def _job(ctx: Context, backup: PGBackup) -> Manifest | None:
    name = naming.backup_job(backup.spec.pg_cluster, "backup", backup.metadata.uid)
    found = ctx.store.get(kinds.JOB, backup.namespace, name)
    if found is None and backup.status.state == states.RUNNING:
        try:
            found = await ctx.client.get(kinds.JOB, backup.namespace, name)
        except NotFound:
            return None
    return found if found is not None and owner_of(found) == backup.metadata.uid else None


def _ahead(ctx: Context, backup: PGBackup) -> str:
    """Whose turn it is before ours: only those count that have asked for the Lease themselves.

    Nobody's, when we hold it: who took it before an earlier one was seen would wait for him, and he for us.
    """
    if lease.held_by(ctx.store, backup.namespace, backup.spec.pg_cluster) == lease.holder_of(backup):
        return ""
    mine = (backup.metadata.creation_timestamp or datetime.max.replace(tzinfo=UTC), backup.name)
    ahead = []
    for manifest in ctx.store.select(kinds.PG_BACKUP, backup.namespace, {}):
        metadata, status = manifest["metadata"], manifest.get("status") or {}
        same = manifest["spec"].get("pgCluster") == backup.spec.pg_cluster
        if not same or status.get("state") or "deletionTimestamp" in metadata:
            continue
        if any(c["type"] == states.LEASE for c in status.get("conditions", [])):
            ahead.append((datetime.fromisoformat(metadata["creationTimestamp"]), metadata["name"]))
    return min(ahead)[1] if ahead and min(ahead) < mine else ""
