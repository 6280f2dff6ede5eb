"""Which instances shall exist."""

from typing import Any

import pytest

from pgoperator import labels, naming
from pgoperator.errors import InvalidSpec
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.instances import decide_membership
from reconcilers.pgcluster.state.observe import observe
from tests.support.instances import NAMES, SET, pod, stateful_set, volume
from tests.support.views import NAMESPACE, filled_store
from tests.unit.pgcluster.observed import endpoints


def planned(objects: list[Manifest], replicas: int) -> set[str]:
    observed = observe(filled_store(objects), NAMESPACE, "cluster1")
    return {p.name for p in decide_membership.planned("cluster1", {SET: replicas}, observed)}


def test_a_new_cluster_gets_the_same_names_every_time() -> None:
    """An operator that dies between two writes must not make an instance twice."""
    assert planned([], 3) == set(NAMES[:3]) == planned([], 3)


def test_names_left_by_a_pass_that_was_cut_off_are_completed() -> None:
    assert planned([stateful_set(NAMES[1])], 3) == set(NAMES[:3])


def test_growing_takes_a_volume_that_has_data_first() -> None:
    old = "cluster1-instance1-zzzz"
    assert old in planned([stateful_set(NAMES[0]), volume(NAMES[0]), volume(old)], 2)


def test_recreation_takes_all_volumes() -> None:
    old = ["cluster1-instance1-xxxx", "cluster1-instance1-wwww", "cluster1-instance1-zzzz"]
    assert planned([volume(name) for name in old], 3) == set(old)


def test_a_volume_that_a_restore_has_superseded_is_not_used_again() -> None:
    """Neither its data nor its name: the claim stays until a person deletes it."""
    old = [volume(name, superseded=True) for name in NAMES[1:3]]
    growing = planned([stateful_set(NAMES[0]), volume(NAMES[0]), *old], 3)
    assert NAMES[0] in growing
    assert not growing & set(NAMES[1:3])
    assert len(growing) == 3


def test_a_superseded_volume_is_used_when_its_instance_is_marked_as_the_last_primary() -> None:
    marked = volume(NAMES[1], superseded=True)
    marked["metadata"]["annotations"][labels.LAST_PRIMARY] = "2026-01-31T10:00:00+00:00"
    assert planned([volume(NAMES[0]), marked], 1) == {NAMES[1]}


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
    assert [i.name for i in decide_membership.surplus(observed, {NAMES[0], NAMES[2]})] == [NAMES[1]]


def test_shrinking_keeps_the_synchronous_standby() -> None:
    objects = [
        *(stateful_set(name) for name in NAMES[:3]),
        pod(NAMES[0], "primary", status='{"state": "running"}'),
        *(pod(name, status='{"state": "streaming"}') for name in NAMES[1:3]),
    ]
    for standby in NAMES[1:3]:
        sync = endpoints("cluster1-ha-sync", {"leader": f"{NAMES[0]}-0", "sync_standby": f"{standby}-0"})
        assert planned([*objects, sync], 2) == {NAMES[0], standby}


def test_a_replica_that_copies_is_catching_up() -> None:
    objects = [
        stateful_set(NAMES[0]),
        stateful_set(NAMES[1]),
        pod(NAMES[0], "primary", status='{"state": "running", "role": "primary"}'),
        pod(NAMES[1], status='{"state": "creating replica", "role": "replica"}'),
    ]
    observed = observe(filled_store(objects), NAMESPACE, "cluster1")
    assert decide_membership.catching_up(observed) == [f"{NAMES[1]}-0"]


@pytest.mark.parametrize(
    ("cluster", "sets"),
    [("c" * 46, ["x"]), ("c" * 45, ["set"]), ("a" * 60, ["i"])],
)
def test_names_that_leave_no_room_are_refused(cluster: str, sets: list[str]) -> None:
    with pytest.raises(InvalidSpec) as refused:
        naming.check_names(cluster, sets)
    assert refused.value.reason == "NameTooLong"


def test_the_longest_names_that_are_allowed_fit() -> None:
    cluster, set_name = "c" * 36, "s" * 10
    naming.check_names(cluster, [set_name])
    name: Any = next(naming.instance_names(cluster, set_name))
    assert len(name) <= naming.STATEFUL_SET_MAX
