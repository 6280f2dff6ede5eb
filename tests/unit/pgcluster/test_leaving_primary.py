"""A primary whose instance set was removed from the spec: it has all it needs, hands over, and is removed."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pgoperator import labels, naming
from pgoperator.kube.manifest import Manifest, name_of
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster import pipeline
from reconcilers.pgcluster.rollout import act_changes, act_handover, decide_rolling_update
from reconcilers.pgcluster.rollout.decide_rolling_update import HandOver
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.view import Planned, Restoring, View, with_primary
from tests.support.views import CLAIM, filled_store, view
from tests.unit.pgcluster.observed import bootstrapped, endpoints, instance_pod, leader, stateful_set
from tests.unit.pgcluster.test_archive import backup

OLD = "cluster1-old-abcd"
NEW = sorted(
    p.name
    for p in view(instances=[{"name": "instance1", "replicas": 2, "dataVolumeClaimSpec": CLAIM}]).planned
)


def of_old_set(manifest: Manifest) -> Manifest:
    manifest["metadata"]["labels"][labels.INSTANCE_SET] = "old"
    return manifest


def cluster(*more: Manifest, location: int = 42) -> View:
    objects = [of_old_set(stateful_set(OLD)), of_old_set(instance_pod(OLD, "primary", "running"))]
    objects += [leader(OLD), bootstrapped(), *more]
    for name in NEW:
        objects += [stateful_set(name), instance_pod(name)]
    return view(objects, instances=[{"name": "instance1", "replicas": 2, "dataVolumeClaimSpec": CLAIM}])


def test_backups_find_a_primary_that_is_not_planned() -> None:
    one = cluster()
    assert OLD not in {p.name for p in one.planned}
    made = pipeline.BUILDERS["repository"](one)
    assert isinstance(made, list)
    found = next(m for m in made if name_of(m) == naming.pgbackrest_config("cluster1"))
    conf = found["data"]["pgbackrest_repo.conf"]
    for name in (OLD, *NEW):
        assert naming.pod_host(name, "cluster1") in conf


def test_it_gets_certificates_like_a_planned_one() -> None:
    one = cluster()
    assert with_primary(one.planned, one.observed) == (*one.planned, Planned(OLD, "old"))
    usual = view([stateful_set(NEW[0]), instance_pod(NEW[0], "primary", "running"), leader(NEW[0])])
    assert with_primary(usual.planned, usual.observed) == usual.planned


def test_it_hands_over_when_every_planned_instance_serves() -> None:
    one, everybody = cluster(), frozenset((OLD, *NEW))
    step = decide_rolling_update.leave(one, everybody)
    assert step == HandOver(OLD, max(NEW))
    waits = decide_rolling_update.leave(one, everybody - {NEW[0]})
    assert isinstance(waits, Wait)
    assert naming.pod(NEW[0]) in waits.reason


def test_it_stays_where_no_synchronous_replica_is_planned() -> None:
    sync = {"leader": naming.pod(OLD), "sync_standby": "another-0"}
    one = cluster(endpoints(naming.patroni_sync("cluster1"), sync))
    assert isinstance(decide_rolling_update.leave(one, frozenset(NEW)), Wait)


@pytest.mark.parametrize(
    "seen",
    [
        replace(cluster(), paused=True),
        replace(cluster(), restoring=Restoring("r", "Replicas", NEW[0])),
        view([stateful_set(NEW[0]), instance_pod(NEW[0], "primary", "running"), leader(NEW[0])]),
    ],
    ids=["paused", "a restore decides", "planned"],
)
def test_it_has_no_reason_to_leave(seen: View) -> None:
    assert decide_rolling_update.leave(seen, frozenset(NEW)) is None


async def test_the_handover_is_carried_out_and_decided_on_live_objects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[str] = []

    async def switch(_: Any, __: Any, candidate: Any) -> None:
        taken.append(candidate.name)

    async def live(_: Any, seen: View) -> View:
        return replace(seen, observed=replace(seen.observed, leader=now))

    monkeypatch.setattr(act_handover, "switch", switch)
    monkeypatch.setattr(act_changes, "_live", live)
    one, cache = cluster(), ClusterCache()
    cache.replication.following |= {f"uid-of-{naming.pod(name)}" for name in NEW}
    running = backup("b", "Running")
    ctx: Any = SimpleNamespace(store=filled_store([{"kind": "PerconaPGBackup", **running}]))
    now = leader(OLD)
    waits = await act_changes.act(ctx, one, cache)
    assert waits is not None
    assert waits.reason == "waiting for backup b, at most until 2026-01-02T09:03:05Z"
    assert taken == []
    ctx.store = filled_store([])
    now = leader(NEW[0])
    assert await act_changes.act(ctx, one, cache) == Wait(act_changes.CHANGED, act_changes.SOON)
    assert taken == []
    now = leader(OLD)
    assert isinstance(await act_changes.act(ctx, one, cache), Wait)
    assert taken == [max(NEW)]
