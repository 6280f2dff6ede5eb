"""A switchover that a person asks for: by a new value of the annotation, once for each value. Pure.

What cannot be is explained and waits for another spec. What has been tried is soon done with, also where it
failed: a primary that changes hours later, when nobody expects it any more, would be worse. Before it begins,
the status notes the timeline; if that has moved on, a predecessor of this operator has done the work.
"""

from dataclasses import dataclass

from pgoperator import labels
from pgoperator.api.postgres import Switchover
from pgoperator.api.status import PatroniState
from pgoperator.kube.manifest import annotations_of
from reconcilers.pgcluster import rollout
from reconcilers.pgcluster.memory import Asked
from reconcilers.pgcluster.view import Instance, View


@dataclass(frozen=True, slots=True)
class Begin:
    """Note the timeline in the status before anything is done."""

    value: str
    timeline: int


@dataclass(frozen=True, slots=True)
class Go:
    """Do it now."""

    value: str
    candidate: Instance
    failover: bool = False


def state(view: View) -> PatroniState:
    """What the status holds of it."""
    patroni = view.cluster.status.patroni
    return (patroni.status if patroni else None) or PatroniState()


def wanted(view: View) -> str:
    """The annotation's value."""
    found = annotations_of(view.manifest)
    name = labels.TRIGGER_SWITCHOVER
    return found.get(labels.PERCONA + name) or found.get(labels.CRUNCHY + name) or ""


def decide(view: View, serving: frozenset[str], former: str = "") -> Begin | Go | Asked | None:
    """What to do about the annotation; None when there is nothing new in it.

    `former` is the primary when it began, "" where that is not known: members tell their timeline once in a
    round of Patroni's, and one that has just become the primary may have been asked with the last one's.
    """
    value, known = wanted(view), state(view)
    if not value or value == known.switchover:
        return None
    primary, begun = view.observed.primary, known.switchover_timeline
    if (
        begun is not None
        and primary is not None
        and primary.name != former
        and primary.member.timeline > begun
    ):
        return Asked(value, True, "Done", f"{primary.pod_name} is the primary")
    if hindrance := _hindrance(view):
        return Asked(value, False, *hindrance)
    spec = view.cluster.spec.patroni.switchover or Switchover()
    candidate = _candidate(view, serving, primary, spec.target_instance)
    if isinstance(candidate, str):
        return Asked(value, False, "NoCandidate", candidate)
    if candidate == primary:
        return Asked(value, True, "Done", f"{candidate.pod_name} is the primary already")
    timeline = (primary or candidate).member.timeline
    return Begin(value, timeline) if begun is None else Go(value, candidate, spec.type == "Failover")


def _hindrance(view: View) -> tuple[str, str] | None:
    """Reason and message of what forbids it for now."""
    spec = view.cluster.spec.patroni.switchover
    if spec is None or not spec.enabled:
        return "NotEnabled", "spec.patroni.switchover.enabled is not true"
    if view.restoring is not None or view.paused:
        return "Waiting", "the cluster is restored or paused"
    if spec.type == "Failover" and not spec.target_instance:
        return "NoTarget", "a Failover needs spec.patroni.switchover.targetInstance"
    if view.observed.primary is None and spec.type != "Failover":
        return "NoPrimary", "there is no primary to take over from"
    return None


def _candidate(
    view: View, serving: frozenset[str], primary: Instance | None, target: str | None
) -> Instance | str:
    """Who shall be the primary, or why nobody can."""
    instances = {i.name: i for i in view.observed.instances}
    if target:
        if target not in instances:
            return f"there is no instance {target}; there are {', '.join(instances)}"
        instance = instances[target]
        runs = instance.pod is not None if primary is None else target in serving
        return instance if runs else f"{instance.pod_name} does not follow the primary now"
    assert primary is not None
    ready = [i for i in view.observed.instances if i.name in serving]
    return rollout.best(view, ready, primary) or "no replica follows the primary now"
