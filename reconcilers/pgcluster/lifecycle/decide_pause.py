"""How many pods of each component a paused or resuming cluster has. Pure.

pgBouncer stops first, which ends its clients' writes, then the replicas, then the primary, then the
repository host, which receives the last WAL. On resume the marked instance starts first
(`state.primary_mark`).
"""

from pgoperator.api.cluster import PGCluster
from pgoperator.kube.manifest import annotations_of, name_of
from pgoperator.kube.store import Store
from reconcilers.pgcluster.state import observe, primary_mark
from reconcilers.pgcluster.state.view import View

IN_PROGRESS = ("Starting", "Running")
UNMANAGED = "spec.unmanaged is set: the operator changes nothing"
NO_PRIMARY = "waiting for a primary before pausing: without a primary, the newest data cannot be located"


def is_busy(store: Store, cluster: PGCluster) -> bool:
    """Whether a backup of the cluster is running: it finishes before `pause` or `unmanaged` takes effect."""
    return any(
        backup.get("status", {}).get("state") in IN_PROGRESS
        for backup in observe.backups(store, cluster.namespace, cluster.name)
    )


def last_to_stop(view: View) -> str:
    """The instance that stops last: the primary, the marked one, or the lock's holder; "" if unknown."""
    observed = view.observed
    if observed.primary is not None:
        return observed.primary.name
    if marked := primary_mark.marked(observed):
        return marked
    holder = annotations_of(observed.leader).get("leader", "") if observed.leader else ""
    names = [i.name for i in observed.instances]
    if len(names) == 1:
        return names[0]
    return next((i.name for i in observed.instances if holder and i.pod_name == holder), "")


def replicas(view: View, name: str) -> int:
    """Desired replicas of an instance's StatefulSet: 1 or 0."""
    if not view.paused:
        return _present(view, name) if primary_mark.waits(view.observed, name) else 1
    if view.observed.pooler_pods:
        return _present(view, name)
    last = last_to_stop(view)
    if not last:
        return _present(view, name)
    if name != last:
        return 0
    is_marked = primary_mark.marked(view.observed) == name
    return 0 if is_marked and is_alone(view, name) else _present(view, name)


def pooler_replicas(view: View, requested: int) -> int:
    """Desired replicas of pgBouncer; `requested` is the number in the spec."""
    return 0 if view.paused else requested


def host_replicas(view: View) -> int:
    """Desired replicas of the repository host: the primary archives to it until it has stopped."""
    return 0 if view.paused and all(i.pod is None for i in view.observed.instances) else 1


def left(view: View) -> list[str]:
    """Names of the pods that have not stopped yet."""
    observed = view.observed
    pods = [*observed.pooler_pods, *(i.pod for i in observed.instances if i.pod is not None)]
    pods += [observed.repo_host_pod] if observed.repo_host_pod is not None else []
    return [name_of(pod) for pod in pods]


def is_alone(view: View, name: str) -> bool:
    """Whether no other pod of an instance or of pgBouncer exists."""
    others = (i.pod for i in view.observed.instances if i.name != name)
    return not view.observed.pooler_pods and all(pod is None for pod in others)


def _present(view: View, name: str) -> int:
    """Current replicas of the StatefulSet; 0 when it does not exist."""
    for instance in view.observed.instances:
        if instance.name == name and instance.stateful_set is not None:
            return int(instance.stateful_set.get("spec", {}).get("replicas", 1))
    return 0
