"""A cluster of Percona's operator costs no write but its condition, from any of the three controllers."""

import asyncio
import copy
import itertools
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pgoperator import labels, naming
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.access import Access
from pgoperator.kube.apply import Applier, ForeignOwner
from pgoperator.kube.client import Client
from pgoperator.kube.errors import ServerError
from pgoperator.kube.events import Recorder
from pgoperator.kube.manifest import Key, Kind, Manifest, key_of, name_of
from pgoperator.kube.store import Store
from pgoperator.runtime.manager import Manager
from pgoperator.runtime.result import Done
from pgoperator.settings import LeaseSettings, Settings
from reconcilers import controllers
from reconcilers.pgbackup import PGBackups
from reconcilers.pgcluster import PGClusters
from reconcilers.pgrestore import PGRestores
from tests.api.conftest import eventually
from tests.support import percona_cluster as theirs
from tests.support.http_proxy import HttpProxy
from tests.support.views import IMAGES, NOW, cluster_manifest

pytestmark = pytest.mark.api
CUSTOM = (kinds.PG_CLUSTER, kinds.PG_BACKUP, kinds.PG_RESTORE)
LABELLED = (*kinds.PRUNABLE, kinds.PVC, kinds.SECRET, kinds.POD, kinds.JOB, kinds.LEASE)
EVERYTHING = (*CUSTOM, *LABELLED)
C = theirs.C
RUNNING = {"state": "Running"}
SUCCEEDED = {"state": "Succeeded", "backupName": "20261130-014910F", "backupType": "full"}
WATCHERS = labels.FINALIZER_STOP_WATCHERS
Controller = PGClusters | PGBackups | PGRestores


class World:
    """A namespace of Percona's operator, and this operator, whose store is filled for each pass."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client, self.namespace = client, namespace
        self.clusters, self.backups, self.restores = PGClusters(), PGBackups(), PGRestores()
        self.controllers: dict[Kind, Controller] = {
            kinds.PG_CLUSTER: self.clusters,
            kinds.PG_BACKUP: self.backups,
            kinds.PG_RESTORE: self.restores,
        }

    async def create(self, *manifests: Manifest) -> list[Manifest]:
        made = []
        for given in manifests:
            manifest = copy.deepcopy(given)
            manifest["metadata"]["namespace"] = self.namespace
            status = manifest.pop("status", None)
            one = await self.client.create(manifest)
            if status:
                place = kinds.kind_of(manifest), self.namespace, name_of(manifest)
                one = await self.client.merge_patch(*place, {"status": status}, subresource="status")
            made.append(one)
        return made

    async def cluster(self, status: Manifest | None = theirs.STATUS, *finalizers: str, **spec: Any) -> None:
        manifest = cluster_manifest(**spec)
        manifest["metadata"] = {"name": C, "finalizers": list(finalizers)}
        await self.create(manifest | {"status": status})

    async def operations(self) -> None:
        """Backups and restores: of Percona's operator, and of a user who asks for some."""
        await self.create(
            theirs.backup("running", RUNNING),
            theirs.backup("starting", {"state": "Starting"}),
            theirs.backup("succeeded", SUCCEEDED),
            theirs.backup("asked"),
            theirs.restore("restoring", RUNNING),
            theirs.restore("wanted"),
            theirs.backup_job("running"),
            theirs.lease(),
        )

    async def all_of(self, kind: Kind, selector: str = "") -> list[Manifest]:
        found, _ = await self.client.list(kind, self.namespace, labels=selector)
        return [one | {"apiVersion": kind.api_version, "kind": kind.kind} for one in found]

    async def context(self, unseen: Iterable[Kind] = (), client: Client | None = None) -> Context:
        """An operator whose watches have delivered everything but some kinds."""
        client = client or self.client
        store = Store(labels.CLUSTER)
        for kind in EVERYTHING:
            shard = store.open(kind, None)
            if kind not in unseen:
                for one in await self.all_of(kind, "" if kind in CUSTOM else labels.ANY_CLUSTER):
                    shard.put(one)
        applier, settings = Applier(client, store), Settings(images=IMAGES)
        return Context(client, store, applier, Recorder(client), settings, lambda: NOW)

    async def passes(self, unseen: Iterable[Kind] = (), order: Iterable[Kind] = CUSTOM) -> None:
        """Let each controller reconcile all its objects, twice; nobody waits for a time."""
        for _, kind in itertools.product(range(2), order):
            ctx = await self.context(unseen)
            for one in await self.all_of(kind):
                assert await self.controllers[kind].reconcile(ctx, key_of(one)) == Done()
            await ctx.events.close()

    async def snapshot(self) -> dict[Key, Any]:
        """Every object with its version; of the cluster all but its conditions."""
        found: dict[Key, Any] = {}
        for kind in EVERYTHING:
            for one in await self.all_of(kind):
                key = key_of(one)
                found[key] = one["metadata"]["resourceVersion"]
                if kind is kinds.PG_CLUSTER:
                    one["metadata"] = {k: v for k, v in one["metadata"].items() if k in ("uid", "finalizers")}
                    one["status"] = {k: v for k, v in one.get("status", {}).items() if k != "conditions"}
                    found[key] = one
        return found

    async def live(self) -> Manifest:
        return await self.client.get(kinds.PG_CLUSTER, self.namespace, C)

    async def conditions(self) -> dict[str, Manifest]:
        return {c["type"]: c for c in (await self.live())["status"].get("conditions", [])}

    async def refused(self) -> str:
        """The message of the condition, which must be there."""
        degraded = (await self.conditions())["Degraded"]
        assert (degraded["status"], degraded["reason"]) == ("True", "NameTaken")
        return str(degraded["message"])

    async def remove(self, *manifests: Manifest) -> None:
        for one in manifests:
            await self.client.delete(
                kinds.kind_of(one), self.namespace, name_of(one), uid=None, grace_seconds=0
            )


@pytest.fixture
def world(client: Client, namespace: str, crds: None) -> World:
    return World(client, namespace)


def everything() -> list[Manifest]:
    return [
        *theirs.workloads(),
        *theirs.parts(),
        theirs.certificate_authority(),
        *theirs.ownerless(),
        *theirs.pods(),
    ]


LATE = {
    "nothing": (),
    "workloads": (kinds.STATEFUL_SET, kinds.DEPLOYMENT),
    "all but the custom resources": LABELLED,
}


@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
@pytest.mark.parametrize("order", [CUSTOM, CUSTOM[::-1]], ids=["cluster first", "restores first"])
async def test_a_running_cluster_costs_no_write_but_its_condition(
    world: World, late: tuple[Kind, ...], order: tuple[Kind, ...]
) -> None:
    """Without the finalizer of Percona's operator: its objects are enough, seen by the watches or not."""
    await world.create(*everything())
    await world.cluster()
    await world.operations()
    before = await world.snapshot()
    await world.passes(late, order)
    assert await world.snapshot() == before
    message = await world.refused()
    assert "PerconaPGCluster cluster1 belongs to another operator: " in message
    assert "belongs to PostgresCluster cluster1" in message
    found = await world.conditions()
    assert [found.pop(c["type"]) for c in theirs.STATUS["conditions"]] == theirs.STATUS["conditions"]
    assert set(found) == {"Degraded"}
    version = (await world.live())["metadata"]["resourceVersion"]
    await world.passes(late, order)
    assert (await world.live())["metadata"]["resourceVersion"] == version, "the condition is written once"


async def test_an_invalid_spec_is_not_judged(world: World) -> None:
    """What this operator does not accept may be a field of a newer release of the other one."""
    await world.create(*theirs.workloads())
    await world.cluster(
        proxy={"pgBouncer": {"replicas": 1, "expose": {"type": "ClusterIP", "nodePort": 30001}}}
    )
    await world.create(
        theirs.backup("odd", RUNNING) | {"spec": {"pgCluster": C, "repoName": "repo1", "options": []}}
    )
    before = await world.snapshot()
    await world.passes()
    assert await world.snapshot() == before
    await world.refused()


ALONE = {
    "one StatefulSet": theirs.workloads()[0],
    "the repository host": theirs.workloads()[3],
    "the pooler": theirs.workloads()[4],
    "a Service": theirs.owned(kinds.SERVICE, f"{C}-pods", spec={"ports": [{"port": 1}]}),
    "a Role that only Percona's operator makes": theirs.owned(kinds.ROLE, f"{C}-pgbackrest", rules=[]),
    "the certificate authority": theirs.certificate_authority(),
}


@pytest.mark.parametrize("part", ALONE.values(), ids=ALONE)
async def test_any_part_is_enough_although_the_watches_have_not_delivered_it(
    world: World, part: Manifest
) -> None:
    await world.create(part, *theirs.ownerless())
    await world.cluster(None)
    before = await world.snapshot()
    await world.passes(LABELLED)
    assert await world.snapshot() == before
    assert f"{name_of(part)} belongs to PostgresCluster cluster1" in await world.refused()
    conditions = await world.conditions()
    assert conditions["Ready"]["status"] == "False", "nobody else reports on the cluster yet"


async def test_the_finalizer_of_perconas_operator_is_enough(world: World) -> None:
    """It comes before all objects; they appear one after another, the workloads last."""
    await world.cluster(None, WATCHERS)
    for group in (
        [],
        theirs.ownerless(),
        [theirs.certificate_authority()],
        theirs.parts(),
        theirs.workloads(),
    ):
        await world.create(*group)
        before = await world.snapshot()
        await world.passes()
        assert await world.snapshot() == before
        await world.refused()
    await world.client.merge_patch(
        kinds.PG_CLUSTER, world.namespace, C, {"status": theirs.STATUS}, subresource="status"
    )
    await world.passes()
    assert "Ready" not in await world.conditions(), "the other operator reports on the cluster now"


async def test_operations_that_are_seen_before_their_cluster_are_left_alone(world: World) -> None:
    await world.create(*everything())
    await world.cluster()
    await world.operations()
    before = await world.snapshot()
    await world.passes((kinds.PG_CLUSTER,), (kinds.PG_BACKUP, kinds.PG_RESTORE))
    assert await world.snapshot() == before


async def test_what_the_other_operator_has_begun_is_left_alone_without_a_cluster(world: World) -> None:
    await world.operations()
    before = await world.snapshot()
    for name in ("running", "starting"):
        answer = await world.backups.reconcile(
            await world.context(), Key(kinds.PG_BACKUP.kind, world.namespace, name)
        )
        assert answer == Done()
    answer = await world.restores.reconcile(
        await world.context(), Key(kinds.PG_RESTORE.kind, world.namespace, "restoring")
    )
    assert answer == Done()
    assert await world.snapshot() == before


async def test_operations_of_a_new_cluster_wait_until_it_is_accepted(world: World) -> None:
    await world.cluster(None)
    await world.create(theirs.backup("asked"), theirs.restore("wanted"))
    before = await world.snapshot()
    await world.passes((), (kinds.PG_BACKUP, kinds.PG_RESTORE))
    assert await world.snapshot() == before
    key = Key(kinds.PG_BACKUP.kind, world.namespace, "asked")
    assert key in tuple(world.backups.woken(world.namespace, C)), "the cluster wakes them"
    cluster = Key(kinds.PG_CLUSTER.kind, world.namespace, C)
    assert world.restores.of_cluster(cluster) == [Key(kinds.PG_RESTORE.kind, world.namespace, "wanted")]
    await world.clusters.reconcile(await world.context(), cluster)
    await world.backups.reconcile(await world.context(), key)
    assert (await world.client.get(kinds.PG_BACKUP, world.namespace, "asked"))["status"] != {}


@asynccontextmanager
async def operator(world: World) -> AsyncIterator[None]:
    """The whole operator with its watches, in this namespace."""
    settings = Settings(namespaces=(world.namespace,), lease=LeaseSettings(enabled=False), images=IMAGES)
    manager, stop = Manager(settings, world.client, controllers(settings)), asyncio.Event()
    running = asyncio.create_task(manager.run(stop))
    try:
        yield
    finally:
        stop.set()
        await running


async def test_watches_in_any_order_and_what_they_wake(world: World) -> None:
    """Objects appear one after another under a running operator; then they go, and the cluster is ours."""
    order = [theirs.certificate_authority(), *theirs.parts(), *theirs.ownerless(), *theirs.workloads()]
    async with operator(world):
        made = await world.create(theirs.backup("running", RUNNING), theirs.restore("restoring", RUNNING))
        await world.cluster(None, WATCHERS)
        made += await world.create(*order, *theirs.pods(), theirs.backup("asked"), theirs.restore("wanted"))

        async def names(kind: str) -> bool:
            return f": {kind} " in (await world.conditions()).get("Degraded", {}).get("message", "")

        await eventually(lambda: names("StatefulSet"), "the evidence is reported")
        after = await world.snapshot()
        key = Key(kinds.PG_CLUSTER.kind, world.namespace, C)
        assert after.pop(key)["metadata"]["finalizers"] == [WATCHERS]
        assert after == {key_of(one): one["metadata"]["resourceVersion"] for one in made}

        await world.client.merge_patch(
            kinds.PG_CLUSTER, key.namespace, key.name, {"metadata": {"finalizers": []}}
        )
        await world.remove(*theirs.workloads(), *theirs.parts())
        # What is left has no label of the cluster.
        await eventually(lambda: names("Secret"), "the evidence is the last one")
        await world.remove(theirs.certificate_authority())

        async def is_ours() -> bool:
            return labels.FINALIZER in (await world.live())["metadata"].get("finalizers", [])

        async def is_served() -> bool:
            backup = await world.client.get(kinds.PG_BACKUP, world.namespace, "asked")
            restore = await world.client.get(kinds.PG_RESTORE, world.namespace, "wanted")
            return bool(backup.get("status") and restore.get("status"))

        await eventually(is_ours, "the cluster is accepted")
        await eventually(is_served, "the backup and the restore are served")


# --- deletion ------------------------------------------------------------------------------------------


async def test_a_deletion_is_the_other_operators(world: World) -> None:
    """Also when that operator has already removed its own finalizer and objects."""
    wishes = [labels.FINALIZER_DELETE_PVC, labels.FINALIZER_DELETE_SSL, labels.FINALIZER_DELETE_BACKUPS]
    await world.create(*everything())
    await world.cluster(theirs.STATUS, WATCHERS, *wishes, labels.FINALIZER)
    await world.operations()
    await world.passes()
    await world.client.delete(kinds.PG_CLUSTER, world.namespace, C, uid=None)
    before = await world.snapshot()
    await world.passes()
    after = await world.snapshot()
    key = Key(kinds.PG_CLUSTER.kind, world.namespace, C)
    assert after.pop(key)["metadata"]["finalizers"] == [WATCHERS, *wishes], "ours does not block"
    del before[key]
    assert after == before
    assert "finalizers wait for the other operator" in await world.refused()

    patch = {"metadata": {"finalizers": wishes}}
    await world.client.merge_patch(kinds.PG_CLUSTER, world.namespace, C, patch)
    await world.remove(*theirs.workloads(), *theirs.parts(), theirs.certificate_authority())
    before = await world.snapshot()
    await world.passes()
    assert await world.snapshot() == before
    patch = {"metadata": {"finalizers": []}}
    await world.client.merge_patch(kinds.PG_CLUSTER, world.namespace, C, patch)
    assert await world.all_of(kinds.PG_CLUSTER) == []


async def test_a_cluster_that_was_never_accepted_is_examined_before_its_deletion(world: World) -> None:
    await world.create(*everything())
    await world.cluster(theirs.STATUS, labels.FINALIZER_DELETE_PVC)
    await world.client.delete(kinds.PG_CLUSTER, world.namespace, C, uid=None)
    before = await world.snapshot()
    await world.passes(LABELLED)
    assert await world.snapshot() == before


# --- clusters of this operator -------------------------------------------------------------------------


async def reconciled(world: World, ctx: Context | None = None) -> None:
    key = Key(kinds.PG_CLUSTER.kind, world.namespace, C)
    ctx = ctx or await world.context()
    await world.clusters.reconcile(ctx, key)
    await ctx.events.close()


async def test_once_the_other_operators_objects_are_gone_the_cluster_is_accepted(world: World) -> None:
    await world.create(theirs.workloads()[0])
    await world.cluster(None)
    await world.passes()
    await world.refused()
    await world.remove(theirs.workloads()[0])
    await reconciled(world)
    assert (await world.live())["metadata"]["finalizers"] == [labels.FINALIZER]
    assert len(await world.all_of(kinds.STATEFUL_SET)) == 4


async def test_remains_of_a_former_cluster_of_the_name_are_waited_for(world: World) -> None:
    """The garbage collector removes them; the cluster is ours all the same."""
    former = theirs.parts()[6]
    former["metadata"]["ownerReferences"] = [
        theirs.OWNER | {"kind": kinds.PG_CLUSTER.kind, "apiVersion": kinds.PG_CLUSTER.api_version}
    ]
    await world.create(former)
    await world.cluster(None)
    with pytest.raises(ForeignOwner, match="a former object with this name"):
        await reconciled(world)
    assert (await world.live())["metadata"]["finalizers"] == [labels.FINALIZER]
    await world.remove(former)
    await reconciled(world)
    assert len(await world.all_of(kinds.STATEFUL_SET)) == 4


async def test_a_running_cluster_of_ours_is_kept(world: World) -> None:
    """Percona's operator, started by mistake, adds its finalizer and the objects that we do not have."""
    await world.cluster(None)
    await reconciled(world)
    finalizers = {"metadata": {"finalizers": [labels.FINALIZER, WATCHERS]}}
    await world.client.merge_patch(kinds.PG_CLUSTER, world.namespace, C, finalizers)
    await world.create(theirs.owned(kinds.ROLE, f"{C}-pgbackrest", rules=[]))
    await reconciled(world)
    assert (await world.conditions())["Degraded"]["reason"] != "NameTaken"
    # The operator's own wishes still reach the objects.
    await world.remove(theirs.workloads()[4])
    await reconciled(world)
    assert naming.pgbouncer(C) in {name_of(one) for one in await world.all_of(kinds.DEPLOYMENT)}


async def test_a_workload_of_a_user_with_the_clusters_label_is_no_evidence(world: World) -> None:
    theirs_too = theirs.workloads()[4]
    theirs_too["metadata"] |= {
        "name": f"{C}-exporter",
        "ownerReferences": [theirs.OWNER | {"kind": "Exporter"}],
    }
    await world.create(theirs_too)
    await world.cluster(None)
    await reconciled(world)
    assert len(await world.all_of(kinds.STATEFUL_SET)) == 4


async def test_an_error_while_reading_is_not_an_answer(world: World, access: Access) -> None:
    await world.create(*theirs.workloads())
    await world.cluster()
    before, version = await world.snapshot(), (await world.live())["metadata"]["resourceVersion"]
    proxy = HttpProxy(access)
    await proxy.start()
    client = Client(proxy.access)
    try:
        proxy.answers = [(500, {})]
        with pytest.raises(ServerError):
            await reconciled(world, await world.context(LABELLED, client))
    finally:
        await client.close()
        await proxy.stop()
    assert await world.snapshot() == before
    assert (await world.live())["metadata"]["resourceVersion"] == version
