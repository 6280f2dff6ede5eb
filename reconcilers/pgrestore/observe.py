"""What a restore needs to know of its surroundings, from the watches' store."""

from datetime import datetime
from typing import Literal

from pgoperator import labels, naming
from pgoperator.api.pgrestore import PGRestore
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.manifest import (
    Manifest,
    annotations_of,
    is_deleting,
    name_of,
    owner_of,
    uid_of,
)
from reconcilers.pgcluster.conditions import NOT_READY
from reconcilers.pgcluster.observe import observe
from reconcilers.pgcluster.view import PRIMARY_ROLES, Observed
from reconcilers.pgrestore import job as jobs
from reconcilers.pgrestore.plan import REPLICAS, Facts, Job

SECRET_FREE = 1500
"""Characters of a message that a status takes."""


def facts(ctx: Context, restore: PGRestore) -> tuple[Facts, Observed]:
    """One snapshot; no request is made."""
    namespace, name = restore.namespace, restore.spec.pg_cluster
    cluster = ctx.store.get(kinds.PG_CLUSTER, namespace, name)
    observed = observe(ctx.store, namespace, name)
    pods = ctx.store.select(kinds.POD, namespace, labels.of_cluster(name) | {labels.PGBACKREST_RESTORE: ""})
    found = ctx.store.get(kinds.JOB, namespace, naming.restore_job(name))
    primary = observed.primary
    return (
        Facts(
            now=ctx.clock(),
            uid=restore.metadata.uid,
            deleting=restore.metadata.is_deleting,
            cluster=_presence(cluster),
            instances=tuple(i.name for i in observed.instances),
            primary=primary.name if primary is not None else "",
            # A member that starts before has nobody to compare its data with: it would not be rewound, and
            # would look for ever for WAL of the former timeline.
            told=primary is not None and primary.member.role in PRIMARY_ROLES,
            ready=_is_ready(cluster, REPLICAS),
            settled=_is_ready(cluster, None),
            paused=bool((cluster or {}).get("spec", {}).get("pause")),
            trouble=trouble(cluster),
            job=job(found, pods) if found is not None else None,
            pods=tuple(name_of(p) for p in pods if _phase(p) not in ("Succeeded", "Failed")),
        ),
        observed,
    )


def _presence(cluster: Manifest | None) -> Literal["present", "deleting", "absent"]:
    if cluster is None:
        return "absent"
    return "deleting" if is_deleting(cluster) else "present"


def _is_ready(cluster: Manifest | None, phase: str | None) -> bool:
    """Whether the cluster's status says so, and says it of this phase and not of the time before."""
    status = (cluster or {}).get("status") or {}
    seen = {c["type"]: c["reason"] for c in status.get("conditions", []) if c["status"] == "True"}
    return status.get("state") == "ready" and seen.get("PGBackRestoreProgressing") == phase


def trouble(cluster: Manifest | None) -> str:
    """What a person must mend, if the status names it: that instances are down is the restore's own doing."""
    conditions = {c["type"]: c for c in ((cluster or {}).get("status") or {}).get("conditions", [])}
    degraded = conditions.get("Degraded", {})
    if degraded.get("status") != "True" or degraded.get("reason") == NOT_READY:
        return ""
    return f"{degraded['reason']}: {degraded.get('message', '')}"[:SECRET_FREE]


def _phase(pod: Manifest) -> str:
    return str(pod.get("status", {}).get("phase", ""))


def job(found: Manifest, pods: list[Manifest]) -> Job:
    """The Job with what its pods say."""
    own = sorted((p for p in pods if owner_of(p) == uid_of(found)), key=_created)
    ended = [state for state in map(_terminated, own) if state is not None]
    conditions = {
        c["type"]: c.get("message", "")
        for c in found.get("status", {}).get("conditions", [])
        if c["status"] == "True"
    }
    failed = "Failed" in conditions or "FailureTarget" in conditions
    last = ended[-1] if ended else {}
    message = str(last.get("message") or "").strip()
    if not message:
        message = next((w for w in map(_waiting, own) if w), "")
    if failed and not message:
        message = conditions.get("Failed") or conditions.get("FailureTarget", "")
    return Job(
        uid=uid_of(found),
        owner=owner_of(found) or "",
        undoes=annotations_of(found).get(labels.PGBACKREST_RESTORE) == jobs.UNDO,
        succeeded="Complete" in conditions
        or "SuccessCriteriaMet" in conditions
        or any(e.get("exitCode") == 0 for e in ended),
        failed=failed or last.get("exitCode") == 1,
        works=any(map(_works, own)),
        idle_since=None if any(map(_works, own)) else _idle_since(found, own),
        refused=last.get("exitCode") == 1,
        message=message[-SECRET_FREE:],
        deleting=is_deleting(found),
    )


def _works(pod: Manifest) -> bool:
    return _phase(pod) == "Running" and not is_deleting(pod) and _terminated(pod) is None


def _idle_since(found: Manifest, pods: list[Manifest]) -> datetime:
    """When the last pod that worked was told to stop, or ended; without one, when the Job was created."""
    times = [found["metadata"]["creationTimestamp"]]
    times += [pod["metadata"].get("deletionTimestamp") for pod in pods]
    times += [(_terminated(pod) or {}).get("finishedAt") for pod in pods]
    return max(datetime.fromisoformat(time) for time in times if time)


def _created(pod: Manifest) -> str:
    return str(pod["metadata"].get("creationTimestamp", ""))


def _terminated(pod: Manifest) -> Manifest | None:
    for container in pod.get("status", {}).get("containerStatuses", []):
        if container["name"] == jobs.CONTAINER and "terminated" in container.get("state", {}):
            return dict(container["state"]["terminated"])
    return None


def _waiting(pod: Manifest) -> str:
    """Why a pod does not start, if it says so."""
    status = pod.get("status", {})
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("message", ""))
    for container in status.get("containerStatuses", []):
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return f"{waiting['reason']}: {waiting.get('message', '')}"
    return ""
