"""A switchover that the user requests by a new value of the annotation, once for each value. Pure.

An impossible request is reported and decided again when the cluster or its spec changes. An attempted request
becomes final after a few attempts, also when it failed: a switchover hours later, when no user expects it,
would be worse. Before it begins, the timeline is recorded in the status: if it has increased, an earlier
process of the operator has already switched over.
"""

from dataclasses import dataclass

from pgoperator import labels
from pgoperator.api.postgres import Switchover
from pgoperator.api.status import PatroniState
from pgoperator.kube.manifest import annotations_of
from reconcilers.pgcluster.rollout import decide_rolling_update
from reconcilers.pgcluster.state.cache import SwitchoverOutcome
from reconcilers.pgcluster.state.view import Instance, View


@dataclass(frozen=True, slots=True)
class RecordTimeline:
    """Record the timeline in the status before the switchover."""

    value: str
    timeline: int


@dataclass(frozen=True, slots=True)
class Promote:
    """Make the candidate the primary now."""

    value: str
    candidate: Instance
    failover: bool = False


def recorded(view: View) -> PatroniState:
    """What the status has recorded about switchovers."""
    patroni = view.cluster.status.patroni
    return (patroni.status if patroni else None) or PatroniState()


def requested(view: View) -> str:
    """The value of the annotation that requests a switchover; "" without the annotation."""
    return labels.request(annotations_of(view.manifest), labels.TRIGGER_SWITCHOVER)


def decide(
    view: View, serving: frozenset[str], former: str = ""
) -> RecordTimeline | Promote | SwitchoverOutcome | None:
    """What to do about the annotation; None when its value is not new.

    `former` is the primary at the time when the timeline was recorded, "" if unknown. A member reports its
    timeline once per loop of Patroni, so a new primary may still have had an old timeline at that time.
    """
    value, status = requested(view), recorded(view)
    if not value or value == status.switchover:
        return None
    primary, begun = view.observed.primary, status.switchover_timeline
    if (
        begun is not None
        and primary is not None
        and primary.name != former
        and primary.member.timeline > begun
    ):
        return SwitchoverOutcome(value, True, "Done", f"{primary.pod_name} is the primary")
    if blocker := _blocker(view):
        return SwitchoverOutcome(value, False, *blocker)
    spec = view.cluster.spec.patroni.switchover or Switchover()
    candidate = _candidate(view, serving, primary, spec.target_instance)
    if isinstance(candidate, str):
        return SwitchoverOutcome(value, False, "NoCandidate", candidate)
    if candidate == primary:
        return SwitchoverOutcome(value, True, "Done", f"{candidate.pod_name} is already the primary")
    timeline = (primary or candidate).member.timeline
    return (
        RecordTimeline(value, timeline)
        if begun is None
        else Promote(value, candidate, spec.type == "Failover")
    )


def _blocker(view: View) -> tuple[str, str] | None:
    """Reason and message when a switchover is not possible now."""
    spec = view.cluster.spec.patroni.switchover
    if spec is None or not spec.enabled:
        return "NotEnabled", "spec.patroni.switchover.enabled is not true"
    if view.restoring is not None or view.paused:
        return "Waiting", "a restore is running or the cluster is paused"
    if spec.type == "Failover" and not spec.target_instance:
        return "NoTarget", "a Failover needs spec.patroni.switchover.targetInstance"
    if view.observed.primary is None and spec.type != "Failover":
        return "NoPrimary", "the cluster has no primary; only a switchover of type Failover is possible"
    return None


def _candidate(
    view: View, serving: frozenset[str], primary: Instance | None, target: str | None
) -> Instance | str:
    """The instance to promote, or the message why no instance can be promoted."""
    instances = {i.name: i for i in view.observed.instances}
    if target:
        if target not in instances:
            return f"instance {target} does not exist; the instances are {', '.join(instances)}"
        instance = instances[target]
        runs = instance.pod is not None if primary is None else target in serving
        return instance if runs else f"{instance.pod_name} is not following the primary"
    assert primary is not None
    ready = [i for i in view.observed.instances if i.name in serving]
    return decide_rolling_update.best_candidate(view, ready, primary) or "no replica is following the primary"
