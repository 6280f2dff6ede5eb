"""Removal of instances and whole clusters against a real API server: in order, and never too much."""

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
from pgoperator.kube.errors import Conflict
from pgoperator.kube.events import Recorder
from pgoperator.kube.manifest import Kind, Manifest, name_of
from pgoperator.kube.store import Store
from pgoperator.runtime.result import Wait
from pgoperator.settings import Settings
from reconcilers.pgcluster.instances import act_scale_down, decide_membership
from reconcilers.pgcluster.lifecycle import act_deletion
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.observe import observe
from reconcilers.pgcluster.state.view import Planned, View
from reconcilers.pgrestore import act_restore
from tests.support.views import NOW, cluster_manifest, view
from tests.unit.pgcluster.observed import claim, endpoints, instance_pod, leader, stateful_set

pytestmark = pytest.mark.api
NAMES = sorted(p.name for p in view().planned)
PRIMARY = NAMES[1]
OTHERS = [name for name in NAMES if name != PRIMARY]
PGDATA = {labels.ROLE: labels.ROLE_PGDATA}
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
    """An object as a user sends it, without fields of the server."""
    manifest["metadata"].pop("uid", None)
    manifest["metadata"].pop("creationTimestamp", None)
    if manifest["kind"] == "Pod":
        manifest["spec"] = {"containers": [{"name": "database", "image": "none"}]}
    if manifest["kind"] == "PersistentVolumeClaim":
        size = {"requests": {"storage": "1Mi"}}
        manifest["spec"] = {"accessModes": ["ReadWriteOnce"], "resources": size}
    return manifest


class World:
    """A namespace with a cluster of three, and an operator whose store is updated on request."""

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
            await self.create(
                claim(naming.instance_volume(name), labels.instance("cluster1", "instance1", name) | PGDATA)
            )
        await self.create(leader(PRIMARY), endpoints(naming.patroni_config("cluster1"), {}))

    async def context(self) -> Context:
        """An operator with an up-to-date store; readiness stands for kubelet's reports."""
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
            planned=decide_membership.planned("cluster1", {"instance1": replicas}, observed),
        )


@pytest.fixture
async def world(client: Client, namespace: str) -> World:
    return World(client, namespace)


# --- fewer instances -----------------------------------------------------------------------------------


def caught_up(one: View) -> ClusterCache:
    """What an operator knows of a cluster whose ready replicas follow."""
    cache = ClusterCache()
    pods = [instance.pod for instance in one.observed.instances if instance.pod is not None]
    cache.replication.following |= {pod["metadata"]["uid"] for pod in pods}
    return cache


async def test_nothing_is_removed_while_nothing_is_surplus(world: World) -> None:
    await world.fill()
    ctx = await world.context()
    assert await act_scale_down.act(ctx, await world.view(ctx, 3), ClusterCache()) is None
    assert await world.names(kinds.STATEFUL_SET) == NAMES


async def test_shrinking_removes_replicas_and_keeps_primary_and_volumes(world: World) -> None:
    await world.fill()
    ctx = await world.context()
    assert await act_scale_down.act(ctx, await world.view(ctx, 1), ClusterCache()) is None
    assert await world.names(kinds.STATEFUL_SET) == [PRIMARY]
    assert len(await world.names(kinds.PVC)) == 3


async def test_an_instance_that_was_made_again_since_the_decision_is_spared(world: World) -> None:
    await world.fill()
    ctx = await world.context()
    stale = await world.view(ctx, 1)
    for name in OTHERS:
        await world.client.delete(kinds.STATEFUL_SET, world.namespace, name, uid=None)
        await world.create(workload(name))
    with pytest.raises(Conflict):
        await act_scale_down.act(ctx, stale, ClusterCache())
    assert await world.names(kinds.STATEFUL_SET) == NAMES


async def test_a_restore_forgets_what_patroni_knows(world: World) -> None:
    await world.fill()
    scope = naming.patroni_scope("cluster1")
    await world.create(endpoints(f"{scope}-sync", {}))
    ctx = await world.context()
    for _ in range(2):
        await act_restore.forget_leader(ctx, world.namespace, "cluster1")
        assert await world.names(kinds.ENDPOINTS) == [naming.patroni_config("cluster1")]


async def test_shrinking_waits_for_a_copy_to_end_but_not_for_ever(world: World) -> None:
    await world.fill(catching_up=OTHERS[0])
    ctx = await world.context()
    one = await world.view(ctx, 2)
    memory = caught_up(one)
    wait = await act_scale_down.act(ctx, one, memory)
    assert isinstance(wait, Wait)
    assert naming.pod(OTHERS[0]) in wait.reason
    late = dataclasses.replace(one, now=one.now + act_scale_down.CATCH_UP - timedelta(seconds=1))
    assert isinstance(await act_scale_down.act(ctx, late, memory), Wait)
    assert await world.names(kinds.STATEFUL_SET) == NAMES
    late = dataclasses.replace(one, now=one.now + act_scale_down.CATCH_UP)
    assert await act_scale_down.act(ctx, late, memory) is None
    assert await world.names(kinds.STATEFUL_SET) == sorted([PRIMARY, OTHERS[1]])


async def test_replicas_of_a_renamed_set_stay_until_those_of_the_new_set_are_ready(world: World) -> None:
    await world.fill()
    ctx = await world.context()
    one = await world.view(ctx, 1)
    one = dataclasses.replace(one, planned=(Planned("cluster1-new-abcd", "new"),))
    memory = ClusterCache()
    wait = await act_scale_down.act(ctx, one, memory)
    assert isinstance(wait, Wait)
    assert "cluster1-new-abcd-0" in wait.reason
    assert await world.names(kinds.STATEFUL_SET) == NAMES
    hours_later = dataclasses.replace(one, now=one.now + timedelta(hours=5))
    assert isinstance(await act_scale_down.act(ctx, hours_later, memory), Wait)
    assert await world.names(kinds.STATEFUL_SET) == NAMES


async def test_without_a_primary_nothing_is_removed(world: World) -> None:
    await world.fill()
    await world.client.delete(kinds.ENDPOINTS, world.namespace, naming.patroni_scope("cluster1"), uid=None)
    ctx = await world.context()
    assert isinstance(await act_scale_down.act(ctx, await world.view(ctx, 1), ClusterCache()), Wait)
    assert await world.names(kinds.STATEFUL_SET) == NAMES


@pytest.mark.parametrize("role", ["primary", "master"])
async def test_a_replica_that_has_just_become_the_primary_is_spared(world: World, role: str) -> None:
    """The watches have not delivered it yet; the API server has it."""
    await world.fill()
    ctx = await world.context()
    one = await world.view(ctx, 1)
    patch = {"metadata": {"labels": {labels.ROLE: role}}}
    await world.client.merge_patch(kinds.POD, world.namespace, naming.pod(OTHERS[0]), patch)
    await act_scale_down.act(ctx, one, ClusterCache())
    assert await world.names(kinds.STATEFUL_SET) == sorted([PRIMARY, OTHERS[0]])


# --- the end -------------------------------------------------------------------------------------------


async def cluster(world: World, *finalizers: str) -> PGCluster:
    """The custom resource, stored and being deleted; the CRD is that of the API tests."""
    manifest = cluster_manifest()
    metadata = {"namespace": world.namespace, "finalizers": [labels.FINALIZER, *finalizers]}
    manifest["metadata"] |= metadata | {"deletionTimestamp": "2026-01-02T03:04:05Z", "resourceVersion": "1"}
    return PGCluster.parse(manifest)


async def pass_(world: World, one: PGCluster) -> Any:
    """One pass of the deletion; without the CRD the custom resource itself cannot be released."""
    from pgoperator.kube.errors import NotFound

    try:
        return await act_deletion.delete(await world.context(), one)
    except NotFound:
        return None


async def gone(world: World, name: str) -> None:
    """Act as the StatefulSet's controller and kubelet do after its deletion."""
    await world.client.delete(kinds.POD, world.namespace, naming.pod(name), uid=None, grace_seconds=0)


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
    """A Job of the cluster, created for an object of this kind."""
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
