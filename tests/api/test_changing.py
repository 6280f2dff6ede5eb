"""A rolling change against a real API server: state that the watches have not delivered yet counts."""

import dataclasses
import json

import pytest

from pgoperator import labels, naming
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.apply import Applier
from pgoperator.kube.client import Client
from pgoperator.kube.events import Recorder
from pgoperator.kube.manifest import Manifest, name_of
from pgoperator.kube.store import Store
from pgoperator.runtime.result import Wait
from pgoperator.settings import Settings
from reconcilers.pgcluster.rollout import act_changes
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.observe import observe
from reconcilers.pgcluster.state.view import View
from tests.support.views import NOW, view
from tests.unit.pgcluster.observed import bootstrapped, instance_pod, leader, stateful_set

pytestmark = pytest.mark.api
A, B, C = sorted(p.name for p in view().planned)
TEMPLATE = {"containers": [{"name": "database", "image": "none"}]}


class World:
    """Three instances whose pods are of the old template; the first is the primary."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client, self.namespace = client, namespace

    async def fill(self) -> None:
        await self._create(leader(A), {})
        await self._create(bootstrapped(), {})
        for name in (A, B, C):
            role, state = ("primary", "running") if name == A else ("replica", "streaming")
            pod = instance_pod(name, role, state)
            pod["metadata"]["labels"][labels.REVISION] = "old"
            own = stateful_set(name)["metadata"]["labels"]
            spec = {
                "serviceName": naming.pods("cluster1"),
                "selector": {"matchLabels": own},
                "template": {"metadata": {"labels": own}, "spec": TEMPLATE},
            }
            status = {"observedGeneration": 1, "updateRevision": "new", "replicas": 1}
            await self._create(stateful_set(name) | {"spec": spec}, status)
            await self._create(pod | {"spec": TEMPLATE}, pod["status"])

    async def _create(self, manifest: Manifest, status: Manifest) -> None:
        metadata = {k: v for k, v in manifest["metadata"].items() if k not in ("uid", "creationTimestamp")}
        await self.client.create(
            {k: v for k, v in manifest.items() if k != "status"}
            | {"metadata": metadata | {"namespace": self.namespace}}
        )
        if status:
            kind = kinds.kind_of(manifest)
            await self.client.merge_patch(
                kind, self.namespace, name_of(manifest), {"status": status}, subresource="status"
            )

    async def seen(self) -> tuple[Context, View]:
        """The operator's view of this moment, without later changes."""
        store = Store(labels.CLUSTER)
        for kind in (kinds.STATEFUL_SET, kinds.POD, kinds.ENDPOINTS):
            shard = store.open(kind, None)
            found, _ = await self.client.list(kind, self.namespace)
            for one in found:
                shard.put(one)
        before = view()
        metadata = before.cluster.metadata.model_copy(update={"namespace": self.namespace})
        cluster = before.cluster.model_copy(update={"metadata": metadata})
        observed = observe(store, self.namespace, "cluster1")
        ctx = Context(
            self.client, store, Applier(self.client, store), Recorder(self.client), Settings(), lambda: NOW
        )
        return ctx, dataclasses.replace(before, cluster=cluster, observed=observed)

    async def change(self, name: str, patch: Manifest, subresource: str | None = None) -> None:
        pod = naming.pod(name)
        await self.client.merge_patch(kinds.POD, self.namespace, pod, patch, subresource=subresource)

    async def pods(self) -> list[str]:
        found, _ = await self.client.list(kinds.POD, self.namespace)
        return [name_of(one).removesuffix("-0") for one in found]


@pytest.fixture
async def world(client: Client, namespace: str) -> World:
    made = World(client, namespace)
    await made.fill()
    return made


async def roll(world: World, ctx: Context, one: View) -> ClusterCache:
    cache = ClusterCache()
    pods = [instance.pod for instance in one.observed.instances]
    # All of them have been seen to follow.
    cache.replication.following |= {pod["metadata"]["uid"] for pod in pods if pod is not None}
    assert isinstance(await act_changes.act(ctx, one, cache), Wait)
    assert cache.changes.change.rolling
    return cache


async def test_one_replica_goes(world: World) -> None:
    await roll(world, *await world.seen())
    assert await world.pods() == [A, C]


async def test_while_statefulsets_are_written_nothing_goes(world: World) -> None:
    ctx, one = await world.seen()
    memory = ClusterCache()
    memory.templates_written = True
    await act_changes.act(ctx, one, memory)
    assert memory.changes.change.rolling
    assert await world.pods() == [A, B, C]


async def test_a_replica_that_has_just_become_the_primary_is_spared(world: World) -> None:
    ctx, one = await world.seen()
    lock = {"metadata": {"annotations": {"leader": naming.pod(B)}}}
    scope = naming.patroni_scope("cluster1")
    await world.client.merge_patch(kinds.ENDPOINTS, world.namespace, scope, lock)
    await world.change(B, {"metadata": {"labels": {labels.ROLE: "primary"}}})
    await roll(world, ctx, one)
    assert await world.pods() == [A, B, C]


async def test_nothing_goes_while_patroni_is_paused(world: World) -> None:
    """A stopped primary would have no successor."""
    paused = {"metadata": {"annotations": {"config": json.dumps({"pause": True})}}}
    name = naming.patroni_config("cluster1")
    await world.client.merge_patch(kinds.ENDPOINTS, world.namespace, name, paused)
    cache = await roll(world, *await world.seen())
    assert "patronictl resume" in cache.changes.change.rolling
    assert await world.pods() == [A, B, C]


async def test_no_second_instance_goes_while_one_is_away(world: World) -> None:
    ctx, one = await world.seen()
    await world.change(C, {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}, "status")
    await roll(world, ctx, one)
    assert await world.pods() == [A, B, C]


async def test_another_pod_of_the_name_is_spared(world: World) -> None:
    ctx, one = await world.seen()
    pod = naming.pod(B)
    await world.client.delete(kinds.POD, world.namespace, pod, uid=None, grace_seconds=0)
    made = instance_pod(B)
    made["metadata"]["labels"][labels.REVISION] = "new"
    await world._create(made | {"spec": TEMPLATE}, made["status"])
    await roll(world, ctx, one)
    assert await world.pods() == [A, B, C]
