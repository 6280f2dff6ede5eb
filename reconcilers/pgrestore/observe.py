"""The input of a restore's decision, read from the store."""

import re
from dataclasses import replace
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
from reconcilers import jobs, read_events
from reconcilers.pgcluster.lifecycle import read_other_owner
from reconcilers.pgcluster.state.findings import NOT_READY
from reconcilers.pgcluster.state.observe import observe
from reconcilers.pgcluster.state.view import PRIMARY_ROLES, Observed
from reconcilers.pgrestore import build_job
from reconcilers.pgrestore.decide_phase import REPLICAS, Job, Snapshot

MAX_MESSAGE = 1500
"""Maximum length of a message in a status, in characters."""


async def is_ours(ctx: Context, manifest: Manifest) -> bool:
    """Whether this operator may write to the restore, which need not be valid; only ours have a phase."""
    begun_here = bool((manifest.get("status") or {}).get("phase"))
    return await read_other_owner.may_serve(ctx, manifest, begun_here=begun_here)


def observe_restore(ctx: Context, restore: PGRestore) -> tuple[Snapshot, Observed]:
    """Take a snapshot from the store, without a request."""
    namespace, name = restore.namespace, restore.spec.pg_cluster
    cluster = ctx.store.get(kinds.PG_CLUSTER, namespace, name)
    observed = observe(ctx.store, namespace, name)
    pods = ctx.store.select(kinds.POD, namespace, labels.of_cluster(name) | {labels.PGBACKREST_RESTORE: ""})
    found = ctx.store.get(kinds.JOB, namespace, naming.restore_job(name))
    primary = observed.primary
    return (
        Snapshot(
            now=ctx.clock(),
            uid=restore.metadata.uid,
            deleting=restore.metadata.is_deleting,
            cluster=_presence(cluster),
            instances=tuple(i.name for i in observed.instances),
            primary=primary.name if primary is not None else "",
            # A member that starts before Patroni reports a primary has no primary to compare its data with.
            # It would not be rewound, and would wait indefinitely for WAL of the former timeline.
            role_reported=primary is not None and primary.member.role in PRIMARY_ROLES,
            ready=_is_ready(cluster, REPLICAS),
            # The status may still be the one from before the instances were stopped.
            settled=_is_ready(cluster, None)
            and primary is not None
            and all(instance.is_ready for instance in observed.instances),
            paused=bool((cluster or {}).get("spec", {}).get("pause")),
            overwrites=overwrites(restore, cluster),
            problem=problem(cluster),
            job=job(found, pods) if found is not None else None,
            pods=tuple(name_of(p) for p in pods if _phase(p) not in ("Succeeded", "Failed")),
        ),
        observed,
    )


async def observe_with_cause(ctx: Context, restore: PGRestore) -> tuple[Snapshot, Observed]:
    """The same, with the cause why the Job gets no pod, such as a quota: only an Event shows it."""
    snapshot, observed = observe_restore(ctx, restore)
    found = snapshot.job
    if found is None or snapshot.pods or found.message or found.succeeded or found.failed:
        return snapshot, observed
    cause = await read_events.newest_warning(ctx, restore.namespace, found.uid)
    return replace(snapshot, job=replace(found, message=cause[:MAX_MESSAGE])), observed


def overwrites(restore: PGRestore, cluster: Manifest | None) -> bool:
    """Whether the restore works in the former data, because of --delta or of tablespace volumes."""
    if any(re.search(r"--delta(?!=n)", option) for option in restore.spec.options):
        return True
    sets = (cluster or {}).get("spec", {}).get("instances") or []
    return any(each.get("tablespaceVolumes") for each in sets)


def _presence(cluster: Manifest | None) -> Literal["present", "deleting", "absent"]:
    if cluster is None:
        return "absent"
    return "deleting" if is_deleting(cluster) else "present"


def _is_ready(cluster: Manifest | None, phase: str | None) -> bool:
    """Whether the cluster's status is ready and was written in this phase of the restore."""
    status = (cluster or {}).get("status") or {}
    seen = {c["type"]: c["reason"] for c in status.get("conditions", []) if c["status"] == "True"}
    return status.get("state") == "ready" and seen.get("PGBackRestoreProgressing") == phase


def problem(cluster: Manifest | None) -> str:
    """The problem of the cluster that the user must fix; "" also if only instances are not ready."""
    conditions = {c["type"]: c for c in ((cluster or {}).get("status") or {}).get("conditions", [])}
    degraded = conditions.get("Degraded", {})
    if degraded.get("status") != "True" or degraded.get("reason") == NOT_READY:
        return ""
    return f"{degraded['reason']}: {degraded.get('message', '')}"[:MAX_MESSAGE]


def _phase(pod: Manifest) -> str:
    return str(pod.get("status", {}).get("phase", ""))


def job(found: Manifest, pods: list[Manifest]) -> Job:
    """The Job with the results of its pods."""
    own = [pod for pod in pods if owner_of(pod) == uid_of(found)]
    status = jobs.read(found, own, build_job.CONTAINER)
    code = status.code if not status.succeeded else None
    what = annotations_of(found).get(labels.PGBACKREST_RESTORE, "")
    return Job(
        uid=status.uid,
        owner=status.owner,
        undoes=what == build_job.UNDO,
        succeeded=status.succeeded,
        failed=status.failing or code in build_job.FINAL,
        ran=status.ran or what.endswith(build_job.AGAIN),
        works=status.works,
        idle_since=status.idle_since,
        refused=code == build_job.REFUSED,
        lost=code == build_job.LOST,
        message=(status.report if status.succeeded else status.cause)[-MAX_MESSAGE:],
        deleting=status.deleting,
    )
