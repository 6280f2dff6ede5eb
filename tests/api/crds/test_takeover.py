"""The plan of a takeover, from a real API server's answers, with the rights of the operator's account."""

import os
import sys
from asyncio import create_subprocess_exec, subprocess
from pathlib import Path
from typing import Any

import pytest

from local.control_plane import Handle
from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.apply import Applier
from pgoperator.kube.client import Client
from pgoperator.kube.errors import NotFound
from pgoperator.kube.events import Recorder
from pgoperator.kube.manifest import Key, Kind, Manifest, key_of, name_of
from pgoperator.kube.store import Store
from pgoperator.settings import Settings
from reconcilers.pgcluster.credentials import act_secrets, build_certificates
from reconcilers.pgcluster.state.view import Planned
from reconcilers.pgcluster.takeover import build_report, read_plan
from reconcilers.pgcluster.takeover.plan import Plan
from reconcilers.pgcluster.takeover.read_rehearsal import THEIR_MANAGER
from tests.api.conftest import CRDS, apply, eventually
from tests.support import percona_cluster as theirs
from tests.support import percona_running as running
from tests.support.views import IMAGES, NOW, cluster_manifest

pytestmark = pytest.mark.api
C = theirs.C
ROOT = Path(__file__).parents[3]
SETTINGS = Settings(images=IMAGES)
KINDS = (*kinds.PRUNABLE, kinds.PVC, kinds.SECRET, kinds.POD, kinds.PG_CLUSTER, kinds.EVENT, kinds.LEASE)
INNER = Kind(str(theirs.OWNER["apiVersion"]), running.INNER_KIND, "postgresclusters")


class World:
    """A namespace with a cluster that Percona's operator has made; `account` has this operator's rights."""

    def __init__(self, client: Client, account: Client, namespace: str) -> None:
        self.client, self.account, self.namespace = client, account, namespace
        self.owner = dict(theirs.OWNER)

    def placed(self, manifest: Manifest) -> Manifest:
        metadata = {k: v for k, v in manifest["metadata"].items() if k != "uid"}
        if "ownerReferences" in metadata and manifest["kind"] != running.INNER_KIND:
            metadata["ownerReferences"] = [self.owner]
        return manifest | {"metadata": metadata | {"namespace": self.namespace}}

    async def make(self, **spec: Any) -> None:
        manifest = self.placed(running.cluster(**spec))
        made = await self.client.create({k: v for k, v in manifest.items() if k != "status"})
        path = INNER.path(self.namespace, C)
        inner = await apply(self.client, path, self.placed(running.inner(made)))
        self.owner["uid"] = inner["metadata"]["uid"]
        await self.secrets(made)
        for one in running.objects():
            await self.theirs(one)
        for one in running.pods():
            status = one.pop("status")
            await self.client.create(self.placed(one))
            place = kinds.POD, self.namespace, name_of(one)
            await self.client.merge_patch(*place, {"status": status}, subresource="status")

    async def theirs(self, manifest: Manifest) -> None:
        """Apply an object as Percona's operator does, or Patroni for its Endpoints."""
        patroni = manifest["kind"] == "Endpoints" and labels.PATRONI in manifest["metadata"]["labels"]
        await self.client.apply(self.placed(manifest), manager="patroni" if patroni else THEIR_MANAGER)

    async def secrets(self, made: Manifest) -> None:
        """Secrets with sound certificates; the client's is issued for the inner resource."""
        store = Store(labels.CLUSTER)
        ctx = Context(
            self.client, store, Applier(self.client, store), Recorder(self.client), SETTINGS, lambda: NOW
        )
        given = made | {"metadata": made["metadata"] | {"uid": self.owner["uid"]}}
        planned = [Planned(name, "instance1") for name in theirs.INSTANCES]
        names = build_certificates.Names(C, self.namespace, SETTINGS.cluster_domain)
        await act_secrets.complete(ctx, PGCluster.parse(given), names, planned, NOW, backups_enabled=True)
        metadata = {"labels": None, "ownerReferences": [self.owner]}
        place = kinds.SECRET, self.namespace, naming.cluster_ca(C)
        await self.client.merge_patch(*place, {"metadata": metadata})

    async def plan(self) -> Plan:
        return await read_plan.plan(self.account, SETTINGS, self.namespace, C, NOW)

    async def causes(self) -> list[str]:
        return [blocker.cause for blocker in (await self.plan()).blockers]

    async def versions(self) -> dict[Key, str]:
        found = {}
        for kind in KINDS:
            for one in (await self.client.list(kind, self.namespace))[0]:
                found[key_of(one)] = str(one["metadata"]["resourceVersion"])
        return found


@pytest.fixture
async def world(client: Client, operator: Client, namespace: str, crds: None) -> World:
    await apply(client, f"{CRDS}/{running.INNER_CRD['metadata']['name']}", running.INNER_CRD)

    async def served() -> bool:
        try:
            await client.list(INNER, namespace)
        except NotFound:
            return False
        return True

    await eventually(served, "the definition of the inner resource is served")
    return World(client, operator, namespace)


async def test_the_plan_of_a_sound_cluster(world: World) -> None:
    """Nothing is written, with the rights that the manifests give; each object has its fate."""
    await world.make()
    before = await world.versions()
    plan = await world.plan()
    assert [blocker.cause for blocker in plan.blockers] == []
    fates = {(entry.kind, entry.name): entry for entry in plan.entries}
    services = [
        fates["Service", f"{C}-{name}"] for name in ("ha", "ha-config", "pgbouncer", "pods", "primary")
    ]
    assert {entry.action for entry in services} == {"adopt"}
    assert not [change for entry in services for change in entry.changes if "clusterIP" in change]
    claims = [entry for entry in plan.entries if entry.kind == "PersistentVolumeClaim"]
    assert len(claims) == 4
    assert not [change for entry in claims for change in entry.changes if "label" not in change]
    for name in theirs.INSTANCES:
        assert fates["StatefulSet", name].action == "adopt"
        assert fates["StatefulSet", name].changes[-1] == "spec.template"
    assert fates["Role", f"{C}-pgbackrest"].action == "remove"
    assert {e.action for e in plan.entries if e.kind == "Secret" and e.name != naming.pgbackrest(C)} == {
        "adopt",
        "keep",
    }
    assert fates["Secret", naming.pgbackrest(C)].changes == ("pgbackrest-client.crt", "pgbackrest-client.key")
    assert len(plan.restarts) == 7
    assert plan.restarts[-1].startswith(naming.pod(running.PRIMARY))
    assert await world.versions() == before


async def test_the_same_plan_has_the_same_digest(world: World) -> None:
    await world.make()
    first = build_report.identity(await world.plan())
    place = kinds.ENDPOINTS, world.namespace, f"{C}-ha"
    await world.client.merge_patch(*place, {"metadata": {"annotations": {"renewTime": "later"}}})
    assert build_report.identity(await world.plan()) == first
    await world.client.merge_patch(
        kinds.PG_CLUSTER, world.namespace, C, {"spec": {"proxy": {"pgBouncer": {"replicas": 2}}}}
    )
    assert build_report.identity(await world.plan()) != first


async def test_what_cannot_become_ours_blocks(world: World) -> None:
    """A part that a third client has added, a field that cannot change, and a setting that is refused."""
    await world.make()
    extra = {"name": "agent", "image": "none"}
    workload = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": theirs.INSTANCES[0]}}
    await apply(
        world.client,
        kinds.STATEFUL_SET.path(world.namespace, theirs.INSTANCES[0]),
        workload | {"spec": {"template": {"spec": {"containers": [extra]}}}},
    )
    [kept] = await world.causes()
    assert f"StatefulSet {theirs.INSTANCES[0]} would keep 'agent' in containers" in kept

    place = kinds.SERVICE, world.namespace, f"{C}-primary"
    await world.client.delete(*place, uid=None)
    primary = next(one for one in running.objects() if name_of(one) == f"{C}-primary")
    primary["spec"].pop("clusterIP")
    await world.theirs(primary)
    refused, _ = sorted(await world.causes(), key=lambda cause: "agent" in cause)
    assert f"the API server refuses Service {C}-primary" in refused


async def test_a_cluster_with_an_invalid_spec_still_gets_a_plan(world: World) -> None:
    await world.make()
    patch = {"spec": {"tls": {"certValidityDuration": "10m"}}}
    await world.client.merge_patch(kinds.PG_CLUSTER, world.namespace, C, patch)
    plan = await world.plan()
    [cause] = [blocker.cause for blocker in plan.blockers]
    assert "spec.tls.certValidityDuration" in cause
    assert (plan.entries, plan.complete) == ((), False)


async def test_without_the_inner_resource_the_objects_are_not_taken(world: World) -> None:
    await world.make()
    await world.client.delete(INNER, world.namespace, C, uid=None)
    assert any("does not exist, but owns" in cause for cause in await world.causes())


async def test_secrets_that_the_cluster_only_reads_are_not_part_of_the_plan(world: World) -> None:
    token = {
        "metadata": {"name": "pmm", "namespace": world.namespace},
        "stringData": {"PMM_SERVER_TOKEN": "x"},
    }
    await world.client.create({"apiVersion": "v1", "kind": "Secret", **token})
    await world.make(pmm={"enabled": True, "image": "pmm", "secret": "pmm", "serverHost": "pmm"})
    fates = {entry.name: entry.action for entry in (await world.plan()).entries if entry.kind == "Secret"}
    assert "pmm" not in fates
    assert fates[naming.user_secret(C, naming.MONITOR_USER)] == "keep"


async def test_a_cluster_of_nobody_else_has_no_plan(world: World) -> None:
    manifest = cluster_manifest()
    manifest["metadata"] = {"name": C, "namespace": world.namespace}
    await world.client.create(manifest)
    with pytest.raises(read_plan.NothingToTakeOver, match="belongs to no other operator"):
        await world.plan()
    with pytest.raises(NotFound):
        await read_plan.plan(world.account, SETTINGS, world.namespace, "absent", NOW)


async def test_a_rehearsal_carries_nothing_out(world: World) -> None:
    """Each kind of write: the API server answers and stores nothing."""
    dry, place = world.client.rehearsal(), (kinds.CONFIG_MAP, world.namespace, "one")
    manifest: Manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "one", "namespace": world.namespace},
        "data": {"a": "1"},
    }
    assert (await dry.create(manifest))["data"] == {"a": "1"}
    assert (await dry.apply(manifest))["data"] == {"a": "1"}
    with pytest.raises(NotFound):
        await world.client.get(*place)
    made = await world.client.create(manifest)
    assert (await dry.merge_patch(*place, {"data": {"a": "2"}}))["data"] == {"a": "2"}
    await dry.delete(*place, uid=made["metadata"]["uid"])
    assert (await world.client.get(*place))["metadata"]["resourceVersion"] == made["metadata"][
        "resourceVersion"
    ]
    with pytest.raises(RuntimeError):
        await dry.exec(world.namespace, "pod", "container", ["true"])


async def run(world: World, control_plane: Handle, name: str) -> tuple[int, str, str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("KUBERNETES", "RELATED"))}
    images = {
        f"RELATED_IMAGE_{k.upper()}{f'_{major}' if major else ''}": v for (k, major), v in IMAGES.items()
    }
    process = await create_subprocess_exec(
        *(sys.executable, "-m", "pgoperator", "takeover", "plan", world.namespace, name),
        cwd=ROOT,
        env=environ | images | {"KUBECONFIG": str(control_plane.kubeconfig)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), errors.decode()


async def test_the_command(world: World, control_plane: Handle) -> None:
    await world.make()
    status, text, errors = await run(world, control_plane, C)
    assert (status, errors) == (0, "")
    assert "nothing blocks a takeover" in text
    patch = {"spec": {"pause": True}}
    await world.client.merge_patch(kinds.PG_CLUSTER, world.namespace, C, patch)
    status, text, _ = await run(world, control_plane, C)
    assert status == 3
    assert "spec.pause is true" in text
    status, text, errors = await run(world, control_plane, "absent")
    assert (status, text) == (1, "")
    assert errors.startswith(f"cannot plan the takeover of {world.namespace}/absent: ")
