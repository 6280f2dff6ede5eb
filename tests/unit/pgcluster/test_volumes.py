"""The volume of a write-ahead log, and how an instance comes to it and leaves it."""

from typing import Any

import pytest

from pgoperator import labels, naming
from pgoperator.errors import InvalidSpec
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.instances import build_statefulsets as step
from reconcilers.pgcluster.instances import build_volumes
from reconcilers.pgcluster.instances.build_volumes import Wal
from tests.support.views import CLAIM, view
from tests.unit.pgcluster import observed
from tests.unit.pgcluster.specs import instances

WITH = instances(walVolumeClaimSpec=CLAIM)
[NAME] = [planned.name for planned in view(instances=WITH).planned]


def template(objects: list[Manifest], spec: list[Any]) -> Manifest:
    """The StatefulSet that the step makes next to these objects."""
    made = step.desired(view(objects, instances=spec))
    [found] = [m for m in made if m["kind"] == "StatefulSet"]
    return found


def pod(stateful_set: Manifest, *, ready: bool = True) -> Manifest:
    """The pod that was made from a StatefulSet."""
    found = observed.instance_pod(NAME, "primary", "running", ready=ready)
    return found | {"spec": stateful_set["spec"]["template"]["spec"]}


def state(*objects: Manifest) -> Wal:
    one = view(list(objects), instances=instances())
    return build_volumes.wal(one.observed, NAME, one.cluster.spec.instance_sets()[0])


USED = template([], WITH)


def test_the_log_leaves_its_volume_before_the_volume_goes() -> None:
    assert state(USED, pod(USED)) is Wal.LEFT
    left = template([USED, pod(USED)], instances())
    # The template is written, and the pod is still the former one; then it is on its way back.
    assert state(left, pod(USED)) is Wal.LEFT
    assert state(left) is Wal.LEFT
    assert state(left, pod(left, ready=False)) is Wal.LEFT
    assert state(left, pod(left)) is Wal.NONE
    without = template([left, pod(left)], instances())
    for last in ([pod(left)], [pod(left, ready=False)], [], [pod(without)]):
        assert state(without, *last) is Wal.NONE


@pytest.mark.parametrize("spec", [instances(), WITH])
def test_the_template_says_what_is_mounted_and_used(spec: list[Any]) -> None:
    containers = template([USED, pod(USED)], spec)["spec"]["template"]["spec"]["containers"]
    assert all(any(m["mountPath"] == "/pgwal" for m in one["volumeMounts"]) for one in containers)
    variables = [one["name"] for one in containers[0]["env"]]
    assert (build_volumes.WAL_VARIABLE in variables) is (spec is WITH)


def test_an_instance_of_which_only_claims_are_left_looks_for_its_log() -> None:
    claims = [
        observed.claim(naming.wal_volume(NAME), {labels.ROLE: labels.ROLE_PGWAL}),
        observed.claim(naming.instance_volume(NAME), {labels.ROLE: labels.ROLE_PGDATA}),
    ]
    assert state(*claims) is Wal.LEFT
    assert state(*claims[1:]) is Wal.NONE


def test_a_standby_cluster_does_not_start_as_a_primary() -> None:
    with pytest.raises(InvalidSpec) as refused:
        step.desired(view(standby={"enabled": True, "repoName": "repo1"}))
    assert refused.value.reason == "StandbyNotSupported"
    assert step.desired(view(standby={"enabled": False, "repoName": "repo1"}))
    running = view([observed.stateful_set(p.name) for p in view().planned], standby={"enabled": True})
    assert step.desired(running), "a cluster that runs goes on"
