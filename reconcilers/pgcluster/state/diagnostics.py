"""Why a cluster is not ready: causes that the status of pods and volume claims shows, as Problems. Pure."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from pgoperator import labels, limits
from pgoperator.kube.manifest import Manifest, annotations_of, is_deleting, labels_of, name_of
from reconcilers.pgcluster.state.findings import Problem

# Reasons that the kubelet gives while a container starts normally.
_STARTING = ("ContainerCreating", "PodInitializing")
# A request that was accepted with the former token may still be under way; clocks differ.
_IN_FLIGHT = timedelta(seconds=15)
_PULL = ("ErrImagePull", "ImagePullBackOff")


def lacks_image(problems: Iterable[Problem]) -> bool:
    """Whether an image could not be pulled."""
    return any(problem.reason in _PULL for problem in problems)


def of_pods(pods: Iterable[Manifest]) -> list[Problem]:
    """Why pods do not run. Pods of Jobs are left out: their result is reported with the backup or restore."""
    running = [pod for pod in pods if not is_deleting(pod) and labels.JOB not in labels_of(pod)]
    return [problem for pod in running for problem in _of_pod(pod)]


def _of_pod(pod: Manifest) -> list[Problem]:
    name, status = name_of(pod), pod.get("status", {})
    problems = [
        Problem(condition.get("reason") or "Unschedulable", f"pod {name}: {_cause(condition)}")
        for condition in status.get("conditions", [])
        if condition["type"] == "PodScheduled" and condition["status"] == "False"
    ]
    limits = {c["name"]: _memory_limit(c) for c in pod.get("spec", {}).get("containers", [])}
    for container in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
        problem = _of_container(name, container, limits.get(container["name"], ""))
        if problem is not None:
            problems.append(problem)
    return problems


def _memory_limit(container: Manifest) -> str:
    return str(((container.get("resources") or {}).get("limits") or {}).get("memory", ""))


def _of_container(pod: str, container: Manifest, memory: str) -> Problem | None:
    """Why a container does not run; `memory` is its limit, "" without one."""
    where = f"pod {pod}, container {container['name']}"
    ended = container.get("lastState", {}).get("terminated") or container.get("state", {}).get("terminated")
    waiting = container.get("state", {}).get("waiting") or {}
    if waiting and waiting.get("reason") not in (*_STARTING, "CrashLoopBackOff"):
        return Problem(waiting.get("reason") or "Waiting", f"{where}: {_cause(waiting)}")
    if ended and not container.get("ready") and ended.get("reason") == "OOMKilled":
        limit = f"its limit of {memory}: raise resources.limits.memory" if memory else "the node's memory"
        return Problem("OOMKilled", f"{where}: was killed because its memory exceeded {limit}")
    # The scripts write the cause of a failure to the termination message. A container that ended without a
    # message and has started again since is not reported.
    if ended and not container.get("ready") and (ended.get("message") or waiting):
        status = f"exited with status {ended.get('exitCode')} ({ended.get('reason') or 'unknown reason'})"
        return Problem("ContainerFailed", f"{where}: {(ended.get('message') or status).strip()}")
    return None


def _cause(part: Manifest) -> str:
    """The message of a condition or state, else its reason."""
    return str(part.get("message") or part.get("reason") or "unknown reason")


def of_volumes(claims: Iterable[Manifest]) -> list[Problem]:
    """Claims that lost their volume or cannot grow. The pod that waits for a pending claim reports it."""
    return [problem for claim in claims for problem in _of_volume(name_of(claim), claim.get("status", {}))]


def _of_volume(name: str, status: Manifest) -> Iterator[Problem]:
    if status.get("phase") == "Lost":
        yield Problem(
            "VolumeLost",
            f"volume claim {name} has lost its PersistentVolume: bring the volume back, or, if another "
            "instance has the data, delete the claim and its pod",
        )
    states = (status.get("allocatedResourceStatuses") or {}).values()
    errors = [c for c in status.get("conditions") or [] if c["type"].endswith("ResizeError")]
    if errors or any(state.endswith("ResizeInfeasible") for state in states):
        cause = _cause(errors[0]) if errors else "the storage driver reports the resize as infeasible"
        yield Problem("VolumeRefused", f"volume claim {name} cannot be expanded: {cause}")


def is_detached(pod: Manifest, account: Manifest | None, leader: Manifest | None) -> bool:
    """Whether the pod's token is of a former ServiceAccount of the same name, because somebody deleted that.

    Patroni can then neither keep nor take the lock, and its labels and annotations stay as they were. The
    kubelet renews the token only after most of an hour; a new pod gets one at once. `leader`: the lock. Its
    holder is not detached if it has renewed the lock since.
    """
    if account is None or pod.get("spec", {}).get("serviceAccountName") != name_of(account):
        return False
    made = [one["metadata"].get("creationTimestamp") for one in (account, pod)]
    if not all(made) or datetime.fromisoformat(made[0]) <= datetime.fromisoformat(made[1]):
        return False
    lock = annotations_of(leader) if leader is not None else {}
    if lock.get("leader") != name_of(pod):
        return True
    try:
        renewed = limits.moment(lock["renewTime"])
    except limits.MALFORMED:
        return True
    return renewed < datetime.fromisoformat(made[0]) + _IN_FLIGHT
