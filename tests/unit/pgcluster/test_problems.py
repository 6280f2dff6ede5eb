"""Causes, in words for a person, from what pods and claims show."""

import re
from typing import Any

import pytest

from pgoperator.api.base import Condition
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.state import diagnostics
from reconcilers.pgcluster.state.findings import Problem
from tests.support.views import NOW
from tests.unit.pgcluster.observed import claim, condition, pod


def container(
    *, ready: bool = False, waiting: Any = None, ended: Any = None, last: Any = None, name: str = "database"
) -> Manifest:
    """The status of a container."""
    state = (
        {"waiting": waiting} if waiting is not None else {"terminated": ended} if ended else {"running": {}}
    )
    last_state = {"terminated": last} if last else {}
    return {"name": name, "ready": ready, "restartCount": 1, "state": state, "lastState": last_state}


def of(*containers: Manifest, **more: Any) -> list[Problem]:
    return diagnostics.of_pods([pod("p-0", {}, containers=list(containers), **more)])


PULL = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "no/such:1"'}
NEVER = {
    "reason": "ErrImageNeverPull",
    "message": "Container image x is not present with pull policy of Never",
}
CRASH = {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}
REFUSED = {"exitCode": 78, "reason": "Error", "message": "the image has PostgreSQL 16, not 17\n"}
# The script's own words about a killed child are no cause.
KILLED = {"message": "supervise.sh: line 62: 79 Killed", "exitCode": 137, "reason": "OOMKilled"}


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        (container(waiting=PULL), "ImagePullBackOff", 'Back-off pulling image "no/such:1"'),
        (container(waiting=NEVER), "ErrImageNeverPull", "pull policy of Never"),
        (container(waiting={"reason": "InvalidImageName"}), "InvalidImageName", "InvalidImageName"),
        (
            container(waiting={"reason": "CreateContainerConfigError", "message": "no Secret"}),
            None,
            "no Secret",
        ),
        (container(waiting=CRASH, last=REFUSED), "ContainerFailed", "the image has PostgreSQL 16, not 17"),
        (container(waiting=CRASH, last=KILLED), "OOMKilled", "exceeded the node's memory"),
        (container(waiting=CRASH, last={"exitCode": 1}), "ContainerFailed", "exited with status 1"),
        (container(ended=REFUSED), "ContainerFailed", "the image has PostgreSQL 16, not 17"),
        (container(last=REFUSED), "ContainerFailed", "the image has PostgreSQL 16, not 17"),
        (container(waiting={"message": "odd"}), "Waiting", "odd"),
    ],
)
def test_a_container_that_does_not_run_is_explained(status: Manifest, reason: str | None, words: str) -> None:
    [problem] = of(status)
    assert problem.reason == (reason or status["state"]["waiting"]["reason"])
    assert words in problem.message
    assert "pod p-0, container database" in problem.message
    assert problem.message == problem.message.strip()


@pytest.mark.parametrize(
    "status",
    [
        container(ready=True),
        container(),
        container(waiting={"reason": "ContainerCreating"}),
        container(waiting={"reason": "PodInitializing"}),
        container(waiting={}),
        container(ready=True, last=REFUSED),
        container(last={"exitCode": 137}),
        {"name": "database"},
    ],
)
def test_what_is_on_its_way_or_over_is_not_worth_a_word(status: Manifest) -> None:
    assert of(status) == []


VOLUME = "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims."
CPU = "0/3 nodes are available: 3 Insufficient cpu."


@pytest.mark.parametrize("words", [VOLUME, CPU])
def test_a_pod_without_a_node_is_explained(words: str) -> None:
    scheduled = condition("PodScheduled", "False", reason="Unschedulable", message=words)
    assert of(conditions=[scheduled]) == [Problem("Unschedulable", f"pod p-0: {words}")]


@pytest.mark.parametrize("more", [{}, {"reason": None, "message": None}, {"reason": "", "message": ""}])
def test_a_pod_without_a_node_and_without_words(more: Any) -> None:
    [problem] = of(conditions=[condition("PodScheduled", "False", **more)])
    assert problem.reason == "Unschedulable"
    assert "None" not in problem.message


def test_init_containers_count() -> None:
    one = pod("p-0", {})
    one["status"]["initContainerStatuses"] = [container(waiting=PULL, name="init")]
    assert [p.reason for p in diagnostics.of_pods([one])] == ["ImagePullBackOff"]


def test_an_image_that_is_not_pulled_is_told_from_other_problems() -> None:
    """Then, and only then, a missing pull Secret is a cause."""
    assert diagnostics.lacks_image(of(container(waiting=PULL)))
    assert not diagnostics.lacks_image(of(container(waiting={"reason": "CreateContainerConfigError"})))


def test_a_pod_that_goes_has_no_problems() -> None:
    assert of(container(waiting=PULL), deletionTimestamp="2026-01-02T03:04:05Z") == []


def test_a_pod_without_a_status_has_none() -> None:
    assert diagnostics.of_pods([{"kind": "Pod", "metadata": {"name": "p"}}]) == []


def test_every_pod_is_looked_at() -> None:
    found = diagnostics.of_pods([pod(name, {}, containers=[container(waiting=PULL)]) for name in ("a", "b")])
    assert [("pod a" in p.message, "pod b" in p.message) for p in found] == [(True, False), (False, True)]


@pytest.mark.parametrize(("phase", "count"), [("Lost", 1), ("Bound", 0), ("Pending", 0)])
def test_a_claim_that_lost_its_volume_is_told(phase: str, count: int) -> None:
    found = diagnostics.of_volumes([claim("data", {}, phase)])
    assert len(found) == count
    assert all(p.reason == "VolumeLost" and "data" in p.message for p in found)


@pytest.mark.parametrize(
    "status",
    [
        {"allocatedResourceStatuses": {"storage": "NodeResizeInfeasible"}},
        {"conditions": [{"type": "ControllerResizeError", "status": "True", "message": "no space"}]},
    ],
)
def test_a_claim_that_cannot_grow_is_told(status: dict[str, Any]) -> None:
    one = claim("data", {})
    one["status"] |= status
    [problem] = diagnostics.of_volumes([one])
    assert problem.reason == "VolumeRefused"
    assert "data cannot be expanded" in problem.message


def test_reasons_are_words_that_a_condition_takes() -> None:
    statuses = [container(waiting=w) for w in (PULL, NEVER, {"message": "odd"})]
    for problem in of(*statuses, container(ended=REFUSED)):
        assert re.fullmatch("[A-Z][A-Za-z]+", problem.reason)
        Condition(
            type="Ready",
            status="False",
            last_transition_time=NOW,
            reason=problem.reason,
            message=problem.message,
        )


def test_the_limit_of_a_container_that_was_killed_for_its_memory_is_named() -> None:
    killed = pod("p-0", {}, containers=[container(waiting=CRASH, last=KILLED)])
    killed["spec"] = {"containers": [{"name": "database", "resources": {"limits": {"memory": "16Mi"}}}]}
    [problem] = diagnostics.of_pods([killed])
    assert problem.reason == "OOMKilled"
    assert "container database: was killed because its memory exceeded its limit of 16Mi" in problem.message
