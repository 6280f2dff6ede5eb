"""The primary's mark: a cluster that stopped begins again with the newest data, or says why it does not."""

from datetime import timedelta

import pytest

from pgoperator import labels, naming
from pgoperator.errors import InvalidSpec
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.instances import build_statefulsets, decide_membership
from reconcilers.pgcluster.lifecycle import act_deletion, decide_pause
from reconcilers.pgcluster.state import primary_mark
from reconcilers.pgcluster.state.observe import observe
from reconcilers.pgcluster.state.view import Observed, Planned
from tests.support.instances import NAMES, SET, pod, stateful_set, volume
from tests.support.views import NAMESPACE, NOW, filled_store, view
from tests.unit.pgcluster.observed import bootstrapped, leader

A, B, C = NAMES[:3]
LAST, PAUSED = labels.LAST_PRIMARY, labels.PAUSED_PRIMARY
# The same order in every format that was ever written.
OLDER, NEWER = "2026-01-01 12:00:00+00:00", "2026-01-01T12:30:00Z"


def marked(name: str, **marks: str) -> Manifest:
    claim = volume(name)
    kinds = {"last": LAST, "paused": PAUSED}
    claim["metadata"]["annotations"] = {kinds[kind]: time for kind, time in marks.items()}
    return claim


def seen(*objects: Manifest) -> Observed:
    return observe(filled_store(list(objects)), NAMESPACE, "cluster1")


def planned(observed: Observed, replicas: int) -> list[str]:
    return [p.name for p in decide_membership.planned("cluster1", {SET: replicas}, observed)]


def stateful_sets(*objects: Manifest) -> set[str]:
    made = build_statefulsets.desired(view(list(objects)))
    assert isinstance(made, list)
    return {m["metadata"]["name"] for m in made if m["kind"] == "StatefulSet"}


def test_a_new_cluster_starts_all_instances_at_once() -> None:
    assert stateful_sets() == set(NAMES[:3])


@pytest.mark.parametrize(
    ("objects", "first"),
    [
        ([volume(A), volume(B)], ""),
        ([volume(A), marked(B, last=OLDER)], B),
        ([marked(A, last=NEWER), marked(B, last=OLDER)], A),
        ([marked(A, last=OLDER), marked(B, last=NEWER)], B),
        # A pause after a deletion counts more, and the other way round: time decides, not the kind.
        ([marked(A, last=OLDER), marked(B, paused=NEWER)], B),
        ([marked(A, paused=OLDER), marked(B, last=NEWER)], B),
        ([marked(A, last=OLDER, paused=NEWER), marked(B, last="2026-01-01T12:15:00+00:00")], A),
        ([marked(A, last="2026-01-01T13:00:00+02:00"), marked(B, last=OLDER)], B),
        ([marked(A, last="once upon a time"), marked(B, last=OLDER)], B),
        ([marked(A, last="once upon a time"), volume(B)], A),
    ],
)
def test_the_newest_mark_counts_as_time(objects: list[Manifest], first: str) -> None:
    assert primary_mark.marked(seen(*objects)) == first


@pytest.mark.parametrize("replicas", [1, 2, 3])
@pytest.mark.parametrize("first", [A, B, C])
def test_the_marked_instance_is_planned_whatever_the_size(first: str, replicas: int) -> None:
    """Scaled down, deleted, created again: the alphabet must not choose the data (finding C1)."""
    claims = [marked(name, last=NEWER) if name == first else volume(name) for name in (A, B, C)]
    assert first in planned(seen(*claims), replicas)


def test_the_marked_instance_starts_alone() -> None:
    claims = [volume(A), marked(B, last=OLDER), volume(C)]
    assert stateful_sets(*claims) == {B}


def test_the_others_follow_once_there_is_a_primary() -> None:
    claims = [volume(A), marked(B, paused=OLDER), volume(C)]
    serving = [stateful_set(B), pod(B, "primary"), leader(B), bootstrapped()]
    assert stateful_sets(*claims, *serving) == {A, B, C}


def test_a_mark_of_a_deleted_cluster_ends_with_the_bootstrap() -> None:
    claims = [volume(A), marked(B, last=OLDER), volume(C)]
    assert stateful_sets(*claims, bootstrapped()) == {A, B, C}


def test_two_marks_never_make_two_instances_wait_for_each_other() -> None:
    """Deleted under A, created again, paused under B, deleted while paused (finding C4c)."""
    claims = [marked(A, last=OLDER), marked(B, paused=NEWER), volume(C)]
    observed = seen(*claims)
    assert [name for name in (A, B, C) if not primary_mark.waits(observed, name)] == [B]
    assert stateful_sets(*claims) == {B}
    one = view([*claims, stateful_set(B)])
    assert decide_pause.replicas(one, B) == 1


def test_a_marked_instance_without_a_place_is_refused() -> None:
    observed = seen(marked(C, last=NEWER), volume(A))
    primary_mark.check(observed, [Planned(C, SET)])
    with pytest.raises(InvalidSpec, match=f"{C}-pgdata") as refused:
        primary_mark.check(observed, [Planned(A, SET)])
    assert refused.value.reason == "LastPrimaryNotPlanned"
    running = seen(marked(C, paused=NEWER), stateful_set(A), pod(A, "primary"), leader(A))
    primary_mark.check(running, [Planned(A, SET)])


def test_a_copy_with_a_copied_mark_is_no_instance() -> None:
    """A backup tool's claim, with the labels and annotations of the original (finding M2)."""
    copy = marked(A, last=NEWER)
    copy["metadata"]["name"] = f"{A}-pgdata-clone"
    observed = seen(copy, volume(B))
    assert primary_mark.marked(observed) == ""
    assert planned(observed, 1) == [B]


@pytest.mark.parametrize(("offset", "expected"), [(-1, False), (0, True), (1, True)])
def test_a_mark_since_a_moment(offset: int, expected: bool) -> None:
    claim = marked(A, last=(NOW + timedelta(seconds=offset)).isoformat())
    assert primary_mark.is_since(claim, NOW) is expected
    assert not primary_mark.is_since(volume(A), NOW)
    assert naming.instance_of_volume(claim["metadata"]["name"]) == A


def test_a_deletion_stops_the_holder_of_the_lock_last_and_not_a_former_primary() -> None:
    """Nobody takes the label from a pod whose node is cut off: here A's, while B leads."""
    status = '{{"state": "running", "timeline": {}, "xlog_location": {}}}'
    former = pod(A, "primary", status=status.format(1, 900))
    pods = [stateful_set(A), stateful_set(B), former, pod(B, "primary", status=status.format(2, 100))]
    for objects in ([*pods, leader(B)], pods):
        last = act_deletion._last_to_stop(seen(*objects))
        assert last is not None
        assert last.name == B
    assert act_deletion._last_to_stop(seen(stateful_set(A), pod(A))) is None
