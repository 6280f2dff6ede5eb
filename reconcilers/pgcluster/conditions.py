"""The conditions of a cluster, in the manner of kstatus. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pgoperator.api.base import Condition
from pgoperator.api.cluster import PGCluster
from pgoperator.api.ignored import ignored_fields
from pgoperator.api.status import PGClusterStatus
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster import (
    archive,
    claims,
    configuration,
    consent,
    gaps,
    on_demand,
    pausing,
    pmm,
    space,
)
from reconcilers.pgcluster.memory import NO_CHANGE, Asked, Change
from reconcilers.pgcluster.problems import Problem
from reconcilers.pgcluster.view import View, is_ready

# Longer than any step of a healthy start takes; after it, silence is a fault to be shown.
PATIENCE = timedelta(minutes=10)

SETTLED = "Settled"
TLS = "TLSSecrets"
"""How the reasons begin that concern certificates."""
TLS_READY = "TLSSecretsReady"
PAUSED = "PGBouncerPaused"
ROLLING = "RollingUpdate"
NOT_READY = "NotReady"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a pass: `waits` are sentences, `problems` what a person must mend."""

    waits: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    access_is_current: bool = False
    """Users, databases and the pooler's account are in the database as the CR wants them."""
    stanza_hash: str | None = None
    """Digest of the repositories for which the stanza is known to exist."""
    stanza_error: str = ""
    """Why it could not be made in this pass."""
    poolers: tuple[str, ...] = ()
    """Pods of pgBouncer that do not hold queries back yet, or still do."""
    init_sql: str | None = None
    """Name of the ConfigMap whose SQL has been run."""
    extensions: Problem | None = None
    """What is not as it should be with the extensions."""
    book: archive.Book = archive.NO_BACKUPS
    """The backups and their schedules."""
    change: Change = NO_CHANGE
    """What is being changed about a cluster that runs."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition before it has its times."""

    type: str
    status: bool
    reason: str
    message: str


def findings(view: View, outcome: Outcome, missing: list[str], volumes: Sequence[Manifest]) -> list[Finding]:
    """Every condition of the cluster; `missing` are sentences of what is not yet as promised.

    `volumes` are the claims of the cluster.
    """
    found = _summary(view, outcome, missing)
    if consent.is_missing(view):
        found = [f for f in found if f.type != "Progressing"]
        found.append(Finding("Progressing", False, consent.REASON, consent.MESSAGE))
    if view.secrets:
        found.append(_certificates(view))
    if view.cluster.spec.backups.enabled:
        facts = archive.facts(view, outcome.book, outcome.stanza_hash, outcome.stanza_error)
        more = [fact for part in (on_demand, space, gaps) for fact in part.facts(view, outcome.book)]
        found += [Finding(*fact) for fact in facts + more]
    if view.cluster.spec.pg_bouncer:
        available = any(is_ready(pod) for pod in view.observed.pooler_pods)
        found.append(
            Finding(
                "ProxyAvailable",
                available,
                "PGBouncerAvailable" if available else "PGBouncerUnavailable",
                "a pgBouncer pod is ready" if available else "no pgBouncer pod is ready",
            )
        )
        found += _held_back(view, outcome.poolers)
    found += [Finding(*fact) for fact in pmm.facts(view)]
    if outcome.access_is_current or outcome.extensions is not None:
        wrong = outcome.extensions
        told = wrong or Problem("AllInstalled", "every extension is as spec.extensions says")
        found.append(Finding("ExtensionsReady", wrong is None, told.reason, told.message))
    found += _changes(view, outcome, volumes)
    if ignored := ignored_fields(view.manifest):
        message = f"accepted, but not acted on by this version: {', '.join(ignored)}"
        found.append(Finding("FieldsIgnored", True, "NotImplemented", message))
    if overridden := configuration.overridden(view):
        message = f"decided by the operator: {', '.join(overridden)}"
        found.append(Finding("FieldsOverridden", True, "Overridden", message))
    return found


def _changes(view: View, outcome: Outcome, volumes: Sequence[Manifest]) -> list[Finding]:
    """What is being changed, or waits for it; nothing in a settled cluster."""
    found = []
    pending = [i.pod_name for i in view.observed.instances if i.member.pending_restart]
    if pending:
        message = f"parameters wait for a restart of {', '.join(pending)}"
        message += f": {outcome.change.restarting}" if outcome.change.restarting else ""
        found.append(Finding("PendingRestart", True, "ParametersChanged", message))
    if changing := claims.resizing(volumes):
        message = "; ".join(sentence for _, sentence in changing)
        found.append(Finding("PersistentVolumeResizing", True, changing[0][0], message))
    asked = outcome.change.asked or _told_before(view, outcome.change)
    if asked is not None:
        found.append(Finding("Switchover", asked.status, asked.reason, asked.message))
    if view.restoring is not None:
        message = f"restore {view.restoring.name} is at {view.restoring.phase}"
        found.append(Finding("PGBackRestoreProgressing", True, view.restoring.phase, message))
    return found


def _certificates(view: View) -> Finding:
    """Whether the certificates are those that are asked for; if not, the last good ones serve on."""
    bad = [problem for problem in view.unusable if problem.reason.startswith(TLS)]
    if bad:
        return Finding(TLS_READY, False, bad[0].reason, "; ".join(problem.message for problem in bad))
    policy = view.cluster.spec.tls.cert_management_policy
    return Finding(TLS_READY, True, "TLSSecretsFound", f"certManagementPolicy is {policy}")


def _held_back(view: View, late: tuple[str, ...]) -> list[Finding]:
    """Whether pgBouncer holds queries back; nothing when it does not and need not."""
    names = ", ".join(late)
    if view.cluster.spec.pg_bouncer and view.cluster.spec.pg_bouncer.paused:
        if late or not view.observed.pooler_pods:
            return [
                Finding(PAUSED, False, "Pausing", f"queries are not held back yet by {names or 'any pod'}")
            ]
        return [Finding(PAUSED, True, "Paused", "queries wait in pgBouncer until paused is false")]
    return [Finding(PAUSED, True, "Resuming", f"queries are still held back by {names}")] if late else []


def _summary(view: View, outcome: Outcome, missing: list[str]) -> list[Finding]:
    """Ready, Progressing and Degraded."""
    if view.paused:
        return _paused(view)
    if not missing:
        return [
            Finding("Ready", True, "AllServing", "every promised instance serves"),
            Finding("Progressing", False, SETTLED, "nothing is being changed"),
            Finding("Degraded", False, "AllServing", "every promised instance serves"),
        ]
    problem = outcome.problems[0] if outcome.problems else None
    rolling = bool(outcome.change.rolling)
    reason = ROLLING if rolling else NOT_READY if view.observed.system_identifier else "Initializing"
    reason = problem.reason if problem else reason
    text = "; ".join([problem.message, *(m for m in missing if m != problem.message)] if problem else missing)
    waiting = outcome.change.rolling or "; ".join(outcome.waits) or text
    stalled = _has_stalled(view, problem, _last_step(view) if rolling else None)
    if stalled and problem is None:
        reason, text = "Stalled", f"no progress for {int(PATIENCE.total_seconds() // 60)} minutes: {text}"
    served_before = bool(view.observed.system_identifier) and view.cluster.status.state is not None
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
            text if degraded else "as expected so far",
        ),
    ]


def _paused(view: View) -> list[Finding]:
    """Stopped on purpose, or on the way to it."""
    left = pausing.left(view)
    text = f"spec.pause is set; still there: {', '.join(left)}" if left else "spec.pause is set"
    return [
        Finding("Ready", False, "Paused", text),
        Finding("Progressing", bool(left), "Stopping" if left else "Paused", text),
        Finding("Degraded", False, "NotDegraded", "as expected so far"),
    ]


def _told_before(view: View, change: Change) -> Asked | None:
    """What was said of the last switchover that a person asked for; it stays until the next."""
    said = view.cluster.status.condition("Switchover")
    if said is None or change.carried_out is None:
        return None
    return Asked(change.carried_out, said.status == "True", said.reason, said.message)


def _last_step(view: View) -> datetime | None:
    """When the youngest pod of an instance was made: a rolling change may take long, but not between two."""
    made = [i.pod["metadata"].get("creationTimestamp") for i in view.observed.instances if i.pod is not None]
    return max((datetime.fromisoformat(one) for one in made if one), default=None)


def _has_stalled(view: View, problem: Problem | None, last_step: datetime | None) -> bool:
    """Whether work has gone on for too long; a changed spec, or a mended problem, begins anew."""
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
    """Whether the cluster has once been ready: after that, less than all is a loss and not a beginning."""
    degraded = cluster.status.condition("Degraded")
    return (
        cluster.status.state == "ready"
        or bool(degraded and degraded.status == "True")
        or any(c.type == "Ready" and c.status == "True" for c in cluster.status.conditions)
    )


def merged(
    previous: PGClusterStatus, findings: Sequence[Finding], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """Findings as conditions; the time of transition stays while the status does."""
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
    """The status of a cluster that cannot be worked on: what was known stays, and why is said."""
    findings = [
        Finding("Ready", False, problem.reason, problem.message),
        Finding("Progressing", False, problem.reason, problem.message),
        Finding("Degraded", True, problem.reason, problem.message),
    ]
    if problem.reason.startswith(TLS):
        findings.append(Finding(TLS_READY, False, problem.reason, problem.message))
    findings += [
        Finding(c.type, c.status == "True", c.reason, c.message)
        for c in previous.conditions
        if c.type not in {f.type for f in findings}
    ]
    # Words and conditions must agree, also for a cluster that still serves with its last good spec.
    update = {
        "state": "initializing",
        "conditions": merged(previous, findings, generation, now),
        "observed_generation": generation,
    }
    return previous.model_copy(update=update)


def stopping(cluster: PGCluster, now: datetime) -> PGClusterStatus:
    """The status of a cluster on its way out."""
    generation = cluster.metadata.generation
    found = refused(cluster.status, generation, Problem("Deleting", "the cluster is being deleted"), now)
    return found.model_copy(update={"state": "stopping"})


def left_alone(cluster: PGCluster, now: datetime) -> PGClusterStatus:
    """The status of a cluster that is not managed: as it was, and why nothing happens."""
    found = [Finding("Progressing", False, "Paused", pausing.UNMANAGED)]
    told = merged(cluster.status, found, cluster.metadata.generation, now)
    rest = [c for c in cluster.status.conditions if c.type != "Progressing"]
    return cluster.status.model_copy(update={"conditions": (*told, *rest)})
