"""The state of a Job: the only reader of Jobs and their pods.

A Job has succeeded as soon as its container has exited with status 0; the Job's own status shows that later.
A Job has failed when its status shows `Failed`. Before that, Kubernetes stops its pods with the condition
`FailureTarget`, which is reported as `failing`. The cause names a pod that was evicted or lost with its node.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pgoperator.kube.manifest import Manifest, is_deleting, name_of, owner_of, uid_of


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A Job with the results of its pods."""

    name: str
    uid: str = ""
    owner: str = ""
    """UID of the object that the Job belongs to."""
    created: str = ""
    """Creation time as an RFC 3339 string."""
    succeeded: bool = False
    failed: bool = False
    failing: bool = False
    """Failed, or Kubernetes stops its pods to let it fail."""
    started: bool = False
    """At least one pod has left the phase Pending."""
    ran: bool = True
    """A pod may have run, also one that is gone."""
    works: bool = False
    """At least one pod runs and is not being deleted."""
    idle_since: datetime | None = None
    """Since when no pod works; None while a pod does."""
    report: str = ""
    """Termination message of the container that exited with status 0."""
    cause: str = ""
    """Why the Job failed, or why its pod does not start."""
    code: int | None = None
    """Exit status of the container that failed last."""
    deleting: bool = False

    @property
    def ended(self) -> bool:
        """Whether the Job has succeeded or failed."""
        return self.succeeded or self.failed


def read(job: Manifest, pods: Sequence[Manifest], container: str, before: str = "") -> JobStatus:
    """Read a Job; `pods` must be its own pods, `container` names the container whose result counts.

    `before`: an init container whose failure counts, too.
    """
    own = sorted(pods, key=_created)
    conditions = {c["type"]: c for c in job.get("status", {}).get("conditions", []) if c["status"] == "True"}
    ends = [end for pod in own if (end := terminated(pod, container)) is not None]
    good = next((end for end in ends if end.get("exitCode") == 0), None)
    ends += [end for pod in own if before and (end := terminated(pod, before, init=True)) is not None]
    bad = next((end for end in reversed(ends) if end.get("exitCode") != 0), None)
    succeeded = good is not None or "Complete" in conditions or "SuccessCriteriaMet" in conditions
    failed = conditions.get("Failed") if not succeeded else None
    failing = (failed or conditions.get("FailureTarget")) if not succeeded else None
    works = any(_works(pod, container) for pod in own)
    return JobStatus(
        name=name_of(job),
        uid=uid_of(job),
        owner=owner_of(job) or "",
        created=_created(job),
        succeeded=succeeded,
        failed=failed is not None,
        failing=failing is not None,
        started=any(_phase(pod) not in ("", "Pending") for pod in own),
        ran=_counted(job) or any(_has_run(pod) for pod in own),
        works=works,
        idle_since=None if works else _idle_since(job, own, container),
        report=str((good or {}).get("message") or ""),
        cause="" if succeeded else _cause(own, bad, failing),
        code=(bad or {}).get("exitCode"),
        deleting=is_deleting(job),
    )


def _cause(pods: Sequence[Manifest], bad: Manifest | None, failing: Manifest | None) -> str:
    """The container's termination message; Kubernetes' message without one, and both after a deadline."""
    cause = str((bad or {}).get("message") or "").strip()
    if failing is not None and (not cause or failing.get("reason") == "DeadlineExceeded"):
        message = str(failing.get("message") or failing.get("reason") or "")
        return "; ".join(filter(None, (message, _lost(pods), cause)))
    return cause or waiting(pods)


def terminated(pod: Manifest, container: str, *, init: bool = False) -> Manifest | None:
    """The container's `state.terminated`; None while it has not terminated."""
    for status in pod.get("status", {}).get("initContainerStatuses" if init else "containerStatuses", []):
        if status["name"] == container:
            end: Manifest | None = status.get("state", {}).get("terminated")
            return end
    return None


def waiting(pods: Sequence[Manifest]) -> str:
    """Why a pod does not start: not scheduled, image not pulled, volume missing; "" without a known cause."""
    for pod in pods:
        if is_deleting(pod):
            continue
        status = pod.get("status", {})
        for condition in status.get("conditions", []):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return str(condition.get("message", ""))
        for container in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
            state = container.get("state", {}).get("waiting") or {}
            if state.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
                return f"{state['reason']}: {state.get('message', '')}".rstrip(": ")
    return ""


def _lost(pods: Sequence[Manifest]) -> str:
    """Why Kubernetes ended a pod: evicted, node lost; "" if it did not."""
    for pod in pods:
        status = pod.get("status", {})
        if status.get("phase") == "Failed" and status.get("reason"):
            return f"{status['reason']}: {status.get('message', '')}".rstrip(": ")
    return ""


def _counted(job: Manifest) -> bool:
    """Whether the Job counts a pod that has ended."""
    status = job.get("status", {})
    ended = status.get("failed"), status.get("succeeded"), status.get("conditions")
    return any(ended) or any((status.get("uncountedTerminatedPods") or {}).values())


def _has_run(pod: Manifest) -> bool:
    """Whether a container of the pod may have run."""
    status = pod.get("status", {})
    each = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    begun = any(
        {"running", "terminated"} & {*one.get("state", {}), *one.get("lastState", {})} for one in each
    )
    return _phase(pod) not in ("", "Pending") or is_deleting(pod) or begun


def _works(pod: Manifest, container: str) -> bool:
    return _phase(pod) == "Running" and not is_deleting(pod) and terminated(pod, container) is None


def _idle_since(job: Manifest, pods: Sequence[Manifest], container: str) -> datetime | None:
    """When the last working pod was deleted or terminated; without any, when the Job was created."""
    times = [job["metadata"].get("creationTimestamp")]
    times += [pod["metadata"].get("deletionTimestamp") for pod in pods]
    times += [(terminated(pod, container) or {}).get("finishedAt") for pod in pods]
    return max((datetime.fromisoformat(time) for time in times if time), default=None)


def _phase(pod: Manifest) -> str:
    return str(pod.get("status", {}).get("phase", ""))


def _created(manifest: Manifest) -> str:
    return str(manifest["metadata"].get("creationTimestamp", ""))
