"""Which instances shall exist."""

from typing import Any

import pytest

from pgoperator import naming
from pgoperator.errors import InvalidSpec
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster import plan
from reconcilers.pgcluster.observe import observe
from tests.support.instances import NAMES, SET, pod, stateful_set, volume
from tests.support.views import NAMESPACE, filled_store


def planned(objects: list[Manifest], replicas: int) -> set[str]:
    observed = observe(filled_store(objects), NAMESPACE, "cluster1")
    return {p.name for p in plan.planned("cluster1", {SET: replicas}, observed)}


def test_a_new_cluster_gets_the_same_names_every_time() -> None:
    """An operator that dies between two writes must not make an instance twice."""
    assert planned([], 3) == set(NAMES[:3]) == planned([], 3)


def test_names_left_by_a_pass_that_was_cut_off_are_completed() -> None:
    assert planned([stateful_set(NAMES[1])], 3) == set(NAMES[:3])


def test_growing_takes_a_volume_that_has_data_first() -> None:
    old = "cluster1-instance1-zzzz"
    assert old in planned([stateful_set(NAMES[0]), volume(NAMES[0]), volume(old)], 2)


def test_recreation_adopts_all_volumes() -> None:
    old = ["cluster1-instance1-xxxx", "cluster1-instance1-yyyy", "cluster1-instance1-zzzz"]
    assert planned([volume(name) for name in old], 3) == set(old)


@pytest.mark.parametrize("primary", NAMES[:3])
def test_shrinking_never_takes_the_primary(primary: str) -> None:
    objects: list[Manifest] = []
    for name in NAMES[:3]:
        role, state = (
            ("primary", '{"state": "running"}') if name == primary else ("replica", '{"state": "streaming"}')
        )
        objects += [stateful_set(name), pod(name, role, status=state)]
    assert planned(objects, 1) == {primary}


def test_shrinking_keeps_what_streams() -> None:
    objects = [
        *(stateful_set(name) for name in NAMES[:3]),
        pod(NAMES[0], "primary", status='{"state": "running"}'),
        pod(NAMES[1], ready=False, status='{"state": "stopped"}'),
        pod(NAMES[2]),
    ]
    assert planned(objects, 2) == {NAMES[0], NAMES[2]}
    observed = observe(filled_store(objects), NAMESPACE, "cluster1")
    assert [i.name for i in plan.surplus(observed, {NAMES[0], NAMES[2]})] == [NAMES[1]]


def test_a_replica_that_copies_is_catching_up() -> None:
    objects = [
        stateful_set(NAMES[0]),
        stateful_set(NAMES[1]),
        pod(NAMES[0], "primary", status='{"state": "running", "role": "primary"}'),
        pod(NAMES[1], status='{"state": "creating replica", "role": "replica"}'),
    ]
    observed = observe(filled_store(objects), NAMESPACE, "cluster1")
    assert plan.catching_up(observed) == [f"{NAMES[1]}-0"]


@pytest.mark.parametrize(
    ("cluster", "sets"),
    [("c" * 46, ["x"]), ("c" * 45, ["set"]), ("a" * 60, ["i"])],
)
def test_names_that_leave_no_room_are_refused(cluster: str, sets: list[str]) -> None:
    with pytest.raises(InvalidSpec) as refused:
        naming.check(cluster, sets)
    assert refused.value.reason == "NameTooLong"


def test_the_longest_names_that_are_allowed_fit() -> None:
    cluster, set_name = "c" * 36, "s" * 10
    naming.check(cluster, [set_name])
    name: Any = next(naming.instance_names(cluster, set_name))
    assert len(name) <= naming.STATEFUL_SET_MAX
