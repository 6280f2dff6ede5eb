"""The write path against a real API server; writes are counted in its audit log."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from local.control_plane import Handle
from pgoperator import labels
from pgoperator.kube import kinds
from pgoperator.kube.apply import APPLIED_HASH, Applier, ForeignOwner
from pgoperator.kube.client import Client
from pgoperator.kube.manifest import Key, Manifest, key_of, labels_of, owner_of
from pgoperator.kube.store import Store
from pgoperator.kube.watch import Watcher
from tests.api.conftest import audit, eventually

pytestmark = pytest.mark.api

WATCHED = (kinds.CONFIG_MAP, kinds.SERVICE, kinds.STATEFUL_SET, kinds.SECRET, kinds.DEPLOYMENT)


class World:
    """A store that watches a namespace, an applier, and the writes in the audit log."""

    def __init__(self, client: Client, namespace: str, control_plane: Handle) -> None:
        self.client = client
        self.namespace = namespace
        self.store = Store()
        self.applier = Applier(client, self.store)
        self.control_plane = control_plane

    def writes(self) -> list[tuple[str, str]]:
        """Return (verb, resource) of every request that is not a read."""
        found = audit(self.control_plane, self.namespace)
        return [(verb, what) for verb, what, *_ in found if verb not in {"get", "list", "watch"}]

    async def caught_up(self, manifest: Manifest) -> None:
        """Wait until the store has the object as the server has it now."""
        kind = kinds.kind_of(manifest)
        key = key_of(manifest)

        async def same() -> bool:
            live = await self.client.get(kind, key.namespace, key.name)
            stored = self.store.get(kind, key.namespace, key.name)
            version = live["metadata"]["resourceVersion"]
            return stored is not None and stored["metadata"]["resourceVersion"] == version

        await eventually(same, "the store has caught up")

    async def owner(self, name: str = "owner") -> Manifest:
        return await self.client.create(self.config_map(name))

    def config_map(self, name: str, **data: str) -> Manifest:
        meta = {"name": name, "namespace": self.namespace}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}

    def stateful_set(self, **template: object) -> Manifest:
        labels = {"app": "x"}
        container = {
            "name": "c",
            "image": "none",
            "ports": [{"containerPort": 1, "protocol": "TCP"}],
            "env": [{"name": "A", "value": ""}],
            "resources": {"requests": {"memory": "1024Mi", "cpu": "1000m"}},
            "securityContext": {"readOnlyRootFilesystem": True, "privileged": False},
        }
        claim = {
            "metadata": {"name": "data"},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1024Mi"}},
            },
        }
        return {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "s", "namespace": self.namespace, "labels": labels},
            "spec": {
                "replicas": 1,
                "serviceName": "s",
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "containers": [container],
                        "volumes": [{"name": "t", "emptyDir": {}}],
                        **template,
                    },
                },
                "volumeClaimTemplates": [claim],
            },
        }

    def service(self) -> Manifest:
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "svc", "namespace": self.namespace},
            "spec": {
                "clusterIP": "None",
                "ports": [{"name": "p", "port": 5432, "protocol": "TCP", "targetPort": "p"}],
            },
        }


@pytest.fixture
async def world(client: Client, namespace: str, control_plane: Handle) -> AsyncIterator[World]:
    world = World(client, namespace, control_plane)
    shards = [world.store.open(kind, namespace) for kind in WATCHED]
    tasks = [asyncio.create_task(Watcher(client, shard, lambda _: None).run()) for shard in shards]
    await eventually(lambda: world.store.synced, "synced")
    yield world
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


SHAPES: tuple[Callable[[World], Manifest], ...] = (World.stateful_set, World.service)


@pytest.mark.parametrize("shape", SHAPES)
async def test_what_is_as_desired_costs_no_write(world: World, shape: Callable[[World], Manifest]) -> None:
    owner = await world.owner()
    desired = shape(world)
    assert await world.applier.apply(desired, owner)
    before = world.writes()
    assert not await world.applier.apply(desired, owner)  # perhaps before the watch has shown our own write
    await world.caught_up(desired)
    assert not await world.applier.apply(desired, owner)
    assert not await Applier(world.client, world.store).apply(desired, owner)  # a new process
    assert world.writes() == before
    assert world.applier._written == {}


async def test_the_owner_controls_what_is_applied(world: World) -> None:
    owner = await world.owner()
    desired = world.service()
    await world.applier.apply(desired, owner)
    live = await world.client.get(kinds.SERVICE, world.namespace, "svc")
    assert owner_of(live) == owner["metadata"]["uid"]
    assert "ownerReferences" not in desired["metadata"]
    assert await world.applier.apply(world.config_map("free"), None)
    assert owner_of(await world.client.get(kinds.CONFIG_MAP, world.namespace, "free")) is None


async def test_a_change_of_what_is_desired_is_written(world: World) -> None:
    desired = world.config_map("a", x="1")
    await world.applier.apply(desired, None)
    desired["data"]["x"] = "2"
    assert await world.applier.apply(desired, None)
    del desired["data"]
    assert await world.applier.apply(desired, None)
    assert "data" not in await world.client.get(kinds.CONFIG_MAP, world.namespace, "a")


async def test_drift_is_repaired(world: World) -> None:
    desired = world.config_map("a", x="1")
    await world.applier.apply(desired, None)
    await world.client.merge_patch(
        kinds.CONFIG_MAP, world.namespace, "a", {"data": {"x": "drifted", "y": "1"}}
    )
    await world.caught_up(desired)
    assert await world.applier.apply(desired, None)
    await world.caught_up(desired)
    live = await world.client.get(kinds.CONFIG_MAP, world.namespace, "a")
    assert live["data"] == {"x": "1", "y": "1"}  # fields that others add stay
    assert not await world.applier.apply(desired, None)


async def test_a_lost_hash_is_written_again(world: World) -> None:
    desired = world.config_map("a")
    await world.applier.apply(desired, None)
    gone = {"metadata": {"annotations": {APPLIED_HASH: None}}}
    await world.client.merge_patch(kinds.CONFIG_MAP, world.namespace, "a", gone)
    await world.caught_up(desired)
    assert await world.applier.apply(desired, None)


async def test_a_deleted_object_is_made_again(world: World) -> None:
    desired = world.config_map("a")
    await world.applier.apply(desired, None)
    await world.caught_up(desired)
    await world.client.delete(kinds.CONFIG_MAP, world.namespace, "a", uid=None)
    await eventually(lambda: world.store.get(kinds.CONFIG_MAP, world.namespace, "a") is None, "gone")
    assert await world.applier.apply(desired, None)
    await world.client.get(kinds.CONFIG_MAP, world.namespace, "a")


async def test_what_the_server_writes_in_its_own_way_is_applied_once(world: World) -> None:
    desired = world.stateful_set()
    # Durations and whole numbers aside, the server also drops an empty map here.
    desired["spec"]["template"]["metadata"]["annotations"] = {}
    assert await world.applier.apply(desired, None)
    for _ in range(3):
        await world.caught_up(desired)
        assert not await world.applier.apply(desired, None)
    # Something else changed: still nothing to write for us …
    other = {"metadata": {"annotations": {"other": "1"}}}
    await world.client.merge_patch(kinds.STATEFUL_SET, world.namespace, "s", other)
    await world.caught_up(desired)
    assert not await world.applier.apply(desired, None)
    # … but drift in our own fields is noticed.
    await world.client.merge_patch(kinds.STATEFUL_SET, world.namespace, "s", {"spec": {"replicas": 5}})
    await world.caught_up(desired)
    assert await world.applier.apply(desired, None)


async def test_another_controllers_object_is_left_alone_by_name(world: World) -> None:
    one, two = await world.owner("one"), await world.owner("two")
    await world.applier.apply(world.service(), one)
    await world.caught_up(world.service())
    with pytest.raises(ForeignOwner, match="ConfigMap one"):
        await world.applier.apply(world.service(), two)
    live = await world.client.get(kinds.SERVICE, world.namespace, "svc")
    assert owner_of(live) == one["metadata"]["uid"]


async def test_kinds_that_nobody_watches_are_read(world: World) -> None:
    meta = {"name": "sa", "namespace": world.namespace}
    desired = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
    assert await world.applier.apply(desired, None)
    before = world.writes()
    assert not await world.applier.apply(desired, None)
    assert not await Applier(world.client, world.store).apply(desired, None)
    assert world.writes() == before


async def test_one_write_at_a_time_for_an_object(world: World) -> None:
    desired = world.config_map("a", x="1")
    outcomes = await asyncio.gather(*(world.applier.apply(desired, None) for _ in range(8)))
    assert sorted(outcomes) == [False] * 7 + [True]
    assert world.writes() == [("patch", "configmaps")]


async def test_text_of_secrets_is_stored_as_data(world: World) -> None:
    meta = {"name": "a", "namespace": world.namespace}
    desired = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"k": "v"}}
    assert await world.applier.apply(desired, None)
    await world.caught_up(desired)
    assert not await world.applier.apply(desired, None)
    assert (await world.client.get(kinds.SECRET, world.namespace, "a"))["data"] == {"k": "dg=="}


async def test_all_are_applied_in_the_order_of_need(world: World) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "namespace": world.namespace}}
    manifests = [world.stateful_set(), world.service(), world.config_map("a"), secret]
    assert (await world.applier.apply_all(manifests, None)).writes == 4
    expected = ["secrets", "configmaps", "services", "statefulsets"]
    assert [what for _, what in world.writes()] == expected
    assert (await world.applier.apply_all(manifests, None)).writes == 0


async def test_what_is_refused_keeps_nothing_else_from_being_applied(world: World) -> None:
    bad = world.config_map("Not_A_Name")
    applied = await world.applier.apply_all([bad, world.config_map("good"), world.service()], None)
    (refusal,) = applied.refused
    assert "Not_A_Name" in str(refusal)
    assert applied.writes == 2
    await world.client.get(kinds.CONFIG_MAP, world.namespace, "good")
    assert ("patch", "services") in world.writes()


async def test_any_other_error_is_raised_after_the_rank_was_tried(world: World) -> None:
    one, two = await world.owner("one"), await world.owner("two")
    await world.applier.apply(world.config_map("taken"), one)
    await world.caught_up(world.config_map("taken"))
    with pytest.raises(ForeignOwner):
        await world.applier.apply_all(
            [world.config_map("taken"), world.config_map("good"), world.service()], two
        )
    await world.client.get(kinds.CONFIG_MAP, world.namespace, "good")
    assert ("patch", "services") not in world.writes()


async def test_prune_deletes_what_is_not_desired_but_never_data(world: World) -> None:
    meta = {"name": "a", "namespace": world.namespace}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta}
    claim["spec"] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    made = [
        await world.client.create(manifest)
        for manifest in (secret, claim, world.config_map("a"), world.config_map("b"), world.service())
    ]
    stale = world.config_map("c")
    stale["metadata"]["uid"] = "of-a-former-object"
    await world.client.create(world.config_map("c"))
    pruned = await world.applier.prune([*made, stale], {Key("ConfigMap", world.namespace, "b")})
    assert pruned == [Key("ConfigMap", world.namespace, "a"), Key("Service", world.namespace, "svc")]
    for kind, name in (
        (kinds.SECRET, "a"),
        (kinds.PVC, "a"),
        (kinds.CONFIG_MAP, "b"),
        (kinds.CONFIG_MAP, "c"),
    ):
        assert "deletionTimestamp" not in (await world.client.get(kind, world.namespace, name))["metadata"]


@pytest.fixture
async def labelled(client: Client, namespace: str, control_plane: Handle) -> AsyncIterator[World]:
    """A store as in production: the watches see objects with the cluster's label only."""
    world = World(client, namespace, control_plane)
    world.store = Store(labels.CLUSTER)
    world.applier = Applier(client, world.store)
    shard = world.store.open(kinds.CONFIG_MAP, namespace)
    task = asyncio.create_task(Watcher(client, shard, lambda _: None, selector=labels.CLUSTER).run())
    await eventually(lambda: world.store.synced, "synced")
    yield world
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def ours(manifest: Manifest, cluster: str = "c") -> Manifest:
    return manifest | {"metadata": manifest["metadata"] | {"labels": labels.of_cluster(cluster)}}


@pytest.mark.parametrize("own", [{}, labels.of_cluster("other")])
async def test_an_object_of_a_stranger_is_not_taken_over(labelled: World, own: dict[str, str]) -> None:
    """It has no controller, so it would get ours, and be deleted with the cluster."""
    theirs = labelled.config_map("app-config", theirs="1")
    theirs["metadata"]["labels"] = own
    before = await labelled.client.create(theirs)
    owner = await labelled.owner()
    with pytest.raises(ForeignOwner, match="app-config exists and lacks the label"):
        await labelled.applier.apply(ours(labelled.config_map("app-config", x="1")), owner)
    assert await labelled.client.get(kinds.CONFIG_MAP, labelled.namespace, "app-config") == before


async def test_an_object_of_ours_that_lost_its_label_gets_it_back(labelled: World) -> None:
    owner, desired = await labelled.owner(), ours(labelled.config_map("a", x="1"))
    assert await labelled.applier.apply(desired, owner)
    await labelled.caught_up(desired)
    patch = {"metadata": {"labels": {labels.CLUSTER: None}}}
    await labelled.client.merge_patch(kinds.CONFIG_MAP, labelled.namespace, "a", patch)
    await eventually(
        lambda: labelled.store.get(kinds.CONFIG_MAP, labelled.namespace, "a") is None, "the watch lost it"
    )
    assert await Applier(labelled.client, labelled.store).apply(desired, owner)
    live = await labelled.client.get(kinds.CONFIG_MAP, labelled.namespace, "a")
    assert labels_of(live)[labels.CLUSTER] == "c"


async def test_an_object_of_a_stranger_that_replaced_ours_is_not_taken_over(labelled: World) -> None:
    """That we wrote an object of this name before does not make the next one ours."""
    owner, desired = await labelled.owner(), ours(labelled.config_map("a", x="1"))
    for change in ("1", "2"):
        await labelled.applier.apply(ours(labelled.config_map("a", x=change)), owner)
        await labelled.caught_up(desired)
    await labelled.client.delete(kinds.CONFIG_MAP, labelled.namespace, "a", uid=None)
    before = await labelled.client.create(labelled.config_map("a", theirs="1"))
    await eventually(lambda: labelled.store.get(kinds.CONFIG_MAP, labelled.namespace, "a") is None, "gone")
    with pytest.raises(ForeignOwner, match="lacks the label"):
        await labelled.applier.apply(desired, owner)
    assert await labelled.client.get(kinds.CONFIG_MAP, labelled.namespace, "a") == before


async def test_what_the_cluster_left_is_taken_over_by_its_label(labelled: World) -> None:
    await labelled.client.create(ours(labelled.config_map("a", x="1")))
    owner = await labelled.owner()
    assert await labelled.applier.apply(ours(labelled.config_map("a", x="2")), owner)
    live = await labelled.client.get(kinds.CONFIG_MAP, labelled.namespace, "a")
    assert owner_of(live) == owner["metadata"]["uid"]


async def test_a_look_before_the_first_write_is_one_request(labelled: World, control_plane: Handle) -> None:
    owner, desired = await labelled.owner(), ours(labelled.config_map("new", x="1"))
    await labelled.applier.apply(desired, owner)
    await labelled.applier.apply(ours(labelled.config_map("new", x="2")), owner)
    asked = [verb for verb, _, name, _ in audit(control_plane, labelled.namespace) if name == "new"]
    assert asked == ["get", "patch", "patch"]
