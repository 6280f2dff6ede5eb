"""Users that are removed from the list: their generated Secret is deleted, and nothing else."""

import dataclasses
from typing import Any

import pytest

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.apply import Applier
from pgoperator.kube.client import Client
from pgoperator.kube.errors import NotFound
from pgoperator.kube.events import Recorder
from pgoperator.kube.manifest import Manifest
from pgoperator.kube.store import Store
from pgoperator.settings import Settings
from reconcilers.pgcluster.credentials import act_orphaned_secrets
from reconcilers.pgcluster.state.cache import ClusterCache
from tests.support.views import NOW, cluster_manifest
from tests.support.views import view as make_view

pytestmark = pytest.mark.api


class World:
    """A cluster in the API server, and an operator whose store shows its Secrets."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client, self.namespace = client, namespace

    async def begin(self, **spec: Any) -> None:
        manifest = cluster_manifest(**spec)
        manifest["metadata"] = {"name": "cluster1", "namespace": self.namespace}
        self.manifest = await self.client.create(manifest)

    async def secret(self, user: str, *, name: str = "", generated: bool = True) -> str:
        metadata: Manifest = {
            "name": name or naming.user_secret("cluster1", user),
            "namespace": self.namespace,
            "labels": labels.pguser("cluster1", user),
        }
        if generated:
            metadata["annotations"] = {labels.GENERATED: "true"}
        await self.client.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})
        return str(metadata["name"])

    async def act(self, **spec: Any) -> None:
        """One pass over the cluster as the store shows it, with this spec."""
        store = Store(labels.CLUSTER)
        shard = store.open(kinds.SECRET, None)
        for secret in (await self.client.list(kinds.SECRET, self.namespace))[0]:
            shard.put(secret)
        events = Recorder(self.client)
        ctx = Context(self.client, store, Applier(self.client, store), events, Settings(), lambda: NOW)
        seen = self.manifest | {"spec": self.manifest["spec"] | spec}
        view = dataclasses.replace(make_view(**spec), cluster=PGCluster.parse(seen))
        await act_orphaned_secrets.act(ctx, view, ClusterCache())

    async def left(self) -> set[str]:
        secrets, _ = await self.client.list(kinds.SECRET, self.namespace)
        return {secret["metadata"]["name"] for secret in secrets}


@pytest.fixture
def world(client: Client, namespace: str, crds: None) -> World:
    return World(client, namespace)


async def test_the_generated_secret_of_a_leaver_goes(world: World) -> None:
    await world.begin(users=[{"name": "stays"}])
    stays, goes = await world.secret("stays"), await world.secret("goes")
    await world.act(users=[{"name": "stays"}])
    assert await world.left() == {stays}
    with pytest.raises(NotFound):
        await world.client.get(kinds.SECRET, world.namespace, goes)


async def test_what_others_made_stays_and_so_do_the_default_and_reserved_users(world: World) -> None:
    await world.begin(users=[])
    kept = {
        await world.secret("brought", name="mine", generated=False),
        await world.secret("cluster1"),
        await world.secret("monitor"),
    }
    await world.act(users=[])
    assert await world.left() == kept


async def test_a_view_that_is_behind_deletes_nothing(world: World) -> None:
    await world.begin(users=[{"name": "back"}])
    back = await world.secret("back")
    await world.act(users=[])
    assert await world.left() == {back}
