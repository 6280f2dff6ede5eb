"""Rolling change: which instance comes next when pods are not what their StatefulSets would make now.

A pure decision of one step. Replicas go first, one at a time; then the best of them becomes the primary, and
the old one is the last. Only a pod that is broken anyway is replaced while others are not well: otherwise the
change that mends it could never arrive. A template that breaks its first replica stops there.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pgoperator import labels
from pgoperator.kube.manifest import annotations_of, is_deleting, labels_of, uid_of
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster import problems
from reconcilers.pgcluster.view import Instance, View

# The events that the change makes come sooner.
SECONDS = 60
# Longer than a healthy start takes: what does not serve after it is not going to.
PATIENCE = timedelta(minutes=10)

NOT_TAKEN_IN = "Kubernetes has not yet taken in the new template"


@dataclass(frozen=True, slots=True)
class Restart:
    """Delete the pod; its StatefulSet makes a new one."""

    instance: str
    uid: str
    is_primary: bool = False


@dataclass(frozen=True, slots=True)
class HandOver:
    """Make another instance the primary."""

    primary: str
    candidate: str


Step = Restart | HandOver | Wait


def next_step(view: View, serving: frozenset[str]) -> Step | None:
    """The next step, None when every pod is as it shall be; `serving` are names of instances."""
    found = {i.name: i for i in view.observed.instances}
    planned = [found.get(p.name) or Instance(p.name, p.set_name) for p in view.planned]
    late = [i for i in planned if differs(i)]
    if not late or view.restoring is not None or view.paused:
        return None
    stopping = [i.pod_name for i in planned if i.pod is not None and is_deleting(i.pod)]
    if stopping:
        return Wait(f"{', '.join(stopping)} stops", SECONDS)
    return (
        _broken(view, late, planned, serving)
        or _hindrance(view, planned, serving)
        or _in_order(view, late, planned)
    )


def _hindrance(view: View, planned: list[Instance], serving: frozenset[str]) -> Wait | None:
    """What must be well before an instance that serves is restarted."""
    absent = [i.pod_name for i in planned if i.name not in serving]
    if absent:
        return Wait(f"{', '.join(absent)} must serve before another instance is restarted", SECONDS)
    if not all(is_taken_in(i) for i in planned):
        # Which of them have to change is not known yet, and so is not whether the primary has to.
        return Wait(NOT_TAKEN_IN, SECONDS)
    if len(planned) < len(view.observed.instances):
        return Wait("instances are removed first", SECONDS)
    return Wait("there is no primary", SECONDS) if view.observed.primary is None else None


def _in_order(view: View, late: list[Instance], planned: list[Instance]) -> Step:
    """Replicas by name, then the primary by way of the best replica; everything serves."""
    primary = view.observed.primary
    assert primary is not None
    replicas = [i for i in late if i.name != primary.name]
    if replicas:
        return _restart(replicas[0])
    if len(planned) == 1:
        return _restart(primary, is_primary=True)
    candidate = best(view, planned, primary)
    if candidate is None:
        return Wait("no replica is synchronous, so that none may take over", SECONDS)
    return HandOver(primary.name, candidate.name)


def _broken(
    view: View, late: list[Instance], planned: list[Instance], serving: frozenset[str]
) -> Restart | None:
    """A pod that does not run for a reason of its own; the leader's only when nobody can take over."""
    broken = [i for i in late if i.name not in serving and _is_broken(view, i)]
    for instance in broken:
        if not leads(view, instance):
            return _restart(instance)
    if broken and not any(i.is_ready for i in planned):
        return _restart(broken[0], is_primary=True)
    return None


def _is_broken(view: View, instance: Instance) -> bool:
    assert instance.pod is not None
    made = instance.pod["metadata"].get("creationTimestamp")
    is_old = made is not None and view.now - datetime.fromisoformat(made) > PATIENCE
    return is_old or bool(problems.of_pods([instance.pod]))


def differs(instance: Instance) -> bool:
    """Whether the pod is of another template than the StatefulSet's present one."""
    if instance.stateful_set is None or instance.pod is None or not is_taken_in(instance):
        return False
    wanted = instance.stateful_set.get("status", {}).get("updateRevision")
    return bool(wanted) and labels_of(instance.pod).get(labels.REVISION) != wanted


def is_taken_in(instance: Instance) -> bool:
    """Whether the StatefulSet's status is about its present spec."""
    if instance.stateful_set is None:
        return True
    known = instance.stateful_set.get("status", {}).get("observedGeneration", 0)
    return bool(known >= instance.stateful_set["metadata"].get("generation", 0))


def progress(view: View) -> str:
    """How far a change of templates is, as a sentence; "" when there is none."""
    names = {p.name for p in view.planned}
    planned = [i for i in view.observed.instances if i.name in names]
    if not all(is_taken_in(i) for i in planned):
        return NOT_TAKEN_IN
    late = [i.pod_name for i in planned if differs(i)]
    if not late:
        return ""
    new = f"{len(names) - len(late)} of {len(names)} instances have the new template"
    return f"{new}; not {', '.join(late)}"


def best(view: View, planned: list[Instance], primary: Instance) -> Instance | None:
    """The replica that lacks least of the primary's data; with synchronous replication, one of those."""
    replicas = [i for i in planned if i.name != primary.name]
    facts = annotations_of(view.observed.sync) if view.observed.sync else {}
    if facts.get("leader") == primary.pod_name:
        synchronous = facts.get("sync_standby", "").split(",")
        replicas = [i for i in replicas if i.pod_name in synchronous]
    return max(replicas, key=lambda i: (i.member.location, i.name), default=None)


def leads(view: View, instance: Instance) -> bool:
    """Whether the instance holds Patroni's lock or has the label of the primary."""
    primary = view.observed.primary
    if primary is not None:
        return instance.name == primary.name
    holder = annotations_of(view.observed.leader).get("leader") if view.observed.leader else None
    return instance.is_primary or instance.pod_name == holder


def _restart(instance: Instance, *, is_primary: bool = False) -> Restart:
    return Restart(instance.name, uid_of(instance.pod or {"metadata": {}}), is_primary)
