"""Volumes that wait for the data of spec.dataSource: deleted and created again, the cluster waits again."""

import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest, annotations_of, labels_of, name_of
from reconcilers.pgcluster import pipeline
from reconcilers.pgcluster.bootstrap import decide_source
from reconcilers.pgcluster.lifecycle import act_deletion
from reconcilers.pgcluster.state import primary_mark, provenance
from reconcilers.pgcluster.state.view import Restoring, View
from reconcilers.pgrestore import act_check
from tests.support.instances import NAMES, volume
from tests.support.views import NAMESPACE, filled_store, view
from tests.unit.pgcluster.observed import instance_pod, leader, stateful_set
from tests.unit.pgcluster.test_provenance import SOURCE, cluster, old, restore

MARK = {labels.AWAITS_DATA: "true"}
WAITING = Restoring("cluster1-bootstrap", "Checking", "", bootstrap=True)


def marked(claim: Manifest) -> Manifest:
    claim["metadata"]["annotations"] = dict(MARK)
    return claim


def claims(seen: View) -> dict[str, bool]:
    """The data volumes that are asked for -> whether they are marked."""
    made = pipeline.BUILDERS["instances"](seen)
    assert isinstance(made, list)
    found = [m for m in made if m["kind"] == kinds.PVC.kind]
    data = [m for m in found if labels_of(m).get(labels.ROLE) == labels.ROLE_PGDATA]
    return {name_of(m): labels.AWAITS_DATA in annotations_of(m) for m in data}


def serving(*objects: Manifest) -> list[Manifest]:
    name = NAMES[0]
    return [*objects, stateful_set(name), instance_pod(name, "primary", "running"), leader(name)]


def test_a_former_volume_that_never_got_its_data_is_no_evidence() -> None:
    first_try = [old(marked(volume(name))) for name in NAMES[:3]]
    one = cluster(*first_try)
    assert not provenance.has_data(one.cluster, one.observed)
    assert decide_source.held(filled_store([]), one.cluster, one.observed) is not None
    with_data = cluster(*first_try, old(volume(NAMES[3])))
    assert provenance.has_data(with_data.cluster, with_data.observed)


def test_claims_are_marked_when_they_are_made_for_a_waiting_cluster() -> None:
    assert set(claims(replace(cluster(), restoring=WAITING)).values()) == {True}
    assert set(claims(view()).values()) == {False}, "of a cluster without dataSource"


@pytest.mark.parametrize("phase", ["Checking", "Stopping", "Restoring", "Promoting"])
def test_the_mark_stays_until_the_data_is_there(phase: str) -> None:
    now = replace(WAITING, phase=phase, instance=NAMES[0])
    one = replace(cluster(*serving(*(marked(volume(n)) for n in NAMES[:3]))), restoring=now)
    assert set(claims(one).values()) == {True}


def test_a_volume_of_a_former_operator_is_never_marked_later() -> None:
    one = replace(cluster(volume(NAMES[0])), restoring=WAITING)
    assert claims(one)[naming.instance_volume(NAMES[0])] is False
    assert sum(claims(one).values()) == 2


@pytest.mark.parametrize("restoring", [None, replace(WAITING, phase="Replicas", instance=NAMES[0])])
def test_the_mark_goes_when_a_primary_serves_the_data(restoring: Restoring | None) -> None:
    found = [marked(volume(name)) for name in NAMES[:3]]
    there = replace(cluster(*serving(*found)), restoring=restoring)
    assert set(claims(there).values()) == {False}
    lost = cluster(*(volume(name) for name in NAMES[:3]), stateful_set(NAMES[0]))
    assert set(claims(replace(lost, restoring=restoring)).values()) == {False}, "and does not come back"


def test_without_a_primary_the_mark_stays() -> None:
    """A copy of volumes is complete, and nothing has started from it yet."""
    one = cluster(*(marked(volume(name)) for name in NAMES[:3]), stateful_set(NAMES[0]))
    assert claims(one)[naming.instance_volume(NAMES[0])] is True


@pytest.mark.parametrize(
    ("more", "unmarked"),
    [
        (serving(), True),
        ([], False),
        ([*serving(), "Promoting"], False),
        ([*serving(), "Replicas"], True),
    ],
)
async def test_a_deletion_leaves_a_mark_only_where_no_data_has_arrived(
    more: list[Any], unmarked: bool
) -> None:
    """The operator may die between the first moment of the primary and the pass that unmarks the volumes."""
    objects = [marked(volume(NAMES[0]))]
    for one in more:
        if isinstance(one, str):
            bootstrap = restore(one, instance=NAMES[0])
            bootstrap["metadata"]["annotations"] = {labels.BOOTSTRAP_RESTORE: "true"}
            objects.append(bootstrap)
        else:
            objects.append(copy.deepcopy(one))
    removed: list[str] = []

    async def merge_patch(kind: Any, namespace: str, name: str, patch: Manifest) -> None:
        found = patch["metadata"].get("annotations", {})
        removed.extend(name for key, value in found.items() if key == labels.AWAITS_DATA and value is None)

    async def delete(*args: Any, **more: Any) -> None: ...

    ctx: Any = SimpleNamespace(
        client=SimpleNamespace(merge_patch=merge_patch, delete=delete), store=filled_store(objects)
    )
    await act_deletion.delete(ctx, cluster().cluster)
    assert removed == ([naming.instance_volume(NAMES[0])] if unmarked else [])


def test_the_marked_volume_is_the_one_to_be_filled() -> None:
    """A first try with dataSource.volumes marks its target: the others wait for it, also the second time."""
    first_try = [marked(volume(name)) for name in NAMES[:3]]
    first_try[1]["metadata"]["annotations"][primary_mark.LAST] = "2026-01-01T00:00:00Z"
    one = cluster(*first_try)
    assert act_check._with_volume(one.cluster, one.observed) == NAMES[1]


def test_a_volume_of_a_set_that_is_no_more_is_not_filled() -> None:
    instances = [{"name": "zdb", "replicas": 1, "dataVolumeClaimSpec": {}}]
    one = view([marked(volume(NAMES[0]))], dataSource=SOURCE, instances=instances)
    assert act_check._with_volume(one.cluster, one.observed) == ""
    assert isinstance(one.cluster, PGCluster)
    assert one.namespace == NAMESPACE
