"""The input of a reconciliation: the backup's cluster, its Job, the Job's pods, and the queue."""

from dataclasses import dataclass
from datetime import UTC, datetime

from pgoperator import labels, naming
from pgoperator.api import states
from pgoperator.api.cluster import PGCluster
from pgoperator.api.pgbackup import PGBackup
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound
from pgoperator.kube.manifest import Manifest, annotations_of, owner_of, uid_of
from reconcilers import jobs
from reconcilers.jobs import JobStatus
from reconcilers.pgbackup import build_backup_jobs, decide_state, lease
from reconcilers.pgcluster.lifecycle import read_other_owner
from reconcilers.pgcluster.state.observe import InvalidCluster, observe_for_job, read_cluster
from reconcilers.pgcluster.state.view import ClusterView, is_ready


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What exists around a backup; `cluster` and `view` are None without a valid cluster."""

    namespace: str
    cluster: PGCluster | None
    view: ClusterView | None
    invalid: str
    """Why the spec of an existing cluster is invalid; "" if it is valid or there is no cluster."""
    job: JobStatus | None
    job_uid: str
    event_subject: str
    """UID of the object whose Events report why the Job does not start: its newest pod, or the Job."""
    has_active_pods: bool
    """Whether a pod of one of the backup's Jobs is pending or running, even if the Job is gone."""
    ttl: int | None
    """The Job's ttlSecondsAfterFinished."""
    queued_before: str
    """The backup that was created earlier and still waits; "" if there is none."""

    @classmethod
    async def of(cls, ctx: Context, backup: PGBackup) -> "Snapshot":
        """Read the store; a Job that is missing there is also read from the API server."""
        namespace, cluster, invalid = backup.namespace, None, ""
        try:
            cluster = read_cluster(ctx.store, namespace, backup.spec.pg_cluster)
        except InvalidCluster as error:
            invalid = str(error)
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
            view=observe_for_job(ctx, *cluster) if cluster else None,
            invalid=invalid,
            job=jobs.read(job, own, build_backup_jobs.CONTAINER) if job is not None else None,
            job_uid=uid_of(job) if job is not None else "",
            event_subject=uid_of(own[-1] if own else job) if job is not None else "",
            has_active_pods=any(pod.get("status", {}).get("phase") in ("Pending", "Running") for pod in pods),
            ttl=job["spec"].get("ttlSecondsAfterFinished") if job is not None else None,
            queued_before=_queued_before(ctx, backup) if not backup.status.state else "",
        )

    def suspension(self) -> tuple[str, str]:
        """Reason and message if the cluster takes no backups at present; empty otherwise."""
        assert self.cluster is not None
        name = self.cluster.name
        if self.cluster.spec.pause:
            return "ClusterPaused", f"cluster {name} is paused: set spec.pause to false to take the backup"
        if self.cluster.spec.unmanaged:
            message = f"cluster {name} is unmanaged: set spec.unmanaged to false to take the backup"
            return "ClusterUnmanaged", message
        return "", ""

    def obstacle(self, backup: PGBackup) -> str:
        """Why the cluster is not ready for a backup; "" if it is ready."""
        assert self.view is not None
        if self.view.observed.primary is None:
            return f"cluster {self.view.name} has no primary"
        return self.repository_obstacle(backup)

    def repository_obstacle(self, backup: PGBackup) -> str:
        """Why the repository of a backup cannot be read; "" if it can."""
        assert self.view is not None
        view = self.view
        host = view.observed.repo_host_pod
        if host is None or not is_ready(host):
            return "the repository host is not ready"
        status = view.cluster.status.pgbackrest
        known = {repo.name: repo for repo in status.repos} if status else {}
        found = known.get(backup.spec.repo_name or "")
        if found is None or not found.stanza_created:
            archive = view.cluster.status.condition("PGBackRestReplicaRepoReady")
            return f"the stanza in {backup.spec.repo_name} does not exist yet" + (
                f": {archive.message}" if archive is not None and archive.status == "False" else ""
            )
        return ""

    def reason(self, backup: PGBackup) -> str:
        """Why the backup is taken: manual, scheduled, replica-create or archive-gap."""
        known = backup.metadata.annotations.get(labels.BACKUP_JOB_TYPE)
        return known or backup.metadata.labels.get(labels.PGBACKREST_BACKUP) or "manual"


async def is_ours(ctx: Context, manifest: Manifest) -> bool:
    """Whether this operator may write to the backup, which need not be valid (`read_other_owner`)."""
    status, metadata = manifest.get("status") or {}, manifest["metadata"]
    cluster = str(manifest["spec"].get("pgCluster") or "")
    if (
        status.get("state") in states.FINISHED
        and ctx.store.get(kinds.PG_CLUSTER, metadata["namespace"], cluster) is None
        and labels.FINALIZER_BACKUP not in (metadata.get("finalizers") or ())
    ):
        return True  # nothing is left to do: the API server is not asked for the cluster
    job = annotations_of(manifest).get(labels.BACKUP_JOB_NAME)
    begun_here = job == naming.backup_job(cluster, "backup", uid_of(manifest))
    return await read_other_owner.may_serve(ctx, manifest, begun_here=begun_here)


async def _job(ctx: Context, backup: PGBackup) -> Manifest | None:
    name = naming.backup_job(backup.spec.pg_cluster, "backup", backup.metadata.uid)
    found = ctx.store.get(kinds.JOB, backup.namespace, name)
    if found is None and backup.status.state == states.RUNNING:
        try:
            found = await ctx.client.get(kinds.JOB, backup.namespace, name)
        except NotFound:
            return None
    return found if found is not None and owner_of(found) == backup.metadata.uid else None


def _queued_before(ctx: Context, backup: PGBackup) -> str:
    """The earliest backup created before this one that waits for the Lease; "" if there is none.

    "" also if this backup holds the Lease already: otherwise it and an older backup that was seen later would
    wait for each other.
    """
    if lease.held_by(ctx.store, backup.namespace, backup.spec.pg_cluster) == lease.holder_of(backup):
        return ""
    own = (backup.metadata.creation_timestamp or datetime.max.replace(tzinfo=UTC), backup.name)
    earlier = []
    for manifest in ctx.store.owned_by(kinds.PG_BACKUP, backup.namespace, backup.spec.pg_cluster):
        metadata, status = manifest["metadata"], manifest.get("status") or {}
        if status.get("state") or "deletionTimestamp" in metadata:
            continue
        if any(c["type"] == decide_state.LEASE for c in status.get("conditions", [])):
            earlier.append((datetime.fromisoformat(metadata["creationTimestamp"]), metadata["name"]))
    return min(earlier)[1] if earlier and min(earlier) < own else ""
