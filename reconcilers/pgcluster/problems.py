"""Why a cluster is not ready: the causes that pods, volumes and events show, in words for a person. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pgoperator import labels
from pgoperator.kube.manifest import Manifest, is_deleting, labels_of, name_of

# What kubelet says while it merely has not come round to a container yet.
_PATIENCE = ("ContainerCreating", "PodInitializing")


@dataclass(frozen=True, slots=True)
class Problem:
    """A cause: `reason` is a CamelCase word, `message` a sentence."""

    reason: str
    message: str


def of_pods(pods: Iterable[Manifest]) -> list[Problem]:
    """What keeps pods from running; a Job's pod ends, and who asked for the Job is told how."""
    lasting = [pod for pod in pods if not is_deleting(pod) and labels.JOB not in labels_of(pod)]
    return [problem for pod in lasting for problem in _of_pod(pod)]


def _of_pod(pod: Manifest) -> list[Problem]:
    name, status = name_of(pod), pod.get("status", {})
    found = [
        Problem(condition.get("reason") or "Unschedulable", f"pod {name}: {_said(condition)}")
        for condition in status.get("conditions", [])
        if condition["type"] == "PodScheduled" and condition["status"] == "False"
    ]
    for container in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
        problem = _of_container(name, container)
        if problem is not None:
            found.append(problem)
    return found


def _of_container(pod: str, container: Manifest) -> Problem | None:
    where = f"pod {pod}, container {container['name']}"
    ended = container.get("lastState", {}).get("terminated") or container.get("state", {}).get("terminated")
    waiting = container.get("state", {}).get("waiting") or {}
    if waiting and waiting.get("reason") not in (*_PATIENCE, "CrashLoopBackOff"):
        return Problem(waiting.get("reason") or "Waiting", f"{where}: {_said(waiting)}")
    # The scripts leave the cause of a refusal in the termination message; without one, an end that was
    # followed by a good start is not worth a word.
    if ended and not container.get("ready") and (ended.get("message") or waiting):
        status = f"ended with status {ended.get('exitCode')} ({ended.get('reason') or 'no reason given'})"
        return Problem("ContainerFailed", f"{where}: {(ended.get('message') or status).strip()}")
    return None


def _said(part: Manifest) -> str:
    """What Kubernetes says of it, in as many words as there are."""
    return str(part.get("message") or part.get("reason") or "no reason given")


def of_volumes(claims: Iterable[Manifest]) -> list[Problem]:
    """Claims that lost their volume or cannot grow; pods that wait for theirs explain those that wait."""
    return [problem for claim in claims for problem in _of_volume(name_of(claim), claim.get("status", {}))]


def _of_volume(name: str, status: Manifest) -> Iterator[Problem]:
    if status.get("phase") == "Lost":
        yield Problem("VolumeLost", f"volume claim {name} has lost its volume")
    states = (status.get("allocatedResourceStatuses") or {}).values()
    told = [c for c in status.get("conditions") or [] if c["type"].endswith("ResizeError")]
    if told or any(state.endswith("ResizeInfeasible") for state in states):
        why = _said(told[0]) if told else "its storage says that this cannot be"
        yield Problem("VolumeRefused", f"volume claim {name} does not grow: {why}")
