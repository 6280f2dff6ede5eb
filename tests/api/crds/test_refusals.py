"""A rejected object: all others are created, a condition shows the cause, and a correction clears it."""

from dataclasses import replace
from typing import Any

import pytest

from pgoperator import labels, naming
from pgoperator.api.status import PGClusterStatus, ScheduledBackupStatus
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.apply import Applier, ForeignOwner
from pgoperator.kube.client import Client
from pgoperator.kube.errors import Forbidden
from pgoperator.kube.events import Recorder
from pgoperator.kube.manifest import Kind, Manifest, key_of, name_of
from pgoperator.kube.store import Store
from pgoperator.runtime.result import Result, Wait
from pgoperator.settings import Settings
from reconcilers.pgcluster import PGClusters, pipeline
from reconcilers.pgcluster.backups import act_backups
from tests.api.conftest import send
from tests.support.views import IMAGES, NOW, cluster_manifest

pytestmark = pytest.mark.api
SEEN = (*kinds.PRUNABLE, kinds.PG_CLUSTER, kinds.PVC, kinds.POD, kinds.JOB)
STRANGE = {"type": "LoadBalancer", "loadBalancerSourceRanges": ["nonsense"]}


class World:
    """A cluster with an invalid Service in its spec, and an operator that reconciles it."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client, self.namespace = client, namespace
        self.clusters = PGClusters()

    async def begin(self, **spec: Any) -> None:
        manifest = cluster_manifest(**spec)
        manifest["metadata"] = {"name": "cluster1", "namespace": self.namespace}
        await self.client.create(manifest)

    async def pass_(self) -> Result:
        store = Store(labels.CLUSTER)
        for kind in SEEN:
            shard = store.open(kind, None)
            for one in (await self.client.list(kind, self.namespace))[0]:
                shard.put(one | {"apiVersion": kind.api_version, "kind": kind.kind})
        applier, events = Applier(self.client, store), Recorder(self.client)
        settings = Settings(images=IMAGES)
        ctx = Context(self.client, store, applier, events, settings, lambda: NOW)
        answer = await self.clusters.reconcile(ctx, key_of(await self.live()))
        await events.close()
        return answer

    async def live(self) -> Manifest:
        found = await self.client.get(kinds.PG_CLUSTER, self.namespace, "cluster1")
        return found | {"apiVersion": kinds.PG_CLUSTER.api_version, "kind": kinds.PG_CLUSTER.kind}

    async def status(self) -> PGClusterStatus:
        return PGClusterStatus.model_validate((await self.live())["status"])

    async def names(self, kind: Kind) -> set[str]:
        return {name_of(one) for one in (await self.client.list(kind, self.namespace))[0]}


@pytest.fixture
def world(client: Client, namespace: str, crds: None) -> World:
    return World(client, namespace)


async def test_a_refused_service_is_told_and_stops_nothing_else(world: World) -> None:
    await world.begin(expose=STRANGE)
    service = naming.patroni_scope("cluster1")
    waits = [await world.pass_() for _ in range(3)]
    assert all(isinstance(wait, Wait) for wait in waits), "it is tried again"
    assert service not in await world.names(kinds.SERVICE)
    assert naming.pgbouncer("cluster1") in await world.names(kinds.SERVICE)
    assert naming.pgbouncer("cluster1") in await world.names(kinds.DEPLOYMENT)
    assert len(await world.names(kinds.STATEFUL_SET)) == 4, "three instances and the repository host"
    reported = (await world.status()).condition("Degraded")
    assert reported is not None
    assert (reported.status, reported.reason) == ("True", "Invalid")
    assert all(word in reported.message for word in ("the API server refused", service, "nonsense"))

    patch = {"spec": {"expose": None}}
    await world.client.merge_patch(kinds.PG_CLUSTER, world.namespace, "cluster1", patch)
    await world.pass_()
    assert service in await world.names(kinds.SERVICE)
    reported = (await world.status()).condition("Degraded")
    assert reported is not None
    assert reported.status == "False", reported


async def test_a_quota_is_told_and_the_rest_is_made(world: World) -> None:
    path = f"/api/v1/namespaces/{world.namespace}/resourcequotas"
    few = {"hard": {"services": "0"}}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": few}
    await send(world.client, "POST", path, quota)
    # The status that its controller would write; no controller runs here.
    used = {"status": few | {"used": {"services": "0"}}}
    await send(world.client, "PATCH", f"{path}/few/status", used, "application/merge-patch+json")
    await world.begin()
    await world.pass_()
    assert await world.names(kinds.SERVICE) == set()
    assert len(await world.names(kinds.STATEFUL_SET)) == 4
    reported = (await world.status()).condition("Degraded")
    assert reported is not None
    assert (reported.status, reported.reason) == ("True", "Forbidden")
    assert "quota" in reported.message


def refuse() -> None:
    raise Forbidden(403, "Forbidden", "restores are forbidden: a webhook", "PerconaPGRestore", "ns", "r")


async def conditions_of(world: World, times: int) -> list[tuple[str, str, str]]:
    """Status, reason and message of Ready after each of some passes, all of which end with the error."""
    found: list[tuple[str, str, str]] = []
    for _ in range(times):
        with pytest.raises(Forbidden):
            await world.pass_()
        ready = (await world.status()).condition("Ready")
        assert ready is not None
        found.append((ready.status, ready.reason, ready.message))
    return found


async def test_an_action_that_is_forbidden_is_a_problem_of_the_one_report(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two reports of a pass that contradict each other made Ready flip with every pass."""

    async def action(*_: Any) -> None:
        refuse()

    monkeypatch.setattr(pipeline, "ACTIONS", (*pipeline.ACTIONS, action))
    await world.begin()
    found = await conditions_of(world, 4)
    assert len(set(found[1:])) == 1
    assert found[0][:2] == ("False", "Forbidden")
    assert "a webhook" in found[0][2]
    written = (await world.live())["metadata"]["resourceVersion"]
    await conditions_of(world, 1)
    assert (await world.live())["metadata"]["resourceVersion"] == written, "the status is written once"


async def test_a_backup_that_is_forbidden_is_shown_until_one_can_be_created(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = act_backups.act

    async def act(*args: Any, **how: Any) -> Any:
        return refuse() if forbidden else await real(*args, **how)

    forbidden = True
    monkeypatch.setattr(act_backups, "act", act)
    await world.begin()
    found = await conditions_of(world, 4)
    assert len(set(found[1:])) == 1
    assert found[1][:2] == ("False", "Forbidden")
    forbidden = False
    assert isinstance(await world.pass_(), Wait)
    await world.pass_()
    ready = (await world.status()).condition("Ready")
    assert ready is not None
    assert ready.reason != "Forbidden"


async def test_backups_are_taken_although_another_action_fails(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def action(*_: Any) -> None:
        refuse()

    async def act(_: Any, view: Any, known: Any, **how: Any) -> Any:
        asked.append(view.name)
        return known, []

    monkeypatch.setattr(pipeline, "ACTIONS", (*pipeline.ACTIONS, action))
    monkeypatch.setattr(act_backups, "act", act)
    await world.begin()
    await conditions_of(world, 1)
    assert asked == ["cluster1"]


async def test_backups_are_taken_although_a_name_is_taken(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def act(_: Any, view: Any, known: Any, **how: Any) -> Any:
        asked.append(view.name)
        return known, []

    monkeypatch.setattr(act_backups, "act", act)
    metadata = {"name": naming.scripts("cluster1"), "namespace": world.namespace}
    await world.client.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    await world.begin()
    with pytest.raises(ForeignOwner):
        await world.pass_()
    assert asked == ["cluster1"]
    reported = (await world.status()).condition("Degraded")
    assert reported is not None
    assert (reported.status, reported.reason) == ("True", "NameTaken")


async def test_backups_are_taken_although_a_secret_cannot_be_used(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their schedules are recorded, too: otherwise each pass would request them again."""
    await world.begin()
    await world.pass_()
    patch = {"metadata": {"labels": {labels.CLUSTER: "cluster2"}}}
    await world.client.merge_patch(kinds.SECRET, world.namespace, naming.pgbackrest("cluster1"), patch)
    record = ScheduledBackupStatus(cron_job_name="nightly", repo="repo1", type="full", start_time=NOW)

    async def act(_ctx: Any, _view: Any, known: Any, **how: Any) -> Any:
        return replace(known, records=(record,)), []

    monkeypatch.setattr(act_backups, "act", act)
    for _ in range(2):
        with pytest.raises(InvalidSpec, match="cluster2"):
            await world.pass_()
        status = await world.status()
        assert status.pgbackrest is not None
        assert status.pgbackrest.scheduled_backups == (record,)
        reported = status.condition("Degraded")
        assert reported is not None
        assert reported.status == "True"
