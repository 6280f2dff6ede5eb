"""Rolling update: which instance is next when pods do not match the template of their StatefulSet.

A pure decision of one step. Replicas restart first, one at a time; then the best replica becomes
the primary, and the old primary restarts last. While an instance is not ready, only broken pods are replaced:
otherwise a change that fixes them could never be applied. A template that breaks its first replica stops
there. Pods whose token Kubernetes refuses restart before all others.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pgoperator import labels, naming
from pgoperator.kube.manifest import annotations_of, is_deleting, labels_of, uid_of
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.state import diagnostics
from reconcilers.pgcluster.state.diagnostics import is_detached
from reconcilers.pgcluster.state.view import Instance, View

SECONDS = 60
"""Delay of a Wait; watch events are usually faster."""
# Longer than a healthy start takes: a pod that is not ready after it counts as broken.
PATIENCE = timedelta(minutes=10)
# The kubelet renews a token of 3607 s after 80 % of that time.
RENEWED = timedelta(minutes=65)

NOT_OBSERVED = "waiting for the StatefulSet controller to observe the new pod template"


@dataclass(frozen=True, slots=True)
class Restart:
    """Delete the pod with this UID; its StatefulSet creates a new one."""

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
    """The next step; None when every pod has its current template. `serving` are names of instances."""
    existing = {i.name: i for i in view.observed.instances}
    planned = [existing.get(p.name) or Instance(p.name, p.set_name) for p in view.planned]
    outdated = [i for i in planned if is_outdated(i)]
    detached = _detached(view)
    if not (outdated or detached) or view.restoring is not None or view.paused:
        return None
    stopping = [i.pod_name for i in planned if i.pod is not None and is_deleting(i.pod)]
    if stopping:
        return Wait(f"waiting for {', '.join(stopping)} to stop", SECONDS)
    if detached:
        return _reattach(view, detached, planned)
    return (
        _broken(view, outdated, planned, serving)
        or _blocker(view, planned, serving)
        or _in_order(view, outdated, planned)
    )


def _detached(view: View) -> list[Instance]:
    """The planned instances whose token the API server refuses. The kubelet has renewed it after an hour."""
    names, account = {p.name for p in view.planned}, view.observed.account
    made = account["metadata"].get("creationTimestamp") if account is not None else None
    if made is None or view.now - datetime.fromisoformat(made) > RENEWED:
        return []
    leader = view.observed.leader
    return [
        i
        for i in view.observed.instances
        if i.name in names and i.pod is not None and is_detached(i.pod, account, leader)
    ]


def _reattach(view: View, detached: list[Instance], planned: list[Instance]) -> Restart | Wait:
    """Restart the pods one after another, the last holder of the lock at last.

    No instance can keep the lock, so this does not wait for a primary. It waits for each restarted instance:
    the running former primary shows it whether it has all data.
    """
    absent = [i.pod_name for i in planned if i not in detached and not _has_returned(view, i)]
    if absent:
        return Wait(f"waiting for {', '.join(absent)} to be ready before another restarts", SECONDS)
    holder = annotations_of(view.observed.leader).get("leader") if view.observed.leader else None
    return _restart(min(detached, key=lambda i: (i.pod_name == holder, i.name)))


def _has_returned(view: View, instance: Instance) -> bool:
    """Whether an instance is ready, or so broken that the others do not wait for it."""
    return instance.pod is not None and (instance.is_ready or _is_broken(view, instance))


def leave(view: View, serving: frozenset[str]) -> HandOver | Wait | None:
    """The next step for a primary whose instance set was removed from the spec; None for a planned primary.

    It stays until every planned instance is ready. Then the best of them becomes the primary, and the former
    primary is removed like any other surplus replica.
    """
    primary = view.observed.primary
    names = {p.name for p in view.planned}
    if primary is None or primary.name in names or view.restoring is not None or view.paused:
        return None
    absent = [naming.pod(name) for name in sorted(names - serving)]
    if absent or not names:
        waiting = ", ".join(absent) or "an instance"
        return Wait(f"waiting for {waiting} to be ready before {primary.pod_name} is replaced", SECONDS)
    candidate = best_candidate(view, [i for i in view.observed.instances if i.name in names], primary)
    if candidate is None:
        return Wait("waiting for a synchronous replica to become the primary", SECONDS)
    return HandOver(primary.name, candidate.name)


def _blocker(view: View, planned: list[Instance], serving: frozenset[str]) -> Wait | None:
    """The reason why no healthy instance may be restarted now; None when it may."""
    absent = [i.pod_name for i in planned if i.name not in serving]
    if absent:
        return Wait(f"waiting for {', '.join(absent)} to be ready before another restarts", SECONDS)
    if not all(is_observed(i) for i in planned):
        # It is not known yet which instances are outdated, the primary included.
        return Wait(NOT_OBSERVED, SECONDS)
    if len(planned) < len(view.observed.instances):
        return Wait("waiting for surplus instances to be removed", SECONDS)
    return Wait("waiting for a primary", SECONDS) if view.observed.primary is None else None


def _in_order(view: View, outdated: list[Instance], planned: list[Instance]) -> Step:
    """Replicas by name, then the primary after a switchover; all instances are ready."""
    primary = view.observed.primary
    assert primary is not None
    replicas = [i for i in outdated if i.name != primary.name]
    if replicas:
        return _restart(replicas[0])
    if len(planned) == 1:
        return _restart(primary, is_primary=True)
    candidate = best_candidate(view, planned, primary)
    if candidate is None:
        return Wait("no replica is synchronous, so none may become the primary", SECONDS)
    return HandOver(primary.name, candidate.name)


def _broken(
    view: View, outdated: list[Instance], planned: list[Instance], serving: frozenset[str]
) -> Restart | None:
    """A broken pod to replace; the leader's pod only when no instance is ready.

    A ready pod is never broken, even if it does not follow: it may have lost its replication connection for a
    moment, or the operator may have just started.
    """
    broken = [i for i in outdated if i.name not in serving and not i.is_ready and _is_broken(view, i)]
    for instance in broken:
        if not leads(view, instance):
            return _restart(instance)
    if broken and not any(i.is_ready for i in planned):
        return _restart(broken[0], is_primary=True)
    return None


def _is_broken(view: View, instance: Instance) -> bool:
    """Whether the pod has a problem of its own, or has not been ready for longer than PATIENCE."""
    assert instance.pod is not None
    conditions = instance.pod.get("status", {}).get("conditions", [])
    since = next((c.get("lastTransitionTime") for c in conditions if c["type"] == "Ready"), None)
    since = since or instance.pod["metadata"].get("creationTimestamp")
    is_late = since is not None and view.now - datetime.fromisoformat(since) > PATIENCE
    return is_late or bool(diagnostics.of_pods([instance.pod]))


def is_outdated(instance: Instance) -> bool:
    """Whether the pod does not have the current template of its StatefulSet."""
    if instance.stateful_set is None or instance.pod is None or not is_observed(instance):
        return False
    revision = instance.stateful_set.get("status", {}).get("updateRevision")
    return bool(revision) and labels_of(instance.pod).get(labels.REVISION) != revision


def is_observed(instance: Instance) -> bool:
    """Whether the StatefulSet controller has observed the current spec."""
    if instance.stateful_set is None:
        return True
    observed = instance.stateful_set.get("status", {}).get("observedGeneration", 0)
    return bool(observed >= instance.stateful_set["metadata"].get("generation", 0))


def progress(view: View) -> str:
    """Progress of the rolling update, as a sentence; "" when no update is in progress."""
    names = {p.name for p in view.planned}
    planned = [i for i in view.observed.instances if i.name in names]
    if not all(is_observed(i) for i in planned):
        return NOT_OBSERVED
    if detached := _detached(view):
        return (
            f"the ServiceAccount {naming.instance_account(view.name)} was deleted, so Kubernetes refuses the "
            f"tokens of {', '.join(i.pod_name for i in detached)}: their pods restart"
        )
    outdated = [i.pod_name for i in planned if is_outdated(i)]
    if not outdated:
        return ""
    new = f"{len(names) - len(outdated)} of {len(names)} instances have the new template"
    return f"{new}; waiting for {', '.join(outdated)}"


def best_candidate(view: View, planned: list[Instance], primary: Instance) -> Instance | None:
    """The replica with the most data; with synchronous replication, one of the synchronous replicas."""
    replicas = [i for i in planned if i.name != primary.name]
    sync = annotations_of(view.observed.sync) if view.observed.sync else {}
    if sync.get("leader") == primary.pod_name:
        synchronous = sync.get("sync_standby", "").split(",")
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
