"""Taking instances and whole clusters away, against a real API server: in order, and never too much."""

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.apply import Applier
from pgoperator.kube.client import Client
from pgoperator.kube.events import Recorder
from pgoperator.kube.manifest import Kind, Manifest, name_of
from pgoperator.kube.store import Store
from pgoperator.runtime.result import Wait
from pgoperator.settings import Settings
from reconcilers.pgcluster import deletion, plan, scaling
from reconcilers.pgcluster.memory import Memory
from reconcilers.pgcluster.observe import observe
from reconcilers.pgcluster.view import View
from tests.support.views import NOW, cluster_manifest, view
from tests.unit.pgcluster.observed import claim, endpoints, instance_pod, leader, stateful_set

pytestmark = pytest.mark.api
NAMES = sorted(p.name for p in view().planned)
PRIMARY = NAMES[1]
OTHERS = [name for name in NAMES if name != PRIMARY]
KINDS = (kinds.STATEFUL_SET, kinds.POD, kinds.JOB, kinds.ENDPOINTS, kinds.PVC, kinds.SECRET)


def workload(name: str) -> Manifest:
    """A StatefulSet that the API server accepts."""
    manifest = stateful_set(name)
    own = manifest["metadata"]["labels"]
    container = {"name": "database", "image": "none"}
    manifest["spec"] = {
        "serviceName": naming.pods("cluster1"),
        "selector": {"matchLabels": own},
        "template": {"metadata": {"labels": own}, "spec": {"containers": [container]}},
    }
    return manifest


def body(manifest: Manifest) -> Manifest:
    """What a user would send: no fields of the server's."""
    manifest["metadata"].pop("uid", None)
    manifest["metadata"].pop("creationTimestamp", None)
    if manifest["kind"] == "Pod":
        manifest["spec"] = {"containers": [{"name": "database", "image": "none"}]}
    if manifest["kind"] == "PersistentVolumeClaim":
        size = {"requests": {"storage": "1Mi"}}
        manifest["spec"] = {"accessModes": ["ReadWriteOnce"], "resources": size}
    return manifest


class World:
    """A namespace with a cluster of three in it, and an operator that sees it when told to."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client = client
        self.namespace = namespace
        self.states: dict[str, dict[str, Any]] = {}

    async def create(self, *manifests: Manifest) -> None:
        for manifest in manifests:
            manifest["metadata"]["namespace"] = self.namespace
            if manifest["kind"] in ("Pod", "Job"):
                self.states[name_of(manifest)] = manifest["status"]
            await self.client.create(body(manifest))

    async def fill(self, *, catching_up: str = "") -> None:
        for name in NAMES:
            role, state = ("primary", "running") if name == PRIMARY else ("replica", "streaming")
            state = "creating replica" if name == catching_up else state
            await self.create(workload(name), instance_pod(name, role, state))
            await self.create(claim(naming.instance_volume(name), {labels.ROLE: labels.ROLE_PGDATA}))
        await self.create(leader(PRIMARY), endpoints(naming.patroni_config("cluster1"), {}))

    async def context(self) -> Context:
        """An operator that has just looked; readiness is what kubelet would have said."""
        store = Store(labels.CLUSTER)
        for kind in KINDS:
            shard = store.open(kind, None)
            found, _ = await self.client.list(kind, self.namespace)
            for one in found:
                one |= {"apiVersion": kind.api_version, "kind": kind.kind}
                if kind in (kinds.POD, kinds.JOB):
                    one["status"] = self.states[name_of(one)]
                shard.put(one)
        return Context(
            self.client, store, Applier(self.client, store), Recorder(self.client), Settings(), lambda: NOW
        )

    async def names(self, kind: Kind) -> list[str]:
        found, _ = await self.client.list(kind, self.namespace)
        return sorted(name_of(one) for one in found if "deletionTimestamp" not in one["metadata"])

    async def view(self, ctx: Context, replicas: int) -> View:
        manifest = cluster_manifest()
        manifest["metadata"]["namespace"] = self.namespace
        manifest["spec"]["instances"][0]["replicas"] = replicas
        observed = observe(ctx.store, self.namespace, "cluster1")
        return dataclasses.replace(
            view(),
            cluster=PGCluster.parse(manifest),
            manifest=manifest,
            observed=observed,
            planned=plan.planned("cluster1", {"instance1": replicas}, observed),
        )


@pytest.fixture
async def world(client: Client, namespace: str) -> World:
    return World(client, namespace)


# --- fewer instances -----------------------------------------------------------------------------------


async def test_nothing_is_removed_while_nothing_is_surplus(world: World) -> None:
    await world.fill()
    ctx = await world.context()
    assert await scaling.act(ctx, await world.view(ctx, 3), Memory()) is None
    assert await world.names(kinds.STATEFUL_SET) == NAMES


async def test_shrinking_removes_replicas_and_keeps_primary_and_volumes(world: World) -> None:
    await world.fill()
    ctx = await world.context()
    assert await scaling.act(ctx, await world.view(ctx, 1), Memory()) is None
    assert await world.names(kinds.STATEFUL_SET) == [PRIMARY]
    assert len(await world.names(kinds.PVC)) == 3


async def test_shrinking_waits_for_a_copy_to_end_but_not_for_ever(world: World) -> None:
    await world.fill(catching_up=OTHERS[0])
    ctx = await world.context()
    one, memory = await world.view(ctx, 2), Memory()
    wait = await scaling.act(ctx, one, memory)
    assert isinstance(wait, Wait)
    assert naming.pod(OTHERS[0]) in wait.reason
    late = dataclasses.replace(one, now=one.now + scaling.CATCH_UP - timedelta(seconds=1))
    assert isinstance(await scaling.act(ctx, late, memory), Wait)
    assert await world.names(kinds.STATEFUL_SET) == NAMES
    late = dataclasses.replace(one, now=one.now + scaling.CATCH_UP)
    assert await scaling.act(ctx, late, memory) is None
    assert await world.names(kinds.STATEFUL_SET) == sorted([PRIMARY, OTHERS[1]])


async def test_without_a_primary_nothing_is_removed(world: World) -> None:
    await world.fill()
    await world.client.delete(kinds.ENDPOINTS, world.namespace, naming.patroni_scope("cluster1"))
    ctx = await world.context()
    assert isinstance(await scaling.act(ctx, await world.view(ctx, 1), Memory()), Wait)
    assert await world.names(kinds.STATEFUL_SET) == NAMES


@pytest.mark.parametrize("role", ["primary", "master"])
async def test_a_replica_that_has_just_become_the_primary_is_spared(world: World, role: str) -> None:
    """The watches have not shown it yet; the API server knows."""
    await world.fill()
    ctx = await world.context()
    one = await world.view(ctx, 1)
    patch = {"metadata": {"labels": {labels.ROLE: role}}}
    await world.client.merge_patch(kinds.POD, world.namespace, naming.pod(OTHERS[0]), patch)
    await scaling.act(ctx, one, Memory())
    assert await world.names(kinds.STATEFUL_SET) == sorted([PRIMARY, OTHERS[0]])


# --- the end -------------------------------------------------------------------------------------------


async def cluster(world: World, *finalizers: str) -> PGCluster:
    """The custom resource, stored and on its way out; the CRD is the API tests' own."""
    manifest = cluster_manifest()
    metadata = {"namespace": world.namespace, "finalizers": [labels.FINALIZER, *finalizers]}
    manifest["metadata"] |= metadata | {"deletionTimestamp": "2026-01-02T03:04:05Z", "resourceVersion": "1"}
    return PGCluster.parse(manifest)


async def pass_(world: World, one: PGCluster) -> Any:
    """One pass of the deletion; without the CRD the custom resource itself cannot be released."""
    from pgoperator.kube.errors import NotFound

    try:
        return await deletion.delete(await world.context(), one)
    except NotFound:
        return None


async def gone(world: World, name: str) -> None:
    """What the StatefulSet's controller and kubelet do once the StatefulSet has gone."""
    await world.client.delete(kinds.POD, world.namespace, naming.pod(name), grace_seconds=0)


async def test_replicas_stop_first_then_the_primary_then_patroni_s_endpoints_go(world: World) -> None:
    await world.fill()
    one = await cluster(world)
    assert isinstance(await pass_(world, one), Wait)
    assert await world.names(kinds.STATEFUL_SET) == [PRIMARY]
    assert isinstance(await pass_(world, one), Wait), "their pods still run"
    assert await world.names(kinds.STATEFUL_SET) == [PRIMARY]
    for name in OTHERS:
        await gone(world, name)
    assert isinstance(await pass_(world, one), Wait)
    assert await world.names(kinds.STATEFUL_SET) == []
    assert naming.patroni_scope("cluster1") in await world.names(kinds.ENDPOINTS), "its pod still runs"
    await gone(world, PRIMARY)
    await pass_(world, one)
    assert await world.names(kinds.ENDPOINTS) == []


def job(name: str, owner: str, ended: str = "", **spec: Any) -> Manifest:
    """A Job of the cluster, as an object of this kind has made it."""
    reference = {"apiVersion": "v1", "kind": owner, "name": "x", "uid": "x", "controller": True}
    own = {"name": name, "labels": labels.of_cluster("cluster1"), "ownerReferences": [reference]}
    pod = {"restartPolicy": "Never", "containers": [{"name": "pgbackrest", "image": "none"}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": own,
        "spec": {"template": {"spec": pod}, **spec},
        "status": {"conditions": [{"type": ended, "status": "True"}] if ended else []},
    }


async def test_jobs_go_with_their_cluster_once_their_result_is_known(world: World) -> None:
    """The pod of a Job that has ended still keeps its volumes from being deleted."""
    backup, restore = kinds.PG_BACKUP.kind, kinds.PG_RESTORE.kind
    await world.create(
        job("known", backup, "Complete", ttlSecondsAfterFinished=86400),
        job("failed", backup, "Failed", ttlSecondsAfterFinished=86400),
        job("restored", restore, "Complete"),
        job("unread", backup, "Complete"),
        job("at-work", restore),
    )
    await pass_(world, await cluster(world))
    assert await world.names(kinds.JOB) == ["at-work", "unread"]
