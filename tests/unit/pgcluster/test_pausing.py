"""A paused cluster stops in order, and starts in order: played through, one pass after the other."""

from dataclasses import replace

import pytest

from pgoperator import labels, naming
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.instances import decide_membership
from reconcilers.pgcluster.lifecycle import decide_pause
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.view import View
from reconcilers.pgcluster.status import build_status as report
from reconcilers.pgcluster.status import conditions
from reconcilers.pgcluster.status.conditions import PassResult
from tests.support.views import NOW, cluster_manifest, filled_store, view
from tests.unit.pgcluster.observed import (
    bootstrapped,
    claim,
    instance_pod,
    leader,
    pooler_pod,
    repo_host_pod,
    stateful_set,
)

A, B, C = sorted(p.name for p in view().planned)


def seen(
    pods: str,
    *,
    primary: str | None = A,
    mark: str = "",
    poolers: int = 0,
    host: bool = True,
    paused: bool = True,
    running: str | None = None,
) -> View:
    """`pods` are the letters of those that are there, `running` of those whose StatefulSet has a replica."""
    names = {"a": A, "b": B, "c": C}
    objects: list[Manifest] = [bootstrapped(), leader(A), *(pooler_pod(n) for n in range(poolers))]
    objects += [repo_host_pod()] if host else []
    for letter, name in names.items():
        one = stateful_set(name)
        one["spec"] = {"replicas": int(letter in (pods if running is None else running))}
        volume = claim(f"{name}-pgdata", labels.instance("cluster1", "instance1", name))
        volume["metadata"]["labels"][labels.ROLE] = labels.ROLE_PGDATA
        if mark == name:
            volume["metadata"]["annotations"] = {labels.PAUSED_PRIMARY: NOW.isoformat()}
        objects += [one, volume]
        if letter in pods:
            role = "primary" if name == primary else "replica"
            objects.append(instance_pod(name, role))
    return replace(view(objects), paused=paused)


def wanted(one: View) -> str:
    return "".join(
        letter for letter, name in (("a", A), ("b", B), ("c", C)) if decide_pause.replicas(one, name)
    )


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (seen("abc", poolers=1), "abc"),
        (seen("abc"), "a"),
        (seen("ab", running="a"), "a"),
        (seen("a"), "a"),  # not marked yet
        (seen("a", mark=B), "a"),  # the mark of another time
        (seen("ab", running="a", mark=A), "a"),  # a replica still stops
        (seen("a", mark=A), ""),
        (seen("", mark=A), ""),
        (seen("", primary=None), ""),
    ],
)
def test_it_stops_in_order(one: View, expected: str) -> None:
    assert wanted(one) == expected


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (seen("", mark=B, paused=False), "b"),
        (seen("b", primary=None, mark=B, paused=False), "b"),
        (seen("b", primary=B, mark=B, paused=False), "b"),  # it has the label, not yet the lock
        (seen("a", mark=A, paused=False), "abc"),
        (seen("", paused=False), "abc"),
        (seen("abc", paused=False), "abc"),
        (seen("abc", primary=None, mark=A, paused=False), "abc"),  # an old mark stops nobody
    ],
)
def test_it_starts_in_order(one: View, expected: str) -> None:
    assert wanted(one) == expected


def test_poolers_stop_first_and_the_repository_host_last() -> None:
    assert decide_pause.pooler_replicas(seen("abc"), 3) == 0
    assert decide_pause.host_replicas(seen("a", mark=A)) == 1
    assert decide_pause.host_replicas(seen("", mark=A)) == 0
    assert decide_pause.host_replicas(seen("", paused=False)) == 1
    assert decide_pause.pooler_replicas(seen("", paused=False), 3) == 3


def test_the_last_primary_is_kept_when_a_paused_cluster_shrinks() -> None:
    one = seen("", mark=C)
    assert [p.name for p in decide_membership.planned("cluster1", {"instance1": 1}, one.observed)] == [C]


def test_the_status_says_so() -> None:
    stopping = report.status(seen("a", host=False), PassResult(), ClusterCache(), [])
    assert stopping.state == "stopping"
    assert naming.pod(A) in conditions_of(stopping)["Progressing"][2]
    paused = report.status(seen("", host=False), PassResult(), ClusterCache(), [])
    assert paused.state == "paused"
    assert conditions_of(paused)["Ready"][:2] == ("False", "Paused")
    assert conditions_of(paused)["Progressing"][:2] == ("False", "Paused")
    assert conditions_of(paused)["Degraded"][0] == "False"


def conditions_of(status: object) -> dict[str, tuple[str, str, str]]:
    found = getattr(status, "conditions")  # noqa: B009 - any status
    return {c.type: (c.status, c.reason, c.message) for c in found}


def test_an_unmanaged_cluster_says_that_nothing_happens() -> None:
    before = report.status(seen("abc", paused=False), PassResult(), ClusterCache(), [])
    one = view([], status=before.to_manifest(), unmanaged=True)
    alone = conditions.unmanaged(one.cluster, NOW)
    assert conditions_of(alone)["Progressing"] == ("False", "Paused", decide_pause.UNMANAGED)
    assert {**conditions_of(alone), "Progressing": 0} == {**conditions_of(before), "Progressing": 0}
    again = view([], status=alone.to_manifest(), unmanaged=True)
    assert conditions.unmanaged(again.cluster, NOW) == alone, "said once"


@pytest.mark.parametrize(
    ("state", "busy"), [("Starting", True), ("Running", True), ("Succeeded", False), (None, False)]
)
def test_a_backup_that_runs_ends_first(state: str | None, busy: bool) -> None:
    backup = {
        "apiVersion": "pgv2.percona.com/v2",
        "kind": "PerconaPGBackup",
        "metadata": {"name": "b", "namespace": "ns1"},
        "spec": {"pgCluster": "cluster1"},
        "status": {"state": state},
    }
    assert decide_pause.is_busy(filled_store([backup, cluster_manifest()]), view().cluster) is busy
