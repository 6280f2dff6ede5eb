"""Whether the cluster is well and quiet now: a takeover restarts every pod once. Pure."""

from collections.abc import Iterator

from pgoperator import labels, naming
from pgoperator.api.states import FINISHED
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest, annotations_of, controller_of, labels_of, name_of
from reconcilers.pgcluster.state.view import Instance, Observed, is_ready
from reconcilers.pgcluster.takeover.plan import Blocker, Snapshot

_AGAIN = "wait until it has ended, and plan again"


def blockers(snapshot: Snapshot, observed: Observed) -> list[Blocker]:
    """What has to end or recover first."""
    return [
        *_of_operators(snapshot),
        *_of_instances(observed),
        *_of_patroni(snapshot, observed),
        *_of_others(snapshot, observed),
        *_of_operations(snapshot),
    ]


def _of_operators(snapshot: Snapshot) -> Iterator[Blocker]:
    """Pods of the operator whose image prepares the cluster's pods: that is Percona's operator."""
    theirs = {
        container["image"]
        for workload in snapshot.all_of(kinds.STATEFUL_SET, kinds.DEPLOYMENT)
        for container in workload["spec"]["template"]["spec"].get("initContainers") or ()
    }
    for pod in snapshot.operators:
        if {container["image"] for container in pod["spec"]["containers"]} & theirs:
            yield Blocker(
                f"Percona's operator runs in this namespace: pod {name_of(pod)}",
                "scale its Deployment to 0; two operators would write the same objects in turns",
            )


def _of_instances(observed: Observed) -> Iterator[Blocker]:
    if observed.primary is None:
        yield Blocker("the cluster has no primary", "let the present operator repair the cluster first")
    for instance in observed.instances:
        if flaw := _flaw(instance, observed):
            yield Blocker(f"instance {instance.name} {flaw}", "repair the instance first, and plan again")


def _flaw(instance: Instance, observed: Observed) -> str:
    member, primary = instance.member, observed.primary
    leads = primary is None or instance.name == primary.name
    timeline = member.timeline if primary is None else primary.member.timeline
    flaws = {
        "has a pod but no StatefulSet": instance.stateful_set is None,
        "is not ready": not instance.is_ready,
        "waits for a restart of PostgreSQL": member.pending_restart,
        "does not stream from the primary": not leads and not member.streams,
        f"is on timeline {member.timeline}, the primary on {timeline}": member.timeline != timeline,
    }
    return next((flaw for flaw, is_so in flaws.items() if is_so), "")


def _of_patroni(snapshot: Snapshot, observed: Observed) -> Iterator[Blocker]:
    if observed.is_patroni_paused:
        yield Blocker("Patroni is paused", "resume it with patronictl resume, and plan again")
    failover = snapshot.get(kinds.ENDPOINTS, f"{naming.patroni_scope(snapshot.name)}-failover")
    asked = annotations_of(failover) if failover is not None else {}
    if asked.get("leader") or asked.get("member"):
        yield Blocker("a switchover has been requested", _AGAIN)


def _of_others(snapshot: Snapshot, observed: Observed) -> Iterator[Blocker]:
    if observed.repo_host is not None and not (
        observed.repo_host_pod is not None and is_ready(observed.repo_host_pod)
    ):
        yield Blocker("the repository host is not ready", "repair it first: WAL must be archived throughout")
    pooler = snapshot.get(kinds.DEPLOYMENT, naming.pgbouncer(snapshot.name))
    wanted = pooler["spec"].get("replicas", 1) if pooler is not None else 0
    ready = sum(map(is_ready, observed.pooler_pods))
    if ready < wanted:
        yield Blocker(f"{ready} of {wanted} pgBouncer pods are ready", "repair pgBouncer first")


def _of_operations(snapshot: Snapshot) -> Iterator[Blocker]:
    for one in snapshot.all_of(kinds.PG_BACKUP, kinds.PG_RESTORE):
        state = str((one.get("status") or {}).get("state") or "not begun")
        if state not in FINISHED:
            yield Blocker(f"{one['kind']} {name_of(one)} has not ended ({state})", _AGAIN)
    for job in snapshot.all_of(kinds.JOB):
        if (job.get("status") or {}).get("active") and not _is_counted(snapshot, job):
            yield Blocker(f"Job {name_of(job)} runs", _AGAIN)
    if annotations_of(snapshot.cluster).get(labels.BACKUP_IN_PROGRESS):
        yield Blocker(f"the annotation {labels.BACKUP_IN_PROGRESS} shows a backup", _AGAIN)
    lease = snapshot.get(kinds.LEASE, naming.backup_lease(snapshot.name))
    holder = str((lease or {}).get("spec", {}).get("holderIdentity") or "").partition("|")[0]
    if holder and snapshot.get(kinds.PG_BACKUP, holder) is None:
        yield Blocker(f"Lease {naming.backup_lease(snapshot.name)} is held by {holder}", _AGAIN)


def _is_counted(snapshot: Snapshot, job: Manifest) -> bool:
    """Whether the Job's operation is reported already."""
    owner = controller_of(job)
    if owner is None or labels.CLUSTER not in labels_of(job):
        return False
    return any(
        owner["uid"] == o["metadata"]["uid"] for o in snapshot.all_of(kinds.PG_BACKUP, kinds.PG_RESTORE)
    )
