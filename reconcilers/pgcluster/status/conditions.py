"""All conditions of a cluster: the summary, which follows kstatus, and those of the components. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pgoperator.api.base import Condition
from pgoperator.api.cluster import PGCluster
from pgoperator.api.ignored import ignored_fields
from pgoperator.api.status import PGClusterStatus, RestoreDrillStatus
from pgoperator.kube.manifest import Manifest, name_of
from pgoperator.postgres.sql_report import ServerReport
from reconcilers.pgcluster.backups import conditions as backup_conditions
from reconcilers.pgcluster.backups import decide_removal, inventory
from reconcilers.pgcluster.credentials import conditions as credential_conditions
from reconcilers.pgcluster.database import conditions as database_conditions
from reconcilers.pgcluster.database import decide_users
from reconcilers.pgcluster.drill import decide_drill
from reconcilers.pgcluster.imports import decide_import
from reconcilers.pgcluster.instances import conditions as instance_conditions
from reconcilers.pgcluster.lifecycle import decide_pause
from reconcilers.pgcluster.patroni import build_dynamic_config
from reconcilers.pgcluster.patroni import conditions as patroni_conditions
from reconcilers.pgcluster.pooler import conditions as pooler_conditions
from reconcilers.pgcluster.rollout import conditions as rollout_conditions
from reconcilers.pgcluster.state import provenance
from reconcilers.pgcluster.state.cache import NO_CHANGE, Change
from reconcilers.pgcluster.state.findings import NOT_READY, Finding, Problem
from reconcilers.pgcluster.state.view import View

# Longer than any step of a healthy start takes; a cluster without progress for so long is Stalled.
PATIENCE = timedelta(minutes=10)
# After the end of its grace period, a pod that still exists does not stop by itself.
STOP_PATIENCE = timedelta(seconds=30)

SETTLED = "Settled"
ROLLING = "RollingUpdate"

ALL_READY = "all components of the cluster are ready"
NO_FAULT = "no fault has been detected"


@dataclass(frozen=True, slots=True)
class PassResult:
    """The result of a pass: `waits` are sentences, `problems` must be fixed by the user."""

    waits: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    access_is_current: bool = False
    """Users, databases and pgBouncer's account in PostgreSQL match the spec."""
    stanza_hash: str | None = None
    """Digest of the repositories whose stanza exists."""
    stanza_checked: bool = False
    """Whether the repositories have the mark of this cluster, for its present database system."""
    stanza_problem: Problem | None = None
    """Why the stanza could not be created in this pass."""
    poolers: tuple[str, ...] = ()
    """pgBouncer pods that are not paused or resumed yet."""
    init_sql: str | None = None
    """Name of the ConfigMap whose SQL has succeeded."""
    extensions: Problem | None = None
    """The first difference of the extensions from the spec."""
    report: ServerReport | None = None
    """The last report of the server."""
    backups: inventory.BackupInventory = inventory.NO_BACKUPS
    change: Change = NO_CHANGE
    drill: RestoreDrillStatus | None = None
    """Restore drills; None if nobody asked for them."""
    drill_blocked: str = ""
    """Why the Job of a restore drill cannot be created, or its pod does not start."""
    imported: Finding | None = None
    """The last import of backups since the operator started."""


def findings(
    view: View, result: PassResult, missing: list[str], volumes: Sequence[Manifest]
) -> list[Finding]:
    """All conditions of the cluster.

    `missing` are sentences about what does not match the spec yet; `volumes` are the cluster's claims.
    """
    conditions = _summary(view, result, missing)
    if decide_removal.is_missing(view):
        conditions = [f for f in conditions if f.type != "Progressing"]
        conditions.append(Finding("Progressing", False, decide_removal.REASON, decide_removal.MESSAGE))
    conditions += credential_conditions.conditions(view) + credential_conditions.plain_text(view)
    if view.backups_enabled:
        conditions += backup_conditions.conditions(
            view, result.backups, result.stanza_hash, result.stanza_problem
        )
        conditions += decide_drill.conditions(view, result.drill, result.drill_blocked)
        conditions += decide_import.conditions(view, result.imported)
    conditions += pooler_conditions.conditions(view, result.poolers)
    conditions += instance_conditions.pmm(view)
    if result.access_is_current or result.extensions is not None:
        conditions.append(database_conditions.extensions(result.extensions))
    conditions += database_conditions.slots(result.report)
    conditions += database_conditions.parameters(view, result.report)
    conditions += database_conditions.version(result.report)
    conditions += patroni_conditions.paused(view)
    conditions += rollout_conditions.conditions(view, result.change)
    conditions += instance_conditions.volumes(volumes)
    if view.restoring is not None:
        message = f"restore {view.restoring.name} is in phase {view.restoring.phase}"
        conditions.append(Finding("PGBackRestoreProgressing", True, view.restoring.phase, message))
    if ignored := ignored_fields(view.manifest):
        message = f"fields not implemented in this version: {', '.join(ignored)}"
        conditions.append(Finding("FieldsIgnored", True, "NotImplemented", message))
    if overridden := [*build_dynamic_config.overridden(view), *decide_users.without_effect(view.cluster)]:
        message = f"fields that have no effect or another value in force: {', '.join(overridden)}"
        conditions.append(Finding("FieldsOverridden", True, "Overridden", message))
    return conditions


def _summary(view: View, result: PassResult, missing: list[str]) -> list[Finding]:
    """Ready, Progressing and Degraded."""
    if view.paused:
        return _paused(view)
    if not missing:
        return [
            Finding("Ready", True, "AllServing", ALL_READY),
            Finding("Progressing", False, SETTLED, "no change is in progress"),
            Finding("Degraded", False, "AllServing", ALL_READY),
        ]
    problem = result.problems[0] if result.problems else None
    rolling = bool(result.change.rolling)
    has_data = bool(provenance.system_identifier(view.cluster, view.observed))
    reason = ROLLING if rolling else NOT_READY if has_data else "Initializing"
    reason = problem.reason if problem else reason
    text = "; ".join([problem.message, *(m for m in missing if m != problem.message)] if problem else missing)
    waiting = result.change.rolling or "; ".join(result.waits) or text
    stalled = _has_stalled(view, problem, _last_step(view) if rolling else None)
    if stalled and problem is None:
        reason, text = "Stalled", f"no progress for {int(PATIENCE.total_seconds() // 60)} minutes: {text}"
    served_before = has_data and view.cluster.status.state is not None
    lost = served_before and _was_ready(view.cluster) and not rolling
    degraded = problem is not None or stalled or lost
    return [
        Finding("Ready", False, reason, text),
        Finding(
            "Progressing",
            not stalled,
            reason if stalled else (ROLLING if rolling else "Reconciling"),
            text if stalled else waiting,
        ),
        Finding(
            "Degraded",
            degraded,
            reason if degraded else "NotDegraded",
            text if degraded else NO_FAULT,
        ),
    ]


def _paused(view: View) -> list[Finding]:
    """The summary of a cluster that is paused or pausing."""
    left = decide_pause.left(view)
    text = f"spec.pause is set; waiting for pods to stop: {', '.join(left)}" if left else "spec.pause is set"
    return [
        Finding("Ready", False, "Paused", text),
        Finding("Progressing", bool(left), "Stopping" if left else "Paused", text),
        Finding("Degraded", False, "NotDegraded", NO_FAULT),
    ]


def _last_step(view: View) -> datetime | None:
    """When the newest pod of an instance was created: each step of a rolling update has its own deadline."""
    created = [
        i.pod["metadata"].get("creationTimestamp") for i in view.observed.instances if i.pod is not None
    ]
    return max((datetime.fromisoformat(time) for time in created if time), default=None)


def _has_stalled(view: View, problem: Problem | None, last_step: datetime | None) -> bool:
    """Whether the change takes too long; the time starts again with a changed spec or a fixed problem."""
    progressing = view.cluster.status.condition("Progressing")
    if progressing is None:
        return False
    if progressing.status == "True":
        since = max(progressing.last_transition_time, last_step or progressing.last_transition_time)
        return view.now - since > PATIENCE
    if progressing.reason == SETTLED or progressing.observed_generation != view.cluster.metadata.generation:
        return False
    return problem is not None or progressing.reason == "Stalled"


def _was_ready(cluster: PGCluster) -> bool:
    """Whether the cluster was ready before: then a missing instance is a fault and not a first start."""
    degraded = cluster.status.condition("Degraded")
    return (
        cluster.status.state == "ready"
        or bool(degraded and degraded.status == "True")
        or any(c.type == "Ready" and c.status == "True" for c in cluster.status.conditions)
    )


def merged(
    previous: PGClusterStatus, findings: Sequence[Finding], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """Findings as conditions; the transition time changes only with the status."""
    result = []
    for finding in findings:
        word: Literal["True", "False"] = "True" if finding.status else "False"
        old = previous.condition(finding.type)
        since = old.last_transition_time if old is not None and old.status == word else now
        result.append(
            Condition(
                type=finding.type,
                status=word,
                observed_generation=generation,
                last_transition_time=since,
                reason=finding.reason,
                message=finding.message[:2000],
            )
        )
    return tuple(result)


def refused(previous: PGClusterStatus, generation: int, problem: Problem, now: datetime) -> PGClusterStatus:
    """The status of a cluster that cannot be reconciled: the previous status with the problem as summary."""
    findings = [
        Finding("Ready", False, problem.reason, problem.message),
        Finding("Progressing", False, problem.reason, problem.message),
        Finding("Degraded", True, problem.reason, problem.message),
    ]
    findings += credential_conditions.refused(problem)
    findings += [
        Finding(c.type, c.status == "True", c.reason, c.message)
        for c in previous.conditions
        if c.type not in {f.type for f in findings}
    ]
    # `state` and conditions must agree, also for a cluster that still serves with its last valid spec.
    update = {
        "state": "initializing",
        "conditions": merged(previous, findings, generation, now),
        "observed_generation": generation,
    }
    return previous.model_copy(update=update)


def deleting(cluster: PGCluster, now: datetime, pods: Sequence[Manifest] = ()) -> PGClusterStatus:
    """The status of a cluster that is being deleted; it names those of its `pods` that do not stop."""
    generation = cluster.metadata.generation
    text = "the cluster is being deleted"
    for pod in pods:
        # The time at which the pod's grace period ends.
        end = pod["metadata"].get("deletionTimestamp")
        if end is not None and now - datetime.fromisoformat(end) > STOP_PATIENCE:
            node = pod.get("spec", {}).get("nodeName", "unknown")
            text += f"; pod {name_of(pod)} on node {node} does not stop"
            text += ": if its node is gone, delete it with --force"
    status = refused(cluster.status, generation, Problem("Deleting", text), now)
    return status.model_copy(update={"state": "stopping"})


def unmanaged(cluster: PGCluster, now: datetime) -> PGClusterStatus:
    """The status of an unmanaged cluster: the previous status, and Progressing with the cause."""
    findings = [Finding("Progressing", False, "Paused", decide_pause.UNMANAGED)]
    progressing = merged(cluster.status, findings, cluster.metadata.generation, now)
    rest = [c for c in cluster.status.conditions if c.type != "Progressing"]
    return cluster.status.model_copy(update={"conditions": (*progressing, *rest)})
