"""An object that the API server refuses: all others are there, the cause is told, and mended it goes."""

from typing import Any

import pytest

from pgoperator import labels, naming
from pgoperator.api.status import PGClusterStatus
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.apply import Applier
from pgoperator.kube.client import Client
from pgoperator.kube.events import Recorder
from pgoperator.kube.manifest import Manifest, key_of, name_of
from pgoperator.kube.store import Store
from pgoperator.runtime.result import Result, Wait
from pgoperator.settings import Settings
from reconcilers.pgcluster import PGClusters
from reconcilers.pgcluster.applying import PRUNABLE
from tests.api.crds.conftest import send
from tests.support.views import IMAGES, NOW, cluster_manifest

pytestmark = pytest.mark.api
SEEN = (*PRUNABLE, kinds.PG_CLUSTER, kinds.PVC, kinds.POD, kinds.JOB)
STRANGE = {"type": "LoadBalancer", "loadBalancerSourceRanges": ["nonsense"]}


class World:
    """A cluster whose author asks for a Service that cannot be, and an operator that sees it."""

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

    async def names(self, kind: kinds.Kind) -> set[str]:
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
    told = (await world.status()).condition("Degraded")
    assert told is not None
    assert (told.status, told.reason) == ("True", "Invalid")
    assert all(word in told.message for word in ("the API server refuses", service, "nonsense"))

    patch = {"spec": {"expose": None}}
    await world.client.merge_patch(kinds.PG_CLUSTER, world.namespace, "cluster1", patch)
    await world.pass_()
    assert service in await world.names(kinds.SERVICE)
    told = (await world.status()).condition("Degraded")
    assert told is not None
    assert told.status == "False", told


async def test_a_quota_is_told_and_the_rest_is_made(world: World) -> None:
    path = f"/api/v1/namespaces/{world.namespace}/resourcequotas"
    few = {"hard": {"services": "0"}}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": few}
    await send(world.client, "POST", path, quota)
    # What its controller would write; there is none here.
    used = {"status": few | {"used": {"services": "0"}}}
    await send(world.client, "PATCH", f"{path}/few/status", used, "application/merge-patch+json")
    await world.begin()
    await world.pass_()
    assert await world.names(kinds.SERVICE) == set()
    assert len(await world.names(kinds.STATEFUL_SET)) == 4
    told = (await world.status()).condition("Degraded")
    assert told is not None
    assert (told.status, told.reason) == ("True", "Forbidden")
    assert "quota" in told.message
