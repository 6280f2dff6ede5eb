"""The one reader of Jobs: what it makes of each state in which Kubernetes shows a Job and its pods."""

from datetime import UTC, datetime

import pytest

from pgoperator.kube.manifest import Manifest
from reconcilers import jobs
from reconcilers.jobs import JobStatus

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CONTAINER = "pgbackrest"


def read(job: Manifest, pods: list[Manifest]) -> JobStatus:
    return jobs.read(job, pods, CONTAINER)


def pod(state: Manifest, phase: str) -> Manifest:
    statuses = [{"name": CONTAINER, "state": state}]
    return {"metadata": {"name": "p"}, "status": {"phase": phase, "containerStatuses": statuses}}


def ended(code: int, message: str = "") -> Manifest:
    return pod({"terminated": {"exitCode": code, "message": message}}, "Succeeded" if code == 0 else "Failed")


def a_job(*conditions: Manifest) -> Manifest:
    status = [c | {"status": "True"} for c in conditions]
    return {
        "metadata": {"name": "j", "creationTimestamp": NOW.isoformat()},
        "status": {"conditions": status},
    }


def test_a_pods_success_counts_before_the_jobs() -> None:
    found = read(a_job(), [ended(0, "{}")])
    assert (found.succeeded, found.failed, found.report) == (True, False, "{}")


def test_one_failure_is_not_yet_the_jobs() -> None:
    found = read(a_job(), [ended(1, "ERROR: x")])
    assert (found.succeeded, found.failed, found.cause) == (False, False, "ERROR: x")
    found = read(a_job({"type": "Failed", "reason": "BackoffLimitExceeded"}), [ended(1, "ERROR: x")])
    assert (found.failed, found.cause) == (True, "ERROR: x")


def test_a_pod_that_was_taken_away() -> None:
    evicted = {"metadata": {}, "status": {"phase": "Failed", "reason": "Evicted", "message": "low on disk"}}
    found = read(a_job({"type": "Failed", "message": "limit reached"}), [evicted])
    assert found.cause == "limit reached; Evicted: low on disk"


def test_a_pod_that_waits() -> None:
    waiting = pod({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}, "Pending")
    assert read(a_job(), [waiting]).cause == "ImagePullBackOff: no such image"
    assert not read(a_job(), [waiting]).started


@pytest.mark.parametrize(
    ("conditions", "pods", "expected"),
    [
        ((), [], (False, False, False)),
        (({"type": "Complete"},), [], (True, False, False)),
        (({"type": "SuccessCriteriaMet"},), [], (True, False, False)),
        (({"type": "FailureTarget"},), [], (False, False, True)),
        (({"type": "Failed"},), [], (False, True, True)),
        (({"type": "Failed"},), [ended(0)], (True, False, False)),
        (({"type": "FailureTarget"},), [ended(1), ended(0)], (True, False, False)),
    ],
)
def test_success_and_failure(
    conditions: tuple[Manifest, ...], pods: list[Manifest], expected: tuple[bool, bool, bool]
) -> None:
    found = read(a_job(*conditions), pods)
    assert (found.succeeded, found.failed, found.failing) == expected
    assert found.ended == (found.succeeded or found.failed)


def test_a_deadline_is_named_before_the_last_words() -> None:
    deadline = {"type": "Failed", "reason": "DeadlineExceeded", "message": "Job was active longer"}
    assert read(a_job(deadline), [ended(1, "ERROR: x")]).cause == "Job was active longer; ERROR: x"


def test_who_works_and_since_when_nobody_does() -> None:
    assert read(a_job(), []).idle_since == NOW
    works = read(a_job(), [pod({"running": {}}, "Running")])
    assert (works.works, works.idle_since) == (True, None)
    over = pod({"terminated": {"exitCode": 2, "finishedAt": "2026-01-02T04:00:00Z"}}, "Running")
    stopped = read(a_job(), [over])
    assert (stopped.works, stopped.idle_since) == (False, datetime(2026, 1, 2, 4, tzinfo=UTC))


@pytest.mark.parametrize(
    ("counts", "pods", "ran"),
    [
        ({}, [], False),
        ({"active": 1}, [pod({"waiting": {"reason": "ContainerCreating"}}, "Pending")], False),
        ({"failed": 1}, [pod({"waiting": {}}, "Pending")], True),
        ({"uncountedTerminatedPods": {"failed": ["uid"]}}, [], True),
        ({"uncountedTerminatedPods": {}}, [], False),
        ({}, [pod({"running": {}}, "Running")], True),
        ({}, [pod({"running": {}}, "Pending")], True),
        ({}, [ended(1)], True),
        ({}, [{"metadata": {"deletionTimestamp": NOW.isoformat()}, "status": {"phase": "Pending"}}], True),
    ],
)
def test_what_may_have_run(counts: Manifest, pods: list[Manifest], ran: bool) -> None:
    job = a_job()
    job["status"] |= counts
    assert read(job, pods).ran is ran
