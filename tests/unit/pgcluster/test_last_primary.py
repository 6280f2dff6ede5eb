"""A cluster that is made again begins with the data of its last primary."""

from pgoperator import labels
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster import instances
from tests.support.instances import NAMES, volume
from tests.support.views import NAMESPACE, view


def marked(name: str, mark: str) -> Manifest:
    claim = volume(name)
    claim["metadata"]["annotations"] = {labels.LAST_PRIMARY: mark}
    return claim


def stateful_sets(objects: list[Manifest]) -> set[str]:
    made = instances.desired(view(objects))
    assert isinstance(made, list)
    return {m["metadata"]["name"] for m in made if m["kind"] == "StatefulSet"}


def config(initialize: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": "cluster1-ha-config",
            "namespace": NAMESPACE,
            "labels": labels.of_cluster("cluster1"),
            "annotations": {"initialize": initialize},
        },
    }


def test_a_new_cluster_starts_all_instances_at_once() -> None:
    assert stateful_sets([]) == set(NAMES[:3])


def test_the_last_primary_starts_alone() -> None:
    claims = [volume(NAMES[0]), marked(NAMES[1], "2026-01-01 00:00:00+00:00"), volume(NAMES[2])]
    assert stateful_sets(claims) == {NAMES[1]}


def test_of_several_marks_the_latest_counts() -> None:
    claims = [
        marked(NAMES[0], "2026-01-03 00:00:00+00:00"),
        marked(NAMES[1], "2026-01-02 00:00:00+00:00"),
        volume(NAMES[2]),
    ]
    assert stateful_sets(claims) == {NAMES[0]}


def test_the_others_follow_once_the_cluster_knows_itself() -> None:
    claims = [volume(NAMES[0]), marked(NAMES[1], "2026-01-01 00:00:00+00:00"), volume(NAMES[2])]
    assert stateful_sets([*claims, config("7710539302464905266")]) == set(NAMES[:3])
